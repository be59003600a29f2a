"""Fetch a selection of a release: the whole of it byte for byte, or the wanted pairs in shards of their own.

The order is that of a build: shards with their cards, indices, the files beside them, SHA256SUMS and, last, the
manifest; then section stores are unpacked. What an interrupted run left is gone on with.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from humanst import files
from humanst.errors import HumanstError, UsageError
from humanst.fetch.engine import fetch_file
from humanst.fetch.jobs import side_by_side
from humanst.fetch.ranged import NoRangesError, Runs, fetch_piece
from humanst.fetch.receive import Expected, Progress
from humanst.fetch.stamps import outside_stamp, stamp_path, verified_sha256
from humanst.shards.fetch_plan import FetchPlan
from humanst.shards.folder import MANIFEST, SUMS, remove_old_shards, require_no_links, strangers_in, unpacked_section
from humanst.shards.part_files import write_manifest, write_tables
from humanst.shards.part_targets import sets_of, target_sources, write_targets
from humanst.shards.repack import LocalPiece, write_empty_split, write_split
from humanst.shards.seal import document_names
from humanst.shards.selection import ShardPlan
from humanst.shards.unpack import unpack_stores

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FetchedRelease:
    """What is here now.

    Attributes
    ----------
    already
        Whether all of it was here before.
    """

    output: Path
    manifest: Mapping[str, Any]
    already: bool


def fetch_selection(plan: FetchPlan, *, jobs: int, progress: Progress | None = None) -> FetchedRelease:
    """Bring a selection to its folder.

    Raises
    ------
    UsageError
        When the folder holds something else, which stays as it is; ``links`` when something is to be changed and a
        folder in it is a link.
    IntegrityError
        When bytes are not the bytes on record; nothing wrong has a final name.
    NetworkError, HostileError, NoRoomError
        See :func:`humanst.fetch.engine.fetch_file`.
    """
    try:
        with files.locked(plan.output, what=plan.output.name):
            ours = _require_ours(plan)
            if ours and _is_done(plan):
                _remove_pieces(plan)
                manifest: Mapping[str, Any] = _read(plan.output / MANIFEST)
                return FetchedRelease(plan.output, manifest, not unpack_stores(plan.output, manifest))
            require_no_links(plan.output)
            plan.require_room()
            files.remove(plan.output / MANIFEST)
            remove_old_shards(plan.output, {plan.output / name for name in plan.names()})
            pieces = _fetch_files(plan, jobs, progress)
            manifest = _finish(plan, pieces)
            _remove_pieces(plan)
            unpack_stores(plan.output, manifest)
            return FetchedRelease(plan.output, manifest, False)
    except HumanstError as error:
        raise error.located(study=f"release {plan.selection.head.root.name}") from None


def _require_ours(plan: FetchPlan) -> bool:
    """Whether the folder holds this very selection with its manifest; other people's files are refused."""
    output, head = plan.output, plan.selection.head
    if output.exists() and not output.is_dir():
        raise UsageError("This is a file, not a folder", file=output.name, field="-o", done="Nothing was written")
    manifest = output / MANIFEST
    if manifest.is_file():
        content = _read(manifest)
        mine = {key: value for key, value in content.get("selection", {}).items() if key != "left_out"}
        whole = files.sha256_file(manifest) == head.manifest_sha256
        fewer = not plan.stores and any("store" in row for row in content.get("sections", []))
        if whole if plan.selection.everything else mine == plan.selection.record() and not fewer:
            return True
        raise UsageError(
            "The output folder holds another release, or another part of this one",
            code="other-release",
            file=output.name,
            field="-o",
            expected="a new or empty folder, or one where this very fetch was interrupted",
            found=f"a manifest of release {content.get('version')}",
            done="Nothing was written and nothing was removed",
            todo="Choose another output folder",
        )
    known = {name: head.sums.get(name) for name in plan.names()} | {SUMS: head.manifest["sha256sums"]}
    unpacked = {str(store["path"]).removesuffix(".zarr.zip") for store in plan.stores}
    strangers = strangers_in(output, known)
    if strangers := [name for name in strangers if f"sections/{unpacked_section(name)}" not in unpacked]:
        raise UsageError(
            "The output folder holds files that are not of this release",
            file=output.name,
            field="-o",
            expected="a new or empty folder",
            found=f"{len(strangers)} other files, such as {', '.join(strangers[:3])}",
            done="Nothing was written and nothing was removed",
            todo="Choose another output folder",
        )
    return False


