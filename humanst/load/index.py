"""The index of a split as rows: where each pair lies in its shard, and what is known about it.

Numbers are kept as numpy arrays and texts as Arrow arrays, so that a million rows cost a few hundred megabytes once
and forked workers share them.
"""

from __future__ import annotations

import hashlib
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from humanst.errors import DataError
from humanst.files import is_one_value, parse_parquet
from humanst.load.release import not_on_record
from humanst.load.sections import codes, columns_for, fact_names, rows_of, section_facts

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from humanst.load.manifest import Split
    from humanst.load.release import Release

MEMBERS = ("jpg", "json", "npy")
LOCATION_COLUMNS = tuple(f"{member}_{part}" for member in MEMBERS for part in ("offset", "length", "hash"))
Run = tuple[str, int, int, list[int]]
"""Of a row: its shard, first byte and end there, and in between begin and end of the jpg, the json and the npy."""
NEEDED_COLUMNS = ("uid", "key", "shard", *LOCATION_COLUMNS, "log10_counts_z")


def read_index(release: Release, split: Split) -> pa.Table:
    """Read ``index/<split>.parquet``, hash first.

    Returns
    -------
    pyarrow.Table
        One row a pair, in shard order.

    Raises
    ------
    IntegrityError
        When the file is missing or its sha256 is not the one in the manifest.
    DataError
        When a column is missing, a key comes twice, or rows do not add up to the pairs the manifest counts.
    """
    try:
        data = release.local(split.index, split.index_sha256).read_bytes()
    except OSError as error:
        raise not_on_record(split.index, expected=f"sha256 {split.index_sha256}", found=str(error)) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != split.index_sha256:
        raise not_on_record(split.index, expected=f"sha256 {split.index_sha256}", found=f"sha256 {digest}")
    try:
        table = parse_parquet(data, max_rows=split.n_pairs)
    except ValueError as error:
        raise _bad_index(split, f"a parquet table of {split.n_pairs:,} rows at most", str(error)) from error
    if len(set(table.column_names)) != table.num_columns:
        raise _bad_index(split, "each column once", f"columns {', '.join(table.column_names)}")
    if missing := [name for name in NEEDED_COLUMNS if name not in table.column_names]:
        raise _bad_index(split, f"columns {', '.join(missing)}", f"columns {', '.join(table.column_names)}")
    for name in ("uid", "key", "shard", *LOCATION_COLUMNS):
        if n_missing := table[name].null_count:
            raise _bad_index(split, f"a value of {name} in every row", f"{n_missing} rows without")
    _check_kinds(table, split)
    _check_counts(table, split)
    return table


def _check_kinds(table: pa.Table, split: Split) -> None:
    """What is looked up is text, what is counted is whole, and all that describes a pair is one value."""
    text = ("uid", "key", "shard", *(f"{member}_hash" for member in MEMBERS))
    whole = [name for name in LOCATION_COLUMNS if name not in text]
    checks = [(name, pa.types.is_string, "text") for name in text]
    checks += [(name, pa.types.is_signed_integer, "whole numbers") for name in whole]
    checks += [("log10_counts_z", pa.types.is_floating, "numbers")]
    checks += [(name, is_one_value, "text or numbers") for name in table.column_names]
    for name, fits, expected in checks:
        if not fits(kind := table.schema.field(name).type):
            raise _bad_index(split, f"{expected} in {name}", str(kind))


def _check_counts(table: pa.Table, split: Split) -> None:
    counted = {entry["values"]: entry["counts"] for entry in table["shard"].value_counts().to_pylist()}
    recorded = {shard.name: shard.n_pairs for shard in split.shards if shard.n_pairs}
    for name in sorted(recorded.keys() | counted.keys()):
        if counted.get(name, 0) != recorded.get(name, 0):
            expected, found = f"{recorded.get(name, 0)} rows of {name}", f"{counted.get(name, 0)}"
            raise _bad_index(split, expected, found)
    for column in ("key", "uid"):
        if (different := pc.count_distinct(table[column], mode="all").as_py()) != table.num_rows:
            raise _bad_index(split, f"{table.num_rows} different values of {column}", str(different))


def _bad_index(split: Split, expected: str, found: str) -> DataError:
    return DataError(
        "The index does not fit the manifest",
        code="index-invalid",
        file=split.index,
        expected=expected,
        found=found,
        done="No pair was read",
        todo="Run humanst verify on the release",
    )


