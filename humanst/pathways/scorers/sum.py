r"""``sum``: the log of the share of a spot's counts that the genes of the set have together.

``s[i] = log1p(10,000 * (X @ W)[i] / total[i])``: counts are added before the logarithm, so that a hardly seen gene
counts for what it has. The few most expressed genes of a set decide, and spots of few counts a coarse score. Genes with
weights: positive and negative ones are added apart, ``log1p(CP10k of (X @ W+)) - log1p(CP10k of (X @ W-))``, with the
weights of a set scaled to a mean absolute value of 1, so that weights of 1 are the plain score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from humanst.pathways.bincontrol import COUNTS_PER
from humanst.pathways.scorers.base import scaled
from humanst.pathways.sparse import csr_of, product

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from humanst.pathways.expression import Block, Expression
    from humanst.pathways.scorers.base import SetWeights


@dataclass(frozen=True, slots=True)
class SumScorer:
    """Log of CP10k of the summed counts.

    Attributes
    ----------
    signs
        (n_genes, P) float64 CSR of positive weights, and of absolute negative ones where there are any.
    """

    takes_weights: ClassVar[bool] = True
    signs: tuple[csr_matrix, ...]
    n_bins: int = 0

    @classmethod
    def fit(cls, expression: Expression, sets: SetWeights) -> Self:
        """Nothing is taken from the section."""
        del expression
        weights = scaled(sets.matrix, columns=sets.n_measured / sets.norm)
        positive, negative = weights.maximum(0).tocsr(), (-weights).maximum(0).tocsr()
        return cls((positive, negative) if negative.nnz else (positive,))

    def score(self, block: Block) -> NDArray[np.float64]:
        """See :meth:`humanst.pathways.scorers.base.Scorer.score`."""
        counts = block.counts
        as_float = csr_of(counts.data.astype(np.float64), counts.indices, counts.indptr, counts.shape)
        per_count = COUNTS_PER / np.maximum(block.totals, 1.0)
        logs = [np.log1p(product(as_float, sign).toarray() * per_count[:, np.newaxis]) for sign in self.signs]
        return np.asarray(logs[0] - logs[1] if len(logs) > 1 else logs[0], dtype=np.float64)


SCORER = SumScorer
