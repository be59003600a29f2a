"""How pathways are scored: which scorer, and what is done to its scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

ScorerName = Literal["bincontrol", "mean", "zmean", "score_genes", "aucell", "ulm", "nbres", "sum"]
SCORERS: tuple[ScorerName, ...] = get_args(ScorerName)


@dataclass(frozen=True, slots=True)
class Scoring:
    """What :func:`humanst.pathways.score_section` does.

    Attributes
    ----------
    scorer
        One of ``SCORERS``.
    smooth
        Share of the mean of a spot's lattice neighbours in its score, 0 to below 1; 0 leaves scores as they are.
    z
        Whether scores are z over the fitting spots of their section.
    clip
        Bound of the absolute score after ``z``, or ``None``.
    """

    scorer: ScorerName = "bincontrol"
    smooth: float = 0.0
    z: bool = True
    clip: float | None = None

    def faults(self) -> Iterator[tuple[str, str, object]]:
        """``(option, what is expected, what was found)`` of every option that is out of its range."""
        if self.scorer not in SCORERS:
            yield "scorer", f"one of {', '.join(SCORERS)}", self.scorer
        if not 0 <= self.smooth < 1:
            yield "smooth", "a share from 0 to below 1", self.smooth
        if self.clip is not None and not 0 < self.clip < math.inf:
            yield "clip", "a bound above 0, or none", self.clip
        if self.clip is not None and not self.z:
            yield "clip", "z, which it is a bound of", "z is off"
