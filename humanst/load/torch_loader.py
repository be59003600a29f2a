"""The ``DataLoader`` of :func:`humanst.load.dataloader`: it goes on to the next epoch by itself.

This module imports torch; nothing imports it before a loader is asked for.
"""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader

from humanst.load.stream import PlainPairStream


class PairLoader(DataLoader):  # type: ignore[misc, type-arg, unused-ignore]
    """A ``DataLoader`` over pairs that starts at epoch 0 and takes the next one each time it is iterated.

    Forgetting ``set_epoch`` would otherwise repeat one order for ever, which nobody notices.
    """

    next_epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self.next_epoch = epoch

    def __iter__(self) -> Any:
        ordered: Any = self.dataset if isinstance(self.dataset, PlainPairStream) else self.sampler
        ordered.set_epoch(self.next_epoch)
        self.next_epoch += 1
        return super().__iter__()
