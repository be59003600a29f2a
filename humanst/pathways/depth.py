"""Library size: the number of transcripts of a spot, carried beside its pathway scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from humanst.pathways.expression import totals_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

# Scores are sums of some thousand float64 terms of order 1; below this, a spread is rounding and not signal.
MIN_SD = 1e-12


@dataclass(frozen=True, slots=True)
class LibrarySize:
    """The number of transcripts of each spot, which the pathway scores leave out by design.

    Attributes
    ----------
    log10_counts
        (n_spots,) float64, log10 of the total; NaN for a spot without counts.
    z
        (n_spots,) float64, z over the fitting spots (population sd); NaN where the total is, or if nothing varies.
    mean, sd
        Of ``log10_counts`` over the fitting spots; NaN without fitting spots.
    """

    log10_counts: NDArray[np.float64]
    z: NDArray[np.float64]
    mean: float
    sd: float


def library_size(counts: csr_matrix, *, in_fit: NDArray[np.bool_]) -> LibrarySize:
    """Return log10 of each spot's total and its z over the fitting spots.

    Parameters
    ----------
    counts
        (n_spots, n_genes) integer counts, CSR.
    in_fit
        (n_spots,) the spots that set mean and sd; a spot without counts is never among them.
    """
    totals = totals_of(counts, np.arange(counts.shape[1])).astype(np.float64)
    has_counts = totals > 0
    log10_counts = np.full(len(totals), np.nan)
    np.log10(totals, out=log10_counts, where=has_counts)
    fit = np.asarray(in_fit, dtype=np.bool_) & has_counts
    if not fit.any():
        return LibrarySize(log10_counts, np.full(len(totals), np.nan), float("nan"), float("nan"))
    means, sds = mean_and_sd(log10_counts[np.newaxis, fit])
    mean, sd = float(means[0]), float(sds[0])
    z = (log10_counts - mean) / sd if sd > MIN_SD else np.full(len(totals), np.nan)
    return LibrarySize(log10_counts, z, mean, sd)


def mean_and_sd(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give mean and population sd of each row of a C-contiguous array: each on its own, whatever rows are beside it."""
    mean = rows.mean(axis=1)
    centred = rows - mean[:, np.newaxis]
    return mean, np.sqrt((centred * centred).mean(axis=1))
