"""10x count matrices: HDF5 and Market Exchange folders, shared by the 10x platforms.

The matrix is read as integers. scanpy's reader returns float32, which cannot tell a large count from its neighbour,
so the arrays are taken from the file directly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.findings import Findings
from humanst.platforms.tables import counts_from_values, read_table, refuse_duplicates

if TYPE_CHECKING:
    import h5py
    from scipy.sparse import csr_matrix

# What h5py raises on files that are damaged or laid out otherwise.
DAMAGED = (OSError, KeyError, TypeError, ValueError, IndexError, RuntimeError)
H5_DATASETS = ("data", "indices", "indptr", "shape", "barcodes")


@dataclass(frozen=True, slots=True)
class TenxMatrix:
    """A 10x matrix turned spots-first.

    Attributes
    ----------
    counts
        ``(n_barcodes, n_features)`` CSR int64, barcodes sorted.
    barcodes, feature_ids, feature_names, feature_types
        Strings as in the file, in the order of ``counts``.
    """

    counts: csr_matrix
    barcodes: NDArray[np.str_]
    feature_ids: NDArray[np.str_]
    feature_names: NDArray[np.str_]
    feature_types: NDArray[np.str_]


def read_matrix(files: LocalFiles, findings: Findings) -> TenxMatrix:
    """Read the matrix from role ``counts`` (HDF5) or from ``matrix``, ``features`` and ``barcodes`` (MEX).

    Raises
    ------
    DataError
        ``no-counts`` without either, ``matrix-unreadable`` for a damaged file; faulty counts become findings.
    """
    if "counts" in files.paths:
        return _read_h5(files.paths["counts"], files.names["counts"], findings)
    if {"matrix", "features", "barcodes"} <= set(files.paths):
        return _read_mex(files, findings)
    raise _no_counts(files)


def _no_counts(files: LocalFiles) -> DataError:
    return DataError(
        "The section has no count matrix",
        code="no-counts",
        study=files.study_id,
        section=files.section_id,
        field="counts",
        expected="filtered_feature_bc_matrix.h5, or matrix.mtx, features.tsv and barcodes.tsv",
        found=f"files for {', '.join(sorted(files.paths)) or 'nothing'}",
        done="The section was refused",
        todo="Add the count matrix to the catalog or the folder",
    )


def _unreadable(name: str, expected: str, found: str) -> DataError:
    return DataError(
        "The count matrix cannot be read",
        code="matrix-unreadable",
        file=name,
        expected=expected,
        found=found,
        todo="Fetch the file again",
    )


def _read_h5(path: Path, name: str, findings: Findings) -> TenxMatrix:
    import h5py

    try:
        with h5py.File(path, "r") as handle:
            return _from_h5_group(_matrix_group(handle, name), name, findings)
    except DAMAGED as error:
        raise _unreadable(name, "a 10x v3 HDF5 matrix", f"{type(error).__name__}: {error}") from error


def read_features(files: LocalFiles) -> tuple[NDArray[np.str_], NDArray[np.str_], NDArray[np.str_]]:
    """Ids, names and types of the matrix's features, without its counts.

    Raises
    ------
    DataError
        ``no-counts`` or ``matrix-unreadable``.
    """
    import h5py

    if "counts" in files.paths:
        name = files.names["counts"]
        try:
            with h5py.File(files.paths["counts"], "r") as handle:
                return _features(_matrix_group(handle, name))
        except DAMAGED as error:
            raise _unreadable(name, "a 10x v3 HDF5 matrix", f"{type(error).__name__}: {error}") from error
    if "features" not in files.paths:
        raise _no_counts(files)
    return _mex_features(files)


def _matrix_group(handle: h5py.File, name: str) -> h5py.Group:
    group = handle.get("matrix")
    missing = [key for key in H5_DATASETS if group is None or key not in group]
    if group is None or missing or "features" not in group:
        raise _unreadable(name, "a 10x v3 matrix group", f"no {', '.join(missing) or 'features'} in it")
    return group


def _features(group: h5py.Group) -> tuple[NDArray[np.str_], NDArray[np.str_], NDArray[np.str_]]:
    ids, names, types = (_text(group["features"][key]) for key in ("id", "name", "feature_type"))
    return ids, names, types


def _text(dataset: h5py.Dataset) -> NDArray[np.str_]:
    return np.char.decode(dataset[...].astype("S"), "utf-8").astype(str)


def _from_h5_group(group: h5py.Group, name: str, findings: Findings) -> TenxMatrix:
    from scipy.sparse import csr_matrix

    n_features, n_barcodes = (int(value) for value in group["shape"][...])
    data, indices, indptr = group["data"][...], group["indices"][...], group["indptr"][...]
    ids, names, types = _features(group)
    fits = (
        len(indptr) == n_barcodes + 1
        and len(data) == len(indices) == (indptr[-1] if len(indptr) else -1)
        and len(ids) == n_features
        and bool(np.all(np.diff(indptr) >= 0))
        and (len(indices) == 0 or (indices.min() >= 0 and indices.max() < n_features))
    )
    if not fits:
        raise _unreadable(name, f"a consistent {n_features} x {n_barcodes} sparse matrix", "arrays that do not fit it")
    counts = counts_from_values(data, name=name, findings=findings)
    values = counts if counts is not None else np.zeros(len(data), dtype=np.int64)
    matrix = csr_matrix((values, indices.astype(np.int64), indptr.astype(np.int64)), shape=(n_barcodes, n_features))
    return _sorted(matrix, _text(group["barcodes"]), ids, names, types, name, findings)


def _read_mex(files: LocalFiles, findings: Findings) -> TenxMatrix:
    from scipy.io import mmread
    from scipy.sparse import csr_matrix

    name = files.names["matrix"]
    try:
        raw = csr_matrix(mmread(files.paths["matrix"]).T)
    except (ValueError, OSError, EOFError) as error:
        raise _unreadable(name, "a Market Exchange matrix", str(error)) from error
    counts = counts_from_values(raw.data, name=name, findings=findings)
    raw = csr_matrix(
        (counts if counts is not None else np.zeros(raw.nnz, dtype=np.int64), raw.indices, raw.indptr), shape=raw.shape
    )
    ids, names, types = _mex_features(files)
    barcodes = read_table(files.paths["barcodes"], name=files.names["barcodes"], sep="\t", header=None, dtype=str)
    if raw.shape != (len(barcodes), len(ids)):
        raise _unreadable(name, f"{len(ids)} features x {len(barcodes)} barcodes", f"{raw.shape[::-1]}")
    return _sorted(raw, barcodes[0].to_numpy(str), ids, names, types, name, findings)


def _mex_features(files: LocalFiles) -> tuple[NDArray[np.str_], NDArray[np.str_], NDArray[np.str_]]:
    table = read_table(files.paths["features"], name=files.names["features"], sep="\t", header=None, dtype=str)
    ids = table[0].to_numpy(str)
    names = table[1].to_numpy(str) if table.shape[1] > 1 else ids
    types = table[2].to_numpy(str) if table.shape[1] > 2 else np.full(len(ids), "Gene Expression")
    return ids, names, types


def _sorted(
    matrix: csr_matrix,
    barcodes: NDArray[np.str_],
    ids: NDArray[np.str_],
    names: NDArray[np.str_],
    types: NDArray[np.str_],
    name: str,
    findings: Findings,
) -> TenxMatrix:
    refuse_duplicates(barcodes, name=name, field="barcodes", findings=findings)
    order = np.argsort(barcodes, kind="stable")
    matrix = matrix[order]
    matrix.sum_duplicates()
    return TenxMatrix(matrix, barcodes[order], ids, names, types)
