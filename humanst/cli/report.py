"""``humanst report``: the pages that people look at, of a release or of built sections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from humanst.cli.gate import license_option
from humanst.cli.output import (
    catalog_option,
    echo,
    echo_json,
    end_with,
    failure_rows,
    json_option,
    progress,
    say,
    workers_option,
)
from humanst.cli.pathway_options import NAMES, choice_of, pages_option, pathway_options, sets_of_option
from humanst.errors import UsageError

if TYPE_CHECKING:
    from humanst.report.atlas import Report, ReportRequest
    from humanst.report.atlas_source import AtlasSource


@click.command()
@click.argument("path", metavar="RELEASE|SECTIONS", type=click.Path(exists=True, file_okay=False))
@pages_option("site")
@click.option(
    "--single-file/--folder",
    "single_file",
    default=None,
    help="All sections in index.html, or a page each in sections/ [default: one file up to 60 sections].",
)
@click.option(
    "--audit",
    type=click.Path(exists=True),
    help="The folder or page of a `humanst audit` that goes along [default: that of the folder audit beside the pages "
    "or beside RELEASE, if it is of the same release].",
)
@sets_of_option
@pathway_options
@click.option(
    "--work",
    type=click.Path(file_okay=False),
    help="The work folder that the release was built with [default: RELEASE.work].",
)
@license_option
@workers_option
@catalog_option
@json_option
def report(path: str, output: str, as_json: bool, **options: Any) -> None:
    """Write static pages of a RELEASE, or of a folder of built SECTIONS.

    What is in it, and every section with its picture and pathways. The pages are plain files: they open from a folder,
    fetch nothing and need no server. Beside them is a table for MultiQC. A section that cannot be shown is named, and
    the others are shown.
    """
    from humanst import files
    from humanst.report.atlas import require_report_folder, write_report

    source, target = Path(path).resolve(), Path(output).resolve()
    require_report_folder(target)
    _require_outside(target, source)
    # A name of this run's own: what another left there or is at work on is not touched, and leftovers are swept.
    files.sweep_partials(target.parent)
    scratch = files.partial_path(target.with_name(f"{target.name}.stores"))
    try:
        request = _request(source, target, scratch, options, as_json)
        with progress("report") as tell:
            made = write_report(request, target, progress=lambda step, done, total: tell(step, done, total, 0))
    finally:
        files.remove(scratch)
    print_report(made, target, as_json)
    end_with(len(made.facts.rows), made.failures)


def _require_outside(target: Path, source: Path) -> None:
    """A file more, and a release or a store is not as it was built."""
    from humanst.report.sources import is_release

    if target.is_relative_to(source) and (is_release(source) or source.suffix == ".zarr" or target == source):
        raise UsageError(
            "A report cannot be kept inside what it is of",
            code="inside-release",
            field="-o",
            expected=f"a folder outside of {source.name}",
            found=str(target.relative_to(source.parent)),
            done="Nothing was written",
            todo="Name another folder with -o",
        )


def _request(source: Path, target: Path, scratch: Path, options: dict[str, Any], as_json: bool) -> ReportRequest:
    from humanst.report.atlas import ReportRequest
    from humanst.report.atlas_audit import find_audit
    from humanst.report.atlas_source import open_source
    from humanst.report.sources import is_release
    from humanst.runner import default_workers

    work = Path(options["work"]).resolve() if options["work"] else None
    if is_release(source):
        _require_no_choice(options)
        sets, choice = None, None
    else:
        sets, choice = _gene_sets(options, as_json), choice_of(options)
    opened = open_source(source, work=work, scratch=scratch, gene_sets=sets, choice=choice)
    beside = (target.parent, source.parent)
    found = find_audit(options["audit"], beside, _title_of_one(opened), opened.identity)
    if found.page is None and found.note:
        say(found.note)
    return ReportRequest(
        source=opened,
        scratch=scratch,
        work=work,
        gene_sets=sets,
        choice=choice,
        single_file=options["single_file"],
        audit=found,
        workers=options["workers"] or default_workers(),
    )


def _title_of_one(source: AtlasSource) -> str | None:
    """The title of a release or of one section; that of many sections just counts them, as another folder's may."""
    return source.title if source.kind == "release" or len(source.sample_ids) == 1 else None


def _require_no_choice(options: dict[str, Any]) -> None:
    """The scores of a release are those in its shards."""
    if given := [name for name in ("sets", *NAMES) if options[name] is not None]:
        raise UsageError(
            "A release is shown with the scores it has",
            field=f"--{given[0].replace('_', '-')}",
            expected="a folder of section stores, or no such option",
            found="a release",
            done="Nothing was written",
            todo="Leave the option out, or name the folder of section stores",
        )


def _gene_sets(options: dict[str, Any], as_json: bool) -> Path | None:
    """The gene sets asked for; without a wish those of the catalog, or none where they cannot be had."""
    from humanst.cli.choose import open_catalog
    from humanst.cli.gene_set_files import gene_sets
    from humanst.errors import HumanstError

    book = open_catalog(options["catalog"])
    try:
        return gene_sets(book, options["sets"], pin=False, accept=options["accept"], may_ask=not as_json)[0]
    except HumanstError as error:
        if options["sets"] is not None:
            raise
        say(f"The gene sets of the catalog cannot be had, so no pathway is shown; --sets FILE names others: {error}")
        return None


def print_report(made: Report, target: Path, as_json: bool) -> None:
    """Tell what was written, and where it begins."""
    index = target / "index.html"
    if as_json:
        content: dict[str, Any] = {"output": str(target), "page": str(index), **report_content(made)}
        echo_json("humanst.report/1", content)
        return
    n_shown, n_all = len(made.facts.rows) - len(made.failures), len(made.facts.rows)
    how = "in one file" if made.single_file else "a page each"
    n_bytes = sum(made.n_bytes.values())
    echo(f"{n_shown:,} of {n_all:,} sections, {how}; {n_bytes / 1e6:,.1f} MB")
    echo(f"open {index}")


def report_content(made: Report) -> dict[str, Any]:
    """What ``--json`` says of a report."""
    return {
        "kind": made.facts.kind,
        "title": made.facts.title,
        "single_file": made.single_file,
        "totals": dict(made.facts.totals),
        "findings": {group.code: group.n for group in made.facts.findings},
        "sections": {row["sample_id"]: row["href"] for row in made.facts.rows},
        "bytes": sum(made.n_bytes.values()),
        "index_bytes": made.n_bytes["index.html"],
        "failures": failure_rows(made.failures),
    }
