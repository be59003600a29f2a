"""Bytes of shards by position: verified at first opening, one descriptor a shard and process, safe across forks."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from humanst.errors import IntegrityError
from humanst.load.release import accept_stamps, verified_stamps

if TYPE_CHECKING:
    from pathlib import Path

    from humanst.load.release import Release

OPEN_SHARDS = 256
# Linux reads no more ahead at one request, by default.
READ_AHEAD_BYTES = 128 << 10


class ShardFiles:
    """Read runs of bytes from the shards of one split.

    Parameters
    ----------
    release
        The release.
    split
        Name of the split.
    verify
        Hash each shard when it is first opened in a process. Turning it off leaves only the check against short
        reads; it is meant for shards another program has just verified.

    Notes
    -----
    Descriptors are opened when needed, at most 256 at a time, and belong to the process that opened them: a forked
    worker opens its own. A pickled copy takes along what was verified, not the descriptors.
    """

    def __init__(self, release: Release, split: str, *, verify: bool = True) -> None:
        self._release = release
        self._paths = {shard.name: shard.path for shard in release.split(split).shards}
        self._verify = verify
        self._start_empty()

    def _start_empty(self) -> None:
        self._open: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def read(self, shard: str, start: int, stop: int) -> bytes:
        """Read the bytes from ``start`` up to ``stop`` of a shard.

        Raises
        ------
        IntegrityError
            When the shard is missing, is not the one on record, or ends before ``stop``.
        """
        if self._pid != os.getpid():
            self.close()
            self._start_empty()
        with self._lock:
            descriptor = self._descriptor(shard)
            data = _pread(descriptor, start, stop)
        if len(data) < stop - start:
            raise IntegrityError(
                "This shard ends before the pair does",
                file=self._paths[shard],
                expected=f"bytes {start:,} to {stop:,}",
                found=f"{len(data):,} of {stop - start:,} bytes",
                done="The pair was not used",
                todo="Fetch this file again; something changed it while it was being read",
            )
        return data

    def verify(self, shards: list[str]) -> None:
        """Check the given shards now instead of at their first opening.

        Raises
        ------
        IntegrityError
            For the first shard that is not the one on record.
        """
        for shard in shards:
            self._release.verify_shard(self._paths[shard])

    def prepare(self, shard: str) -> None:
        """Bring a shard of a release that lies elsewhere here; its faults show when it is read."""
        if self._release.remote is not None:
            self._release.verify_shard(self._paths[shard])

    def will_need(self, shard: str, runs: list[tuple[int, int]]) -> None:
        """Ask the system to read runs of bytes into its cache; what is wrong with a shard shows when it is read."""
        if not hasattr(os, "posix_fadvise"):
            return
        with contextlib.suppress(OSError):
            descriptor = os.open(self._release.file(self._paths[shard]), os.O_RDONLY | os.O_CLOEXEC)
            try:
                for start, stop in runs:
                    for begin in range(start, stop, READ_AHEAD_BYTES):
                        size = min(READ_AHEAD_BYTES, stop - begin)
                        os.posix_fadvise(descriptor, begin, size, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(descriptor)

    @property
    def is_remote(self) -> bool:
        """Whether shards may have to be fetched."""
        return self._release.remote is not None

    def _descriptor(self, shard: str) -> int:
        if (known := self._open.get(shard)) is not None:
            self._open.move_to_end(shard)
            return known
        path = self._verified_path(shard)
        while len(self._open) >= OPEN_SHARDS:
            os.close(self._open.popitem(last=False)[1])
        try:
            self._open[shard] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise IntegrityError(
                "This shard is missing", file=self._paths[shard], expected="a file", found="none"
            ) from error
        return self._open[shard]

    def _verified_path(self, shard: str) -> Path:
        path = self._paths[shard]
        verified = self._verify or self._release.remote is not None
        return self._release.verify_shard(path) if verified else self._release.file(path)

    def close(self) -> None:
        """Close this process's descriptors; reading again opens them again."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __del__(self) -> None:
        if hasattr(self, "_open"):
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "release": self._release,
            "paths": self._paths,
            "verify": self._verify,
            "stamps": verified_stamps(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._release, self._paths, self._verify = state["release"], state["paths"], state["verify"]
        accept_stamps(state["stamps"])
        self._start_empty()


def _pread(descriptor: int, start: int, stop: int) -> bytes:
    data = os.pread(descriptor, stop - start, start)
    # One call may give less than asked for without being at the end of the file.
    while len(data) < stop - start and (more := os.pread(descriptor, stop - start - len(data), start + len(data))):
        data += more
    return data
