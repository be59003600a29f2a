"""A 10x count matrix block by block, for tables of many more rows than are held at once.

The HDF5 file keeps the features of one barcode together, so that a run of barcodes is read without the rest: a slide
of Visium HD has up to eleven million barcodes, of which a block holds some tens of thousands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.fetch import LocalFiles
from humanst.findings import Findings
from humanst.platforms.h5_guard import open_h5
from humanst.platforms.mex_header import unreadable
from humanst.platforms.tables import counts_from_values
from humanst.platforms.tenx import DAMAGED, H5_DATASETS, h5_features, h5_matrix_group, read_matrix

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BLOCK_ENTRIES = 1 << 23

Block = tuple[int, "csr_matrix"]


@dataclass(frozen=True, slots=True)
class BlockMatrix:
    """A 10x matrix of which only the axes are in memory.

    Attributes
    ----------
    barcodes
        pyarrow array of ``(n_barcodes,)`` binary, in the order of the file.
    feature_ids, feature_names, feature_types
        ``(n_features,)`` str as in the file.
    blocks
        Gives ``(first row, (m, n_features) int64 CSR)`` from the first barcode to the last; each call reads anew.
        Faulty counts become findings and end it.

    Raises
    ------
    DataError
        From ``blocks``: ``matrix-unreadable`` for a damaged file.
    """

    barcodes: Any
    feature_ids: NDArray[np.str_]
    feature_names: NDArray[np.str_]
    feature_types: NDArray[np.str_]
    blocks: Callable[[], Iterator[Block]]


def open_matrix(files: LocalFiles, findings: Findings, *, block_entries: int = BLOCK_ENTRIES) -> BlockMatrix:
    """Read the axes of the matrix of role ``counts`` (HDF5); a Market Exchange matrix is read whole, as one block.

    Parameters
    ----------
    block_entries
        Entries read at a time; a block has whole barcodes, and at least one.

    Raises
    ------
    DataError
        As :func:`humanst.platforms.tenx.read_matrix`.
    """
    import pyarrow as pa

    if "counts" in files.paths:
        return _open_h5(files.paths["counts"], files.names["counts"], findings, block_entries)
    matrix = read_matrix(files, findings)
    return BlockMatrix(
        barcodes=pa.array(matrix.barcodes.tolist(), type=pa.string()).cast(pa.binary()),
        feature_ids=matrix.feature_ids,
        feature_names=matrix.feature_names,
        feature_types=matrix.feature_types,
        blocks=lambda: iter([(0, matrix.counts)]),
    )


def _open_h5(path: Path, name: str, findings: Findings, block_entries: int) -> BlockMatrix:
    import pyarrow as pa

    try:
        with open_h5(path, name) as handle:
            group = h5_matrix_group(handle, name)
            missing = [key for key in H5_DATASETS if key not in group]
            if missing:
                raise unreadable(name, "a whole 10x matrix group", f"no {', '.join(missing)} in it")
            ids, names, types = h5_features(group, name)
            barcodes, indptr = group["barcodes"][...], group["indptr"][...].astype(np.int64)
            n_features, n_barcodes = (int(value) for value in group["shape"][...])
            n_entries = {int(group[key].shape[0]) for key in ("data", "indices")}
            # A fraction would be cut off without a word.
            whole = all(group[key].dtype.kind in "iu" for key in ("indices", "indptr"))
    except DAMAGED as error:
        raise unreadable(name, "an HDF5 file", str(error)) from error
    fits = (
        whole
        and len(ids) == n_features
        and len(barcodes) == n_barcodes == len(indptr) - 1
        and n_entries == {int(indptr[-1])}
        and int(indptr[0]) == 0
        and bool(np.all(np.diff(indptr) >= 0))
    )
    if not fits:
        raise unreadable(name, f"a consistent {n_features} x {n_barcodes} sparse matrix", "arrays that do not fit it")
    return BlockMatrix(
        barcodes=pa.array(barcodes, type=pa.binary()),
        feature_ids=ids,
        feature_names=names,
        feature_types=types,
        blocks=lambda: _h5_blocks(path, name, indptr, n_features, findings, block_entries),
    )


def _h5_blocks(
    path: Path, name: str, indptr: NDArray[np.int64], n_features: int, findings: Findings, block_entries: int
) -> Iterator[Block]:
    from scipy.sparse import csr_matrix

    try:
        with open_h5(path, name) as handle:
            group = h5_matrix_group(handle, name)
            for first, last in _bounds(indptr, block_entries):
                entries = slice(int(indptr[first]), int(indptr[last]))
                data, indices = group["data"][entries], group["indices"][entries]
                if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < n_features:
                    raise unreadable(name, f"feature numbers below {n_features}", f"{indices.min()} to {indices.max()}")
                counts = counts_from_values(data, name=name, findings=findings)
                if counts is None:
                    return
                places = indptr[first : last + 1] - indptr[first]
                shape = (last - first, n_features)
                yield first, csr_matrix((counts, indices.astype(np.int32), places.astype(np.int32)), shape=shape)
    except DAMAGED as error:
        raise unreadable(name, "an HDF5 file", str(error)) from error


def _bounds(indptr: NDArray[np.int64], block_entries: int) -> Iterator[tuple[int, int]]:
    """Runs of rows (first, last + 1) with at most ``block_entries`` entries each, or one row."""
    first, n_rows = 0, len(indptr) - 1
    while first < n_rows:
        full = int(np.searchsorted(indptr, indptr[first] + block_entries, side="right")) - 1
        last = min(max(full, first + 1), n_rows)
        yield first, last
        first = last
