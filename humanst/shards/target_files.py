"""The files of a target set: one a shard, rows in the shard's order, that numpy and scipy open without humanst.

``.npy``
    Values: float32 ``(n_rows, n_columns)``, C order, NaN = unmeasured. ``numpy.load`` maps it.
``.npz``
    Counts: int32, compressed sparse rows, as ``scipy.sparse.load_npz`` reads them: ``data``, ``indices`` (int32),
    ``indptr`` (int64), ``shape``, ``format``. Columns ascend within a row; zeros are not stored. No pickles.

The same rows give the same bytes, whether they were built or taken from another file.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from humanst import files
from humanst.errors import DataError, IntegrityError

VALUES = ".npy"
COUNTS = ".npz"
# Counts compress to a third at any level; the lowest is four times as fast.
_DEFLATE_LEVEL = 1
_MEMBERS = ("data", "format", "indices", "indptr", "shape")
_BROKEN = (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class CountRows:
    """Counts as compressed sparse rows.

    Attributes
    ----------
    data, indices
        ``(nnz,)`` int32: counts above zero, and their columns, ascending within a row.
    indptr
        ``(n_rows + 1,)`` int64: row ``i`` is ``data[indptr[i]:indptr[i + 1]]``.
    """

    data: NDArray[np.int32]
    indices: NDArray[np.int32]
    indptr: NDArray[np.int64]
    n_columns: int

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The given rows, in the given order."""
        lengths = np.diff(self.indptr)[rows]
        indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        within = np.arange(indptr[-1], dtype=np.int64) - np.repeat(indptr[:-1], lengths)
        places = np.repeat(self.indptr[:-1][rows], lengths) + within
        return type(self)(self.data[places], self.indices[places], indptr, self.n_columns)


def write_values(path: Path, values: NDArray[np.float32]) -> str:
    """Write ``(n_rows, n_columns)`` values to a ``.npy`` file; returns its sha256."""
    with files.write_aside(path) as aside:
        _write_npy(aside, np.ascontiguousarray(values, dtype="<f4"))
        return aside.sha256


def write_counts(path: Path, rows: CountRows) -> str:
    """Write counts to a ``.npz`` file; returns its sha256."""
    arrays: dict[str, NDArray[Any]] = {
        "data": rows.data.astype("<i4"),
        "format": np.array(b"csr"),
        "indices": rows.indices.astype("<i4"),
        "indptr": rows.indptr.astype("<i8"),
        "shape": np.array([rows.n_rows, rows.n_columns], dtype="<i8"),
    }
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name in _MEMBERS:
            # Its own default date is fixed too, but the system it is made on would show.
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            member = io.BytesIO()
            _write_npy(member, arrays[name])
            archive.writestr(info, member.getvalue(), zipfile.ZIP_DEFLATED, _DEFLATE_LEVEL)
    return files.write_bytes(path, whole.getvalue())


def _write_npy(out: Any, array: NDArray[Any]) -> None:
    np.lib.format.write_array(out, array, version=(1, 0), allow_pickle=False)


def read_values(path: Path) -> NDArray[np.float32]:
    """The values of a ``.npy`` file, mapped into memory, not read.

    Raises
    ------
    IntegrityError
        When it is not such a file.
    """
    try:
        values: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except _BROKEN as error:
        raise _not_targets(path, str(error)) from error
    if values.ndim != 2 or values.dtype != np.dtype("<f4"):
        raise _not_targets(path, f"{values.dtype} of shape {values.shape}")
    return values


