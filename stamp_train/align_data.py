"""Batches of a release for the alignment: patches grouped by section, the same for any number of ranks and workers.

A batch is drawn for all ranks together and cut among them, so that two ranks see what one would have seen. What a pair
is aligned to is looked up by its row (:mod:`stamp_train.align_targets`), not read along with its image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanst.errors import UsageError
from stamp_train.augment import Augment

if TYPE_CHECKING:
    from humanst.load.dataset import PairDataset
    from humanst.load.release import Release
    from humanst.load.slides import SlideBatchSampler
    from humanst.load.state import Order
    from stamp_train.config import AlignConfig
    from stamp_train.ranks import Ranks

TRAIN, VAL = "train", "val"


@dataclass(frozen=True, slots=True)
class Images:
    """The part of a batch that one rank has.

    Attributes
    ----------
    images
        (b, S, S, 3) uint8, RGB, on the device of the rank.
    rows
        (b,) int64, rows of the split in the order of the index.
    """

    images: torch.Tensor
    rows: NDArray[np.int64]


class RankBatches:
    """What one rank has of each batch: consecutive rows, so that the ranks in turn have the batch (a batch sampler).

    Parameters
    ----------
    batches
        Of all ranks.
    rank, world
        This rank and their number, which divides the batch.
    """

    def __init__(self, batches: SlideBatchSampler, rank: int, world: int) -> None:
        self._batches, self._part = batches, slice_of(batches.batch_size, rank, world)
        self.batch_size = batches.batch_size
        self.order: Order = batches.order

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch of the next iteration, and how many pairs of it (over all ranks) to pass over."""
        self._batches.set_epoch(epoch, start)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._batches:
            yield batch[self._part]


class TrainingImages:
    """The patches of the training split, batch after batch, without end.

    Parameters
    ----------
    release, config, ranks
        ``batch_size``, ``sections_per_batch``, ``single_section_share``, ``workers``, ``seed``, ``augment`` and
        ``jitter`` of the settings say what the batches are.

    Attributes
    ----------
    dataset
        The pairs.
    steps_an_epoch
        Batches that the pairs fill once.
    n_left_out
        Pairs of sections that have too few for their share of a batch; they are never drawn.

    Raises
    ------
    UsageError
        ``batch-size`` when sections or ranks do not divide the batch; ``slide-batches`` when the split cannot fill one.
    """

    def __init__(self, release: Release, config: AlignConfig, ranks: Ranks) -> None:
        from humanst.load import PairDataset, SlideBatchSampler

        _check_division(config, ranks.world)
        # Each pair counts: a rank whose batch lacks one would wait for ever for the others.
        self.dataset = PairDataset(release, TRAIN, max_corrupt=0)
        batches = SlideBatchSampler(
            self.dataset,
            slides=config.sections_per_batch,
            per_slide=config.batch_size // config.sections_per_batch,
            single_slide=config.single_section_share,
            seed=config.seed,
            rank=0,
            world=1,
        )
        self.steps_an_epoch, self.n_left_out = len(batches), batches.n_left_out
        self._batches = batches
        self._loader = _loader(self.dataset, RankBatches(batches, ranks.rank, ranks.world), config.workers)
        self._row_of_key = row_of_key(self.dataset)
        self._augment = Augment(config.augment, config.jitter, config.seed)
        self._device, self._batch_size = ranks.device, config.batch_size
        self._part = slice_of(config.batch_size, ranks.rank, ranks.world)

    def batches(self, step: int) -> Iterator[Images]:
        """Go on from where the loader stands; ``step`` counts the batches that all epochs gave before."""
        while True:
            for batch in self._loader:
                draws = self._augment.draws(step, self._batch_size)[self._part]
                images = as_images(batch).to(self._device, non_blocking=True)
                yield Images(self._augment(images, draws), self._rows(batch))
                step += 1

    def first_batches(self, n: int) -> list[NDArray[np.int64]]:
        """Rows of the first batches over all ranks, at most an epoch; to be asked before the loader is iterated."""
        self._batches.set_epoch(0)
        return [np.array(rows, dtype=np.int64) for _, rows in zip(range(n), self._batches, strict=False)]

    def state(self) -> dict[str, Any]:
        """Where the loader stands, plain data; taken between two batches."""
        return self._loader.state_dict()  # type: ignore[no-any-return]

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken.

        Raises
        ------
        UsageError
            ``other-order`` for the state of other batches.
        """
        self._loader.load_state_dict(state)

    def _rows(self, batch: Mapping[str, Any]) -> NDArray[np.int64]:
        return np.array([self._row_of_key[key] for key in batch["key"]], dtype=np.int64)


def slice_of(n: int, rank: int, world: int) -> slice:
    """What a rank has of n things that the number of ranks divides."""
    return slice(n * rank // world, n * (rank + 1) // world)


def row_of_key(dataset: PairDataset) -> dict[str, int]:
    """Key of a pair to its row."""
    return {key: row for row, key in enumerate(dataset.table["key"].to_pylist())}


def as_images(batch: Mapping[str, Any]) -> torch.Tensor:
    """(b, S, S, 3) uint8 of a batch of :func:`humanst.load.collate`."""
    images: torch.Tensor = batch["image"].permute(0, 2, 3, 1)
    return images


def _loader(dataset: PairDataset, batches: RankBatches, workers: int) -> Any:
    from humanst.load.torch_loader import PairLoader

    if workers:
        dataset.verify()  # here, once, instead of in every worker
    loader = PairLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )
    leave_signals_to_the_parent(loader)
    return loader


def leave_signals_to_the_parent(loader: Any) -> None:
    """Keep requests to stop, which reach whole groups of processes, from the workers of a loader.

    A worker that ends at one ends the step in hand with it, and nothing can be saved. SIGTERM by itself still ends a
    worker: that is how its parent does it.
    """
    loader.worker_init_fn = partial(_apart, loader.worker_init_fn)


def _apart(begin: Callable[[int], None], worker: int) -> None:
    import os
    import signal

    os.setpgid(0, 0)
    for number in (signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    begin(worker)


def _check_division(config: AlignConfig, world: int) -> None:
    for field, parts in (("sections_per_batch", config.sections_per_batch), ("ranks", world)):
        if config.batch_size % parts:
            raise UsageError(
                "The batch cannot be shared out evenly",
                code="batch-size",
                field="batch_size",
                expected=f"a multiple of {field}, {parts}",
                found=config.batch_size,
            )
