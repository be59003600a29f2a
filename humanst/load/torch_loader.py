"""The ``DataLoader`` of :func:`humanst.load.dataloader`: it goes on to the next epoch, or from a saved state.

This module imports torch; nothing imports it before a loader is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader

from humanst.load.stream import PlainPairStream


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

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration, which starts at its beginning."""
        self.next_epoch, self._start = epoch, 0
        self._running_epoch, self._given = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands, as plain numbers and text: epoch, batches given, and the order they belong to."""
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

    @property
    def _ordered(self) -> Any:
        if isinstance(self.dataset, PlainPairStream):
            return self.dataset
        return self.sampler if self.batch_size is not None else self.batch_sampler

    @property
    def _pairs_a_batch(self) -> int:
        return int(self.batch_size if self.batch_size is not None else self._ordered.batch_size)

    def __iter__(self) -> Any:
        epoch, start = self.next_epoch, self._start
        self._ordered.set_epoch(epoch, start * self._pairs_a_batch)
        self.next_epoch, self._start = epoch + 1, 0
        self._running_epoch, self._given = epoch, start
        # Workers start now, not at the first batch.
        return self._counted(super().__iter__())

    def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self._given += 1
            yield batch
