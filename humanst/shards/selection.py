"""Which pairs of a release are wanted, and whether their shards are worth fetching whole."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError, UsageError
from humanst.files import canonical_json
from humanst.select import compile_where
from humanst.shards.members import SUFFIXES
from humanst.shards.published import SAMPLES, Head

if TYPE_CHECKING:
    import pyarrow as pa

JOIN_GAP_BYTES = 256 * 1024
WHOLE_SHARE = 0.4
SECTION_STORES = "sections/"
SAMPLE_COLUMNS = ("sample_id", "study_id", "section_id", "platform", "organ", "disease", "license", "pairs")
INDEX_COLUMNS = (
    "uid",
    "key",
    "shard",
    "sample_id",
    *(f"{kind}_{part}" for kind in SUFFIXES for part in ("offset", "length", "hash")),
)
_SAFE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.+-]{0,30}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class SelectionRequest:
    """What is asked for of a release.

    Attributes
    ----------
    splits, sections
        Names (of sections: sample or section ids); ``None`` for all.
    where
        A condition over columns of the index and of samples.parquet.
    with_stores
        Whether the section stores come along, where the release has them.
    """

    splits: tuple[str, ...] | None = None
    where: str | None = None
    sections: tuple[str, ...] | None = None
    with_stores: bool = False


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One shard of which something is wanted.

    Attributes
    ----------
    entry
        As the manifest has it: ``path``, ``bytes``, ``sha256``, ``n_pairs``, ``card_sha256``.
    rows
        (n,) int64, ascending: the wanted rows of the split's index.
    spans
        ``(start, stop)``, bytes: the runs of the shard that hold them, gaps under 256 KiB joined.
    """

    split: str
    entry: Mapping[str, Any]
    rows: NDArray[np.int64]
    spans: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        """Its file name, as in the ``shard`` column."""
        return str(self.entry["path"]).rsplit("/", 1)[-1]

    @property
    def ranged_bytes(self) -> int:
        """Bytes of all runs."""
        return sum(stop - start for start, stop in self.spans)

    @property
    def takes_whole(self) -> bool:
        """Whether all of it is wanted, or so much that asking for runs would save little."""
        n_pairs, n_bytes = int(self.entry["n_pairs"]), int(self.entry["bytes"])
        return len(self.rows) == n_pairs or self.ranged_bytes > WHOLE_SHARE * n_bytes


@dataclass(frozen=True, slots=True)
class Selection:
    """The wanted pairs of a release.

    Attributes
    ----------
    splits
        Those asked for, in the order of the manifest.
    tables
        Split -> its whole index.
    shards
        Split -> the shards of which something is wanted, in order.
    pairs_by_section
        ``sample_id`` -> pairs that are wanted, sections without any left out.
    """

    head: Head
    request: SelectionRequest
    splits: tuple[str, ...]
    tables: Mapping[str, pa.Table]
    shards: Mapping[str, tuple[ShardPlan, ...]]
    pairs_by_section: Mapping[str, int]

    @property
    def n_pairs(self) -> int:
        """Pairs that are wanted."""
        return sum(self.pairs_by_section.values())

    @property
    def all_pairs(self) -> bool:
        """Whether every pair of the release is wanted."""
        return self.n_pairs == sum(int(split["n_pairs"]) for split in self.head.manifest["splits"].values())

    @property
    def everything(self) -> bool:
        """Whether nothing of the release stays behind, not even its section stores."""
        stores = any(name.startswith(SECTION_STORES) for name in self.head.sums)
        return self.all_pairs and (self.request.with_stores or not stores)

    def whole_split(self, split: str) -> bool:
        """Whether every pair of a split is wanted, so that its shards stay as they are."""
        wanted = sum(len(shard.rows) for shard in self.shards.get(split, ()))
        return 0 < wanted == int(self.head.manifest["splits"][split]["n_pairs"])

    def record(self) -> dict[str, Any]:
        """What the manifest of a part says of its origin, but for what was left out."""
        return {
            "version": self.head.manifest["version"],
            "manifest_sha256": self.head.manifest_sha256,
            "splits": list(self.splits),
            "where": self.request.where,
            "sections": None if self.request.sections is None else sorted(self.request.sections),
            "n_pairs": self.n_pairs,
        }

    def folder_name(self) -> str:
        """Name of the folder it goes to when none is named: the release's, with a mark for a part of it."""
        version = str(self.head.manifest["version"])
        name = version if _SAFE_NAME.fullmatch(version) else self.head.root.name
        if self.everything:
            return name
        content = canonical_json([self.record(), self.request.with_stores])
        return f"{name}-part-{hashlib.sha256(content).hexdigest()[:10]}"


