"""How fast a run goes and what it takes, and in which precision it computes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Compute in bf16 where asked; ``auto`` where a GPU has it. CPUs seldom gain by it."""
    has = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if precision == "bf16" or (precision == "auto" and has):
        found: AbstractContextManager[Any] = torch.autocast(device.type, dtype=torch.bfloat16)
        return found
    return nullcontext()


class Meter:
    """How fast it goes since the last row: patches a second over all ranks, the share of waiting for data, memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start()

    def _start(self) -> None:
        self._began, self._waited, self._patches = time.perf_counter(), 0.0, 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time in this block is waiting."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - began

    def count(self, patches: int) -> None:
        """So many more are done."""
        self._patches += patches

    def told(self) -> dict[str, float]:
        """The figures, and begin anew."""
        elapsed = max(time.perf_counter() - self._began, 1e-9)
        found = {
            "patches_per_second": self._patches / elapsed,
            "data_wait": min(self._waited / elapsed, 1.0),
            "peak_memory_gb": peak_memory_bytes(self._device) / 1e9,
        }
        self._start()
        return found


def peak_memory_bytes(device: torch.device) -> int:
    """The most that the GPU, or without one this process, has held so far."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource
    import sys

    # Linux tells kilobytes, macOS bytes.
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)
