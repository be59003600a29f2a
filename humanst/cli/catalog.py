"""``humanst list`` and ``humanst info``: what is in the catalog, before anything is downloaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from humanst.cli.choose import choose_sections, open_catalog, section_options, section_row
from humanst.cli.output import catalog_option, cell, echo_json, json_option, table
from humanst.errors import UsageError

if TYPE_CHECKING:
    from humanst.catalog import ListedStudy, Section, Study

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
    click.echo(
        f"{len(rows)} sections, {counted.bytes / 1e6:,.1f} MB on record, {counted.unknown} files of unknown size"
    )


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
    """Show one study: who made it, its licence, its sections and their files; all of them, or those selected."""
    opened = open_catalog(catalog)
    as_json = as_json or how == "json"
    if study in opened.listed:
        _show_listed(opened.listed[study], as_json)
        return
    found = opened.study(study)
    chosen = choose_sections(opened, [study], sections, where)
    if how == "csv" and not as_json:
        _csv([section_row(*pair) for pair in chosen])
        return
    about = _about(found, [section for _, section in chosen])
    if as_json:
        rows = [
            {
                **section_row(found, section),
                "files": [
                    {"role": s.role, "path": s.path, "url": s.url, "bytes": s.bytes, "sha256": s.sha256, "md5": s.md5}
                    for s in section.sources
                ],
            }
            for _, section in chosen
        ]
        echo_json("humanst.info/1", {**about, "section_rows": rows})
        return
    _show(about)


def _about(found: Study, sections: Sequence[Section]) -> dict[str, Any]:
    from humanst.catalog.sizes import sizes

    files = [source for section in sections for source in section.sources]
    counted = sizes([(found, section) for section in sections])
    return {
        "study_id": found.study_id,
        "title": found.title,
        "platform": found.platform,
        "license": found.license,
        "license_source": found.license_source,
        "redistributable": found.redistributable,
        "doi": found.doi,
        "citation": found.citation,
        "sections": len(sections),
        "sections_of_the_study": found.n_sections or len(found.sections),
        "fetchable_sections": sum(section.fetchable for section in sections),
        "sections_with_image": sum(found.has_image(section) for section in sections),
        "donors": len({section.metadata.get("donor_id", "unknown") for section in sections}),
        "files": len(files),
        "pinned_files": sum(source.pinned for source in files),
        "bytes_on_record": counted.bytes,
        "unknown_sizes": counted.unknown,
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
        **study.accessions,
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
        click.echo(f"{name.ljust(width)}  {value if isinstance(value, str) or value is None else cell(value)}")
