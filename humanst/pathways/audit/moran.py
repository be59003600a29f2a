"""Moran's I of many columns on a lattice: how alike the scores of neighbouring targets are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.pathways.smoothing import neighbour_means

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from humanst.pathways.audit.inputs import Lattice

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
    means = neighbour_means((row, col, lattice), spots)
    used = np.flatnonzero(spots & (np.diff(means.indptr) > 0))
    # A neighbour has a neighbour: whoever found it.
    return Neighbours(used, means[used][:, used], int(spots.sum()) - len(used))


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
