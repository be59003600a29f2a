r"""``score_genes``: mean log expression of the set, less that of control genes drawn from its expression bins.

The method of :func:`scanpy.tl.score_genes` (Satija et al. 2015, doi:10.1038/nbt.3192) with its defaults: ``ctrl_size``
50, ``n_bins`` 25, ``ctrl_as_ref``, ``random_state`` 0, on ``log1p(CP10k)``; with every spot fitting and genes in the
order of their Ensembl ids the scores are scanpy's. Genes are ranked by their mean over the fitting spots and put into
bins; from each bin that has a gene of the set 50 genes are drawn; those of the set are taken out; the mean of all the
others is the control. The draw is repeated for every set from the same seed, so a set's score does not depend on the
sets beside it, nor on the order of genes in a file.

What it leaves to chance: another seed gives other control genes and other scores (``bincontrol`` takes the whole bin).
Every control gene weighs the same, so a set that is mostly in one bin is compared with all of its bins alike, and a
rest of library size stays in (real sections: r = 0.25). A set whose bins are all of the set has no control; it is
masked as one that does not vary. Genes with weights w: a weighted mean, less the control times sum w / sum \|w\|.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from humanst.pathways.scorers.base import LinearScorer, scaled

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from humanst.pathways.expression import Expression
    from humanst.pathways.scorers.base import SetWeights

CONTROLS_PER_BIN = 50
N_BINS = 25
SEED = 0


@dataclass(frozen=True, slots=True)
class ScoreGenesScorer(LinearScorer):
    """Mean log expression less that of drawn controls."""

    @classmethod
    def fit(cls, expression: Expression, sets: SetWeights) -> Self:
        """Bin the genes by their mean over the fitting spots, and draw."""
        from scipy.sparse import csr_matrix

        bins = rank_bins(expression.mean_log)
        members = sets.matrix.tocsc()
        norm = sets.norm
        drawn = [
            control_genes(bins, np.sort(members.indices[begin:end]))
            for begin, end in zip(members.indptr, members.indptr[1:], strict=False)
        ]
        n_drawn = np.array([len(genes) for genes in drawn], dtype=np.int64)
        columns = np.repeat(np.arange(len(drawn)), n_drawn)
        signed = np.asarray(sets.matrix.sum(axis=0, dtype=np.float64)).ravel() / norm
        values = np.repeat(signed / np.maximum(n_drawn, 1), n_drawn)
        rows = np.concatenate([np.zeros(0, dtype=np.int64), *drawn])
        control = csr_matrix((values, (rows, columns)), shape=sets.matrix.shape)
        own = scaled(sets.matrix, columns=np.where(n_drawn > 0, 1.0 / norm, 0.0))
        return cls(_difference(own, control), np.zeros(len(norm)), N_BINS)


def _difference(own: csr_matrix, control: csr_matrix) -> csr_matrix:
    matrix = (own - control).tocsr()
    matrix.sort_indices()
    return matrix


def rank_bins(mean_log: NDArray[np.float64]) -> NDArray[np.int64]:
    """Put genes into about 25 bins of equal width in rank; genes of equal means share their lowest rank.

    Parameters
    ----------
    mean_log
        (n_genes,) mean log expression.

    Returns
    -------
    (n_genes,) int64.
    """
    from scipy.stats import rankdata

    width = max(int(np.round(len(mean_log) / (N_BINS - 1))), 1)
    return np.asarray(rankdata(mean_log, method="min"), dtype=np.int64) // width


def control_genes(bins: NDArray[np.int64], members: NDArray[np.int64]) -> NDArray[np.int64]:
    """Draw up to 50 genes from every bin that has a gene of a set, without the set's own.

    Parameters
    ----------
    bins
        (n_genes,) the bin of each gene.
    members
        Genes of the set.

    Returns
    -------
    Sorted places of the control genes.
    """
    # The generator that scanpy's draw uses; its stream is frozen by NumPy.
    random = np.random.RandomState(SEED)
    drawn = []
    for bin_ in np.unique(bins[members]):
        candidates = np.flatnonzero(bins == bin_)
        if len(candidates) > CONTROLS_PER_BIN:
            candidates = candidates[random.choice(len(candidates), size=CONTROLS_PER_BIN, replace=False)]
        drawn.append(candidates)
    return np.setdiff1d(np.concatenate(drawn), members)


SCORER = ScoreGenesScorer
