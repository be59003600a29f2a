"""``humanst fetch``: verified local files of sections or resources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from humanst.cli.choose import choose_sections, open_catalog, section_options
from humanst.cli.fetch_plan import echo_plan, echo_urls
from humanst.cli.fetch_progress import transfer_progress
from humanst.cli.fetch_release import fetch_release, is_release, release_options
from humanst.cli.gate import Gate, license_option, pass_gate, section_item
from humanst.cli.output import catalog_option, echo_json, end_with, failure_rows, json_option, say
from humanst.errors import HumanstError

if TYPE_CHECKING:
    from humanst.catalog import Catalog, Section, Study
    from humanst.fetch.engine import Wanted
    from humanst.fetch.jobs import Planned

    Pairs = Sequence[tuple[Study, Section]]


@click.command()
@click.argument("names", nargs=-1, required=True)
@section_options
@release_options
@click.option("--pin", is_flag=True, help="Take files that have no hash on record, writing theirs to a lock file.")
@click.option("--jobs", type=click.IntRange(1, 32), default=4, show_default=True, help="Files at a time.")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched: bytes, files of unknown size, free disk.")
@click.option("--list-urls", is_flag=True, help="Print the addresses of the files that are not here.")
@click.option(
    "--url-format",
    type=click.Choice(["plain", "aria2", "curl"]),
    default="plain",
    show_default=True,
    help="With --list-urls: one a line, an input file for aria2c -i, or a config for curl -K. What aria2 and curl fill "
    "is a folder for HUMANST_MIRROR.",
)
@license_option
@catalog_option
@json_option
def fetch(
    names: tuple[str, ...],
    sections: str | None,
    where: str | None,
    pin: bool,
    jobs: int,
    dry_run: bool,
    list_urls: bool,
    url_format: str,
    accept: tuple[str, ...],
    catalog: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Fetch the files of studies (their ids) or resources (gene_sets, gene_ids/FILE) and check every hash.

    `humanst fetch atlas` fetches a release, or those pairs of it that --split, --sections and --where choose.

    Caches in HUMANST_SHARED_CACHE are looked at first, then mirrors in HUMANST_MIRROR, in order; then the original
    host is asked. An interrupted fetch goes on where it stopped when the same command runs again.
    """
    from humanst.fetch.jobs import plan, require_room_for
    from humanst.settings import settings

    if is_release(names, options | {"list_urls": list_urls}):
        fetch_release(
            sections=sections,
            where=where,
            pin=pin,
            jobs=jobs,
            dry_run=dry_run,
            accept=accept,
            catalog=catalog,
            as_json=as_json,
            options=options,
        )
        return
    book = open_catalog(catalog)
    studies = [name for name in names if name.partition("/")[0] not in book.resources]
    pairs = choose_sections(book, studies, sections, where) if studies else []
    pairs, left = _with_files(pairs, alone=len(studies) == len(names))
    look_only = dry_run or list_urls
    references = [item for name in names for item in _reference_files(book, name, pin=pin or look_only)]
    if look_only:
        planned = plan(references + _files_of(pairs, pin=True), settings())
        if dry_run:
            echo_plan(planned, as_json, left)
        else:
            echo_urls(planned, url_format, as_json, left)
        return
    references, pairs, gate = _through_gate(book, references, pairs, accept, may_ask=not as_json)
    planned = plan(references + _files_of(pairs, pin), settings())
    require_room_for(planned, settings())
    _fetch_all(references, pairs, planned, gate, left, pin=pin, jobs=jobs, as_json=as_json)


def _through_gate(
    book: Catalog, references: Sequence[Wanted], pairs: Pairs, accept: Sequence[str], *, may_ask: bool
) -> tuple[list[Wanted], list[tuple[Study, Section]], Gate]:
    """What may be fetched, and the gate that says what may not."""
    from humanst.catalog import Item

    items = [Item(item.key, item.owner_id, book.resources[item.owner_id].licenses(item.source)) for item in references]
    gate = pass_gate(items + [section_item(book, *pair) for pair in pairs], accept, may_ask=may_ask)
    n_references = len(references)
    free_references = [references[number] for number in gate.open if number < n_references]
    free_pairs = [pairs[number - n_references] for number in gate.open if number >= n_references]
    return free_references, free_pairs, gate


def _with_files(pairs: Pairs, *, alone: bool) -> tuple[list[tuple[Study, Section]], list[str]]:
    """Part what can be fetched from what is on record without files, and say what that is.

    Raises
    ------
    UsageError
        ``listed-section`` when nothing else was asked for.
    """
    from humanst.catalog import without_files

    left = [(study, section) for study, section in pairs if not section.sources]
    names = [section.sample_id for _, section in left]
    if left and alone and len(left) == len(pairs):
        raise without_files(", ".join(dict.fromkeys(study.study_id for study, _ in left)), names)
    if left:
        say(f"on record without files, left out: {', '.join(names)}")
    return [(study, section) for study, section in pairs if section.sources], names


def _reference_files(book: Catalog, name: str, *, pin: bool) -> list[Wanted]:
    """The files of a resource, or the one of ``<resource>/<path>``; none of a study."""
    from humanst.fetch.local import resource_files

    resource_id, _, path = name.partition("/")
    if resource_id not in book.resources:
        return []
    resource = book.resources[resource_id]
    one = resource.source(path) if path else None
    return [item for item in resource_files(resource, pin=pin) if one is None or item.source == one]


def _files_of(pairs: Pairs, pin: bool) -> list[Wanted]:
    from humanst.fetch.local import wanted_files

    return [item for study, section in pairs for item in wanted_files(study, section, pin=pin)]


def _fetch_all(
    references: Sequence[Wanted],
    pairs: Pairs,
    planned: Sequence[Planned],
    gate: Gate,
    left: Sequence[str],
    *,
    pin: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Fetch what the gate let through, say where each file is, and end with the code of what failed."""
    from humanst.fetch import fetch_sections
    from humanst.fetch.jobs import fetch_files
    from humanst.settings import settings

    rows: list[dict[str, str]] = []
    failures = list(gate.failures)
    missing = [item for item in planned if item.state == "missing" and item.fault is None]
    sizes = [item.bytes for item in missing]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    with transfer_progress(len(missing), total) as tell:
        outcomes = fetch_files(references, settings(), jobs=jobs, progress=tell)
        for item in references:
            outcome = outcomes[item.key]
            if isinstance(outcome, HumanstError):
                failures.append((item.key, outcome.located(study=item.owner_id)))
            else:
                path, sha256 = outcome
                rows.append({"item": item.owner_id, "role": item.source.role, "path": str(path), "sha256": sha256})
        for (_, section), local in zip(pairs, fetch_sections(pairs, pin=pin, jobs=jobs, progress=tell), strict=True):
            if isinstance(local, HumanstError):
                failures.append((section.sample_id, local))
                continue
            rows += [
                {"item": section.sample_id, "role": role, "path": str(path), "sha256": local.sha256[role]}
                for role, path in local.paths.items()
            ]
    if as_json:
        content = {"files": rows, "sections_without_files": list(left), "failures": failure_rows(failures)}
        echo_json("humanst.fetch/1", content)
    else:
        for row in rows:
            click.echo(f"{row['item']}  {row['role']}  {row['path']}")
        say(f"{len(rows)} files are here and verified")
    end_with(len(references) + len(pairs) + len(gate.failures), failures, "item")
