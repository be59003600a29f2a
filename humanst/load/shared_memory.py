"""Memory that workers decode into and the main process reads: used again once the main process holds no tensor over it.

A worker takes a slot for each batch. The states of all slots lie in shared memory: free, in flight (with the number of
the iteration, for a batch of an iteration that was broken off never arrives), or held by the main process. The main
process keeps the memory of a slot mapped, so that of most batches only the number of their slot is sent. Each tensor it
makes over a slot has an owner of its own, which any view, array or graph that still needs the memory keeps alive.

This module imports torch.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

SLOTS = 32
FREE, HELD, ITERATIONS = 0, 255, 254

_NUMBERS = itertools.count()
_OPENED: weakref.WeakValueDictionary[int, Slots] = weakref.WeakValueDictionary()


@dataclass(frozen=True)
class Place:
    """Where a worker put the images of a batch.

    Attributes
    ----------
    loader
        Number of the :class:`Slots` in the main process.
    worker, slot
        Whose memory, and which part of it.
    iteration
        When the slot was taken.
    memory
        Number of the memory that stands for the slot: another one each time it is made.
    tensor
        That memory, (n,) uint8, when the main process has not seen it.
    """

    loader: int
    worker: int
    slot: int
    iteration: int
    memory: int
    tensor: torch.Tensor | None

    def images(self, shape: tuple[int, ...]) -> torch.Tensor | None:
        """In the main process: the images, uint8 of a shape; ``None`` when their iteration was broken off."""
        return _OPENED[self.loader].hold(self, shape)


class Slots:
    """The states of the slots of all workers; the main process makes them and the workers inherit them.

    Parameters
    ----------
    workers
        How many there will be.
    """

    def __init__(self, workers: int) -> None:
        self.states = torch.zeros((workers, SLOTS), dtype=torch.uint8).share_memory_()
        self.known = torch.zeros((workers, SLOTS), dtype=torch.int64).share_memory_()
        self.iteration = torch.ones(1, dtype=torch.uint8).share_memory_()
        self.number = next(_NUMBERS)
        self._memory: dict[tuple[int, int], torch.Tensor] = {}
        self._lock = threading.Lock()
        _OPENED[self.number] = self

    def next_iteration(self) -> None:
        """What is in flight now will not arrive."""
        with self._lock:
            self.iteration[0] = int(self.iteration[0]) % ITERATIONS + 1

    def hold(self, place: Place, shape: tuple[int, ...]) -> torch.Tensor | None:
        """Make, in the main process, the tensor of a batch that arrived; its slot is free when nobody needs it."""
        here = place.worker, place.slot
        # Not while an iteration is broken off: the worker may have taken the slot of a late batch again.
        with self._lock:
            if place.iteration != int(self.iteration[0]):
                return None
            self.states[here] = HELD
        if place.tensor is not None:
            self._memory[here] = place.tensor
            self.known[here] = place.memory
        # Every view leads to this array, for its own base is no array.
        whole = np.frombuffer(memoryview(self._memory[here].numpy())[: math.prod(shape)], dtype=np.uint8)
        weakref.finalize(whole, self._give_back, here).atexit = False
        return torch.from_numpy(whole.reshape(shape))

    def _give_back(self, here: tuple[int, int]) -> None:
        self.states[here] = FREE

    def __getstate__(self) -> dict[str, Any]:
        return {"states": self.states, "known": self.known, "iteration": self.iteration, "number": self.number}


class WorkerMemory:
    """Memory of one worker: its slots, and tensors over them that the main process can open."""

    def __init__(self, slots: Slots, worker: int) -> None:
        self._slots, self._worker = slots, worker
        self._memory: dict[int, tuple[torch.Tensor, int]] = {}

    def __call__(self, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], Place | None]:
        """Make a uint8 array of a shape, with undefined content.

        Returns
        -------
        array, place
            Where it lies; ``None`` when all slots are in use.
        """
        n_bytes, iteration = math.prod(shape), int(self._slots.iteration[0])
        slot = self._free_slot(iteration)
        if slot is None:
            return np.empty(shape, dtype=np.uint8), None
        if slot not in self._memory or self._memory[slot][0].numel() < n_bytes:
            self._memory[slot] = _shared(n_bytes), int.from_bytes(os.urandom(7), "little")
        tensor, memory = self._memory[slot]
        is_known = int(self._slots.known[self._worker, slot]) == memory
        place = Place(self._slots.number, self._worker, slot, iteration, memory, None if is_known else tensor)
        return tensor.numpy()[:n_bytes].reshape(shape), place

    def _free_slot(self, iteration: int) -> int | None:
        """Take the first slot that is free, or in flight for an iteration that is over."""
        states = self._slots.states[self._worker]
        for slot, state in enumerate(states.tolist()):
            if state not in (HELD, iteration):
                states[slot] = iteration
                return slot
        return None


def _shared(n_bytes: int) -> torch.Tensor:
    # As torch's own default_collate makes room for a batch in a worker.
    storage = torch.UntypedStorage._new_shared(max(1, n_bytes))
    return torch.empty(0, dtype=torch.uint8).set_(storage, 0, (max(1, n_bytes),))
