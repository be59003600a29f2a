"""Moran's I of many columns on a lattice: how alike the scores of neighbouring targets are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from humanst.pathways.audit.inputs import Lattice

# (row, column) steps to the neighbours of a place; columns of one row of a Visium slide step by two.
_STEPS: dict[str, tuple[tuple[int, int], ...]] = {
    "hex": ((0, -2), (0, 2), (-1, -1), (-1, 1), (1, -1), (1, 1)),
    "square": tuple((r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0)),
}
# Below this share of its size, the spread of a column is rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Which targets of a section lie beside each other.

    Attributes
    ----------
    spots
        (n_used,) int64, indices of the spots that have a neighbour, ascending.
    weights
        (n_used, n_used) float64 CSR, each row sums to 1: an equal share to each neighbour.
    n_islands
        Spots that were asked for and have no neighbour; they are left out.
    """

    spots: NDArray[np.int64]
    weights: csr_matrix
    n_islands: int


def neighbours_on(
    row: NDArray[np.int64], col: NDArray[np.int64], lattice: Lattice, spots: NDArray[np.bool_]
) -> Neighbours:
    """Find the neighbours of each spot among the spots asked for: six on a hex lattice, eight on a square one.

    Parameters
    ----------
    row, col
        (n_spots,) lattice indices, each place once.
    lattice
        ``hex`` as on a Visium slide, or ``square``.
    spots
        (n_spots,) bool, the spots that take part.
    """
    from scipy.sparse import csr_matrix

    asked = np.flatnonzero(spots)
    at, near = _pairs(row[asked], col[asked], _STEPS[lattice])
    n_near = np.bincount(at, minlength=len(asked))
    used = np.flatnonzero(n_near)
    place = np.full(len(asked), -1, dtype=np.int64)
    place[used] = np.arange(len(used))
    shape = (len(used), len(used))
    weights = csr_matrix((1.0 / n_near[at], (place[at], place[near])), shape=shape)
    weights.sort_indices()
    return Neighbours(asked[used], weights, len(asked) - len(used))


def _pairs(
    row: NDArray[np.int64], col: NDArray[np.int64], steps: tuple[tuple[int, int], ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``(spot, neighbour)`` of every pair of neighbours, both ways round."""
    if not len(row):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    # Room of two on every side, so that a step never runs into the next row.
    r, c = row.astype(np.int64) - row.min() + 2, col.astype(np.int64) - col.min() + 2
    width = int(c.max()) + 3
    keys = r * width + c
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    at, near = [], []
    for down, right in steps:
        sought = keys + down * width + right
        place = np.minimum(np.searchsorted(ordered, sought), len(keys) - 1)
        found = np.flatnonzero(ordered[place] == sought)
        at.append(found)
        near.append(order[place[found]])
    return np.concatenate(at), np.concatenate(near)


def morans_i(
    values: NDArray[Any], neighbours: Neighbours, without: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Moran's I of each column, ``z' W z / z' z`` with z the centred values and W row-standardised.

    Moran 1950 (doi:10.1093/biomet/37.1-2.17); with rows that sum to 1, the number of spots over the sum of weights,
    by which the general form is multiplied, is 1.

    Parameters
    ----------
    values
        (n_spots, P) float, all spots of the section.
    neighbours
        From :func:`neighbours_on`; other spots than its own are not looked at.
    without
        (n_spots,) float: take out of every column what it explains linearly, over the same spots, before measuring.

    Returns
    -------
    (P,) float64. NaN where a column has a NaN at a spot, or does not vary, or no spot has a neighbour.
    """
    columns = _centred(np.asarray(values, dtype=np.float64)[neighbours.spots])
    size = (columns * columns).sum(axis=1)
    least = size * _ROUNDING**2
    if without is not None:
        known = _centred(np.asarray(without, dtype=np.float64)[neighbours.spots, np.newaxis])[0]
        told = float((known * known).sum())
        if told > 0:
            columns = columns - ((columns * known).sum(axis=1) / told)[:, np.newaxis] * known
            size = (columns * columns).sum(axis=1)
    lag = np.ascontiguousarray((neighbours.weights @ np.ascontiguousarray(columns.T)).T)
    index = np.full(len(columns), np.nan)
    np.divide((columns * lag).sum(axis=1), size, out=index, where=size > least)
    return index


def _centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each column less its mean, columns as contiguous rows: (P, n)."""
    by_column = np.ascontiguousarray(values.T)
    if not by_column.shape[1]:
        return by_column
    mean = by_column.mean(axis=1, keepdims=True)
    centred = by_column - mean
    flat = np.abs(centred).max(axis=1) <= _ROUNDING * np.abs(mean[:, 0])
    centred[flat] = 0.0
    return np.asarray(centred, dtype=np.float64)
