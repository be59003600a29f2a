"""How pathways are scored: which scorer, and what is done to its scores."""

from __future__ import annotations

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
