"""``humanst fetch atlas``: a release of this project, or a part of it, checked down to every pair."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from humanst.cli.choose import open_catalog
from humanst.cli.fetch_progress import transfer_progress
from humanst.cli.gate import pass_gate
from humanst.cli.output import echo, echo_json, say
from humanst.errors import UsageError

if TYPE_CHECKING:
    from humanst.catalog import Catalog, Item
    from humanst.fetch.releases import ReleaseRoot
    from humanst.shards.fetch_plan import FetchPlan
    from humanst.shards.fetching import FetchedRelease
    from humanst.shards.selection import Selection

Command = TypeVar("Command", bound=Callable[..., Any])
RELEASES = "atlas"
OPTIONS = ("release", "split", "output", "with_sections")


def release_options(command: Command) -> Command:
    """The options of ``humanst fetch atlas`` that no other fetch has."""
    for name, settings in (
        (
            "--with-sections",
            {
                "is_flag": True,
                "help": "atlas: the SpatialData objects too, zipped and unpacked.",
            },
        ),
        ("--split", {"help": "atlas: only these splits, comma-separated [default: all]."}),
        ("--release", {"help": "atlas: a version on record, or the URL or folder of a release [default: the newest]."}),
    ):
        command = click.option(name, **settings)(command)
    return click.option(
        "-o",
        "--output",
        type=click.Path(file_okay=False),
        help="atlas: where the release goes [default: <cache>/releases/<version>].",
    )(command)


def is_release(names: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Whether a fetch is one of a release.

    Raises
    ------
    UsageError
        When ``atlas`` stands beside other names, or its options beside none.
    """
    if RELEASES in names and set(names) != {RELEASES}:
        raise UsageError(
            "A release is fetched alone",
            field="NAMES",
            expected=f"{RELEASES} alone, or studies and resources",
            found=", ".join(names),
            todo="Use two commands",
        )
    if RELEASES in names and options["list_urls"]:
        raise UsageError(
            "The addresses of a release are those in its SHA256SUMS",
            field="--list-urls",
            expected="studies or resources",
            found=RELEASES,
            todo="Fetch it without --list-urls: an interrupted fetch goes on where it stopped",
        )
    given = [name for name in OPTIONS if options[name]]
    if RELEASES not in names and given:
        raise UsageError(
            "This option is one of `humanst fetch atlas`",
            field=f"--{given[0].replace('_', '-')}",
            expected=RELEASES,
            found=", ".join(names),
        )
    return RELEASES in names


def fetch_release(
    *,
    sections: str | None,
    where: str | None,
    pin: bool,
    jobs: int,
    dry_run: bool,
    accept: tuple[str, ...],
    catalog: str | None,
    as_json: bool,
    options: Mapping[str, Any],
) -> None:
    """Fetch a release, or say what that would take."""
    from humanst.fetch.releases import find_release
    from humanst.settings import settings
    from humanst.shards.fetch_plan import FetchPlan
    from humanst.shards.fetching import fetch_selection
    from humanst.shards.published import open_head
    from humanst.shards.selection import SelectionRequest, select_pairs

    book = open_catalog(catalog)
    root = find_release(options["release"], book)
    found = settings()
    request = SelectionRequest(
        splits=_listed(options["split"]),
        where=where,
        sections=_listed(sections),
        with_stores=options["with_sections"],
    )
    head = open_head(root, request.splits, found, pin=pin, jobs=jobs)
    selection = select_pairs(head, request)
    output = options["output"] or found.resolved_cache_dir() / "releases" / selection.folder_name()
    plan = FetchPlan(selection, Path(output).resolve(), found)
    if dry_run:
        _echo_plan(plan, as_json)
        return
    _pass_gate(book, root, selection, accept, may_ask=not as_json)
    sizes = [size or 0 for name, size in plan.as_they_are.items() if name not in head.paths]
    n_files = len(sizes) + len(plan.to_cut)
    with transfer_progress(n_files, plan.fetch_bytes + plan.store_bytes - plan.here_bytes) as tell:
        result = fetch_selection(plan, jobs=jobs, progress=tell)
    _echo_result(plan, result, as_json)


def _listed(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip())) or None


