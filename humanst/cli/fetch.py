"""``humanst fetch``: verified local files of sections or resources."""

from __future__ import annotations

import click

from humanst.cli.choose import choose_sections, open_catalog, section_options
from humanst.cli.gate import license_option, pass_gate, section_item
from humanst.cli.output import catalog_option, echo_json, end_with, failure_rows, json_option, progress, say
from humanst.errors import HumanstError


@click.command()
@click.argument("names", nargs=-1, required=True)
@section_options
@click.option("--pin", is_flag=True, help="Take files that have no hash on record, writing theirs to a lock file.")
@license_option
@catalog_option
@json_option
def fetch(
    names: tuple[str, ...],
    sections: str | None,
    where: str | None,
    pin: bool,
    accept: tuple[str, ...],
    catalog: str | None,
    as_json: bool,
) -> None:
    """Fetch the files of studies (their ids) or resources (gene_sets, gene_ids) and check every hash.

    Mirrors in HUMANST_MIRROR are asked first, in order; then the original host.
    """
    from humanst.catalog import Item
    from humanst.fetch import fetch_resource, fetch_section
    from humanst.files import sha256_file

    book = open_catalog(catalog)
    resources = [name for name in names if name in book.resources]
    studies = [name for name in names if name not in book.resources]
    rows: list[dict[str, str]] = []
    pairs = choose_sections(book, studies, sections, where) if studies else []
    files = [(name, source) for name in resources for source in book.resources[name].sources]
    items = [Item(f"{name}/{source.path}", name, book.resources[name].licenses(source)) for name, source in files]
    items += [section_item(book, *pair) for pair in pairs]
    gate = pass_gate(items, accept, may_ask=not as_json)
    n_asked, failures = len(items), list(gate.failures)
    n_files = len(files)
    files = [files[number] for number in gate.open if number < n_files]
    pairs = [pairs[number - n_files] for number in gate.open if number >= n_files]
    with progress("fetch") as tell:
        for number, (name, source) in enumerate(files, 1):
            try:
                path = fetch_resource(book.resources[name], source.path, pin=pin)
                rows.append({"item": name, "role": source.role, "path": str(path), "sha256": sha256_file(path)})
            except HumanstError as error:
                failures.append((f"{name}/{source.path}", error))
            tell("resources", number, len(files), 0)
        for number, (study, section) in enumerate(pairs, 1):
            try:
                local = fetch_section(study, section, pin=pin)
                rows += [
                    {"item": section.sample_id, "role": role, "path": str(path), "sha256": local.sha256[role]}
                    for role, path in local.paths.items()
                ]
            except HumanstError as error:
                failures.append((section.sample_id, error.located(study=study.study_id, section=section.section_id)))
            tell("sections", number, len(pairs), 0)
    if as_json:
        echo_json("humanst.fetch/1", {"files": rows, "failures": failure_rows(failures)})
    else:
        for row in rows:
            click.echo(f"{row['item']}  {row['role']}  {row['path']}")
        say(f"{len(rows)} files are here and verified")
    end_with(n_asked, failures, "item")
