"""``humanst build``: sources to validated SpatialData section stores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from humanst.cli.choose import (
    choose_sections,
    open_catalog,
    pool_like_option,
    qc_options,
    qc_overrides,
    recipe_option,
    require_one_section,
    section_options,
)
from humanst.cli.gate import gate_sections, license_option
from humanst.cli.output import (
    catalog_option,
    echo,
    echo_json,
    end_with,
    failure_rows,
    json_option,
    progress,
    say,
    say_findings,
    workers_option,
)
from humanst.errors import HumanstError

if TYPE_CHECKING:
    from humanst.builder import BuiltSection


@click.command()
@click.argument("studies", metavar="[STUDY | FOLDER]...", nargs=-1)
@recipe_option
@section_options
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False), help="Folder for sections/ and images/."
)
@click.option(
    "--embed-image", is_flag=True, help="Carry the image from max(native, 0.5) um/px down instead of 2 um/px."
)
@click.option(
    "--tissue",
    type=click.Path(exists=True, dir_okay=False),
    help="GeoJSON outline of one section's tissue in level-0 pixels, instead of the optical-density mask.",
)
@click.option("--pin", is_flag=True, help="Take files that have no hash on record, writing theirs to a lock file.")
@license_option
@pool_like_option
@qc_options
@workers_option
@catalog_option
@json_option
def build(
    studies: tuple[str, ...],
    recipe: str | None,
    sections: str | None,
    where: str | None,
    output: str,
    embed_image: bool,
    tissue: str | None,
    pin: bool,
    accept: tuple[str, ...],
    pool_like: Any,
    workers: int | None,
    catalog: str | None,
    as_json: bool,
    **thresholds: Any,
) -> None:
    """Build section stores (OUTPUT/sections/SAMPLE_ID.zarr) from the catalog's sections, or from your own folders.

    A FOLDER that is in no catalog needs a --recipe. Its sections go through the same checks; their donor and licence
    are unknown, so that the folder is one split group and nothing made from it may be passed on.
    """
    from humanst.builder import BuildOptions, build_sections
    from humanst.runner import default_workers

    book = open_catalog(catalog)
    asked = choose_sections(book, studies, sections, where, recipe=recipe)
    require_one_section(tissue, asked)
    pairs, gate = gate_sections(book, asked, accept, may_ask=not as_json)
    options = BuildOptions(
        folder=Path(output).resolve(),
        pin=pin,
        embed_image=embed_image,
        tissue=Path(tissue) if tissue else None,
        pool_like=pool_like,
        qc=qc_overrides(thresholds),
    )
    built: list[BuiltSection] = []
    failures: list[tuple[str, HumanstError]] = list(gate.failures)
    n_done = 0

    def count(outcome: object) -> None:
        nonlocal n_done
        n_done += 1
        tell("sections", n_done, len(pairs), 0)

    with progress("build") as tell:
        for study_id in dict.fromkeys(study.study_id for study, _ in pairs):
            mine = [(study, section) for study, section in pairs if study.study_id == study_id]
            sections_of_study = [section for _, section in mine]
            good, bad = build_sections(
                mine[0][0], sections_of_study, options, workers=workers or default_workers(), done=count
            )
            built += good
            failures += bad
    _print(built, failures, as_json)
    end_with(len(asked), failures)


def _print(built: list[BuiltSection], failures: list[tuple[str, HumanstError]], as_json: bool) -> None:
    for section in built:
        say_findings(section.findings, section.sample_id)
    if as_json:
        rows = [
            {
                "sample_id": section.sample_id,
                "path": str(section.path),
                "reused": section.reused,
                "findings": [finding.to_dict() for finding in section.findings],
            }
            for section in built
        ]
        echo_json("humanst.build/1", {"sections": rows, "failures": failure_rows(failures)})
        return
    for section in built:
        echo(f"{section.sample_id}  {'current' if section.reused else 'built'}  {section.path}")
    say(f"{len(built)} sections are there, {len(failures)} failed")
