"""How the rows of target files lie: by shard, and which row of which section each one is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import IntegrityError


@dataclass(frozen=True, slots=True)
class SectionRows:
    """The pairs of one section, in the order in which the release holds them.

    Attributes
    ----------
    spot_ids, n_counts
        ``(n,)`` as the index has them.
    fits
        Whether what is fitted is fitted on it: it is to train on, and of no targeted panel where others are.
    extract_inputs
        Hash of what its patches and pathways were made from.
    """

    sample_id: str
    spot_ids: NDArray[np.str_]
    n_counts: NDArray[np.int64]
    fits: bool
    targeted: bool
    extract_inputs: str


@dataclass(frozen=True, slots=True)
class ShardRows:
    """The pairs of one shard, in its order.

    Attributes
    ----------
    section, row
        ``(n,)`` int32: number of the section, and which of its pairs.
    """

    split: str
    name: str
    section: NDArray[np.int32]
    row: NDArray[np.int32]

    def by_section(self) -> Iterator[tuple[int, NDArray[np.int64], slice]]:
        """``(section, positions in the shard, rows of the section)``; the rows of one section follow each other."""
        for number, positions in groups(self.section):
            rows = self.row[positions]
            yield number, positions, slice(int(rows[0]), int(rows[-1]) + 1)


@dataclass(frozen=True, slots=True)
class Layout:
    """All pairs of a release: its sections by sample_id, its shards by split and number."""

    sections: tuple[SectionRows, ...]
    shards: tuple[ShardRows, ...]


def read_layout(folder: Path, manifest: Mapping[str, Any]) -> Layout:
    """Read the indexes of a release.

    Raises
    ------
    IntegrityError
        ``index`` when they do not hold the pairs that the manifest tells of.
    """
    rows = sorted(manifest["sections"], key=lambda row: str(row["sample_id"]))
    names = [str(row["sample_id"]) for row in rows]
    shards: list[ShardRows] = []
    parts: dict[str, list[tuple[NDArray[Any], NDArray[Any]]]] = {name: [] for name in names}
    # By name: a manifest that was read back has its keys in that order.
    for split, entry in sorted(manifest["splits"].items()):
        section, spots, counts, runs = _read_index(folder / entry["index"], names)
        row = np.zeros(len(section), dtype=np.int32)
        for number, positions in groups(section):
            row[positions] = np.arange(len(positions))
            parts[names[number]].append((spots[positions], counts[positions]))
        shards += [ShardRows(split, name, section[start:end], row[start:end]) for name, start, end in runs]
    _require_as_told(manifest, parts, shards)
    return Layout(tuple(_sections(rows, parts)), tuple(shards))


def groups(values: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Every value that occurs, ascending, and its positions."""
    order = np.argsort(values, kind="stable")
    numbers, starts = np.unique(values[order], return_index=True)
    ends = [*starts[1:], len(order)][: len(starts)]
    for number, start, end in zip(numbers.tolist(), starts, ends, strict=True):
        yield number, order[start:end]


def _read_index(
    path: Path, names: list[str]
) -> tuple[NDArray[np.int32], NDArray[np.str_], NDArray[np.int64], list[tuple[str, int, int]]]:
    """Number of the section, spot and total of every pair, and ``(name, start, end)`` of every shard."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["shard", "sample_id", "spot_id", "n_counts"]).combine_chunks()
    section = pc.index_in(table["sample_id"], value_set=pa.array(names, pa.string())).fill_null(-1)
    if pc.min(section).as_py() == -1:
        raise IntegrityError("The index tells of a section that the manifest does not", code="index", file=path.name)
    spots = table["spot_id"].to_numpy().astype(str)
    shard = table["shard"].to_numpy().astype(str)
    starts = [row for row in range(len(shard)) if row == 0 or shard[row] != shard[row - 1]]
    ends = [*starts[1:], len(shard)][: len(starts)]
    runs = [(str(shard[start]).removesuffix(".tar"), start, end) for start, end in zip(starts, ends, strict=True)]
    return section.to_numpy().astype(np.int32), spots, table["n_counts"].to_numpy().astype(np.int64), runs


def _sections(
    rows: list[Mapping[str, Any]], parts: Mapping[str, list[tuple[NDArray[Any], NDArray[Any]]]]
) -> Iterator[SectionRows]:
    training = [row for row in rows if row["split"] == "train"]
    whole = {row["sample_id"] for row in training if not row.get("targeted", False)}
    fits = whole or {row["sample_id"] for row in training}
    for row in rows:
        ((spots, counts),) = parts[row["sample_id"]]
        name, targeted = str(row["sample_id"]), bool(row.get("targeted", False))
        yield SectionRows(name, spots, counts, row["sample_id"] in fits, targeted, str(row.get("extract_inputs")))


def _require_as_told(
    manifest: Mapping[str, Any], parts: Mapping[str, list[tuple[Any, Any]]], shards: list[ShardRows]
) -> None:
    told = {row["sample_id"]: [row["pairs"]] for row in manifest["sections"]}
    found = {name: [len(spots) for spots, _ in of_section] for name, of_section in parts.items()}
    told_shards = [
        (split, Path(shard["path"]).stem, shard["n_pairs"])
        for split, entry in sorted(manifest["splits"].items())
        for shard in entry["shards"]
    ]
    if told != found or told_shards != [(shard.split, shard.name, len(shard.row)) for shard in shards]:
        raise IntegrityError(
            "The index does not hold the pairs that the manifest tells of",
            code="index",
            file="MANIFEST.json",
            expected=f"{sum(sum(n) for n in told.values())} pairs of {len(told)} sections in {len(told_shards)} shards",
            found=f"{sum(map(sum, found.values()))} pairs in {len(shards)} shards",
            todo="`humanst verify` lists every fault",
        )
