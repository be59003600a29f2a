"""``humanst list`` and ``humanst info``: what is in the catalog, before anything is downloaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from humanst.cli.choose import choose_sections, open_catalog, section_options, section_row
from humanst.cli.output import catalog_option, cell, echo, echo_json, json_option, table
from humanst.errors import UsageError

if TYPE_CHECKING:
    from humanst.catalog import Catalog, ListedStudy, Section, Study

COLUMNS = ("sample_id", "platform", "organ", "donor_id", "license", "status", "has_image", "unknown_sizes", "bytes")
format_option = click.option(
    "--format",
    "how",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="table: the main columns; csv: every column, a line a section; json: as --json.",
)


@click.command("list")
@click.argument("studies", nargs=-1)
@section_options
@click.option("--totals", is_flag=True, help="Count sections and expected pairs by platform, organ and licence.")
@format_option
@catalog_option
@json_option
def list_sections(
    studies: tuple[str, ...],
    sections: str | None,
    where: str | None,
    totals: bool,
    how: str,
    catalog: str | None,
    as_json: bool,
) -> None:
    """List sections with organ, donor, licence and bytes; nothing is downloaded."""
    from humanst.catalog.sizes import sizes

    opened = open_catalog(catalog)
    pairs = choose_sections(opened, studies, sections, where)
    as_json = as_json or how == "json"
    if totals:
        from humanst.cli.totals import show_totals

        if how == "csv":
            raise UsageError("Totals have no csv", field="--format", expected="table or json", found="csv")
        show_totals(pairs, tuple(opened.listed.values()), as_json=as_json, whole=not (studies or sections or where))
        return
    rows = [section_row(*pair) for pair in pairs]
    counted = sizes(pairs)
    if as_json:
        size = {"n_files": counted.files, "bytes": counted.bytes, "unknown_sizes": counted.unknown}
        echo_json("humanst.list/1", {"sections": rows, "n_sections": len(rows), **size})
        return
    if how == "csv":
        _csv(rows)
        return
    lines = [COLUMNS, *(tuple(cell(row.get(name, "")) for name in COLUMNS) for row in rows)]
    table(lines, left=range(len(COLUMNS)))
    echo(f"{len(rows)} sections, {counted.bytes / 1e6:,.1f} MB on record, {counted.unknown} files of unknown size")


def _csv(rows: Sequence[Mapping[str, Any]]) -> None:
    import csv
    import io

    text = io.StringIO()
    writer = csv.DictWriter(text, sorted({name for row in rows for name in row}), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    click.echo(text.getvalue(), nl=False)


@click.command()
@click.argument("study")
@section_options
@format_option
@catalog_option
@json_option
def info(study: str, sections: str | None, where: str | None, how: str, catalog: str | None, as_json: bool) -> None:
    """Show one study: who made it, its licence, its sections and their files; all of them, or those selected.

    The name that several studies share (``humanst info tenx``) shows what they are together.
    """
    opened = open_catalog(catalog)
    as_json = as_json or how == "json"
    if study in opened.listed:
        _show_listed(opened.listed[study], as_json)
        return
    chosen = choose_sections(opened, [study], sections, where)
    if how == "csv" and not as_json:
        _csv([section_row(*pair) for pair in chosen])
        return
    about = _about(opened, study, chosen)
    if as_json:
        rows = [
            {
                **section_row(owner, section),
                "files": [
                    {"role": s.role, "path": s.path, "url": s.url, "bytes": s.bytes, "sha256": s.sha256, "md5": s.md5}
                    for s in section.sources
                ],
            }
            for owner, section in chosen
        ]
        echo_json("humanst.info/1", {**about, "section_rows": rows})
        return
    _show(about)


def _about(book: Catalog, name: str, pairs: Sequence[tuple[Study, Section]]) -> dict[str, Any]:
    """What is on record of a study, or of the studies that share a name, and of the chosen sections."""
    from humanst.catalog.sizes import sizes

    shared = book.folders().get(name)
    head = _head(book.study(name)) if shared is None else _head_of_several(name, shared)
    # An archive that several sections share is one file.
    files = {(study.study_id, source.path): source for study, section in pairs for source in section.sources}
    counted = sizes(pairs)
    return {
        **head,
        "sections": len(pairs),
        "sections_of_the_study": sum(one.n_sections or len(one.sections) for one in shared or (book.study(name),)),
        "fetchable_sections": sum(section.fetchable for _, section in pairs),
        "sections_with_image": sum(study.has_image(section) for study, section in pairs),
        "donors": len({section.metadata.get("donor_id", "unknown") for _, section in pairs} - {"unknown"}),
        "sections_of_unknown_donor": sum(
            section.metadata.get("donor_id", "unknown") == "unknown" for _, section in pairs
        ),
        "files": len(files),
        "pinned_files": sum(source.pinned for source in files.values()),
        "bytes_on_record": counted.bytes,
        "unknown_sizes": counted.unknown,
    }


def _head(study: Study) -> dict[str, Any]:
    return {
        "study_id": study.study_id,
        "title": study.title,
        "platform": study.platform,
        "license": study.license,
        "license_source": study.license_source,
        "redistributable": study.redistributable,
        "doi": study.doi,
        "citation": study.citation,
        "accessions": dict(study.accessions),
    }


def _head_of_several(name: str, studies: Sequence[Study]) -> dict[str, Any]:
    return {
        "study_id": name,
        "title": f"{len(studies)} studies that share this name; `humanst list {name}` names them",
        "platform": ", ".join(sorted({study.platform for study in studies})),
        "license": ", ".join(sorted({study.license for study in studies})),
        "license_source": f"`humanst licenses {name}` counts them",
        "redistributable": all(study.redistributable for study in studies),
        "doi": None,
        "citation": f"`humanst cite {name}` gives each",
        "accessions": {},
    }


def _show_listed(study: ListedStudy, as_json: bool) -> None:
    about = {
        "study_id": study.study_id,
        "title": study.title,
        "platform": study.platform,
        "organ": study.organ,
        "license": study.license,
        "license_source": study.license_source,
        "redistributable": study.redistributable,
        "doi": study.doi,
        "citation": study.citation,
        "accessions": dict(study.accessions),
        "sections": study.n_sections,
        "source": study.source,
        "status": "listed: humanst has no address of its sections",
    }
    if as_json:
        echo_json("humanst.info/1", {**about, "section_rows": []})
        return
    _show(about)


def _show(about: Mapping[str, Any]) -> None:
    width = max(map(len, about))
    for name, value in about.items():
        echo(f"{name.ljust(width)}  {_shown(value)}".rstrip())


def _shown(value: Any) -> str:
    if value is None or value == {}:
        return "none on record"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return value if isinstance(value, str) else cell(value)
