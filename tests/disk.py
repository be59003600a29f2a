"""The disk as tests use it: what is written is handed to the system, and nobody waits until the platter has it.

``fsync`` is for the instant in which the power goes, which no test can make: a process that is killed loses nothing of
what it has handed over. A section store is hundreds of files, and to wait for each takes longer than to make it. The
tests of ``humanst.files``, which ask that ``fsync`` comes before a rename, have the real one.
"""

from __future__ import annotations

import os

real_fsync = os.fsync


def fsync_without_waiting(descriptor: int) -> None:
    """What ``os.fsync`` says of a descriptor that is none, and no more."""
    os.fstat(descriptor)


def wait_for_no_disk() -> None:
    """Leave out the wait in this process, and in those forked from it."""
    os.fsync = fsync_without_waiting
