r"""``mean``: the mean of log expression over the set, ``s[i] = (L @ W)[i] / m``.

The usual score, here for comparison alone. It follows the number of transcripts of a spot more than any programme (on
real sections within-section r = 0.77 with library size), so that random sets look as reliable as real ones, and counts
without any biology get a reliable score. Genes with weights w: ``L @ W`` with them, and the sum of \|w\| in place of m.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from humanst.pathways.scorers.base import LinearScorer, scaled

if TYPE_CHECKING:
    from humanst.pathways.expression import Expression
    from humanst.pathways.scorers.base import SetWeights


@dataclass(frozen=True, slots=True)
class MeanScorer(LinearScorer):
    """Mean log expression."""

    @classmethod
    def fit(cls, expression: Expression, sets: SetWeights) -> Self:
        """Nothing is taken from the section."""
        del expression
        norm = sets.norm
        return cls(scaled(sets.matrix, columns=1.0 / norm), np.zeros(len(norm)))


SCORER = MeanScorer