def select_pairs(head: Head, request: SelectionRequest) -> Selection:
    """Find the wanted pairs and the bytes of the shards that hold them.

    Raises
    ------
    UsageError
        ``where`` for an expression that cannot be used; ``empty-selection`` when no pair is left; for an unknown
        section.
    DataError
        When an index does not fit the manifest or samples.parquet.
    """
    splits = tuple(s for s in head.manifest["splits"] if request.splits is None or s in request.splits)
    about = head.samples()
    _require_columns(about, SAMPLE_COLUMNS, SAMPLES)
    samples = {row["sample_id"]: row for row in about.to_pylist()}
    sections = _sections(samples, request.sections)
    tables = {split: head.index(split) for split in splits}
    shards: dict[str, tuple[ShardPlan, ...]] = {}
    counted: dict[str, int] = {}
    for split, table in tables.items():
        check_rows(split, table, head.manifest["splits"][split], samples)
        mask = _mask(table, samples, request.where)
        if sections is not None:
            ids, id_of_row = coded(table["sample_id"])
            mask &= np.array([name in sections for name in ids], dtype=np.bool_)[id_of_row]
        rows = np.flatnonzero(mask)
        shards[split] = _shard_plans(split, table, rows, head.manifest["splits"][split]["shards"])
        for entry in table.take(rows)["sample_id"].value_counts().to_pylist():
            counted[entry["values"]] = counted.get(entry["values"], 0) + entry["counts"]
    if not counted:
        raise UsageError(
            "No pair is left",
            code="empty-selection",
            field="--where" if request.where else "--split",
            expected="at least one pair",
            found=f"none of {sum(table.num_rows for table in tables.values()):,} in {', '.join(splits)}",
            done="Nothing was fetched",
        )
    return Selection(head, request, splits, tables, shards, dict(sorted(counted.items())))


def _sections(samples: Mapping[str, Mapping[str, Any]], asked: Sequence[str] | None) -> set[str] | None:
    if asked is None:
        return None
    named = {
        name: {sample for sample, row in samples.items() if name in (sample, row.get("section_id"))} for name in asked
    }
    if unknown := [name for name, found in named.items() if not found]:
        raise UsageError(
            f"No section {', '.join(unknown)}",
            field="--sections",
            expected=f"ids such as {', '.join(sorted(samples)[:6])}",
            found=", ".join(asked),
        )
    return set().union(*named.values())


def _mask(table: pa.Table, samples: Mapping[str, Mapping[str, Any]], where: str | None) -> NDArray[np.bool_]:
    """(n,) bool: the rows of an index for which the condition holds. A name in both tables means the index's."""
    if where is None:
        return np.ones(table.num_rows, dtype=np.bool_)
    of_sections = sorted({name for row in samples.values() for name in row} - set(table.column_names))
    condition = compile_where(where, [*table.column_names, *of_sections])
    ids, id_of_row = coded(table["sample_id"])
    columns: dict[str, Any] = {}
    for name in condition.columns:
        if name in table.column_names:
            columns[name] = table[name]
        else:
            columns[name] = np.array([samples[sample].get(name) for sample in ids], dtype=object)[id_of_row]
    return np.array(condition.mask(columns), dtype=np.bool_)


