"""``humanst build-shards``: section stores (building those that are missing) to a release folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from humanst.cli.choose import open_catalog
from humanst.cli.gene_set_files import say_sets
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
from humanst.cli.release_options import PLANNED, new_request, planned_request, release_options
from humanst.errors import UsageError

if TYPE_CHECKING:
    from humanst.errors import HumanstError
    from humanst.shards.plan import Plan
    from humanst.shards.request import ReleaseReport, ReleaseRequest


@click.command("build-shards")
@release_options
@click.option("--plan", type=click.Path(exists=True, dir_okay=False), help="Build what `humanst plan` wrote.")
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False), help="The release folder.")
@click.option(
    "--work",
    type=click.Path(file_okay=False),
    help="Section stores and intermediates; a later run goes on from them [default: OUTPUT.work].",
)
@workers_option
@click.option("--scheduler", metavar="ADDRESS", help="Run the tasks on the Dask scheduler at tcp://HOST:PORT.")
@click.option("--scheduler-file", type=click.Path(dir_okay=False), help="The same, from the file that it wrote.")
@click.option(
    "--stage",
    type=click.Choice(["extract", "pack", "finish"]),
    help="Do this part of a plan alone; each needs all of the one before [default: all].",
)
@click.option("--task-index", type=click.IntRange(min=0), help="Do this share of a stage, from 0 (SLURM arrays).")
@click.option("--num-tasks", type=click.IntRange(min=1), help="How many shares there are.")
@click.option("--retry-failed", is_flag=True, help="Extract only sections that failed or were not finished before.")
@click.option("--clear-dead-locks", is_flag=True, help="First remove locks whose holders are gone.")
@click.option("--print-sbatch", is_flag=True, help="Print a script that gives the plan to SLURM, and do nothing else.")
@catalog_option
@json_option
@click.pass_context
def build_shards(
    context: click.Context, /, output: str, work: str | None, catalog: str | None, as_json: bool, **options: Any
) -> None:
    """Build a release of patch-pathway pairs from the catalog's sections, or from your own folders with a --recipe.

    Sections that cannot be built are listed and left out; the others are released (exit code 4).
    """
    from humanst.locks import clear_dead_locks
    from humanst.shards.release import build_release

    _check_options(context, options)
    release = Path(output).resolve()
    folder = Path(work).resolve() if work else release.with_name(f"{release.name}.work")
    if options["print_sbatch"]:
        _print_sbatch(options, release, folder, catalog, as_json)
        return
    asked = _asked(options, catalog, release, folder, may_ask=not as_json)
    if options["clear_dead_locks"]:
        for lock in clear_dead_locks(release, folder):
            say(f"Removed the dead lock {lock.name}")
    with progress("build-shards") as tell:
        report = build_release(asked.request, plan=asked.plan, progress=tell)
    report = replace(report, failures=(*asked.failures, *report.failures))
    if options["stage"] in ("extract", "pack"):
        print_stage(report, options["stage"], asked.request.share, as_json)
    else:
        print_report(report, as_json)
    end_with(asked.n_sections, report.failures)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request with what is known of it before anything is built."""

    request: ReleaseRequest
    plan: Plan | None
    n_sections: int
    failures: tuple[tuple[str, HumanstError], ...]


def _asked(options: dict[str, Any], catalog: str | None, release: Path, work: Path, *, may_ask: bool) -> _Asked:
    from humanst.runner import Cluster, default_workers
    from humanst.shards.plan_file import plan_of, read_plan
    from humanst.shards.request import STAGES

    book = open_catalog(catalog)
    if options["plan"]:
        content = read_plan(Path(options["plan"]))
        plan = plan_of(content)
        request = planned_request(book, content, options["accept"], release=release, work=work, may_ask=may_ask)
        asked = _Asked(request, plan, len(plan.sections) + len(plan.left_out), ())
    else:
        request, n_asked, gate = new_request(book, options, release=release, work=work, may_ask=may_ask)
        asked = _Asked(request, None, n_asked, gate.failures)
    address, file = options["scheduler"], options["scheduler_file"]
    request = replace(
        request,
        workers=options["workers"] or default_workers(),
        cluster=Cluster(address, Path(file) if file else None) if address or file else None,
        stages=(options["stage"],) if options["stage"] else STAGES,
        share=(options["task_index"] or 0, options["num_tasks"] or 1),
        retry_failed=options["retry_failed"],
    )
    return replace(asked, request=request)