def _items(root: ReleaseRoot, selection: Selection) -> list[Item]:
    """The sections of which something is wanted, and the release, as the licence gate sees them.

    A section comes under its study's licence, and under the gated ones that whoever built the release accepted for it.
    """
    from humanst.catalog import Item

    accepted: Mapping[str, Sequence[str]] = selection.head.manifest.get("accepted_licenses", {})
    items = []
    for row in selection.head.samples().to_pylist():
        if row["sample_id"] in selection.pairs_by_section:
            study = row["study_id"]
            more = (name for name, studies in accepted.items() if study in studies)
            items.append(Item(row["sample_id"], study, tuple(dict.fromkeys((row["license"], *more)))))
    if root.license is not None:
        items.append(Item(f"release {root.name}", RELEASES, (root.license,)))
    return items


def _pass_gate(
    book: Catalog, root: ReleaseRoot, selection: Selection, accept: tuple[str, ...], *, may_ask: bool
) -> None:
    """Every licence of what is asked for, or nothing: a part would be another selection than the one named.

    Raises
    ------
    LicenseError
        Naming every section that stays closed.
    """
    from humanst.catalog.licenses import gated, refusal

    items = _items(root, selection)
    gate = pass_gate(items, accept, may_ask=may_ask)
    closed = [item for number, item in enumerate(items) if number not in set(gate.open)]
    if closed:
        names = [name for item in closed for name in gated(item.licenses)]
        raise refusal(closed, names, done="Nothing was fetched")


def _content(plan: FetchPlan) -> dict[str, Any]:
    selection = plan.selection
    return {
        "release": selection.head.root.name,
        "version": selection.head.manifest["version"],
        "manifest_sha256": selection.head.manifest_sha256,
        "splits": list(selection.splits),
        "where": selection.request.where,
        "sections": list(selection.pairs_by_section),
        "n_pairs": selection.n_pairs,
        "everything": selection.everything,
        "output": str(plan.output),
    }


def _echo_plan(plan: FetchPlan, as_json: bool) -> None:
    from humanst.files import existing_folder

    selection = plan.selection
    unknown = [name for name, size in plan.as_they_are.items() if size is None]
    licenses: dict[str, int] = {}
    for item in _items(selection.head.root, selection):
        for name in item.licenses:
            licenses[name] = licenses.get(name, 0) + 1
    content = _content(plan) | {
        "whole_bytes": plan.whole_bytes,
        "ranged_bytes": plan.ranged_bytes,
        "fetch_bytes": plan.fetch_bytes,
        "here_bytes": plan.here_bytes,
        "store_bytes": plan.store_bytes,
        "unpacked_bytes": plan.unpacked_bytes,
        "shards": len(plan.shards),
        "ranged_shards": len(plan.ranged),
        "requests": sum(len(shard.spans) for shard in plan.ranged),
        "n_files": len(plan.names()) + 2,
        "unknown_size_files": len(unknown),
        "packed_bytes": plan.packed_bytes(),
        "free_bytes": shutil.disk_usage(existing_folder(plan.output)).free,
        "licenses": [{"license": name, "items": n} for name, n in sorted(licenses.items())],
    }
    if as_json:
        echo_json("humanst.fetch-release-plan/1", content)
        return
    n_whole = content["shards"] - content["ranged_shards"]
    part = "all of it" if selection.everything else f"of splits {', '.join(selection.splits)}"
    echo(f"release   {content['release']} (version {content['version']}), {part}")
    echo(f"pairs     {content['n_pairs']:,} of {len(content['sections']):,} sections")
    echo(f"whole     {content['whole_bytes']:,} bytes in {content['shards']:,} shards")
    echo(f"ranged    {content['ranged_bytes']:,} bytes of them")
    echo(
        f"fetch     {content['fetch_bytes']:,} bytes: {n_whole:,} shards whole, {content['ranged_shards']:,} in "
        f"{content['requests']:,} ranged reads; {content['here_bytes']:,} bytes are here"
    )
    if plan.stores:
        echo(
            f"sections  {content['store_bytes']:,} bytes of {len(plan.stores):,} section stores, "
            f"{content['unpacked_bytes']:,} more once unpacked"
        )
    echo(f"files     {content['n_files']:,}, {len(unknown):,} small ones of a size that is not on record")
    echo(f"licences  {', '.join(licenses)}")
    echo(f"disk      {content['free_bytes']:,} bytes free at {plan.output}")


def _echo_result(plan: FetchPlan, result: FetchedRelease, as_json: bool) -> None:
    content = _content(plan) | {"already": result.already, "totals": result.manifest.get("totals", {})}
    if as_json:
        echo_json("humanst.fetch-release/1", content)
        return
    echo(str(plan.output))
    what = "the whole release" if content["everything"] else "a part of the release"
    was = " was here already" if result.already else " is here and verified"
    say(f"{what}, {content['n_pairs']:,} pairs of {len(content['sections']):,} sections,{was}")
