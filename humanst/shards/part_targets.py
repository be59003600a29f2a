"""Target sets of a part of a release: rows cut as the shards were, tables beside them for the sections that stay.

Target files are small next to shards: those of every shard that is cut are fetched whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.shards.repack import LocalShard, local_shards
from humanst.shards.selection import Selection, coded
from humanst.shards.target_beside import take_beside
from humanst.shards.target_files import gather_rows


def sets_of(selection: Selection) -> Mapping[str, Mapping[str, Any]]:
    """Name -> entry of the manifest."""
    found: Mapping[str, Mapping[str, Any]] = selection.head.manifest.get("targets", {})
    return found


def target_names(manifest: Mapping[str, Any]) -> list[str]:
    """Every file of the target sets of a release."""
    found: list[str] = []
    for entry in manifest.get("targets", {}).values():
        found += _beside(entry) + [str(file["path"]) for file in entry["files"]]
    return found


def kept_targets(selection: Selection) -> list[str]:
    """Target files of the splits that are wanted whole: they stay as they are."""
    whole = [split for split in selection.splits if selection.whole_split(split)]
    return [name for entry in sets_of(selection).values() for split in whole for name in _files(entry, split).values()]


def target_sources(selection: Selection) -> list[str]:
    """Files of the release that target files and tables of a part are cut from."""
    if selection.all_pairs:
        return []
    found: list[str] = []
    for entry in sets_of(selection).values():
        found += _beside(entry)
        for split in _cut_splits(selection):
            files = _files(entry, split)
            found += [files[_stem(shard.entry["path"])] for shard in selection.shards[split]]
    return found


def made_targets(selection: Selection) -> list[str]:
    """Files of a part that are cut from those."""
    if selection.all_pairs:
        return []
    cut = [shard for split in _cut_splits(selection) for shard in local_shards(selection, split)]
    found: list[str] = []
    for name, entry in sets_of(selection).items():
        found += _beside(entry) + [_target(name, entry, shard) for shard in cut]
    return found


def write_targets(selection: Selection, output: Path, sources: Path) -> dict[str, dict[str, Any]]:
    """Write what :func:`made_targets` names; returns the entries of the part's manifest.

    Parameters
    ----------
    sources
        The folder that holds :func:`target_sources`, each at its path in the release.

    Raises
    ------
    DataError, IntegrityError
        When a target file does not hold the rows of its shard.
    NoRoomError
        When the disk fills up.
    """
    entries = {}
    for name, entry in sets_of(selection).items():
        beside = [PurePosixPath(path).name for path in _beside(entry)]
        place = f"targets/{name}"
        take_beside(sources / place, beside, selection.pairs_by_section.keys(), output / place)
        rows: list[dict[str, Any]] = []
        for split in selection.head.manifest["splits"]:
            if selection.whole_split(split):
                kept = set(_files(entry, split).values())
                rows += [dict(file) for file in entry["files"] if file["path"] in kept]
            elif split in _cut_splits(selection):
                rows += list(_write_split(selection, name, entry, split, output, sources))
        entries[name] = {**entry, "files": rows}
    return entries


def _write_split(
    selection: Selection, name: str, entry: Mapping[str, Any], split: str, output: Path, sources: Path
) -> Iterator[dict[str, Any]]:
    names, shard_of_row = coded(selection.tables[split]["shard"])
    within = _rows_within(shard_of_row)
    files = _files(entry, split)
    for shard in local_shards(selection, split):
        used = shard_of_row[shard.rows]
        starts = np.flatnonzero(np.r_[True, used[1:] != used[:-1]])
        pieces = [
            (sources / files[_stem(names[used[rows[0]]])], within[shard.rows[rows]])
            for rows in np.split(np.arange(len(used)), starts[1:])
        ]
        path = _target(name, entry, shard)
        gather_rows(pieces, output / path)
        yield {"path": path, "n_rows": len(shard.rows)}


def _rows_within(shard_of_row: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) int64: which row of its shard each row of an index is."""
    order = np.argsort(shard_of_row, kind="stable")
    firsts = np.searchsorted(shard_of_row[order], shard_of_row[order], side="left")
    within = np.empty(len(order), dtype=np.int64)
    within[order] = np.arange(len(order)) - firsts
    return within


def _cut_splits(selection: Selection) -> list[str]:
    return [split for split in selection.splits if selection.shards[split] and not selection.whole_split(split)]


def _files(entry: Mapping[str, Any], split: str) -> dict[str, str]:
    """Name of a shard, without suffix -> its file of a set."""
    paths = [str(file["path"]) for file in entry["files"]]
    return {_stem(path): path for path in paths if _stem(path).rpartition("-")[0] == split}


def _beside(entry: Mapping[str, Any]) -> list[str]:
    return [str(entry["columns"]), *map(str, entry["beside"])]


def _target(name: str, entry: Mapping[str, Any], shard: LocalShard) -> str:
    suffix = PurePosixPath(entry["files"][0]["path"]).suffix
    return f"targets/{name}/{_stem(shard.path)}{suffix}"


def _stem(path: str) -> str:
    return PurePosixPath(path).stem
