"""``humanst plan``: what a release would be made of, as a file that any number of machines can build from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from humanst.cli.choose import open_catalog
from humanst.cli.output import catalog_option, echo_json, end_with, failure_rows, json_option, say, say_findings, table
from humanst.cli.release_options import new_request, release_options

if TYPE_CHECKING:
    from humanst.shards.plan import Plan


@click.command("plan")
@release_options
@click.option(
    "-o", "--output", default="plan.json", show_default=True, type=click.Path(dir_okay=False), help="The plan."
)
@click.option(
    "--work",
    type=click.Path(file_okay=False),
    help="A work folder: where it has a section store, the expected pairs are its spots.",
)
@catalog_option
@json_option
def plan(output: str, work: str | None, catalog: str | None, as_json: bool, **options: Any) -> None:
    """Write the plan of a release: sections, hashes of their inputs, parameters, groups and splits.

    `humanst build-shards --plan` carries it out, on one machine or on many.
    """
    from humanst import files
    from humanst.shards.plan import make_plan
    from humanst.shards.plan_file import plan_content

    book = open_catalog(catalog)
    path = Path(output)
    request, n_asked, gate = new_request(
        book,
        options,
        release=path.resolve().with_suffix(""),
        work=Path(work) if work else path.resolve().with_suffix(".work"),
        may_ask=not as_json,
    )
    made = make_plan(request)
    content = plan_content(request, made)
    files.write_json(path, content)
    failures = (*gate.failures, *made.left_out)
    say_findings(made.findings, "plan")
    if as_json:
        rows = {"plan": str(path), "totals": content["totals"], "sections": content["sections"]}
        echo_json("humanst.plan-summary/1", {**rows, "failures": failure_rows(failures)})
    else:
        _print(content, made, path)
    end_with(n_asked, failures)


def _print(content: dict[str, Any], made: Plan, path: Path) -> None:
    lines = [("split", "sections", "groups", "expected pairs", "without a number")]
    for name, row in content["totals"].items():
        numbers = (row["sections"], row["groups"], row["expected_pairs"], row["sections_without_number"])
        lines.append((name, *(f"{number:,}" for number in numbers)))
    table(lines, left={0})
    say(f"{path}: {len(made.sections):,} sections, {path.stat().st_size / 1e3:,.0f} kB")
