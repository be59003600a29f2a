"""Memory for the images of batches, used again once nobody holds a batch any more.

Fresh memory has to be mapped and cleared page by page. For a batch of patches this takes longer than one would think:
on virtual machines a fifth of the time that decoding takes, and more where the memory is shared between processes.
"""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

POOLED = 8
"""Unused blocks that are kept."""


class Memory:
    """Blocks of memory of this process; a block is free when no array, view or tensor over it is left."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def __call__(self, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], None]:
        """Make a uint8 array of a shape, with undefined content.

        Returns
        -------
        array, None
            Nothing else has to be held.
        """
        n_bytes = math.prod(shape)
        block = next((block for block in self._free if len(block) == n_bytes), None)
        if block is None:
            block = bytearray(n_bytes)
        else:
            self._free = [other for other in self._free if other is not block]
        # Every view leads to this array, for its own base is no array.
        whole = np.frombuffer(block, dtype=np.uint8)
        weakref.finalize(whole, self._give_back, block)
        return whole.reshape(shape), None

    def _give_back(self, block: bytearray) -> None:
        self._free = [*self._free[-POOLED + 1 :], block]

    def __getstate__(self) -> dict[str, Any]:
        return {"_free": []}