def _check_options(context: click.Context, options: dict[str, Any]) -> None:
    """Refuse options that contradict each other.

    Raises
    ------
    UsageError
        Naming the first.
    """
    given = [name for name in PLANNED if context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE]
    wrong = None
    if options["plan"] and given:
        wrong = (f"--{given[0].replace('_', '-')}", "sections and parameters from the plan alone")
    elif not options["plan"] and (options["stage"] or options["print_sbatch"]):
        wrong = ("--plan", "the plan whose stage this is")
    elif (options["task_index"] is None) != (options["num_tasks"] is None) and not options["print_sbatch"]:
        wrong = ("--task-index", "--task-index and --num-tasks together")
    elif options["task_index"] is not None and options["stage"] not in ("extract", "pack"):
        wrong = ("--task-index", "--stage extract or --stage pack: only these have shares")
    elif options["task_index"] is not None and options["task_index"] >= options["num_tasks"]:
        wrong = ("--task-index", f"0 to {options['num_tasks'] - 1}")
    elif options["scheduler"] and options["scheduler_file"]:
        wrong = ("--scheduler", "one of --scheduler and --scheduler-file")
    elif options["retry_failed"] and options["stage"] not in (None, "extract"):
        wrong = ("--retry-failed", "the extract stage")
    if wrong:
        raise UsageError(
            "These options do not go together", field=wrong[0], expected=wrong[1], done="Nothing was written"
        )


def _print_sbatch(options: dict[str, Any], release: Path, work: Path, catalog: str | None, as_json: bool) -> None:
    from humanst.settings import settings
    from humanst.shards.plan_file import plan_of, read_plan
    from humanst.shards.sbatch import sbatch_script

    path = Path(options["plan"]).resolve()
    n_sections = len(plan_of(read_plan(path)).sections)
    n_tasks = min(options["num_tasks"] or 32, max(1, n_sections))
    other = Path(catalog) if catalog else settings().catalog
    script = sbatch_script(path, release, work, n_tasks=n_tasks, catalog=other.resolve() if other else None)
    if as_json:
        echo_json("humanst.sbatch/1", {"num_tasks": n_tasks, "script": script})
    else:
        click.echo(script, nl=False)


def print_stage(report: ReleaseReport, stage: str, share: tuple[int, int], as_json: bool) -> None:
    """Print what a share of a stage did: warnings on stderr, a line a section on stdout."""
    for section in report.done:
        say_findings(section.findings, section.sample_id)
    good = [(done.sample_id, done.extracted) for done in report.done if done.extracted is not None]
    if as_json:
        rows = [{"sample_id": name, "pairs": extract.card["pairs"], "reused": extract.reused} for name, extract in good]
        content: dict[str, Any] = {"stage": stage, "task_index": share[0], "num_tasks": share[1]}
        content |= {"sections": rows, "n_shards": report.n_shards, "failures": failure_rows(report.failures)}
        echo_json("humanst.build-shards-stage/1", content)
        return
    for name, extract in good:
        echo(f"{name}  {extract.card['pairs']} pairs")
    if stage == "pack":
        echo(f"{report.n_shards} shards are there")


def print_report(report: ReleaseReport, as_json: bool) -> None:
    """Print what was built: warnings on stderr, totals on stdout."""
    for section in report.done:
        say_findings(section.findings, section.sample_id)
    say_findings(report.findings, "release")
    manifest = report.manifest
    if manifest:
        say_sets(manifest["pathways"]["set"], manifest["pathways"], "of pathways in MANIFEST.json")
        for name, entry in manifest.get("targets", {}).items():
            if entry["kind"] == "gmt":
                say_sets(name, entry, f"of targets.{name} in MANIFEST.json")
    if report.earlier == "same":
        say(f"{report.release.name}: this release was there already and is unchanged")
    if as_json:
        summary = {key: manifest.get(key) for key in ("version", "totals", "organs", "sha256sums")}
        rows = [
            {key: row[key] for key in ("sample_id", "split", "group", "spots_in", "spots_out", "pairs", "drops")}
            | {"pair_drops": row["pair_drops"]}
            for row in manifest.get("sections", [])
        ]
        failures = failure_rows(report.failures)
        content = {"release": str(report.release), "earlier": report.earlier, **summary}
        content |= {"sections": rows, "failures": failures}
        echo_json("humanst.build-shards/1", content)
        return
    for row in manifest.get("sections", []):
        lost = [
            f"{drop['n']} {drop['reason']}"
            for drop in [*row["drops"], *row["pair_drops"]]
            if drop["what"] in ("spots", "pairs")
        ]
        dropped = f" ({', '.join(lost)})" if lost else ""
        echo(f"{row['sample_id']}  {row['split']}  {row['spots_in']} spots -> {row['pairs']} pairs{dropped}")
    if manifest:
        totals = manifest["totals"]
        echo(
            f"{report.release}: {totals['pairs']:,} pairs of {totals['sections']} sections "
            f"({totals['donor_groups']} split groups) in {totals['shards']} shards, {totals['bytes'] / 1e6:,.1f} MB"
        )
    else:
        say("No section gave pairs: nothing was released")