def _shard_plans(
    split: str, table: pa.Table, rows: NDArray[np.int64], entries: Sequence[Mapping[str, Any]]
) -> tuple[ShardPlan, ...]:
    starts, stops = extents(table)
    names, shard_of_row = coded(table["shard"])
    place, shard_of_row = {name: number for number, name in enumerate(names)}, shard_of_row[rows]
    plans = []
    for entry in entries:
        mine = rows[shard_of_row == place[str(entry["path"]).rsplit("/", 1)[-1]]]
        if len(mine):
            plans.append(ShardPlan(split, entry, mine, joined(starts[mine], stops[mine])))
    return tuple(plans)


def coded(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """The different texts of a column, and (n,) int64: which of them each row has."""
    chunks = column.dictionary_encode().unify_dictionaries().chunks
    names: list[str] = chunks[0].dictionary.to_pylist() if chunks else []
    codes = [np.asarray(chunk.indices, dtype=np.int64) for chunk in chunks]
    return names, np.concatenate(codes) if codes else np.zeros(0, dtype=np.int64)


def extents(table: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n,) int64 each, bytes: from where to where the jpg, json and npy of each row lie in its shard."""
    offsets = np.stack([np.asarray(table[f"{kind}_offset"], dtype=np.int64) for kind in SUFFIXES], axis=1)
    lengths = np.stack([np.asarray(table[f"{kind}_length"], dtype=np.int64) for kind in SUFFIXES], axis=1)
    if not len(offsets):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return offsets.min(axis=1), (offsets + lengths).max(axis=1)


def joined(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    """Runs that cover all intervals, those less than 256 KiB apart as one."""
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(stops[order])
    cuts = np.flatnonzero(starts[1:] - reach[:-1] >= JOIN_GAP_BYTES) + 1
    begins, ends = starts[np.r_[0, cuts]], reach[np.r_[cuts - 1, len(reach) - 1]]
    return tuple(zip(begins.tolist(), ends.tolist(), strict=True))


def _require_columns(table: pa.Table, names: Sequence[str], file: str) -> None:
    if missing := [name for name in names if name not in table.column_names]:
        raise DataError(
            "A table of the release lacks columns",
            code="missing-column",
            file=file,
            expected=f"columns {', '.join(missing)}",
            found=f"columns {', '.join(table.column_names)}",
            done="Nothing more was asked for",
        )


def check_rows(split: str, table: pa.Table, entry: Mapping[str, Any], samples: Mapping[str, Any]) -> None:
    """Check that rows count as the manifest says, name its shards and its sections, and lie inside their shards.

    Raises
    ------
    DataError
        ``index-invalid`` or ``missing-column``.
    """
    _require_columns(table, INDEX_COLUMNS, entry["index"])
    counted = {row["values"]: row["counts"] for row in table["shard"].value_counts().to_pylist()}
    promised = {str(shard["path"]).rsplit("/", 1)[-1]: shard["n_pairs"] for shard in entry["shards"]}
    strange = sorted(set(table["sample_id"].unique().to_pylist()) - set(samples))
    sizes = {str(shard["path"]).rsplit("/", 1)[-1]: shard["bytes"] for shard in entry["shards"]}
    outside: list[str] = []
    if counted == promised and table.num_rows:
        starts, stops = extents(table)
        lengths = np.stack([np.asarray(table[f"{kind}_length"]) for kind in SUFFIXES])
        names, shard_of_row = coded(table["shard"])
        limits = np.array([sizes[name] for name in names], dtype=np.int64)[shard_of_row]
        bad = np.flatnonzero((starts < 512) | (stops > limits) | (lengths < 1).any(axis=0))
        outside = [table["key"][int(row)].as_py() for row in bad[:1]]
    if counted != promised or table.num_rows != entry["n_pairs"] or strange or outside:
        raise DataError(
            "The index does not fit the release",
            code="index-invalid",
            file=entry["index"],
            expected=f"{entry['n_pairs']} pairs of sections in samples.parquet, inside {len(promised)} shards",
            found=", ".join([f"{table.num_rows} rows", *strange[:3], *(f"{key} outside" for key in outside)]),
            done="Nothing more was asked for",
        )
