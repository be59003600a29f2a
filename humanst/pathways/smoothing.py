"""Neighbour smoothing of pathway scores on a section's lattice. Off by default.

``s'[i] = (1 - share) s[i] + share * mean of s over the lattice neighbours of i``. It raises split-half reliability, and
it raises Moran's I and the accuracy of labels by construction: a smoothed target must never be compared with an
unsmoothed one on those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from humanst.errors import DataError, UsageError
from humanst.pathways.sparse import csr_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

Lattice = tuple["NDArray[np.integer]", "NDArray[np.integer]", Literal["hex", "square"]]
"""``(row, col, kind)`` of every spot; on a hex lattice a column is half a pitch, as in the indices of Visium."""

STEPS: dict[str, tuple[tuple[int, int], ...]] = {
    "hex": ((-1, -1), (-1, 1), (0, -2), (0, 2), (1, -1), (1, 1)),
    "square": ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)),
}
"""Row and column steps to the neighbours of a spot."""


def neighbour_means(lattice: Lattice, counted: NDArray[np.bool_]) -> csr_matrix:
    """Make the matrix that gives the mean over each spot's neighbours.

    Parameters
    ----------
    lattice
        Row and column index of each of n spots, and the kind of lattice.
    counted
        (n,) the spots that are anybody's neighbour.

    Returns
    -------
    (n, n) float64 CSR; a row sums to 1, or is empty for a spot without neighbours. Entries are in the order of
    ``STEPS``, so that a mean does not depend on the order of spots.

    Raises
    ------
    UsageError
        ``lattice-kind`` for a lattice that is neither hex nor square.
    DataError
        ``scores-shape`` when the arrays do not fit together or are no whole numbers, ``lattice-repeated`` when two
        spots have one place.
    """
    row, col, kind = lattice
    row, col = np.asarray(row), np.asarray(col)
    _check(row, col, kind, len(counted))
    row, col = row.astype(np.int64), col.astype(np.int64)
    width = (int(col.max()) - int(col.min()) if len(col) else 0) + 5
    key = (row - row.min(initial=0)) * width + (col - col.min(initial=0)) + 2
    order = np.argsort(key, kind="stable")
    in_order = key[order]
    if np.any(in_order[:-1] == in_order[1:]):
        again = order[int(np.flatnonzero(in_order[:-1] == in_order[1:])[0])]
        what = "two spots have one place on the lattice"
        found = f"row {row[again]}, column {col[again]} twice"
        raise DataError(what, code="lattice-repeated", field="row, col", expected="each place once", found=found)
    found_at = np.full((len(key), len(STEPS[kind])), -1, dtype=np.int64)
    for step, (rows, columns) in enumerate(STEPS[kind]):
        wanted = key + rows * width + columns
        place = np.minimum(np.searchsorted(in_order, wanted), max(len(key) - 1, 0))
        is_there = in_order[place] == wanted
        found_at[is_there, step] = order[place[is_there]]
    is_neighbour = (found_at >= 0) & counted[found_at]
    n_neighbours = is_neighbour.sum(axis=1)
    shares = np.repeat(1.0 / np.maximum(n_neighbours, 1), n_neighbours)
    pointers = np.concatenate([[0], np.cumsum(n_neighbours)])
    return csr_of(shares, found_at[is_neighbour], pointers, (len(key), len(key)))


def smoothed(
    rows: NDArray[np.float64], means: csr_matrix, share: float, spots: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Mix scores with the mean of their neighbours.

    Parameters
    ----------
    rows
        (P, n) scores, a row a pathway.
    means
        From :func:`neighbour_means`.
    share
        Share of the neighbours.
    spots
        (n,) the spots that are changed.

    Returns
    -------
    (P, n) float64; a spot without neighbours keeps its score.
    """
    changed = np.flatnonzero((np.diff(means.indptr) > 0) & spots)
    result = rows.copy()
    around = means[changed] @ np.ascontiguousarray(rows.T)
    result[:, changed] = (1.0 - share) * rows[:, changed] + share * around.T
    return result


def _check(row: NDArray[np.generic], col: NDArray[np.generic], kind: str, n_spots: int) -> None:
    if kind not in STEPS:
        what = "this is no lattice that spots can be smoothed on"
        raise UsageError(what, code="lattice-kind", expected=" or ".join(STEPS), found=repr(kind))
    is_whole = np.issubdtype(row.dtype, np.integer) and np.issubdtype(col.dtype, np.integer)
    if row.shape != (n_spots,) or col.shape != (n_spots,) or not is_whole:
        what = "the lattice does not fit the spots"
        found = f"{row.dtype} {row.shape} and {col.dtype} {col.shape}"
        raise DataError(what, code="scores-shape", expected=f"{n_spots} whole rows and columns", found=found)
