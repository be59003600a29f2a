"""``aucell``: how early the genes of the set come in a spot's genes ranked by expression, among the top 5 %.

AUCell (Aibar et al. 2017, doi:10.1038/nmeth.4463). With ``u = ceil(0.05 n)`` (at least 2) of n measured genes, a gene
of rank r (1 is the most expressed) adds ``max(u - r, 0)``; the score is the sum over the set, divided by the largest
sum that as many genes can have. It is the area under the recovery curve, from 0 to 1, as decoupler counts it.

Ties. Counts are small whole numbers, so most genes of a spot are tied, and in shallow spots the top 5 % reaches into
the genes without a count. AUCell breaks ties at random, and other tools by the order of a file, which gives some genes
an advantage in every spot. Here genes that are tied share the mean of what their ranks add: the score is the
expectation of AUCell over all ways to break the ties, without a draw. Where nothing is tied it is AUCell itself.

Only genes with counts are ranked; all others are one tie, whose share is the same for each of them. Ranks do not see
how much more a gene is expressed, and spots of few genes give coarse scores; some library size stays in (real sections:
r = 0.24). Weights of genes have no meaning among ranks: a collection with weights is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from humanst.pathways.sparse import csr_of, product, row_of_entries

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from humanst.pathways.expression import Block, Expression
    from humanst.pathways.scorers.base import SetWeights

TOP_SHARE = 0.05
# Counts below this are found by a table, those above by bisection.
TABLED_LEVELS = 1 << 20


@dataclass(frozen=True, slots=True)
class AucellScorer:
    """Area under the recovery curve of a set.

    Attributes
    ----------
    members
        W, (n_genes, P) float64 CSR.
    n_measured
        (P,) genes of each set.
    largest
        (P,) float64, the sum that the set would have if its genes were the first.
    n_top
        u.
    """

    takes_weights: ClassVar[bool] = False
    members: csr_matrix
    n_measured: NDArray[np.int64]
    largest: NDArray[np.float64]
    n_top: int
    n_bins: int = 0

    @classmethod
    def fit(cls, expression: Expression, sets: SetWeights) -> Self:
        """Nothing is taken from the section but how many genes it measured."""
        n_genes = len(expression.genes)
        n_top = max(min(ceil(TOP_SHARE * n_genes), n_genes), 2)
        first = np.minimum(sets.n_measured, n_top - 1)
        return cls(sets.matrix, sets.n_measured, first * n_top - first * (first + 1) / 2, n_top)

    def score(self, block: Block) -> NDArray[np.float64]:
        """See :meth:`humanst.pathways.scorers.base.Scorer.score`."""
        of_counts, of_zero = self.shares(block.counts)
        # Every gene of the set adds what a gene without a count does, and one with a count the difference.
        added = product(of_counts, self.members).toarray() + of_zero[:, np.newaxis] * self.n_measured
        return np.asarray(added / self.largest, dtype=np.float64)

    def shares(self, counts: csr_matrix) -> tuple[csr_matrix, NDArray[np.float64]]:
        """Give what each gene of each spot adds.

        Parameters
        ----------
        counts
            (n, n_genes) integer CSR.

        Returns
        -------
        (n, n_genes) float64 CSR, what a gene with a count adds more than one without; and (n,) float64, what one
        without adds.
        """
        n_genes = counts.shape[1]
        level, n_levels = _levels(counts.data)
        place = row_of_entries(counts) * n_levels + level
        # Genes of each count in each spot, the largest count first; a stored zero is a gene without a count.
        tied = np.bincount(place, minlength=counts.shape[0] * n_levels).reshape(counts.shape[0], n_levels)
        tied[:, -1] = n_genes - tied[:, :-1].sum(axis=1)
        above = np.cumsum(tied, axis=1) - tied
        sums = self._sum_of_first(above + tied) - self._sum_of_first(above)
        mean = np.divide(sums, tied, out=np.zeros(sums.shape), where=tied > 0)
        of_zero = mean[:, -1].copy()
        more = (mean - of_zero[:, np.newaxis]).ravel()
        return csr_of(more.take(place), counts.indices, counts.indptr, counts.shape), of_zero

    def _sum_of_first(self, n: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum of ``max(u - r, 0)`` over ranks 1 to n."""
        first = np.minimum(n, self.n_top)
        return np.asarray(first * self.n_top - first * (first + 1) / 2, dtype=np.float64)


def _levels(data: NDArray[np.integer]) -> tuple[NDArray[np.int64], int]:
    """Number the distinct counts of a block, 0 for the largest; 0 counts have the last number, seen or not."""
    if len(data) == 0 or int(data.max()) < TABLED_LEVELS:
        seen = np.bincount(data, minlength=1) > 0
        seen[0] = True
        number = seen.sum() - np.cumsum(seen)
        return number.take(data), int(seen.sum())
    distinct = np.union1d(data, [0])
    return len(distinct) - 1 - np.searchsorted(distinct, data), len(distinct)


SCORER = AucellScorer
