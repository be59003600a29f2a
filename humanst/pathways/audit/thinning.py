"""Counts split into two halves that share their spot and nothing of their sampling noise, and what halves tell.

What thinning can see. A count is drawn twice over: the spot has an intensity for each gene, and reading it out draws
Poisson counts around that. Binomial thinning of a Poisson count gives two *independent* Poisson counts of half the
intensity, so the correlation of the halves' scores is the share of a half's variance that its intensities explain.
Everything that is part of the intensity is in both halves and counts as signal: biology, but library size too, and
over-dispersion and dropout that hit a gene of one spot as a whole. A ceiling from halves is therefore that of a
predictor which knows the intensities: the correlation of two measurements of the very same spots, and its root for a
prediction against one measurement. A predictor that knows the tissue alone cannot get above it and may end below it.
Noise that neighbours do not share shows in Moran's I, which is why both are measured.

The step from halves to the whole takes noise to be additive. Scores are of logarithms, which hold back more at half the
depth, so the ceiling comes out a little high on shallow counts: by 0.01 to 0.02 on tissue where it is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

_BITS = 8
# Ones among the first n bits of a byte, at n * 256 + byte.
_ONES = np.array([(byte & (1 << n) - 1).bit_count() for n in range(_BITS + 1) for byte in range(256)], dtype=np.uint8)


def thin(counts: csr_matrix, seed: int | Sequence[int]) -> tuple[csr_matrix, csr_matrix]:
    """Give every single count to one of two halves, each with probability one half.

    Parameters
    ----------
    counts
        (n_spots, n_genes) CSR, non-negative integers of any type. Left as it is.
    seed
        The same seed and counts give the same halves, in whatever order a row's entries are stored and
        whether or not zeros are.

    Returns
    -------
    Two CSR matrices of the shape and type of ``counts`` with sorted indices and no stored zeros; they add up to it.
    """
    whole = counts.copy()
    whole.sum_duplicates()
    # A stored zero would take a toss, and every count after it another one.
    whole.eliminate_zeros()
    first = _heads(whole.data, np.random.default_rng(seed))
    other = whole.copy()
    other.data = whole.data - first
    whole.data = first
    for half in (whole, other):
        half.eliminate_zeros()
    return whole, other


def _heads(counts: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """How many of ``counts`` tosses of a fair coin are heads, for each entry, in the type of ``counts``."""
    # Nearly all counts are small, and the tosses of eight of them are the bits of one random byte.
    tosses = np.frombuffer(rng.bytes(len(counts)), dtype=np.uint8)
    few = counts <= _BITS
    heads: NDArray[Any] = _ONES[np.minimum(counts, _BITS).astype(np.intp) << _BITS | tosses].astype(counts.dtype)
    many = np.flatnonzero(~few)
    heads[many] = rng.binomial(counts[many].astype(np.int64), 0.5)
    return heads


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
