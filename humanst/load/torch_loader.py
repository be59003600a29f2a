"""The ``DataLoader`` of :func:`humanst.load.dataloader`: it goes on to the next epoch, or from a saved state.

This module imports torch; nothing imports it before a loader is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from humanst.errors import UsageError
from humanst.load.batch import Batch
from humanst.load.handing import Handed
from humanst.load.mixing import MixedStream
from humanst.load.shared_memory import Slots, WorkerMemory
from humanst.load.state import Order
from humanst.load.stream import PlainPairStream


class StreamBatches(IterableDataset):  # type: ignore[misc, type-arg, unused-ignore]
    """The whole batches of a stream: cut by position, so that they are the same with any number of workers."""

    def __init__(self, stream: PlainPairStream | MixedStream) -> None:
        self.stream = stream
        # In shared memory, so that persistent workers see it change.
        self._position = torch.zeros(2, dtype=torch.int64).share_memory_()

    @property
    def order(self) -> Order:
        """The order of the stream."""
        return self.stream.order

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch of the next iteration, and how many of its pairs, in whole batches, to pass over."""
        self._position[0], self._position[1] = epoch, start
        self.stream.set_epoch(epoch, start)

    def __len__(self) -> int:
        return -(-len(self.stream) // self.stream.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        self.stream.set_epoch(int(self._position[0]), int(self._position[1]))
        return self.stream.batches()


class PairLoader(DataLoader):  # type: ignore[misc, type-arg, unused-ignore]
    """A ``DataLoader`` over pairs that starts at epoch 0 and takes the next one each time it is iterated.

    Forgetting ``set_epoch`` would otherwise repeat one order for ever, which nobody notices.

    Notes
    -----
    ``state_dict`` counts the batches that were given, not those that workers have read ahead, so it holds for any
    number of workers. Taken between two batches, it resumes with the second of them.
    """

    next_epoch = 0
    _running_epoch = 0
    _given = 0
    _start = 0
    _just_loaded = False
    _iterations = 0

    def __init__(self, dataset: Any, **options: Any) -> None:
        self._slots = Slots(options["num_workers"])
        share = partial(_share_images, self._slots)
        super().__init__(dataset, worker_init_fn=share, collate_fn=Handed, **options)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration, which starts at its beginning.

        Right after ``load_state_dict`` of a state of this very epoch it goes on there instead, so that a loop which
        chooses every epoch resumes exactly.
        """
        loaded, self._just_loaded = self._just_loaded, False
        if loaded and epoch == self.next_epoch:
            return
        self.next_epoch, self._start = epoch, 0
        self._running_epoch, self._given = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands, as plain numbers and text: epoch, pairs given, and the order they belong to."""
        epoch, batches = self._running_epoch, self._given
        if batches >= len(self):
            epoch, batches = epoch + 1, 0
        state: dict[str, Any] = self._ordered.order.state(epoch, batches * self._pairs_a_batch)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken; the next iteration gives the rest of that epoch.

        Raises
        ------
        UsageError
            ``other-order`` for the state of a loader that gives other pairs, or the same in another order.
        """
        epoch, pairs = self._ordered.order.position(state)
        self.next_epoch, self._start = epoch, pairs // self._pairs_a_batch
        self._running_epoch, self._given = epoch, self._start
        self._just_loaded = True

    @property
    def pathway_names(self) -> tuple[str, ...]:
        """Names of the P pathways, in the order of the target vectors."""
        reading = self.dataset.stream if isinstance(self.dataset, StreamBatches) else self.dataset
        names: tuple[str, ...] = reading.pathway_names
        return names

    @property
    def _ordered(self) -> Any:
        if isinstance(self.dataset, StreamBatches):
            return self.dataset
        return self.sampler if self.batch_size is not None else self.batch_sampler

    @property
    def _pairs_a_batch(self) -> int:
        if isinstance(self.dataset, StreamBatches):
            return self.dataset.stream.batch_size
        return int(self.batch_size if self.batch_size is not None else self._ordered.batch_size)

    def __iter__(self) -> Any:
        epoch, start = self.next_epoch, self._start
        self._ordered.set_epoch(epoch, start * self._pairs_a_batch)
        self.next_epoch, self._start, self._just_loaded = epoch + 1, 0, False
        self._running_epoch, self._given = epoch, start
        self._iterations += 1
        self._slots.next_iteration()
        # Workers start now, not at the first batch.
        return self._counted(super().__iter__(), epoch, start, self._iterations)

    def _counted(self, batches: Iterator[Any], epoch: int, given: int, iteration: int) -> Iterator[Any]:
        if not self.num_workers:
            # Without workers the order is looked up at the first batch; another iteration may have begun since.
            self._ordered.set_epoch(epoch, given * self._pairs_a_batch)
        while True:
            if self.num_workers and iteration != self._iterations:
                raise _iterated_anew()
            if (handed := next(batches, None)) is None:
                return
            given += 1
            self._running_epoch, self._given = epoch, given
            yield handed.open()


def _iterated_anew() -> UsageError:
    return UsageError(
        "This loader was iterated anew before this iteration was over, and its workers read for the new one",
        code="loader-iterated-anew",
        expected="one iteration at a time",
        found="two",
        todo="Make a second loader, or take workers=0",
    )


def _share_images(slots: Slots, worker: int) -> None:
    """Let this worker decode into memory that the main process sees, instead of copying each batch there."""
    info = get_worker_info()
    if info is not None:
        dataset = info.dataset
        reading = dataset.stream if isinstance(dataset, StreamBatches) else dataset
        reading.use_memory(WorkerMemory(slots, worker))
