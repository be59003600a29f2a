"""``humanst cache``: what lies in the cache, and how to be rid of it."""

from __future__ import annotations

import click

from humanst.cli.output import echo_json, json_option, say
from humanst.errors import UsageError


@click.group()
def cache() -> None:
    """Look at, check and empty the cache of fetched files (HUMANST_CACHE_DIR)."""


@cache.command("ls")
@json_option
def list_cache(as_json: bool) -> None:
    """List the studies and resources in the cache with their files and bytes."""
    from humanst.fetch.cached import cached_owners
    from humanst.settings import settings

    folder = settings().resolved_cache_dir()
    owners = cached_owners(folder)
    rows = [{"id": owner.owner_id, "files": owner.n_files, "bytes": owner.n_bytes} for owner in owners]
    total = sum(owner.n_bytes for owner in owners)
    if as_json:
        echo_json("humanst.cache-ls/1", {"cache": str(folder), "bytes": total, "owners": rows})
        return
    for row in rows:
        click.echo(f"{row['id']}  {row['files']:,} files  {row['bytes']:,} bytes")
    say(f"{total:,} bytes in {folder}")


@cache.command("rm")
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Everything that was fetched.")
@json_option
def remove(names: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Remove the fetched files of studies or resources; hashes that were pinned stay on record."""
    from humanst.fetch.cached import cached_owners, remove_owner
    from humanst.settings import settings

    folder = settings().resolved_cache_dir()
    known = {owner.owner_id: owner for owner in cached_owners(folder)}
    if everything == bool(names):
        raise UsageError("What to remove must be said", expected="ids, or --all", found=", ".join(names) or "neither")
    absent = [name for name in names if name not in known]
    if absent:
        raise UsageError(
            "The cache has no such id",
            code="not-cached",
            expected=f"some of {', '.join(known) or 'nothing: the cache is empty'}",
            found=", ".join(absent),
            done="Nothing was removed",
        )
    removed = {name: remove_owner(folder, name) for name in (known if everything else names)}
    if as_json:
        echo_json("humanst.cache-rm/1", {"removed": sorted(removed), "bytes": sum(removed.values())})
        return
    say(f"Removed {sum(removed.values()):,} bytes of {', '.join(removed) or 'nothing'}")


@cache.command("gc")
@json_option
def collect(as_json: bool) -> None:
    """Remove what no fetch needs any more: unfinished downloads, and what was unpacked from files that are gone."""
    from humanst.fetch.cached import collect_garbage
    from humanst.settings import settings

    found = collect_garbage(settings().resolved_cache_dir())
    if as_json:
        echo_json("humanst.cache-gc/1", {"entries": found.n_entries, "bytes": found.n_bytes})
        return
    say(f"Removed {found.n_entries:,} leftovers, {found.n_bytes:,} bytes")


@cache.command("verify")
@json_option
def verify(as_json: bool) -> None:
    """Hash every fetched file and compare it with what it hashed to when it was placed."""
    from humanst.cli.output import failure_rows, report_error
    from humanst.fetch.cached import damaged_files
    from humanst.settings import settings

    n_files, damaged = damaged_files(settings().resolved_cache_dir())
    if as_json:
        failures = failure_rows([(str(error.facts.file), error) for error in damaged])
        echo_json("humanst.cache-verify/1", {"files": n_files, "failures": failures})
    else:
        say(f"{n_files - len(damaged):,} of {n_files:,} files are what was placed")
    for error in damaged:
        report_error(error, False)
    if damaged:
        raise click.exceptions.Exit(damaged[0].exit_code)
