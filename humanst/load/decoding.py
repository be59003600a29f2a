"""Images decoded by several threads at once: libjpeg-turbo needs no lock of the interpreter while it works.

The thread that asks for a batch reads and looks at its pairs; these decode, each into its own places of the batch. So a
process without workers uses every core it may, and a worker hides what reading costs.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from humanst.load.order import available_cpus, find_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future, ThreadPoolExecutor

MAX_THREADS = 8
MIN_TURN_PAIRS = 32
MAX_TURN_PAIRS = 64

_Result = TypeVar("_Result")


def n_threads() -> int:
    """Threads that decode in this process: its share of the cores this program may use, at most 8."""
    _, workers = find_worker()
    return min(MAX_THREADS, max(1, available_cpus() // workers))


def in_turns(n_pairs: int) -> Iterator[range]:
    """Cut the pairs of a batch into turns: while one is decoded, the next is read."""
    # Two turns a thread, so that none is idle for long. Decoding empties the processor's caches of all else, which
    # makes turns of few pairs dear.
    size = min(MAX_TURN_PAIRS, max(MIN_TURN_PAIRS, n_pairs // (2 * n_threads())))
    return (range(begin, min(begin + size, n_pairs)) for begin in range(0, n_pairs, size))


def start(task: Callable[[], _Result]) -> Future[_Result]:
    """Start a task on one of this process's threads."""
    return _pool(os.getpid(), n_threads()).submit(task)


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    # A process that was forked has none of the threads of the one it came from, and asks for its own.
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(threads, thread_name_prefix="humanst-decode")
