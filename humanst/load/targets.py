"""Read a file of a target set: numpy alone.

``targets/<set>/<split>-00000.npy`` holds values, ``.npz`` counts; row ``i`` belongs to row ``i`` of the shard of that
name, in the order of the index. ``docs/targets.md`` tells what the sets are.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from humanst.errors import IntegrityError


@dataclass(frozen=True, slots=True)
class SparseCounts:
    """Counts of genes, a row a pair, without the zeros.

    Attributes
    ----------
    data, indices
        ``(nnz,)`` int32: counts and their columns, ascending within a row.
    indptr
        ``(n_rows + 1,)`` int64: row ``i`` is ``data[indptr[i]:indptr[i + 1]]``.
    """

    data: NDArray[np.int32]
    indices: NDArray[np.int32]
    indptr: NDArray[np.int64]
    n_columns: int

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        """``(n_columns,)`` int32: one row with its zeros. Whether a zero was measured, ``measured.parquet`` tells."""
        found = np.zeros(self.n_columns, dtype=np.int32)
        start, stop = self.indptr[:-1][row], self.indptr[1:][row]
        found[self.indices[start:stop]] = self.data[start:stop]
        return found


def read_targets(path: Path) -> NDArray[np.float32] | SparseCounts:
    """Read a file of a target set.

    Parameters
    ----------
    path
        A ``.npy`` or ``.npz`` file below ``targets/``.

    Returns
    -------
    ndarray of float32
        ``(n_rows, n_columns)``, NaN = unmeasured, mapped into memory and not read; of a ``.npy`` file.
    SparseCounts
        Of a ``.npz`` file.

    Raises
    ------
    IntegrityError
        When the file is torn, or none of a target set.
    """
    try:
        if path.suffix == ".npy":
            values: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
            if values.ndim == 2 and values.dtype == np.float32:
                return values
            found = f"{values.dtype} of shape {values.shape}"
        else:
            with np.load(path, allow_pickle=False) as archive:
                data, indices, indptr, shape = (archive[name] for name in ("data", "indices", "indptr", "shape"))
            if len(indptr) == shape[0] + 1 and len(data) == len(indices) == indptr[-1]:
                return SparseCounts(data, indices, indptr, int(shape[1]))
            found = f"{len(data)} counts, {len(indices)} columns, {len(indptr)} row starts"
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        found = str(error)
    raise IntegrityError(
        "This is not a target file",
        code="target-file",
        file=path.name,
        expected="float32 values as .npy, or counts as a .npz of sparse rows",
        found=found,
        todo="`humanst verify` tells what else of the release is not as it was built",
    )
