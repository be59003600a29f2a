"""``bincontrol`` (default): mean log expression of a set, less that of all genes of the same expression level.

What it is and why: :mod:`humanst.pathways.bincontrol`. It is the one scorer here that gives no reliable score to counts
without biology. It costs downstream signal where library size itself is the biology, which is why library size is
carried beside the scores. Sets of few genes, or of genes that are hardly seen, stay noisy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from humanst.pathways.bincontrol import BinControl, bins_for, expression_bins

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from humanst.pathways.expression import Block, Expression
    from humanst.pathways.scorers.base import SetWeights


@dataclass(frozen=True, slots=True)
class BinControlScorer:
    """The expression-bin-matched control score."""

    takes_weights: ClassVar[bool] = True
    control: BinControl
    n_bins: int

    @classmethod
    def fit(cls, expression: Expression, sets: SetWeights) -> Self:
        """Bin the genes by their mean log expression over the fitting spots."""
        n_bins = bins_for(len(expression.genes))
        return cls(BinControl.of(sets.matrix, expression_bins(expression.mean_log, n_bins)), n_bins)

    def score(self, block: Block) -> NDArray[np.float64]:
        """See :meth:`humanst.pathways.scorers.base.Scorer.score`."""
        return self.control.score(block.logs)


SCORER = BinControlScorer
