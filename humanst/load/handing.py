"""A batch on its way from a worker to the main process.

As torch sends them, each tensor is a file of its own in shared memory, asked for over a socket and mapped anew: for the
columns of a batch this takes longer than copying their few numbers. These travel as bytes with the message; images
stay where they were decoded, and what is large goes the way of torch.

This module imports torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from humanst.load.batch import Batch, Pair
from humanst.load.collating import collate
from humanst.load.shared_memory import Place

SMALL_BYTES = 1 << 20
"""Tensors up to this size are sent as bytes."""


class Handed:
    """A batch of :func:`humanst.load.collate` that can be sent to another process and opened there, once.

    Parameters
    ----------
    pairs
        What is handed over.
    """

    def __init__(self, pairs: Batch | list[Pair]) -> None:
        self._batch: Any = collate(pairs)
        self._place: Place | None = None
        self._shape: tuple[int, ...] = ()
        if isinstance(pairs, Batch) and pairs.holder is not None:
            self._place, self._shape = pairs.holder, np.shape(pairs.images)
            self._batch["image"] = None

    def open(self) -> dict[str, Any] | None:
        """Give the batch away; ``None`` when it belongs to an iteration that was broken off."""
        batch, place = self._batch, self._place
        self._batch = self._place = None
        if place is not None:
            images = place.images(self._shape)
            if images is None:
                return None
            batch["image"] = images.permute(0, 3, 1, 2)
        return batch  # type: ignore[no-any-return]

    def pin_memory(self) -> Handed:
        """Open the batch into page-locked memory, as ``DataLoader`` asks for it."""
        self._batch = _each(self.open(), torch.Tensor, torch.Tensor.pin_memory)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_batch": _each(self._batch, torch.Tensor, _as_bytes)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._batch = _each(self._batch, np.ndarray, torch.from_numpy)


def _each(value: Any, kind: type, change: Any) -> Any:
    """Change every value of a kind in nested dictionaries."""
    if isinstance(value, dict):
        return {name: _each(part, kind, change) for name, part in value.items()}
    return change(value) if isinstance(value, kind) else value


def _as_bytes(tensor: torch.Tensor) -> Any:
    return tensor.numpy() if tensor.nbytes <= SMALL_BYTES else tensor