class Rows:
    """The rows of one split that were selected, numbered from 0 in shard order.

    Parameters
    ----------
    release
        The release.
    split
        Name of the split.
    where
        Keep the rows this expression is true for (grammar of ``humanst.select``), over columns of the index and facts
        of the sections in the manifest (``organ``, ``study_id``, ...); None keeps all.

    Attributes
    ----------
    table
        The selected rows as ``pyarrow.Table``.
    starts, stops
        (n,) int64, bytes: the run of the shard that holds the jpg, json and npy of each row.

    Raises
    ------
    IntegrityError, DataError
        See :func:`read_index`; also when a row points outside its shard.
    UsageError
        For an expression that is not in the grammar or names no column.
    """

    def __init__(self, release: Release, split: str, *, where: str | None = None) -> None:
        table = release.index(split)
        places = _places_in_shards(table)
        if where is not None:
            mask = _mask(release, table, where)
            table, places = table.filter(pa.array(mask)), places[mask]
        self.table: pa.Table = table.combine_chunks()
        self._places = places
        self._columns = {name: _column(self.table, name) for name in self.table.column_names}
        self._described = {name: column for name, column in self._columns.items() if name not in LOCATION_COLUMNS}
        self._offsets, self._lengths = offsets, lengths = self._locations("offset"), self._locations("length")
        self.starts: NDArray[np.int64] = offsets.min(axis=1)
        self.stops: NDArray[np.int64] = (offsets + lengths).max(axis=1)
        self._shards, self._shard_of_row = codes(self.table["shard"])
        self._check_inside(release.split(split))

    def _locations(self, part: str) -> NDArray[np.int64]:
        columns = [np.asarray(self._columns[f"{member}_{part}"], dtype=np.int64) for member in MEMBERS]
        return np.stack(columns, axis=1).reshape(-1, len(MEMBERS))

    def _check_inside(self, split: Split) -> None:
        sizes = {shard.name: shard.n_bytes for shard in split.shards}
        for shard, rows in self.by_shard().items():
            negative = (self.starts[rows] < 0) | (self._lengths[rows].min(axis=1) < 0)
            bad = rows[negative | (self.stops[rows] > sizes[shard])]
            if bad.size:
                found = f"{self.key(int(bad[0]))} at bytes {self.starts[bad[0]]:,} to {self.stops[bad[0]]:,}"
                raise _bad_index(split, f"members inside the {sizes[shard]:,} bytes of {shard}", found)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def key(self, row: int) -> str:
        """Give the key of a row."""
        return str(self._columns["key"][row])

    def shard(self, row: int) -> str:
        """Name of the shard that holds a row."""
        return str(self._shards[self._shard_of_row[row]])

    def place_in_shard(self, row: int) -> int:
        """Number of a row among all pairs of its shard, as files beside the shard count them."""
        return int(self._places[row])

    def by_shard(self, rows: NDArray[np.int64] | None = None) -> dict[str, NDArray[np.int64]]:
        """Shard name to its rows, ascending, shards in order of first appearance; to places among ``rows`` if given."""
        group = self._shard_of_row if rows is None else self._shard_of_row[rows]
        found = zip(self._shards, rows_of(group, len(self._shards)), strict=True)
        return {shard: places for shard, places in found if rows is None or len(places)}

    def runs(self, rows: NDArray[np.int64]) -> list[Run]:
        """Where several rows lie, all at once: looking one up after the other costs more than reading it."""
        starts, stops = self.starts[rows], self.stops[rows]
        begins = self._offsets[rows] - starts[:, None]
        cuts = np.stack([begins, begins + self._lengths[rows]], axis=2).reshape(-1, 2 * len(MEMBERS))
        shards = [self._shards[number] for number in self._shard_of_row[rows].tolist()]
        return list(zip(shards, starts.tolist(), stops.tolist(), cuts.tolist(), strict=True))

    def places(self, member: str, rows: NDArray[np.int64]) -> list[tuple[int, int]]:
        """First byte and end of a member of several rows, in their shards."""
        number = MEMBERS.index(member)
        starts, lengths = self._offsets[rows, number], self._lengths[rows, number]
        return list(zip(starts.tolist(), (starts + lengths).tolist(), strict=True))

    def hashes_of(self, member: str, rows: NDArray[np.int64]) -> list[str]:
        """Give the blake2b-64 hex digests on record for a member of several rows."""
        hashes: list[str] = _taken(self._columns[f"{member}_hash"], rows)
        return hashes

    def hash_of(self, row: int, member: str) -> str:
        """Give the blake2b-64 hex digest on record for a member of a row."""
        return str(self._columns[f"{member}_hash"][row])

    def keys_of(self, rows: NDArray[np.int64]) -> list[str]:
        """Give the keys of several rows."""
        keys: list[str] = _taken(self._columns["key"], rows)
        return keys

    def columns_of(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        """Give what the index says about rows, but where its bytes lie: arrays, and lists of text."""
        return {name: _taken(column, rows) for name, column in self._described.items()}

    @property
    def metadata_columns(self) -> tuple[str, ...]:
        """Names of the index columns that describe a pair."""
        return tuple(self._described)

    def to_pandas(self) -> pd.DataFrame:
        """Give the describing columns of all rows as a ``pandas.DataFrame``."""
        frame: pd.DataFrame = self.table.select(list(self.metadata_columns)).to_pandas()
        return frame


def _places_in_shards(table: pa.Table) -> NDArray[np.int32]:
    """(n,) int32: how many rows of the same shard come before each row."""
    names, shard_of_row = codes(table["shard"])
    places = np.empty(len(shard_of_row), dtype=np.int32)
    for rows in rows_of(shard_of_row, len(names)):
        places[rows] = np.arange(len(rows))
    return places


def _mask(release: Release, table: pa.Table, where: str) -> NDArray[np.bool_]:
    """(n,) bool: the rows for which a condition holds. A name of both the index and the sections means the index's."""
    from humanst.select import compile_where

    facts = section_facts(release)
    of_sections = fact_names(facts) - set(table.column_names)
    condition = compile_where(where, [*table.column_names, *sorted(of_sections)])
    return np.asarray(condition.mask(columns_for(table, facts, condition.columns)), dtype=np.bool_)


def _column(table: pa.Table, name: str) -> Any:
    column = table[name].combine_chunks()
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return column.to_numpy(zero_copy_only=False)
    return column


def _taken(column: Any, rows: NDArray[np.int64]) -> Any:
    return column[rows] if isinstance(column, np.ndarray) else column.take(rows).to_pylist()


def row_number(index: object, length: int) -> int:
    """Turn what stands in ``dataset[...]`` into a row from 0 to ``length - 1``.

    Raises
    ------
    IndexError
        Outside ``-length`` to ``length - 1``.
    TypeError
        For anything but an integer.
    """
    row = operator.index(index)  # type: ignore[arg-type]
    if not -length <= row < length:
        message = f"pair {row} of {length}"
        raise IndexError(message)
    return row % length
