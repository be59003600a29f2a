"""Samplers for :class:`humanst.load.PairDataset`: weighted, balanced, and batches grouped by slide.

Every draw is a pure function of (seed, epoch, position), so ranks agree without talking to each other, and a run
resumes by arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.errors import UsageError
from humanst.load.order import RankSampler, Tail, keyed_uniform
from humanst.load.sections import columns_for, fact_names, section_facts
from humanst.load.state import Order

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from humanst.load.dataset import PairDataset


def balanced_weights(dataset: PairDataset, by: str = "study_id", *, power: float = 0.0) -> NDArray[np.float64]:
    """Weights with which every value of ``by`` is drawn in proportion to its number of pairs to the ``power``.

    Parameters
    ----------
    dataset
        The pairs.
    by
        A column of the index or a fact of the sections: ``study_id``, ``organ``, ``platform``, ``sample_id``, ...
    power
        0 draws all values equally often, 1 every pair, 0.5 lies between.

    Returns
    -------
    ndarray
        (n,) float64, positive, sum 1.

    Raises
    ------
    UsageError
        When neither the index nor the manifest knows ``by``.
    """
    values, group = groups_of(dataset, by)
    n_pairs = np.bincount(group, minlength=len(values)).astype(np.float64)
    weight_of_group = n_pairs**power / n_pairs
    weights: NDArray[np.float64] = weight_of_group[group] / weight_of_group[group].sum()
    return weights


def groups_of(dataset: PairDataset, by: str) -> tuple[list[Any], NDArray[np.int64]]:
    """The different values of ``by`` in the order of their text, and (n,) int64: which one each pair has."""
    table, facts = dataset.table, section_facts(dataset.release)
    known = {*table.column_names, *fact_names(facts)}
    if by not in known:
        raise UsageError(
            "Nothing is known of the pairs by this name",
            code="unknown-column",
            field=by,
            expected=", ".join(sorted(known)),
            found=repr(by),
        )
    column = columns_for(table, facts, [by])[by]
    listed = column.tolist() if isinstance(column, np.ndarray) else column.to_pylist()
    values, group = np.unique(np.array([str(value) for value in listed], dtype=np.str_), return_inverse=True)
    return values.tolist(), group.astype(np.int64)


class WeightedSampler(RankSampler):
    """Row numbers drawn with replacement in proportion to weights, cut into ranks; for ``DataLoader(sampler=...)``.

    Parameters
    ----------
    weights
        (n,) non-negative numbers, for example :func:`balanced_weights`.
    n_draws
        Draws an epoch over all ranks; by default n.
    seed, rank, world, tail, batch_size, source
        As in ``EpochSampler``.

    Raises
    ------
    UsageError
        For weights that are negative, not finite or all zero, and for arguments that do not fit.
    """

    def __init__(
        self,
        weights: ArrayLike,
        *,
        n_draws: int | None = None,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
        tail: Tail = "exact",
        batch_size: int | None = None,
        source: str = "",
    ) -> None:
        self._border = _borders(np.asarray(weights, dtype=np.float64))
        self.n_draws = len(self._border) if n_draws is None else n_draws
        super().__init__(self.n_draws, seed=seed, rank=rank, world=world, tail=tail, batch_size=batch_size)
        self.order = Order(
            *("weighted", source, len(self._border), seed, True, tail, batch_size, self.rank, self.world),
            details=f"{self.n_draws} draws, weights {_digest(self._border)}",
        )

    def __iter__(self) -> Iterator[int]:
        mine = self._slice[self.start :]
        drawn = keyed_uniform(self.n_draws, "weighted", self.seed, self.epoch)[mine.start : mine.stop]
        yield from np.searchsorted(self._border, drawn * self._border[-1], side="right").tolist()


def _borders(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
        raise UsageError(
            "These weights cannot be drawn by",
            code="weights",
            expected="one finite number >= 0 for each pair, not all 0",
            found=f"shape {weights.shape}, {int((~(weights >= 0)).sum())} negative or not a number",
        )
    return np.cumsum(weights)


def _digest(numbers: NDArray[Any]) -> str:
    import hashlib

    return hashlib.blake2b(np.ascontiguousarray(numbers).tobytes(), digest_size=8).hexdigest()
