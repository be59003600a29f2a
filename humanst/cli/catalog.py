"""``humanst list`` and ``humanst info``: what is in the catalog, before anything is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from humanst.cli.choose import choose_sections, open_catalog, section_options, section_row
from humanst.cli.output import catalog_option, echo_json, json_option

if TYPE_CHECKING:
    from humanst.catalog import ListedStudy

COLUMNS = ("sample_id", "platform", "organ", "donor_id", "license", "status", "has_image", "unpinned_files", "bytes")


@click.command("list")
@click.argument("studies", nargs=-1)
@section_options
@click.option("--totals", is_flag=True, help="Count sections and expected pairs by platform, organ and licence.")
@catalog_option
@json_option
def list_sections(
    studies: tuple[str, ...], sections: str | None, where: str | None, totals: bool, catalog: str | None, as_json: bool
) -> None:
    """List sections with organ, donor, licence and bytes."""
    opened = open_catalog(catalog)
    pairs = choose_sections(opened, studies, sections, where)
    if totals:
        from humanst.cli.totals import show_totals

        show_totals(pairs, tuple(opened.listed.values()), as_json=as_json, whole=not (studies or sections or where))
        return
    rows = [section_row(*pair) for pair in pairs]
    if as_json:
        echo_json("humanst.list/1", {"sections": rows, "n_sections": len(rows)})
        return
    table = [COLUMNS, *(tuple(_cell(row.get(name, "")) for name in COLUMNS) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(COLUMNS))]
    for line in table:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    known = sum(row["bytes"] for row in rows)
    unpinned = sum(row["unpinned_files"] for row in rows)
    click.echo(f"{len(rows)} sections, {known / 1e6:,.1f} MB on record, {unpinned} files of unknown size")


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


@click.command()
@click.argument("study")
@catalog_option
@json_option
def info(study: str, catalog: str | None, as_json: bool) -> None:
    """Show one study: who made it, its licence, its sections and their files."""
    opened = open_catalog(catalog)
    if study in opened.listed:
        _show_listed(opened.listed[study], as_json)
        return
    found = opened.study(study)
    files = [source for section in found.sections for source in section.sources]
    about = {
        "study_id": found.study_id,
        "title": found.title,
        "platform": found.platform,
        "license": found.license,
        "license_source": found.license_source,
        "redistributable": found.redistributable,
        "doi": found.doi,
        "citation": found.citation,
        "sections": len(found.sections),
        "sections_of_the_study": found.n_sections or len(found.sections),
        "fetchable_sections": sum(section.fetchable for section in found.sections),
        "sections_with_image": sum(found.has_image(section) for section in found.sections),
        "donors": len({section.metadata.get("donor_id", "unknown") for section in found.sections}),
        "files": len(files),
        "pinned_files": sum(source.pinned for source in files),
        "bytes_on_record": sum(source.bytes or 0 for source in files),
    }
    if as_json:
        rows = [
            {
                **section_row(found, section),
                "files": [
                    {"role": s.role, "path": s.path, "url": s.url, "bytes": s.bytes, "sha256": s.sha256, "md5": s.md5}
                    for s in section.sources
                ],
            }
            for section in found.sections
        ]
        echo_json("humanst.info/1", {**about, "section_rows": rows})
        return
    _show(about)


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
        click.echo(f"{name.ljust(width)}  {value if isinstance(value, str) or value is None else _cell(value)}")
