"""Locks that say who holds them, so that one whose holder is gone can be told from one that is in use.

The system frees a lock when its holder ends. Some shared file systems do not when the holder's whole machine went away;
``--clear-dead-locks`` removes those.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from humanst import files

# Longer than any job runs: whoever held a lock of another machine for this long is taken for dead.
STALE_SECONDS = 24 * 3600


@contextmanager
def held(path: Path, *, what: str) -> Iterator[None]:
    """Hold the lock of ``path`` while working, with a note of who does."""
    with files.locked(path, what=what):
        note = _note_path(path)
        files.write_json(note, {"host": socket.gethostname(), "pid": os.getpid()})
        try:
            yield
        finally:
            files.remove(note)


def clear_dead_locks(release: Path, work: Path) -> list[Path]:
    """Remove the locks of a release and its work folder whose holders are gone; returns what was removed."""
    notes = [_note_path(release), *sorted(work.rglob(".*.lock.holder"))]
    removed = []
    for note in notes:
        if note.is_file() and not _is_alive(note):
            lock = note.with_suffix("")
            files.remove(lock)
            files.remove(note)
            removed.append(lock)
    return removed


def _note_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock.holder")


def _is_alive(note: Path) -> bool:
    try:
        holder = json.loads(note.read_bytes())
        host, pid = str(holder["host"]), int(holder["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if host != socket.gethostname():
        return time.time() - note.stat().st_mtime < STALE_SECONDS
    return files.is_running(pid)
