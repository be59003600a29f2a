"""``humanst fetch``: verified local files of sections or resources."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from humanst.cli.choose import choose_sections, open_catalog, section_options
from humanst.cli.fetch_progress import transfer_progress
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
    catalog: str | None,
    as_json: bool,
) -> None:
    """Fetch the files of studies (their ids) or resources (gene_sets, gene_ids) and check every hash.

    Caches in HUMANST_SHARED_CACHE are looked at first, then mirrors in HUMANST_MIRROR, in order; then the original
    host is asked. An interrupted fetch goes on where it stopped when the same command runs again.
    """
    from humanst.fetch.jobs import plan
    from humanst.settings import settings

    book = open_catalog(catalog)
    resources = [name for name in names if name in book.resources]
    studies = [name for name in names if name not in book.resources]
    pairs = choose_sections(book, studies, sections, where) if studies else []
    planned = plan(_wanted(book, resources, pairs, pin or dry_run or list_urls), settings())
    if list_urls:
        _list_urls(planned, url_format, as_json)
        return
    if dry_run:
        _dry_run(planned, as_json)
        return
    before_download(pairs, resources, planned)
    _fetch_all(book, resources, pairs, planned, pin=pin, jobs=jobs, as_json=as_json)


def before_download(pairs: Pairs, resources: Sequence[str], planned: Sequence[Planned]) -> None:
    """Ask for everything that must hold before the first byte is asked for.

    Parameters
    ----------
    pairs, resources
        The chosen sections, each with its study, and the ids of the chosen resources.
    planned
        Their files.

    Raises
    ------
    NoRoomError
        When the disk has no room for all files together.
    """
    from humanst.fetch.jobs import require_room_for
    from humanst.settings import settings

    require_room_for(planned, settings())


def _wanted(book: Catalog, resources: Sequence[str], pairs: Pairs, pin: bool) -> list[Wanted]:
    from humanst.fetch.local import resource_files, wanted_files

    wanted = [item for name in resources for item in resource_files(book.resources[name], pin=pin)]
    return wanted + [item for study, section in pairs for item in wanted_files(study, section, pin=pin)]


def _fetch_all(
    book: Catalog,
    resources: Sequence[str],
    pairs: Pairs,
    planned: Sequence[Planned],
    *,
    pin: bool,
    jobs: int,
    as_json: bool,
) -> None:
    from humanst.fetch import fetch_sections
    from humanst.fetch.jobs import fetch_files
    from humanst.settings import settings

    rows: list[dict[str, str]] = []
    failures: list[tuple[str, HumanstError]] = []
    missing = [item for item in planned if item.state == "missing" and item.fault is None]
    sizes = [item.bytes for item in missing]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    items = _wanted(book, resources, (), pin)
    with transfer_progress(len(missing), total) as tell:
        outcomes = fetch_files(items, settings(), jobs=jobs, progress=tell)
        for item in items:
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
        echo_json("humanst.fetch/1", {"files": rows, "failures": failure_rows(failures)})
    else:
        for row in rows:
            click.echo(f"{row['item']}  {row['role']}  {row['path']}")
        say(f"{len(rows)} files are here and verified")
    end_with(len(items) + len(pairs), failures, "item")


def _dry_run(planned: Sequence[Planned], as_json: bool) -> None:
    from humanst.files import existing_folder
    from humanst.settings import settings

    sure = [item for item in planned if item.fault is None]
    missing = [item for item in sure if item.state == "missing"]
    cache = settings().resolved_cache_dir()
    content: dict[str, Any] = {
        "n_files": len(planned),
        "cached_files": sum(item.state == "cached" for item in sure),
        "shared_files": sum(item.state == "shared" for item in sure),
        "missing_files": len(missing),
        "fetch_bytes": sum(item.missing_bytes or 0 for item in missing),
        "unknown_size_files": sum(item.bytes is None for item in missing),
        "unpinned_files": sum(not item.pinned for item in missing),
        "without_address_files": sum(item.wanted.source.url is None for item in missing),
        "free_bytes": shutil.disk_usage(existing_folder(cache)).free,
        "cache": str(cache),
        "files": [
            {"file": item.wanted.key, "state": item.state, "bytes": item.bytes, "here_bytes": item.here_bytes}
            for item in planned
        ],
        "failures": failure_rows([(item.wanted.key, item.fault) for item in planned if item.fault is not None]),
    }
    if as_json:
        echo_json("humanst.fetch-plan/1", content)
    else:
        click.echo(
            f"files    {len(planned):,}: {content['cached_files']:,} here, {content['shared_files']:,} in shared"
        )
        click.echo(f"fetch    {len(missing):,} files, {content['fetch_bytes']:,} bytes")
        click.echo(f"unknown  {content['unknown_size_files']:,} files have no size on record and are not counted")
        click.echo(f"pin      {content['unpinned_files']:,} files have no hash on record and need --pin")
        click.echo(f"nowhere  {content['without_address_files']:,} files have no public address and need a mirror")
        click.echo(f"disk     {content['free_bytes']:,} bytes free at {cache}")
    end_with(len(planned), [(item.wanted.key, item.fault) for item in planned if item.fault is not None], "file")


def _list_urls(planned: Sequence[Planned], url_format: str, as_json: bool) -> None:
    from humanst.fetch.backends import resolved_url

    missing = [item for item in planned if item.state == "missing" and item.fault is None]
    rows = [
        {
            "url": resolved_url(item.wanted.source.url),
            "path": item.wanted.key,
            "bytes": item.wanted.source.bytes,
            "sha256": item.wanted.source.sha256,
            "md5": item.wanted.source.md5,
        }
        for item in missing
        if item.wanted.source.url is not None
    ]
    nowhere = len(missing) - len(rows)
    if as_json:
        echo_json("humanst.fetch-urls/1", {"urls": rows, "without_address_files": nowhere})
    else:
        for row in rows:
            click.echo(_url_lines(row, url_format))
    if nowhere:
        say(f"{nowhere} files have no public address")
    end_with(len(planned), [(item.wanted.key, item.fault) for item in planned if item.fault is not None], "file")


def _url_lines(row: dict[str, Any], url_format: str) -> str:
    if url_format == "plain":
        return str(row["url"])
    if url_format == "curl":
        quoted = [str(row[key]).replace("\\", "\\\\").replace('"', '\\"') for key in ("url", "path")]
        return f'url = "{quoted[0]}"\noutput = "{quoted[1]}"'
    kind, digest = ("sha-256", row["sha256"]) if row["sha256"] else ("md5", row["md5"])
    return f"{row['url']}\n  out={row['path']}" + (f"\n  checksum={kind}={digest}" if digest else "")
