"""Pearson correlation of many columns at once, in a fixed order of summation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_SPOTS = 3
# Below this share of its size, the spread of a column is rounding.
_ROUNDING = 1e-12


def pearson(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Correlate each column of ``a`` with the same column of ``b``, or with ``b`` itself if that is one column.

    Parameters
    ----------
    a
        (n_spots, P) float.
    b
        (n_spots, P) or (n_spots,) float.

    Returns
    -------
    (P,) float64. A spot that is NaN on either side is left out of its pair; NaN with fewer than three spots, or where
    a side does not vary.
    """
    left = _by_column(a)
    right = np.broadcast_to(_by_column(b if np.ndim(b) == 2 else np.asarray(b)[:, np.newaxis]), left.shape)
    both = np.isfinite(left) & np.isfinite(right)
    n = both.sum(axis=1)
    left, right = _centred(left, both, n), _centred(right, both, n)
    size = np.sqrt((left * left).sum(axis=1)) * np.sqrt((right * right).sum(axis=1))
    told = (n >= LEAST_SPOTS) & (size > 0)
    r = np.full(len(n), np.nan)
    np.divide((left * right).sum(axis=1), size, out=r, where=told)
    return r


def _by_column(values: NDArray[Any]) -> NDArray[np.float64]:
    # Contiguous columns are summed each on its own: a figure does not depend on what else is measured.
    return np.ascontiguousarray(np.asarray(values, dtype=np.float64).T)


def _centred(values: NDArray[np.float64], used: NDArray[np.bool_], n: NDArray[np.int64]) -> NDArray[np.float64]:
    kept = np.where(used, values, 0.0)
    mean = kept.sum(axis=1) / np.maximum(n, 1)
    centred = np.where(used, kept - mean[:, np.newaxis], 0.0)
    flat = np.abs(centred).max(axis=1, initial=0.0) <= _ROUNDING * np.abs(mean)
    centred[flat] = 0.0
    return np.asarray(centred)