def _read(manifest: Path) -> dict[str, Any]:
    try:
        content = files.parse_json(manifest.read_bytes())
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _is_done(plan: FetchPlan) -> bool:
    """Whether every file is there and right; what has a stamp is not hashed again."""
    sums = plan.output / SUMS
    if not sums.is_file() or files.sha256_file(sums) != _read(plan.output / MANIFEST).get("sha256sums"):
        return False
    listed = {line[66:]: line[:64] for line in sums.read_text("utf-8").splitlines()}
    # Which documents a part has is up to its own manifest.
    free = frozenset() if plan.selection.everything else document_names()
    if listed.keys() - free != plan.names():
        return False
    cache = plan.settings.resolved_cache_dir()
    for name, digest in listed.items():
        path = plan.output / name
        if verified_sha256(path, Expected(None, digest, None), stamp=outside_stamp(path, cache)) is None:
            logger.warning("%s in %s is not the file on record", name, plan.output.name)
            return False
    return True


def _fetch_files(plan: FetchPlan, jobs: int, progress: Progress | None) -> dict[str, LocalPiece]:
    """Place what stays as it is, and get what is to be cut; returns path of the shard -> what is here of it."""
    head = plan.selection.head
    no_ranges = threading.Event()
    tasks: dict[str, Callable[[Progress], LocalPiece | None]] = {
        name: partial(_place, plan, name) for name in plan.as_they_are if name not in head.paths
    }
    tasks |= {shard.entry["path"]: partial(_get_piece, plan, shard, no_ranges) for shard in plan.to_cut}
    tasks |= {name: partial(_get_target, plan, name) for name in target_sources(plan.selection)}
    found = side_by_side(tasks, jobs=jobs, progress=progress, all_or_nothing=True)
    for name in plan.as_they_are:
        if name in head.paths:
            files.write_bytes(plan.output / name, head.paths[name].read_bytes())
    return {path: piece for path, piece in found.items() if isinstance(piece, LocalPiece)}


def _place(plan: FetchPlan, name: str, tell: Progress) -> None:
    wanted = plan.selection.head.wanted(name, n_bytes=plan.as_they_are[name])
    fetch_file(wanted, plan.settings, progress=tell, target=plan.output / name)


def _get_target(plan: FetchPlan, name: str, tell: Progress) -> None:
    fetch_file(plan.selection.head.wanted(name), plan.settings, progress=tell, target=plan.target_folder / name)


def _get_piece(plan: FetchPlan, shard: ShardPlan, no_ranges: threading.Event, tell: Progress) -> LocalPiece:
    if not shard.takes_whole and not no_ranges.is_set():
        piece, target = plan.piece(shard), plan.place_of(shard)
        try:
            fetch_piece(piece, target, plan.settings, progress=tell)
        except NoRangesError:
            logger.warning("%s: the host gives whole files only, so shards are fetched whole", shard.name)
            no_ranges.set()
        else:
            return LocalPiece(target, piece.runs)
    n_bytes = int(shard.entry["bytes"])
    wanted = plan.selection.head.wanted(shard.entry["path"], n_bytes=n_bytes)
    path, _ = fetch_file(wanted, plan.settings, progress=tell)
    return LocalPiece(path, Runs.of([(0, n_bytes)]))


def _finish(plan: FetchPlan, pieces: Mapping[str, LocalPiece]) -> Mapping[str, Any]:
    selection, output = plan.selection, plan.output
    head = selection.head
    if selection.everything:
        _sweep(output)
        for name in (SUMS, MANIFEST):
            files.write_bytes(output / name, head.paths[name].read_bytes())
        return head.manifest
    if selection.all_pairs:
        _sweep(output)
        return write_manifest(selection, output, head.manifest["splits"], sets_of(selection))
    splits: dict[str, Mapping[str, Any]] = {}
    schema = selection.tables[selection.splits[0]].schema
    for split, entry in head.manifest["splits"].items():
        here = {shard.name: pieces[shard.entry["path"]] for shard in plan.to_cut if shard.split == split}
        if selection.whole_split(split):
            files.write_bytes(output / entry["index"], head.paths[entry["index"]].read_bytes())
            splits[split] = entry
        elif here:
            splits[split] = write_split(selection, split, output, here)
        else:
            splits[split] = write_empty_split(split, output, schema)
    write_tables(selection, output)
    targets = write_targets(selection, output, plan.target_folder)
    _sweep(output)
    return write_manifest(selection, output, splits, targets)


def _sweep(output: Path) -> None:
    """Remove what interrupted runs left aside: all that is wanted is there."""
    for folder in (output, *(path for path in output.rglob("*") if path.is_dir() and not path.name.startswith("."))):
        files.sweep_partials(folder)
        files.remove_parts(folder)


def _remove_pieces(plan: FetchPlan) -> None:
    """Remove what was fetched only to be cut."""
    for shard in plan.to_cut:
        place = plan.whole_place(shard)
        for path in (place, stamp_path(place)):
            files.remove(path)
    for shard in plan.ranged:
        files.remove(plan.place_of(shard))
    for name in target_sources(plan.selection):
        for path in (plan.target_folder / name, stamp_path(plan.target_folder / name)):
            files.remove(path)
