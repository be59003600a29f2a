"""``humanst cite`` and ``humanst licenses``: whom to name for chosen sections, and what may be done with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from humanst.cli.choose import choose_sections, open_catalog, section_options
from humanst.cli.output import catalog_option, cell, echo_json, json_option, say, table

if TYPE_CHECKING:
    from humanst.catalog import Catalog, Section, Study


@click.command()
@click.argument("studies", nargs=-1)
@section_options
@click.option(
    "--format",
    "how",
    type=click.Choice(["bibtex", "apa", "json"]),
    default="bibtex",
    show_default=True,
    help="BibTeX entries, lines for a reference list, or one JSON object.",
)
@catalog_option
@json_option
def cite(
    studies: tuple[str, ...], sections: str | None, where: str | None, how: str, catalog: str | None, as_json: bool
) -> None:
    """Print what to cite for exactly the selected sections: their papers, data sets, and humanst itself.

    All is on record in the catalog; nothing is looked up.
    """
    from humanst.catalog.citing import citations

    book = open_catalog(catalog)
    listed = [book.listed[name] for name in studies if name in book.listed]
    names = [name for name in studies if name not in book.listed]
    pairs = choose_sections(book, names, sections, where) if names or not listed else []
    chosen = {study.study_id: study for study, _ in pairs}
    found = citations([*chosen.values(), *listed])
    if as_json or how == "json":
        rows = [one.to_dict() for one in found]
        echo_json("humanst.cite/1", {"n_studies": len(chosen) + len(listed), "citations": rows})
        return
    click.echo(
        ("\n\n" if how == "bibtex" else "\n").join(one.bibtex() if how == "bibtex" else one.apa for one in found)
    )
    say(f"{len(found)} entries for {len(pairs)} sections of {len(chosen) + len(listed)} studies")


@click.command()
@click.argument("studies", nargs=-1)
@section_options
@catalog_option
@json_option
def licenses(
    studies: tuple[str, ...], sections: str | None, where: str | None, catalog: str | None, as_json: bool
) -> None:
    """Show which licences the selected sections come under, what each allows, and whether it was accepted."""
    book = open_catalog(catalog)
    pairs = choose_sections(book, studies, sections, where)
    rows = _license_rows(book, pairs)
    if as_json:
        echo_json("humanst.licenses/1", {"licenses": rows, "n_sections": len(pairs)})
        return
    columns = ("license", "studies", "sections", "bytes", "unknown_sizes", "redistributable", "gate", "allows")
    table([columns, *(tuple(cell(row[name]) for name in columns) for row in rows)], left={0, 5, 6, 7})


def _license_rows(book: Catalog, pairs: list[tuple[Study, Section]]) -> list[dict[str, Any]]:
    from humanst.catalog import Acceptances, terms_of
    from humanst.catalog.sizes import sizes
    from humanst.settings import settings

    found = settings()
    acceptances = Acceptances.read(found.resolved_cache_dir(), found.accept_licenses)
    names = sorted({name for study, section in pairs for name in study.licenses(section)})
    rows = []
    for name in names:
        mine = [(study, section) for study, section in pairs if name in study.licenses(section)]
        owners = sorted({study.study_id for study, _ in mine})
        closed = [owner for owner in owners if not acceptances.accepts(name, owner)]
        counted = sizes(mine, license_id=name)
        terms = terms_of(name)
        rows.append(
            {
                "license": name,
                "family": terms.family,
                "allows": terms.allows,
                "redistributable": terms.redistributable,
                "needs_acceptance": terms.gated,
                "gate": "free" if not terms.gated else "accepted" if not closed else f"closed for {len(closed)}",
                "not_accepted_for": closed,
                "studies": len(owners),
                "sections": len(mine),
                "files": counted.files,
                "bytes": counted.bytes,
                "unknown_sizes": counted.unknown,
            }
        )
    return sorted(rows, key=lambda row: (-row["sections"], row["license"]))
