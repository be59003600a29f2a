r"""``zmean``: the mean over the set of each gene's z over the fitting spots.

With mean a and population sd b of each gene's log expression over the fitting spots, ``s[i] = mean over g in S of
(L[i, g] - a[g]) / b[g]``, which is ``(L @ (W / b))[i] / m`` less a constant of the set. Every gene has the same say,
the hardly seen ones too, whose noise it takes up. It follows library size nearly as much as ``mean`` does, since z of
a gene keeps the order of spots. A gene that does not vary over the fitting spots has z = 0. Genes with weights w: a
weighted mean, with the sum of \|w\| in place of m.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from humanst.pathways.depth import MIN_SD
from humanst.pathways.scorers.base import LinearScorer, scaled

if TYPE_CHECKING:
    from humanst.pathways.expression import Expression
    from humanst.pathways.scorers.base import SetWeights


@dataclass(frozen=True, slots=True)
class ZMeanScorer(LinearScorer):
    """Mean of gene z."""

    @classmethod
    def fit(cls, expression: Expression, sets: SetWeights) -> Self:
        """Mean and sd of every gene over the fitting spots."""
        mean, sd = expression.mean_log, expression.sd_log
        per_sd = np.divide(1.0, sd, out=np.zeros(len(sd)), where=sd > MIN_SD)
        matrix = scaled(sets.matrix, rows=per_sd, columns=1.0 / sets.norm)
        # By column, gene after gene: a set's constant does not depend on the sets beside it.
        shift = np.bincount(
            matrix.indices, matrix.data * np.repeat(mean, np.diff(matrix.indptr)), minlength=matrix.shape[1]
        )
        return cls(matrix, np.asarray(shift, dtype=np.float64))


SCORER = ZMeanScorer
