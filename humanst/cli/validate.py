"""``humanst validate``: every check over stores, any SpatialData zarr, or vendor files; all findings at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from humanst.cli.choose import recipe_option
from humanst.cli.output import echo, echo_json, end_with, json_option, progress, say, workers_option

if TYPE_CHECKING:
    from humanst.curate.checking import PathReport
    from humanst.findings import Finding
    from humanst.validate import Report

COLUMNS = ("severity", "code", "section", "file:field", "found", "expected")


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True))
@recipe_option
@click.option(
    "--format",
    "how",
    type=click.Choice(["text", "json", "jsonl"]),
    default="text",
    show_default=True,
    help="text: a line a finding and a table of verdicts; json: one object; jsonl: an object a finding.",
)
@click.option(
    "--min-severity",
    type=click.Choice(["note", "warn", "refuse"]),
    default="note",
    show_default=True,
    help="Leave out findings that are less severe; verdicts stay.",
)
@workers_option
@json_option
def validate(
    paths: tuple[str, ...], recipe: str | None, how: str, min_severity: Any, workers: int | None, as_json: bool
) -> None:
    """Check section stores, any SpatialData zarr, or folders of vendor files; nothing is written.

    A PATH is a store, a folder of stores, or a folder of vendor files, which is read with --recipe or else with a
    recipe drafted from it, up to the point where `humanst build` would write. Exit code 5 when anything is refused, 4
    when several paths were given and any is.
    """
    from humanst.catalog import load_recipe
    from humanst.curate.checking import validate_paths
    from humanst.runner import default_workers

    rule = load_recipe(Path(recipe)) if recipe else None
    with progress("validate") as tell:
        results = validate_paths(
            paths,
            rule,
            workers=workers or default_workers(),
            progress=lambda done, total: tell("items", done, total, 0),
        )
    {"text": _print_text, "json": _print_json, "jsonl": _print_lines}["json" if as_json else how](results, min_severity)
    end_with(len(results), [(result.path, _error(result)) for result in results if result.refused], "path")


def _error(result: PathReport) -> Any:
    from humanst.errors import DataError, HumanstError

    refused = [report for report in result.reports if report.refused]
    reasons = "; ".join(f"{report.item}: {', '.join(report.reasons())}" for report in refused[:8])
    bugs = [report.item for report in refused if {"unexpected", "worker-died"} & set(report.reasons())]
    if bugs:
        return HumanstError(
            f"{len(bugs)} of {len(result.reports)} sections could not be checked",
            code="unexpected",
            file=result.path,
            found=", ".join(bugs[:8]),
            todo="This is a bug in humanst: please report it with the traceback above",
        )
    return DataError(
        f"{len(refused)} of {len(result.reports)} sections are refused",
        code="refused",
        file=result.path,
        expected="no refusal",
        found=reasons,
    )


def _row(report: Report, finding: Finding) -> dict[str, str]:
    facts = finding.facts
    return {
        "severity": finding.severity,
        "code": facts.code,
        "section": report.item,
        "file:field": ":".join(part for part in (facts.file, facts.field) if part) or "-",
        "found": facts.found or facts.what,
        "expected": facts.expected or "-",
    }


def _print_text(results: list[PathReport], min_severity: Any) -> None:
    reports = [report for result in results for report in result.reports]
    for report in reports:
        for finding in report.at_least(min_severity):
            row = _row(report, finding)
            place = " ".join(row[name] for name in COLUMNS[:4])
            echo(f"{place}: found {row['found']}; expected {row['expected']}")
    if any(report.at_least(min_severity) for report in reports):
        click.echo()
    table = [("section", "verdict", "because")]
    table += [(report.item, report.verdict, ", ".join(report.reasons()) or "-") for report in reports]
    widths = [max(len(line[column]) for line in table) for column in (0, 1)]
    for item, verdict, because in table:
        echo(f"{item.ljust(widths[0])}  {verdict.ljust(widths[1])}  {because}")
    refused = sum(report.refused for report in reports)
    say(f"{len(reports)} sections: {len(reports) - refused} pass, {refused} refused")


def _print_json(results: list[PathReport], min_severity: Any) -> None:
    rows = [
        {"path": result.path, "sections": [report.to_dict(min_severity) for report in result.reports]}
        for result in results
    ]
    reports = [report for result in results for report in result.reports]
    refused = sum(report.refused for report in reports)
    echo_json("humanst.validate/1", {"sections": len(reports), "refused": refused, "paths": rows})


def _print_lines(results: list[PathReport], min_severity: Any) -> None:
    for result in results:
        for report in result.reports:
            for finding in report.at_least(min_severity):
                line = {"schema": "humanst.finding/1", "path": result.path, **_row(report, finding)}
                facts = finding.facts
                click.echo(json.dumps({**line, "file": facts.file, "field": facts.field, "what": facts.what}))
