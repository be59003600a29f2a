"""Batches grouped by slide, for contrastive training: negatives of one slide share its stain and its batch effect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from humanst.errors import UsageError
from humanst.load.order import find_rank, keyed_permutation, keyed_uniform
from humanst.load.samplers import groups_of
from humanst.load.sections import rows_of
from humanst.load.state import Order
from humanst.load.telling import tell_left_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from humanst.load.dataset import PairDataset


@dataclass(frozen=True, slots=True)
class _Take:
    """``n`` rows of a slide from position ``first`` of its ``cycle``-th permutation on."""

    slide: int
    cycle: int
    first: int
    n: int


class SlideBatchSampler:
    """Batches of ``slides`` slides with ``per_slide`` pairs each, or of one slide (a ``batch_sampler`` of torch).

    Parameters
    ----------
    dataset
        The pairs.
    slides, per_slide
        A batch of one rank holds their product of pairs, always.
    single_slide
        Share of batches that are filled from as few slides as it takes: one, where that has enough pairs.
    power
        Slides are drawn, none twice in a batch, in proportion to their number of pairs to this power.
    by
        What a slide is: a column of the index or a fact of the sections.
    balance
        Draw the values of this fact (for example ``"organ"``) equally often, slides within each as ``power`` says.
    steps
        Batches an epoch and rank; by default as many as the pairs fill once.
    seed, rank, world
        As in ``EpochSampler``. All ranks draw from one sequence of batches in turn.

    Attributes
    ----------
    batch_size
        Pairs a batch.
    n_left_out
        Pairs that are never drawn, because their slide has fewer than ``per_slide``.

    Raises
    ------
    UsageError
        When fewer slides have enough pairs than a batch needs, or arguments do not fit.

    Notes
    -----
    Within an epoch no pair of a slide comes again before a whole batch of it could not be filled without; over ranks
    as well.
    """

    def __init__(
        self,
        dataset: PairDataset,
        *,
        slides: int = 16,
        per_slide: int = 32,
        single_slide: float = 0.5,
        power: float = 0.5,
        by: str = "sample_id",
        balance: str | None = None,
        steps: int | None = None,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        self.slides, self.per_slide, self.single_slide, self.seed = slides, per_slide, single_slide, seed
        self.batch_size = slides * per_slide
        self.rank, self.world = find_rank(rank, world)
        names, slide_of_row = groups_of(dataset, by)
        self._names, self._rows, kept = _large_slides(names, slide_of_row, per_slide)
        self._check(len(names))
        self._weights = np.array([len(rows) for rows in self._rows], dtype=np.float64) ** power
        if balance is not None:
            values, value_of_row = groups_of(dataset, balance)
            of_slide = np.array([value_of_row[rows[0]] for rows in self._rows])
            self._weights /= np.bincount(of_slide, weights=self._weights, minlength=len(values))[of_slide]
        self.n_left_out = len(slide_of_row) - kept
        self.steps = max(1, kept // (self.batch_size * self.world)) if steps is None else steps
        self.order = Order(
            *("slides", dataset.source, len(slide_of_row), seed, True, "drop", self.batch_size, self.rank, self.world),
            details=f"{slides} slides of {by} x {per_slide}, single {single_slide}, power {power}, balance {balance}, "
            f"{self.steps} steps",
        )
        self.epoch, self.start = 0, 0
        why = f"their slides have fewer than {per_slide}"
        tell_left_out(self.n_left_out, len(slide_of_row), self.rank, why)

    def _check(self, n_slides: int) -> None:
        if min(self.slides, self.per_slide) < 1 or not 0 <= self.single_slide <= 1:
            found = f"slides {self.slides}, per_slide {self.per_slide}, single_slide {self.single_slide}"
            raise UsageError(
                "These batches cannot be made",
                code="slide-batches",
                expected="slides and per_slide >= 1, single_slide from 0 to 1",
                found=found,
            )
        needed = self.slides if self.single_slide < 1 else 1
        n_pairs = sum(map(len, self._rows))
        if len(self._rows) < needed or n_pairs < self.batch_size:
            raise UsageError(
                "There are too few slides for such batches",
                code="slide-batches",
                expected=f"{needed} slides with at least {self.per_slide} pairs each, {self.batch_size} pairs in all",
                found=f"{len(self._rows)} of {n_slides} slides, with {n_pairs} pairs",
                todo="Ask for fewer slides or fewer pairs of each",
            )

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch whose batches the next iteration gives, and how many pairs (whole batches) to pass over."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        orders: dict[int, tuple[int, NDArray[np.int64]]] = {}
        for number, takes in enumerate(self._epoch_takes(self.epoch)):
            step, rank = divmod(number, self.world)
            if rank == self.rank and step >= self.start // self.batch_size:
                yield [row for take in takes for row in self._take(take, orders)]

    def _take(self, take: _Take, orders: dict[int, tuple[int, NDArray[np.int64]]]) -> list[int]:
        cycle, order = orders.get(take.slide, (-1, np.zeros(0, dtype=np.int64)))
        if cycle != take.cycle:
            name, n = self._names[take.slide], len(self._rows[take.slide])
            order = self._rows[take.slide][keyed_permutation(n, "slide", self.seed, self.epoch, name, take.cycle)]
            orders[take.slide] = (take.cycle, order)
        rows: list[int] = order[take.first : take.first + take.n].tolist()
        return rows

    def _epoch_takes(self, epoch: int) -> Iterator[list[_Take]]:
        """The batches of all ranks in turn; where each slide stands is counted along."""
        cycle, first = [0] * len(self._rows), [0] * len(self._rows)
        n_batches = self.steps * self.world
        single = keyed_uniform(n_batches, "single", self.seed, epoch) < self.single_slide
        for number in range(n_batches):
            takes, missing = [], self.batch_size
            for slide in self._drawn(epoch, number):
                n = min(missing, len(self._rows[slide]) if single[number] else self.per_slide)
                if first[slide] + n > len(self._rows[slide]):
                    cycle[slide], first[slide] = cycle[slide] + 1, 0
                takes.append(_Take(slide, cycle[slide], first[slide], n))
                first[slide] += n
                missing -= n
                if not missing:
                    break
            yield takes

    def _drawn(self, epoch: int, number: int) -> list[int]:
        """Slides in the order of a draw without replacement in proportion to the weights.

        Efraimidis and Spirakis 2006, doi:10.1016/j.ipl.2005.11.003: ascending -log(u) / weight.
        """
        uniform = keyed_uniform(len(self._rows), "slides", self.seed, epoch, number)
        order: list[int] = np.argsort(-np.log1p(-uniform) / self._weights, kind="stable").tolist()
        return order


def _large_slides(
    names: list[str], slide_of_row: NDArray[np.int64], per_slide: int
) -> tuple[list[str], list[NDArray[np.int64]], int]:
    """The slides with at least ``per_slide`` pairs, their rows, and how many pairs these are."""
    found = zip(names, rows_of(slide_of_row, len(names)), strict=True)
    large = [(name, rows) for name, rows in found if len(rows) >= per_slide]
    return [name for name, _ in large], [rows for _, rows in large], sum(len(rows) for _, rows in large)
