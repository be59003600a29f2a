"""Counts split into two halves that share their spot and nothing of their sampling noise, and what halves tell.

What thinning can see. A count is drawn twice over: the spot has an intensity for each gene, and reading it out draws
Poisson counts around that. Binomial thinning of a Poisson count gives two *independent* Poisson counts of half the
intensity, so the correlation of the halves' scores is the share of a half's variance that its intensities explain.
Everything that is part of the intensity is in both halves and counts as signal: biology, but library size too, and
over-dispersion and dropout that hit a gene of one spot as a whole. A ceiling from halves is therefore the ceiling of a
predictor that knows the intensities; one that knows the tissue alone cannot get above it and may end below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix


def thin(counts: csr_matrix, seed: int | Sequence[int]) -> tuple[csr_matrix, csr_matrix]:
    """Give every single count to one of two halves, each with probability one half.

    Parameters
    ----------
    counts
        (n_spots, n_genes) CSR, non-negative integers of any type. Left as it is.
    seed
        The same seed and counts give the same halves, in whatever order a row's entries are stored.

    Returns
    -------
    Two CSR matrices of the shape and type of ``counts`` with sorted indices and no stored zeros; they add up to it.
    """
    whole = counts.copy()
    whole.sum_duplicates()
    rng = np.random.default_rng(seed)
    first = rng.binomial(whole.data.astype(np.int64), 0.5).astype(whole.dtype)
    other = whole.copy()
    other.data = whole.data - first
    whole.data = first
    for half in (whole, other):
        half.eliminate_zeros()
    return whole, other


def spearman_brown(half_r: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reliability of a whole from the correlation r of its halves, ``2 r / (1 + r)``.

    Spearman 1910 (doi:10.1111/j.2044-8295.1910.tb00206.x) and Brown 1910. NaN where r is -1.
    """
    half_r = np.asarray(half_r, dtype=np.float64)
    reliability = np.full(half_r.shape, np.nan)
    np.divide(2.0 * half_r, 1.0 + half_r, out=reliability, where=half_r > -1.0)
    return reliability


def noise_ceiling(reliability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Highest correlation with a target of this reliability, ``sqrt(reliability)``; 0 where it is negative."""
    return np.asarray(np.sqrt(np.maximum(reliability, 0.0)), dtype=np.float64)
