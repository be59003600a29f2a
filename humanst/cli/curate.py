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
@click.argument("places", metavar="FOLDER | URL...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    help="Write the recipe of a FOLDER here instead of to stdout; the folder for what is drafted from URLs.",
)
@click.option("--study", default="new_study", show_default=True, help="Id of the study that URLs are of.")
@click.option(
    "--members",
    type=click.Path(exists=True, dir_okay=False),
    help="Names of what the archive among the URLs holds, a line each, as `tar tf` prints them.",
)
@json_option
def propose(places: tuple[str, ...], output: str | None, study: str, members: str | None, as_json: bool) -> None:
    """Draft a recipe for FOLDER from the names and first bytes of its files, or a catalog entry from URLs.

    Every guess is marked as a guess in a comment; what could not be told is said. Nothing is refused, and nothing is
    read as it will be read later: check the draft, then give it to `humanst validate` or `humanst build` with --recipe.
    URLs (of files, of a GEO page, or bare accessions) give a small catalog of their own with its curation folder: no
    hash is made up, and sizes are asked of the hosts unless HUMANST_OFFLINE is set.
    """
    if len(places) == 1 and Path(places[0]).is_dir():
        _propose_recipe(places[0], output, as_json)
    else:
        _propose_entry(places, output, study, members, as_json)


def _propose_entry(urls: tuple[str, ...], output: str | None, study: str, members: str | None, as_json: bool) -> None:
    import re

    from humanst import files
    from humanst.curate.addresses import propose_entry
    from humanst.errors import UsageError
    from humanst.settings import settings

    if not re.fullmatch(r"[a-z][a-z0-9_-]{1,39}", study):
        raise UsageError("This is no id of a study", field="--study", expected="such as smith2024_liver", found=study)
    names = _member_names(Path(members)) if members else []
    draft = propose_entry(urls, study, names, settings())
    if output:
        taken = [name for name in draft.files if (Path(output) / name).exists()]
        if taken:
            raise UsageError(
                "A draft is there already",
                file=output,
                expected="a new folder",
                found=", ".join(taken),
                field="--output",
            )
        for name, text in draft.files.items():
            files.write_bytes(Path(output) / name, text.encode())
    if as_json:
        about = {"study_id": draft.study_id, "platform": draft.platform, "sections": list(draft.sections)}
        content = {"urls": list(urls), "output": output, **about}
        echo_json("humanst.curate-propose/1", {**content, "files": draft.files, "could_not_tell": list(draft.unknown)})
    elif output:
        click.echo(f"{output}: {draft.platform}, {len(draft.sections)} sections")
    else:
        click.echo("\n".join(f"# --- {name}\n{text}" for name, text in draft.files.items()), nl=False)
    for sentence in draft.unknown:
        say(f"could not tell {sentence}")


def _member_names(path: Path) -> list[str]:
    """Names of members, a line each; a name may have spaces."""
    from humanst.errors import UsageError

    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(
            "The list of members is no text", field="--members", file=path, expected="UTF-8 text", found=str(error)
        ) from error
    return [line.strip() for line in lines if line.strip()]


def _propose_recipe(folder: str, output: str | None, as_json: bool) -> None:
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