def read_counts(path: Path) -> CountRows:
    """The counts of a ``.npz`` file.

    Raises
    ------
    IntegrityError
        When it is not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            data, _, indices, indptr, shape = (archive[name] for name in _MEMBERS)
    except _BROKEN as error:
        raise _not_targets(path, str(error)) from error
    if not len(indptr) == shape[0] + 1 or not len(data) == len(indices) == indptr[-1]:
        raise _not_targets(path, f"{len(data)} counts, {len(indices)} columns, {len(indptr)} row starts")
    return CountRows(data, indices, indptr, int(shape[1]))


def count_rows(path: Path) -> int:
    """Rows of a target file of either kind."""
    return len(read_values(path)) if path.suffix == VALUES else read_counts(path).n_rows


def take_rows(source: Path, rows: NDArray[np.int64] | NDArray[np.bool_], target: Path) -> str:
    """Write some rows of a target file to a new one of the same format.

    Parameters
    ----------
    rows
        Positions, in the order wanted, or one bool a row of ``source``.

    Returns
    -------
    str
        sha256 of ``target``: the bytes that building with these rows gives.

    Raises
    ------
    DataError
        ``target-rows`` when there are no such rows.
    IntegrityError
        When ``source`` is not a target file.
    """
    return gather_rows([(source, rows)], target)


def gather_rows(pieces: Sequence[tuple[Path, NDArray[np.int64] | NDArray[np.bool_]]], target: Path) -> str:
    """Like :func:`take_rows` from several files of one set: the rows of each, one file after the other.

    Raises
    ------
    DataError
        ``target-rows`` for rows that are not there, ``target-kinds`` for files of several kinds or widths.
    IntegrityError
        When one is not a target file.
    """
    kinds = {path.suffix for path, _ in pieces}
    if kinds not in ({VALUES}, {COUNTS}) or kinds != {target.suffix}:
        found = ", ".join(sorted(kinds | {target.suffix}))
        raise DataError(
            "Rows of one kind of target file are wanted", code="target-kinds", file=target.name, found=found
        )
    if target.suffix == VALUES:
        parts = [_taken(read_values(path), path, rows) for path, rows in pieces]
        _require_one_width({part.shape[1] for part in parts}, target)
        return write_values(target, np.concatenate(parts))
    taken = []
    for path, rows in pieces:
        counts = read_counts(path)
        taken.append(counts.take(_positions(rows, counts.n_rows, path)))
    return write_counts(target, join_counts(taken, target))


def join_counts(parts: Sequence[CountRows], target: Path) -> CountRows:
    """The rows of all parts, one after the other.

    Raises
    ------
    DataError
        ``target-kinds`` when they have different columns; ``target`` is named.
    """
    _require_one_width({part.n_columns for part in parts}, target)
    lengths = np.concatenate([np.diff(part.indptr) for part in parts])
    return CountRows(
        np.concatenate([part.data for part in parts]),
        np.concatenate([part.indices for part in parts]),
        np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        parts[0].n_columns,
    )


def _taken(values: NDArray[np.float32], path: Path, rows: NDArray[np.int64] | NDArray[np.bool_]) -> NDArray[np.float32]:
    return values[_positions(rows, len(values), path)]


def _positions(rows: NDArray[np.int64] | NDArray[np.bool_], n_rows: int, path: Path) -> NDArray[np.int64]:
    if rows.dtype == np.bool_:
        right, found = len(rows) == n_rows, f"{len(rows)} flags"
        wanted = np.flatnonzero(rows).astype(np.int64)
    else:
        wanted = rows.astype(np.int64)
        right = not wanted.size or (wanted.min() >= 0 and wanted.max() < n_rows)
        found = f"{wanted.min()} to {wanted.max()}" if wanted.size else "none"
    if not right:
        raise DataError(
            "A target file has no such rows",
            code="target-rows",
            file=path.name,
            expected=f"rows 0 to {n_rows - 1}",
            found=found,
        )
    return wanted


def _require_one_width(widths: set[int], target: Path) -> None:
    if len(widths) != 1:
        found = ", ".join(map(str, sorted(widths)))
        raise DataError(
            "Target files of one set have the same columns", code="target-kinds", file=target.name, found=found
        )


def _not_targets(path: Path, found: str) -> IntegrityError:
    return IntegrityError(
        "This is not a target file",
        code="target-file",
        file=path.name,
        expected="float32 values as .npy, or counts as a .npz of sparse rows",
        found=found,
    )
