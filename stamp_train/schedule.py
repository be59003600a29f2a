"""Learning rates over a run: up in a straight line whose first step already moves, then down along a cosine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from humanst.errors import UsageError

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from stamp_train.config import AlignConfig

BASE_RATE = "initial_lr"


def warmup_steps(steps: int, warmup_share: float) -> int:
    """How many of the steps the rate rises in: the share of them, rounded."""
    return round(steps * warmup_share)


def rate_factor(step: int, steps: int, warmup_share: float, end_ratio: float) -> float:
    """The rate of a step as a share of the highest.

    Parameters
    ----------
    step
        Steps done before this one, from 0.
    steps
        Of the whole run.
    warmup_share
        Share of the steps, in 0..1, in which the factor rises to 1.
    end_ratio
        The factor when all steps are done, in 0..1; it stays there afterwards.

    Returns
    -------
    float
        ``(step + 1) / w`` before ``w = round(warmup_share * steps)``: a first step at rate 0 would do nothing. From
        there 1 at ``w`` and ``end_ratio`` at the end, along half a cosine between.

    Raises
    ------
    UsageError
        ``schedule`` for a number out of bounds.
    """
    if step < 0 or steps < 1 or not 0 <= warmup_share <= 1 or not 0 <= end_ratio <= 1:
        raise UsageError(
            "There is no learning rate for this step",
            code="schedule",
            expected="step >= 0, steps >= 1, both shares in 0..1",
            found=f"step {step} of {steps}, warm-up {warmup_share}, end {end_ratio}",
        )
    warm = warmup_steps(steps, warmup_share)
    if step < warm:
        return (step + 1) / warm
    if step >= steps:
        return end_ratio
    return end_ratio + (1 - end_ratio) * (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2


def set_rates(optimizer: Optimizer, step: int, steps: int, config: AlignConfig) -> list[float]:
    """Give every group of an optimiser its rate for a step, before the step.

    What a group began with is its highest rate. It is kept in the group as ``initial_lr``, which the optimiser's state
    holds too: a run that is resumed goes on along the same curve.

    Parameters
    ----------
    step, steps
        As in :func:`rate_factor`.
    config
        Says ``warmup_share`` and ``learning_rate_end``; a group that begins lower than that end stays where it is.

    Returns
    -------
    list of float
        The rates, in the order of the groups.
    """
    rates = []
    for group in optimizer.param_groups:
        highest = _highest(group)
        end_ratio = min(config.learning_rate_end / highest, 1.0) if highest > 0 else 0.0
        group["lr"] = highest * rate_factor(step, steps, config.warmup_share, end_ratio)
        rates.append(group["lr"])
    return rates


def _highest(group: dict[str, Any]) -> float:
    return float(group.setdefault(BASE_RATE, group["lr"]))
