"""``stamp-train controls``: the aligned model beside the frozen base and the controls, in one table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from humanst.errors import UsageError
from stamp_train.commands.output import echo_json, echo_table, json_option, loaders_keep_quiet, progress, say
from stamp_train.commands.parsing import (
    FILE,
    comma_list,
    fit_on_option,
    genes_option,
    gmt_option,
    methods_option,
    split_option,
)

if TYPE_CHECKING:
    from stamp_train.control_slides import SlideTier
    from stamp_train.controls import Compared

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("config", metavar="CONFIG.yaml", type=FILE)
@click.option("--out", "-o", required=True, type=FOLDER, help="Folder of the arms and of the table.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting. Can be repeated.")
@click.option(
    "--only",
    type=comma_list,
    metavar="A,B,...",
    help="Controls to run, of shuffled, random-sets, hvg, pca, library-size  [default: all].",
)
@click.option(
    "--seeds", "n_seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Trainings of each arm."
)
@split_option("Whose donors are held out in turn.")
@fit_on_option
@gmt_option
@genes_option
@click.option("--labels", type=FILE, help="CSV with key and label of spots: domains are measured too.")
@methods_option("kmeans")
@click.option("--domain-seeds", type=click.IntRange(min=1), default=10, show_default=True, help="Of the clustering.")
@click.option("--slides", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of whole slides.")
@click.option("--slide-task", help="Task of tier 3, as `stamp-train slides --list-tasks` has them.")
@click.option("--slide-labels", type=FILE, help="As --labels of `stamp-train slides`.")
@click.option("--slide-splits", type=FILE, help="As --splits of `stamp-train slides`.")
@click.option("--slide-column", help="Column of the class, or of the event  [default: the task's].")
@click.option("--slide-time-column", help="Column of the time, of survival  [default: the task's].")
@click.option("--slide-seeds", type=click.IntRange(min=1), default=10, show_default=True, help="Models an arm.")
@json_option
def controls(
    config: Path,
    out: Path,
    changes: tuple[str, ...],
    only: tuple[str, ...] | None,
    n_seeds: int,
    as_json: bool,
    **given: Any,
) -> None:
    """Train the aligned model and its controls, measure all in the tiers, and judge the claim.

    The arms: the frozen base; aligned; aligned on shuffled pairs, on random gene sets, on genes, on components of
    genes, on the library size alone. Each keeps its folder below --out, and one that is done is not done again. Writes
    controls.parquet, controls.csv, controls.md and controls.json: what each arm reaches, what it is above the frozen
    base, and what the aligned model is above it, paired over donors; fewer than 8 donors have no interval.
    """
    from stamp_train.config import AlignConfig
    from stamp_train.control_tiers import Tiers
    from stamp_train.controls import run_controls

    settings = AlignConfig.from_yaml(config).with_settings(changes)
    slides = _slides({name: given.pop(name) for name in [*given] if name.startswith("slide")})
    tiers = Tiers(**{**given, "fit_on": given["fit_on"] or ()})
    with loaders_keep_quiet(), progress() as tell:
        options = {"only": only or (), "n_seeds": n_seeds, "slides": slides}
        found = run_controls(settings, out, tiers, **options, progress=tell, say=say)  # type: ignore[arg-type]
    if as_json:
        echo_json({**found.content, "out": str(out)})
    else:
        _echo(found)


def _slides(given: dict[str, Any]) -> SlideTier | None:
    """The slide-level task that the options name, or None."""
    from stamp_train.control_slides import SlideTier, slides_in
    from stamp_train.slides.tasks import task_named

    needed = ("slides", "slide_task", "slide_labels", "slide_splits")
    missing = [f"--{name.replace('_', '-')}" for name in needed if not given[name]]
    if len(missing) == len(needed):
        return None
    if missing:
        raise UsageError("An option is missing", field=", ".join(missing), todo="Slides need all four, or none")
    task = task_named(given["slide_task"])
    column, time = given["slide_column"] or task.column, given["slide_time_column"] or task.time_column
    task = replace(task, column=column, time_column=time)
    images = slides_in(given["slides"])
    return SlideTier(task, images, given["slide_labels"], given["slide_splits"], given["slide_seeds"])


def _echo(found: Compared) -> None:
    from stamp_train.control_report import TABLE, main_lines

    echo_table(main_lines(found.table))
    click.echo(found.content["verdict"]["sentence"])
    click.echo(f"{found.out / TABLE}.md, .csv, .parquet, .json")
    if found.content["leakage"]:
        say(f"Training saw what it is tested on: {found.content['leakage']}")
