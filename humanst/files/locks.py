"""Locks: they save work and nothing else, for data is right without them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, *, what: str) -> Iterator[None]:
    """Hold ``<path>.lock`` while working, saying every ten seconds what is being waited for."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    while True:
        try:
            lock.acquire(timeout=10)
            break
        except Timeout:
            logger.warning("Waiting for another process that is working on %s (lock %s)", what, lock.lock_file)
        except NotImplementedError:
            logger.warning("This file system has no locks: other processes may do the work on %s once more", what)
            break
    try:
        yield
    finally:
        lock.release()


def locks_hold(folder: Path) -> bool:
    """Whether a lock that is taken in a folder keeps another one out; its file stays in the folder."""
    from filelock import FileLock, Timeout

    first, second = FileLock(folder / "lock"), FileLock(folder / "lock")
    try:
        with first.acquire(timeout=0):
            second.acquire(timeout=0)
            second.release()
    except Timeout:
        return True
    except (NotImplementedError, OSError):
        return False
    return False
