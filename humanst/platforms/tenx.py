"""10x count matrices of every generation: HDF5 and Market Exchange folders, shared by the 10x platforms.

The matrix is read as integers. scanpy's reader returns float32, which cannot tell a large count from its neighbour,
so the arrays are taken from the file directly.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.fetch.archives import is_gzip
from humanst.findings import Findings
from humanst.platforms.h5_guard import open_h5
from humanst.platforms.mex_header import check_header, unreadable
from humanst.platforms.tables import counts_from_values, read_table, refuse_duplicates

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    from scipy.sparse import csr_matrix

# What h5py raises on files that are damaged or laid out otherwise.
DAMAGED = (OSError, KeyError, TypeError, ValueError, IndexError, RuntimeError)
GENE_EXPRESSION = "Gene Expression"
MAX_NAME_BYTES = 1000
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
        ``no-counts`` without either, ``matrix-unreadable`` for a damaged file, ``probe-matrix`` for counts of probes
        and ``several-genomes`` for a mixed-species run; faulty counts become findings.
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


def _read_h5(path: Path, name: str, findings: Findings) -> TenxMatrix:

    try:
        with open_h5(path, name) as handle:
            group = h5_matrix_group(handle, name)
            missing = [key for key in H5_DATASETS if key not in group]
            if missing:
                raise unreadable(name, "a whole 10x matrix group", f"no {', '.join(missing)} in it")
            return _from_h5_group(group, name, findings)
    except DAMAGED as error:
        raise unreadable(name, "a 10x HDF5 matrix", f"{type(error).__name__}: {error}") from error


def read_features(files: LocalFiles) -> tuple[NDArray[np.str_], NDArray[np.str_], NDArray[np.str_]]:
    """Ids, names and types of the matrix's features, without its counts.

    Raises
    ------
    DataError
        ``no-counts``, ``matrix-unreadable``, ``several-genomes`` or ``probe-matrix``.
    """
    if "counts" in files.paths:
        name = files.names["counts"]
        try:
            with open_h5(files.paths["counts"], name) as handle:
                return h5_features(h5_matrix_group(handle, name), name)
        except DAMAGED as error:
            raise unreadable(name, "a 10x HDF5 matrix", f"{type(error).__name__}: {error}") from error
    if "features" not in files.paths:
        raise _no_counts(files)
    return _mex_features(files)


def h5_matrix_group(handle: h5py.File, name: str) -> h5py.Group:
    """``matrix`` of the v3 layout, or the one group named after its genome of Cell Ranger 2 and before."""
    if "matrix" in handle:
        if "features" not in handle["matrix"]:
            raise unreadable(name, "a 10x v3 matrix group", "no features in it")
        return handle["matrix"]
    genomes = sorted(key for key, item in handle.items() if hasattr(item, "keys") and "genes" in item)
    if not genomes:
        raise unreadable(name, "a 10x matrix", f"groups {', '.join(sorted(handle)) or 'none'}")
    if len(genomes) > 1:
        raise DataError(
            "The matrix holds several genomes",
            code="several-genomes",
            file=name,
            field="genome",
            expected="one human genome",
            found=", ".join(genomes),
            done="Nothing was written",
            todo="Give the matrix of the human part",
        )
    return handle[genomes[0]]


def h5_features(group: h5py.Group, name: str) -> tuple[NDArray[np.str_], NDArray[np.str_], NDArray[np.str_]]:
    """Ids, names and types of the features of either layout."""
    if "features" not in group:
        ids = read_names(group["genes"])
        return ids, read_names(group["gene_names"]), np.full(len(ids), GENE_EXPRESSION)
    features = group["features"]
    if "filtered_probes" in features or "gene_id" in features:
        raise DataError(
            "This matrix counts probes, not genes",
            code="probe-matrix",
            file=name,
            field="features",
            expected="the filtered or raw feature-barcode matrix",
            found=f"{features['id'].shape[0]:,} probes",
            done="Nothing was written",
            todo="Give filtered_feature_bc_matrix.h5 of the same run: which probes count is decided there",
        )
    ids, names, types = (read_names(features[key]) for key in ("id", "name", "feature_type"))
    return ids, names, types


def read_names(dataset: h5py.Dataset) -> NDArray[np.str_]:
    """The strings of a dataset; an array gives each of them the room of the longest.

    Raises
    ------
    ValueError
        For one that is no name.
    """
    longest = dataset.dtype.itemsize if dataset.dtype.kind != "O" else max(map(len, dataset[...]), default=0)
    if longest > MAX_NAME_BYTES:
        raise ValueError(f"a name of {longest:,} bytes in {dataset.name}")
    return np.char.decode(dataset[...].astype("S"), "utf-8").astype(str)


def _from_h5_group(group: h5py.Group, name: str, findings: Findings) -> TenxMatrix:
    from scipy.sparse import csr_matrix

    n_features, n_barcodes = (int(value) for value in group["shape"][...])
    ids, names, types = h5_features(group, name)
    data, indices, indptr = group["data"][...], group["indices"][...], group["indptr"][...]
    fits = (
        # A fraction would be cut off without a word.
        indices.dtype.kind in "iu"
        and indptr.dtype.kind in "iu"
        and len(indptr) == n_barcodes + 1
        and len(data) == len(indices) == (indptr[-1] if len(indptr) else -1)
        and len(ids) == len(names) == len(types) == n_features
        and bool(np.all(np.diff(indptr.astype(np.int64)) >= 0))
        and (len(indices) == 0 or (indices.min() >= 0 and indices.max() < n_features))
    )
    if not fits:
        raise unreadable(name, f"a consistent {n_features} x {n_barcodes} sparse matrix", "arrays that do not fit it")
    counts = counts_from_values(data, name=name, findings=findings)
    values = counts if counts is not None else np.zeros(len(data), dtype=np.int64)
    matrix = csr_matrix((values, indices.astype(np.int64), indptr.astype(np.int64)), shape=(n_barcodes, n_features))
    return _sorted(matrix, read_names(group["barcodes"]), ids, names, types, name, findings)


def _read_mex(files: LocalFiles, findings: Findings) -> TenxMatrix:
    from scipy.io import mmread
    from scipy.sparse import csr_matrix

    name, path = files.names["matrix"], files.paths["matrix"]
    ids, names, types = _mex_features(files)
    barcodes = _lines(files, "barcodes")[0].to_numpy(str)
    check_header(path, (len(ids), len(barcodes)), name)
    try:
        # scipy looks at the ending of the name alone.
        with gzip.open(path) if is_gzip(path) else path.open("rb") as handle:
            entries = mmread(handle)
        raw = csr_matrix(entries.T)
        refuse_twice(entries.nnz - raw.nnz, name, findings)
    except (ValueError, OSError, EOFError, OverflowError, zlib.error) as error:
        raise unreadable(name, "a Market Exchange matrix", str(error)) from error
    counts = counts_from_values(raw.data, name=name, findings=findings)
    raw = csr_matrix(
        (counts if counts is not None else np.zeros(raw.nnz, dtype=np.int64), raw.indices, raw.indptr), shape=raw.shape
    )
    return _sorted(raw, barcodes, ids, names, types, name, findings)


def _mex_features(files: LocalFiles) -> tuple[NDArray[np.str_], NDArray[np.str_], NDArray[np.str_]]:
    """Two columns in genes.tsv (Cell Ranger 2 and before), three or more in features.tsv."""
    table = _lines(files, "features")
    ids = table[0].to_numpy(str)
    names = table[1].to_numpy(str) if table.shape[1] > 1 else ids
    types = table[2].to_numpy(str) if table.shape[1] > 2 else np.full(len(ids), GENE_EXPRESSION)
    return ids, names, types


def _lines(files: LocalFiles, role: str) -> pd.DataFrame:
    """A table of names: a gene may be called NA, and quotes are part of a name."""
    return read_table(
        files.paths[role],
        name=files.names[role],
        sep="\t",
        header=None,
        dtype=str,
        keep_default_na=False,
        quoting=csv.QUOTE_NONE,
    )


def refuse_twice(n_more: int, name: str, findings: Findings) -> None:
    """Refuse a matrix that has a gene of a spot more than once: one of the two is the count of something else."""
    if n_more:
        findings.refuse(
            "entries-twice",
            "A gene of a spot is counted more than once",
            file=name,
            field="counts",
            expected="one entry for each gene of a spot",
            found=f"{n_more:,} entries more",
            todo="Fetch the file again; humanst does not choose between two counts",
        )


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
    n_entries = matrix.nnz
    matrix.sum_duplicates()
    refuse_twice(n_entries - matrix.nnz, name, findings)
    return TenxMatrix(matrix, barcodes[order], ids, names, types)
