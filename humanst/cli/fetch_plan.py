"""What ``humanst fetch`` prints instead of fetching: sizes and disk (``--dry-run``), addresses (``--list-urls``)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from humanst.cli.output import echo_json, end_with, failure_rows, say

if TYPE_CHECKING:
    from humanst.fetch.jobs import Planned


def echo_plan(planned: Sequence[Planned], as_json: bool, left: Sequence[str] = ()) -> None:
    """Say how many bytes of how many files would be fetched, and how much room the disk has.

    Parameters
    ----------
    left
        Sections without files, which were left out.
    """
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
        "sections_without_files": list(left),
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


def echo_urls(planned: Sequence[Planned], url_format: str, as_json: bool, left: Sequence[str] = ()) -> None:
    """Print the address of each file that is not here, as ``plain`` lines or for ``aria2`` or ``curl``."""
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
        content = {"urls": rows, "without_address_files": nowhere, "sections_without_files": list(left)}
        echo_json("humanst.fetch-urls/1", content)
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
