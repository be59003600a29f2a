"""``humanst export [FORM] RELEASE``: what can be made of a finished release. All forms share the command."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from humanst.cli.output import echo, echo_json, json_option, progress, say, table
from humanst.errors import UsageError

if TYPE_CHECKING:
    from humanst.shards.exporting import ExportReport, ExportRequest

Form = Callable[[Path, Mapping[str, Any], bool], None]


@click.command("export")
@click.argument("names", metavar="[FORM] RELEASE", nargs=-1, required=True)
@click.option("--redistributable", is_flag=True, help="Leave out the sections that may not be passed on.")
@click.option(
    "--without",
    metavar="SECTION|DONOR,...",
    help="Take these down: no trace stays but the sample_id. section:NAME or donor:NAME where a name could be both.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    required=True,
    help="The new release (with --without alone it may be RELEASE itself); the file of a document.",
)
@click.option("--release-version", help="Version of the new release [default: that of RELEASE].")
@json_option
def export(names: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Make a release of a RELEASE folder, without some of its sections, or a document that tells of it.

    Only shards that hold pairs of what leaves are written again; all pairs that stay are the same, byte for byte.

    With FORM one document is written to the file -o: its card (README.md, Markdown), croissant (JSON), or its datasheet
    (Markdown).
    """
    form, release = _form(names)
    FORMS[form](Path(release).resolve(), options, as_json)


def _form(names: Sequence[str]) -> tuple[str, str]:
    """The form and the release. A word alone is a release, be it called like a form.

    Raises
    ------
    UsageError
        For more than two words, or a form that does not exist.
    """
    if len(names) == 1:
        return "release", names[0]
    if len(names) == 2 and names[0] in FORMS:
        return names[0], names[1]
    raise UsageError(
        "One release is exported at a time",
        field="[FORM] RELEASE",
        expected=f"a release folder, and before it one of {', '.join(FORMS)} or nothing",
        found=" ".join(names),
        done="Nothing was written",
    )


def _export_release(release: Path, options: Mapping[str, Any], as_json: bool) -> None:
    from humanst.shards.exporting import ExportRequest, export_release

    if Path(options["output"]).is_file():
        raise UsageError("The output is a file", field="-o", expected="a folder", found=Path(options["output"]).name)
    request = ExportRequest(
        source=release,
        output=Path(options["output"]).resolve(),
        redistributable=options["redistributable"],
        without=_listed(options["without"]),
        version=options["release_version"],
    )
    with progress("export") as tell:
        report = export_release(request, progress=tell)
    if as_json:
        echo_json("humanst.export/1", _content(request, report))
    else:
        _print(report)
    if report.earlier == "same" and not request.in_place:
        say(f"{report.output.name}: this release was there already and is unchanged")
    if request.without:
        _say_copies(request)


def _export_document(form: str, release: Path, options: Mapping[str, Any], as_json: bool) -> None:
    from humanst.shards.forms import write_form

    given = {"--redistributable": "redistributable", "--without": "without", "--release-version": "release_version"}
    if wrong := [option for option, name in given.items() if options[name]]:
        raise UsageError(
            "A document tells of the release as it is",
            field=wrong[0],
            expected=f"`humanst export {form} RELEASE -o FILE`",
            found=", ".join(wrong),
            done="Nothing was written",
            todo="Export the release first, then the document of the new one",
        )
    written = write_form(form, release, Path(options["output"]).resolve())
    content = {
        "form": form,
        "release": str(release),
        "version": written.version,
        "output": str(written.output),
        "document": written.document,
        "bytes": written.n_bytes,
        "sha256": written.sha256,
        "earlier": written.earlier,
    }
    if as_json:
        echo_json("humanst.export-document/1", content)
    else:
        echo(f"{written.output}: {form} of release {written.version}, {written.n_bytes:,} bytes")


DOCUMENT_FORMS = ("card", "croissant", "datasheet")
FORMS: Mapping[str, Form] = {
    "release": _export_release,
    **{form: partial(_export_document, form) for form in DOCUMENT_FORMS},
}


def _listed(text: str | None) -> tuple[str, ...]:
    names = () if text is None else tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if text is not None and not names:
        raise UsageError("--without is empty", field="--without", expected="sections or donors", found="nothing")
    return names


def _say_copies(request: ExportRequest) -> None:
    """A takedown ends where this folder does: what else may hold the pairs has to be seen to by whoever asked."""
    where = [] if request.in_place else [str(request.source)]
    work = request.source.with_name(f"{request.source.name}.work")
    where += [str(work)] if work.is_dir() else []
    rest = "exports, fetched copies and caches made before, and the catalog, from which a new build would bring it back"
    say(f"What was taken down is still in {', '.join([*where, rest])}")


def _content(request: ExportRequest, report: ExportReport) -> dict[str, Any]:
    thinned = report.thinned
    return {
        "release": str(request.source),
        "output": str(report.output),
        "earlier": report.earlier,
        "version": report.manifest["version"],
        "gone": [
            {
                "sample_id": departure.sample_id,
                "reason": departure.reason,
                "named": departure.named,
                "pairs": departure.n_pairs,
                "recipe_only": departure.reason != "taken-down",
            }
            for departure in report.gone
        ],
        "pairs_gone": sum(departure.n_pairs for departure in report.gone),
        "totals": report.manifest["totals"],
        "shards_kept": len(thinned.kept),
        "shards_repacked": thinned.repacked,
        "shards_dropped": thinned.dropped,
    }


def _print(report: ExportReport) -> None:
    lines = [("gone", "why", "pairs")]
    for departure in report.gone:
        why = f"{departure.reason.replace('-', ' ')} ({departure.named})"
        lines.append((departure.sample_id, why, f"{departure.n_pairs:,}"))
    if report.gone:
        table(lines, left={0, 1})
    else:
        echo("Nothing had to leave")
    thinned = report.thinned
    gone = sum(departure.n_pairs for departure in report.gone)
    n_shards = sum(map(len, (thinned.kept, thinned.repacked, thinned.dropped)))
    pairs = sum(int(split["n_pairs"]) for split in report.manifest["splits"].values())
    echo(
        f"{report.output}: {pairs:,} pairs of {len(report.manifest['sections']):,} sections; {gone:,} pairs are gone; "
        f"of {n_shards:,} shards {len(thinned.repacked):,} were written again, {len(thinned.dropped):,} dropped"
    )
