r"""``nbres``: the mean over the set of Pearson residuals of a negative binomial.

Analytic Pearson residuals (Lause et al. 2021, doi:10.1186/s13059-021-02451-7) as
:func:`scanpy.experimental.pp.normalize_pearson_residuals` has them: expected count ``mu[i, g] = t[i] p[g]``, with t a
spot's total and p a gene's share of the counts of the fitting spots; ``r = (x - mu) / sqrt(mu + mu^2 / theta)``, theta
100, cut at ± the root of the number of fitting spots. A gene that no fitting spot has adds 0.

What is exact. For Poisson counts (theta without bound) the spread factorises, ``sqrt(mu) = sqrt(t) sqrt(p)``, and the
residuals of all genes without a count are one product of rank 1. With a finite theta and the cut they are not: ``-mu /
sqrt(mu + mu^2 / theta)`` of a spot and a gene is a curve of ``t p``. So the score is two sums, both exact: over the
genes with a count a sparse product of what they have more than a gene without, and over all genes of a set the residual
of a gene without a count, computed for the genes that are in any set, a few spots at a time (16 MiB).

Depth is modelled, not divided out, so a residual is larger where there is more evidence, and doubled counts give
other scores. Few hugely over-dispersed genes can rule a set, random ones too (on deep muscle sections random sets had a
half-to-half r of 0.5): theta is one for all genes. Genes with weights w: a weighted mean, with the sum of \|w\| in
place of m.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from humanst.pathways.scorers.base import scaled
from humanst.pathways.sparse import csr_of, product, row_of_entries

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from humanst.pathways.expression import Block, Expression
    from humanst.pathways.scorers.base import SetWeights

THETA = 100.0
DENSE_VALUES = 1 << 21


@dataclass(frozen=True, slots=True)
class NbResidualScorer:
    """Mean Pearson residual of a negative binomial.

    Attributes
    ----------
    weights
        W / m, (n_genes, P) float64 CSR.
    shares
        p, (n_genes,) float64.
    cut
        Bound of an absolute residual.
    in_sets
        Places of the genes that are in any set.
    by_set
        (P, genes in any set) float64 CSR, W / m of those genes.
    """

    takes_weights: ClassVar[bool] = True
    weights: csr_matrix
    shares: NDArray[np.float64]
    cut: float
    in_sets: NDArray[np.int64]
    by_set: csr_matrix
    n_bins: int = 0

    @classmethod
    def fit(cls, expression: Expression, sets: SetWeights) -> Self:
        """Each gene's share of the counts of the fitting spots."""
        totals = expression.gene_totals
        weights = scaled(sets.matrix, columns=1.0 / sets.norm)
        in_sets = np.flatnonzero(np.diff(weights.indptr))
        by_set = weights[in_sets].T.tocsr()
        by_set.sort_indices()
        return cls(weights, totals / max(int(totals.sum()), 1), sqrt(expression.n_fit), in_sets, by_set)

    def score(self, block: Block) -> NDArray[np.float64]:
        """See :meth:`humanst.pathways.scorers.base.Scorer.score`."""
        counts = block.counts
        mu = block.totals.take(row_of_entries(counts)) * self.shares.take(counts.indices)
        without = self._without_count(mu)
        spread = np.sqrt(mu + mu * mu / THETA)
        residual = np.divide(counts.data - mu, spread, out=np.zeros(len(mu)), where=mu > 0)
        more = np.clip(residual, -self.cut, self.cut) - without
        seen = product(csr_of(more, counts.indices, counts.indptr, counts.shape), self.weights).toarray()
        return np.asarray(seen + self._all_without(block.totals), dtype=np.float64)

    def _without_count(self, mu: NDArray[np.float64]) -> NDArray[np.float64]:
        """Residual of a gene without a count: ``-mu / sqrt(mu + mu^2 / theta)``, cut."""
        return np.maximum(-np.sqrt(mu / (1.0 + mu / THETA)), -self.cut)

    def _all_without(self, totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, P) the score that spots would have if no gene of the sets had a count."""
        shares = self.shares[self.in_sets, np.newaxis]
        size = max(DENSE_VALUES // max(len(shares), 1), 1)
        sums = np.zeros((len(totals), self.by_set.shape[0]))
        for start in range(0, len(totals), size):
            few = slice(start, start + size)
            sums[few] = (self.by_set @ self._without_count(shares * totals[few])).T
        return sums


SCORER = NbResidualScorer
