"""The genes that every section of a release measured: how they vary, and which of them a release is judged by.

One pass over the sections; what is kept is a few figures a gene.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.pathways.bincontrol import log_cp10k

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix


MIN_DETECTED = 0.10
DISPERSION_BINS = 20
# Spots whose logarithms are made in one go.
BLOCK_SPOTS = 1024


@dataclass(frozen=True, slots=True)
class GeneFigures:
    """What one section, or several together, say of their genes.

    Attributes
    ----------
    ids
        (G,) measured genes, sorted.
    n_spots
        Spots in the fit.
    sums, squares
        (G,) float64, of the raw counts and of their squares over these spots.
    mean_log
        (G,) mean of log1p(CP10k) over the spots; over several sections each counts the same.
    detected
        (G,) share of spots with a count, in the section with the smallest.
    detected_mean
        (G,) share of spots with a count, over several sections each counts the same.
    n_sections
        Sections these figures are of.
    """

    ids: NDArray[np.str_]
    n_spots: int
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    mean_log: NDArray[np.float64]
    detected: NDArray[np.float64]
    detected_mean: NDArray[np.float64]
    n_sections: int = 1

    def of(self, rows: NDArray[np.int64]) -> GeneFigures:
        """The same figures of some of the genes."""
        return GeneFigures(
            ids=self.ids[rows],
            n_spots=self.n_spots,
            sums=self.sums[rows],
            squares=self.squares[rows],
            mean_log=self.mean_log[rows],
            detected=self.detected[rows],
            detected_mean=self.detected_mean[rows],
            n_sections=self.n_sections,
        )

    def and_of(self, other: GeneFigures) -> GeneFigures:
        """Return the figures of both, of the genes that both measured."""
        ids, mine, theirs = np.intersect1d(self.ids, other.ids, assume_unique=True, return_indices=True)
        a, b = self.of(mine), other.of(theirs)
        n = a.n_sections + b.n_sections

        def mean(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
            return (a.n_sections * x + b.n_sections * y) / n

        return GeneFigures(
            ids=ids,
            n_spots=a.n_spots + b.n_spots,
            sums=a.sums + b.sums,
            squares=a.squares + b.squares,
            mean_log=mean(a.mean_log, b.mean_log),
            detected=np.minimum(a.detected, b.detected),
            detected_mean=mean(a.detected_mean, b.detected_mean),
            n_sections=n,
        )


def figures_of(counts: csr_matrix, ids: NDArray[Any], in_fit: NDArray[np.bool_]) -> GeneFigures:
    """Return the figures of one section.

    Parameters
    ----------
    counts
        (n_spots, G) integer counts of the measured genes, CSR.
    ids
        (G,) their ids, sorted.
    in_fit
        (n_spots,) the spots to take; at least one.
    """
    fit = np.flatnonzero(in_fit)
    n_genes = len(ids)
    sums, squares, logs, seen = (np.zeros(n_genes) for _ in range(4))
    for start in range(0, len(fit), BLOCK_SPOTS):
        block = counts[fit[start : start + BLOCK_SPOTS]]
        values = block.data.astype(np.float64)
        for total, weights in (
            (sums, values),
            (squares, values * values),
            (logs, log_cp10k(block).data),
            (seen, values > 0),
        ):
            total += np.bincount(block.indices, weights=weights, minlength=n_genes)
    share = seen / len(fit)
    return GeneFigures(np.asarray(ids, dtype=np.str_), len(fit), sums, squares, logs / len(fit), share, share)


def most_variable(figures: GeneFigures, n: int) -> NDArray[np.int64]:
    """Choose the genes that vary most for their expression level.

    Candidates were counted in at least 10 % of the spots of every section; where fewer than ``n`` were, in 10 % of the
    spots of the mean section. They are ranked by the dispersion (variance over mean of raw counts), on a log scale, as
    z among genes of one of 20 bins of equal width of log1p mean: the "seurat" flavour of scanpy on log1p of raw counts
    (Satija et al. 2015, doi:10.1038/nbt.3192), as the usual benchmarks of predicted expression choose their genes.

    Parameters
    ----------
    figures
        Of all sections together.
    n
        Genes wanted.

    Returns
    -------
    (<= n,) indices into ``figures.ids``, ascending.
    """
    candidates = np.flatnonzero(figures.detected >= MIN_DETECTED)
    if len(candidates) < n:
        candidates = np.flatnonzero(figures.detected_mean >= MIN_DETECTED)
    chosen = figures.of(candidates)
    mean = chosen.sums / max(chosen.n_spots, 1)
    variance = (chosen.squares - chosen.n_spots * mean**2) / max(chosen.n_spots - 1, 1)
    rank = _normalised_dispersion(mean, variance)
    best = np.argsort(-rank, kind="stable")[:n]
    return np.sort(candidates[best])


def _normalised_dispersion(mean: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    import pandas as pd

    if not len(mean):
        return np.zeros(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        dispersion = np.log(variance / mean)
    table = pd.DataFrame({"bin": pd.cut(np.log1p(mean), DISPERSION_BINS, labels=False), "value": dispersion})
    # A gene that never varies has no logarithm and comes last.
    table["value"] = table["value"].where(np.isfinite(table["value"]))
    of_bin = table.groupby("bin")["value"]
    centre, spread = of_bin.transform("mean"), of_bin.transform("std")
    # A gene alone in its bin has no spread: it gets 1, as it does in scanpy.
    alone = spread.isna() | (spread == 0)
    z = ((table["value"] - centre) / spread).where(~alone, 1.0)
    return z.where(table["value"].notna(), -np.inf).to_numpy(np.float64)
