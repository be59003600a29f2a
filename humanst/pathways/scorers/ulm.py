"""``ulm``: how well membership in the set predicts log expression over the genes of one spot, as a t value.

The univariate linear model of decoupler (Badia-i-Mompel et al. 2022, doi:10.1093/bioadv/vbac016). In each spot
``L[i, g] = b0 + b1 x[g] + e`` is fitted over all n measured genes, x being 1 in the set (or the gene's weight, which
may be negative) and 0 outside; the score is the t value of b1. With r the correlation of L[i] and x,
``t = r sqrt((n - 2) / (1 - r^2))``, and r needs the sums of L, of its square and of L times x alone, so that the fit is
one sparse product (in exact arithmetic the same; equal to decoupler with ``empty=False``, which keeps genes that no
spot has).

A set is compared with all other genes, whatever their level: sets of much expressed genes score high in every spot
(z over spots takes that out), and a part of library size stays in (real sections: r = 0.31). Genes of a set that was
hardly measured stay out of it as others do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from humanst.pathways.sparse import product, row_sums

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from humanst.pathways.expression import Block, Expression
    from humanst.pathways.scorers.base import SetWeights

# A sum of squares about the mean below this share of that about zero is rounding.
ROUNDING = 1e-12
# decoupler's guard of 1 - r^2.
GUARD = 2.2e-16


@dataclass(frozen=True, slots=True)
class UlmScorer:
    """The t value of a univariate linear model.

    Attributes
    ----------
    weights
        x, (n_genes, P) float64 CSR.
    sums, squares
        (P,) float64, sum of x, and of its squares about its mean.
    """

    takes_weights: ClassVar[bool] = True
    weights: csr_matrix
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    n_bins: int = 0

    @classmethod
    def fit(cls, expression: Expression, sets: SetWeights) -> Self:
        """Nothing is taken from the section but how many genes it measured."""
        n_genes, weights = len(expression.genes), sets.matrix
        sums = np.asarray(weights.sum(axis=0, dtype=np.float64)).ravel()
        squares = np.asarray(weights.multiply(weights).sum(axis=0, dtype=np.float64)).ravel()
        return cls(weights, sums, _about_mean(squares, sums, n_genes))

    def score(self, block: Block) -> NDArray[np.float64]:
        """See :meth:`humanst.pathways.scorers.base.Scorer.score`."""
        logs, n_genes = block.logs, self.weights.shape[0]
        total = row_sums(logs, logs.data)
        spread = _about_mean(row_sums(logs, logs.data * logs.data), total, n_genes)
        shared = product(logs, self.weights).toarray() - total[:, np.newaxis] * (self.sums / n_genes)
        scale = np.sqrt(spread)[:, np.newaxis] * np.sqrt(self.squares)
        r = np.clip(np.divide(shared, scale, out=np.zeros(shared.shape), where=scale > 0), -1.0, 1.0)
        return np.asarray(r * np.sqrt((n_genes - 2) / ((1.0 - r + GUARD) * (1.0 + r + GUARD))), dtype=np.float64)


def _about_mean(squares: NDArray[np.float64], sums: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    centred = squares - sums * sums / n
    return np.where(centred > ROUNDING * squares, centred, 0.0)


SCORER = UlmScorer
