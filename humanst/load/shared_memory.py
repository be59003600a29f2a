"""Memory that workers decode into and the main process reads: used again once the main process holds no tensor over it.

A worker takes a slot for each batch. The states of all slots lie in shared memory: free, in flight (with the number of
the iteration, for a batch of an iteration that was broken off never arrives), or held by the main process. Whether
something is held is asked of the storage itself, so any view, array or graph that still needs it keeps its slot.

This module imports torch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.multiprocessing.reductions import StorageWeakRef

SLOTS = 32
FREE, HELD, ITERATIONS = 0, 255, 254


class Slots:
    """The states of the slots of all workers; the main process makes them and the workers inherit them.

    Parameters
    ----------
    workers
        How many there will be.
    """

    def __init__(self, workers: int) -> None:
        self.states = torch.zeros((workers, SLOTS), dtype=torch.uint8).share_memory_()
        self.iteration = torch.ones(1, dtype=torch.uint8).share_memory_()
        self._held: list[tuple[StorageWeakRef, int, int]] = []

    def next_iteration(self) -> None:
        """What is in flight now will not arrive."""
        self.iteration[0] = int(self.iteration[0]) % ITERATIONS + 1

    def hold(self, worker: int, slot: int, tensor: torch.Tensor) -> None:
        """Note, in the main process, that a batch arrived; and free the slots of those that are gone."""
        held = []
        for entry in self._held:
            if entry[0].expired():
                self.states[entry[1], entry[2]] = FREE
            else:
                held.append(entry)
        self.states[worker, slot] = HELD
        self._held = [*held, (StorageWeakRef(tensor.untyped_storage()), worker, slot)]

    def __getstate__(self) -> dict[str, Any]:
        return {"states": self.states, "iteration": self.iteration, "_held": []}


class WorkerMemory:
    """Memory of one worker: its slots, and tensors over them that the main process can open."""

    def __init__(self, slots: Slots, worker: int) -> None:
        self._slots, self._worker = slots, worker
        self._tensors: dict[int, torch.Tensor] = {}

    def __call__(self, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], tuple[torch.Tensor, tuple[int, int] | None]]:
        """Make a uint8 array of a shape, with undefined content.

        Returns
        -------
        array, (tensor, place)
            The tensor over the same memory, and ``(worker, slot)``; ``None`` when all slots are in use.
        """
        slot, n_bytes = self._free_slot(), math.prod(shape)
        if slot is None:
            tensor = _shared(n_bytes)
        else:
            if slot not in self._tensors or self._tensors[slot].numel() < n_bytes:
                self._tensors[slot] = _shared(n_bytes)
            tensor = self._tensors[slot][:n_bytes]
        tensor = tensor.view(shape)
        return tensor.numpy(), (tensor, None if slot is None else (self._worker, slot))

    def _free_slot(self) -> int | None:
        """Take the first slot that is free, or in flight for an iteration that is over."""
        now = int(self._slots.iteration[0])
        states = self._slots.states[self._worker]
        for slot, state in enumerate(states.tolist()):
            if state not in (HELD, now):
                states[slot] = now
                return slot
        return None


def _shared(n_bytes: int) -> torch.Tensor:
    # As torch's own default_collate makes room for a batch in a worker.
    storage = torch.UntypedStorage._new_shared(max(1, n_bytes))
    return torch.empty(0, dtype=torch.uint8).set_(storage, 0, (max(1, n_bytes),))[:n_bytes]
