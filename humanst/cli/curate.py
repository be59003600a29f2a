"""``humanst curate``: help for whoever describes new sections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from humanst.cli.gate import license_option
from humanst.cli.output import catalog_option, echo_json, json_option, say

if TYPE_CHECKING:
    from humanst.curate import Draft


@click.group()
def curate() -> None:
    """Describe sections that are not in the catalog yet."""


@curate.command()
@click.argument("path", required=False, type=click.Path(exists=True))
@json_option
def check(path: str | None, as_json: bool) -> None:
    """Check a catalog.yaml (or the folder with one) and its curation/: every fault at once, with its file and line.

    Without PATH, the catalog of HUMANST_CATALOG or the one that ships. Exit code 5 when anything is refused.
    """
    from humanst.catalog.checking import check_catalog
    from humanst.catalog.located import counts
    from humanst.cli.output import end_with
    from humanst.errors import DataError
    from humanst.settings import data_path, settings

    catalog = Path(path) if path else settings().catalog or data_path("catalog.yaml")
    report = check_catalog(catalog)
    if as_json:
        rows = [item.to_dict() for item in report.findings]
        content = {"catalog": str(catalog), "ok": not report.refused, "files": report.files, "findings": rows}
        echo_json("humanst.curate-check/1", content)
    else:
        for item in report.findings:
            click.echo(item.text())
    told = ", ".join(f"{n} {severity}" for severity, n in counts(report)) or "no findings"
    say(f"{catalog}: {report.files} files checked, {told}")
    if report.refused:
        refused = [item for item in report.findings if item.finding.severity == "refuse"]
        error = DataError(
            f"{len(refused)} faults in the catalog or its curation",
            code="catalog-invalid",
            file=catalog.name,
            expected="no refusal",
            found=", ".join(sorted({item.finding.facts.code for item in refused})),
            todo="Each is listed with its file and line",
        )
        end_with(1, [(catalog.name, error)], "catalog")


@curate.command()
@click.argument("section")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="The PNG to write.")
@click.option("--pin", is_flag=True, help="Take files that have no hash on record, writing theirs to a lock file.")
@license_option
@catalog_option
@json_option
def sheet(section: str, output: str, pin: bool, accept: tuple[str, ...], catalog: str | None, as_json: bool) -> None:
    """Draw SECTION on one picture, for a person's yes: image, spots, tissue, scale bar, and the figures behind them.

    SECTION is a sample id of the catalog, whose files are read as a build would, or the path of a section store.
    """
    from humanst import files
    from humanst.cli.choose import choose_sections, open_catalog
    from humanst.cli.gate import gate_sections
    from humanst.curate.drawing import draw
    from humanst.curate.portrait import portrait_of_section, portrait_of_store
    from humanst.errors import UsageError

    if Path(section).is_dir():
        portrait = portrait_of_store(Path(section))
    else:
        book = open_catalog(catalog)
        pairs = choose_sections(book, (), section, None)
        if len(pairs) != 1:
            raise UsageError(
                "A sheet shows one section",
                field="SECTION",
                expected=f"a sample id, such as {pairs[0][1].sample_id}",
                found=f"{section}, which {len(pairs)} sections are called",
            )
        gate_sections(book, pairs, accept, may_ask=not as_json)
        portrait = portrait_of_section(*pairs[0], pin=pin)
    digest = files.write_bytes(Path(output), draw(portrait))
    if as_json:
        figures = dict(portrait.figures())
        findings = list(portrait.attrs["findings"])
        content = {"sample_id": portrait.title, "sheet": output, "sha256": digest, "figures": figures}
        echo_json("humanst.curate-sheet/1", {**content, "findings": findings})
    else:
        click.echo(output)


@curate.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write the recipe here instead of to stdout.")
@json_option
def propose(folder: str, output: str | None, as_json: bool) -> None:
    """Draft a recipe for FOLDER from the names and first bytes of its files.

    Every guess is marked as a guess in a comment; what could not be told is said. Nothing is refused, and nothing is
    read as it will be read later: check the draft, then give it to `humanst validate` or `humanst build` with --recipe.
    """
    from humanst import files
    from humanst.curate import propose as draft_recipes

    proposal = draft_recipes(Path(folder))
    draft = proposal.drafts[0]
    if output:
        files.write_bytes(Path(output), draft.text.encode())
    if as_json:
        rows = [
            {
                "platform": one.platform,
                "place": one.place,
                "sections": list(one.sections),
                "recipe": one.text,
                "guesses": dict(one.guesses),
                "could_not_tell": list(one.unknown),
            }
            for one in proposal.drafts
        ]
        content = {"folder": folder, "output": output, "drafts": rows, "loose": list(proposal.loose)}
        echo_json("humanst.curate-propose/1", content)
    elif output:
        summary = f"{_counted(draft)}, {len(draft.guesses)} guesses to check"
        click.echo(f"{output}: {summary}")
    else:
        click.echo(draft.text, nl=False)
    for sentence in draft.unknown:
        say(f"could not tell {sentence}")
    for other in proposal.drafts[1:]:
        way = f"; `humanst curate propose {Path(folder, other.place)}` drafts theirs" if other.place else ""
        say(f"not in this draft: {_counted(other)} in {other.place or 'the folder'}{way}")
    for matrix in proposal.loose:
        say(f"in no draft: {matrix}, a count matrix without positions")


def _counted(draft: Draft) -> str:
    n = len(draft.sections)
    return f"{draft.platform or 'no platform'}, {n} section{'' if n == 1 else 's'}"
