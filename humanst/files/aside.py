"""Files written aside: hashed on the way, fsynced, renamed into place."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from humanst.files.disk import begin_writeback, fsync_file, fsync_folder, sha256_file
from humanst.files.owners import partial_path
from humanst.files.room import no_room

# So much is written before the disk is set to work on it, while the next is being made.
WRITEBACK_BYTES = 8 << 20


class AsideFile:
    """A file being written aside: ``write`` hashes and counts as it goes.

    Attributes
    ----------
    n_bytes
        Bytes written so far.
    path
        The partial file, for readers that need a path before the commit.
    """

    def __init__(self, handle: IO[bytes], path: Path, *, hashed: bool = True) -> None:
        self._handle = handle
        self._hash, self._is_hashed = hashlib.sha256(), hashed
        self.path = path
        self.n_bytes = 0
        self._on_its_way = 0

    def write(self, data: bytes | memoryview) -> int:
        """Append ``data``; returns the number of bytes written."""
        self._handle.write(data)
        if self._is_hashed:
            self._hash.update(data)
        self.n_bytes += len(data)
        if self.n_bytes - self._on_its_way >= WRITEBACK_BYTES:
            begin_writeback(self._handle.fileno(), self._on_its_way, self.n_bytes - self._on_its_way)
            self._on_its_way = self.n_bytes
        return len(data)

    @property
    def sha256(self) -> str:
        """Hex digest of everything written so far; empty for a file that is not hashed."""
        return self._hash.hexdigest() if self._is_hashed else ""


@contextmanager
def write_aside(path: Path) -> Iterator[AsideFile]:
    """Write ``path`` aside and put it in place when the block ends without an error.

    Raises
    ------
    NoRoomError
        When the disk fills up. Nothing is left behind and an older ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        with partial.open("xb") as handle:
            aside = AsideFile(handle, partial)
            yield aside
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise no_room(error, path) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


@contextmanager
def write_inside(path: Path, *, hashed: bool = True) -> Iterator[AsideFile]:
    """Write a new file of a folder that is being filled aside, which brings it to the disk when it is whole.

    Parameters
    ----------
    hashed
        Whether the sha256 is wanted; parts that are hashed one by one need none of the whole.

    Raises
    ------
    FileExistsError
        When there is one of this name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as handle:
        yield AsideFile(handle, path, hashed=hashed)


def write_bytes(path: Path, data: bytes) -> str:
    """Write ``data`` to ``path`` atomically; returns its sha256."""
    with write_aside(path) as aside:
        aside.write(data)
        return aside.sha256


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys, two-space indent and a final newline: the same value gives the same bytes."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: Any) -> str:
    """Write ``value`` as canonical JSON atomically; returns its sha256."""
    return write_bytes(path, canonical_json(value))


def write_with(path: Path, writer: Callable[[Path], None]) -> str:
    """Let a library that wants a path write aside, then fsync, hash and rename; returns the sha256.

    The partial keeps the suffix of ``path``, for writers that choose a format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = partial_path(path)
    partial = folder / path.name
    folder.mkdir()
    try:
        writer(partial)
        fsync_file(partial)
        digest = sha256_file(partial)
        partial.replace(path)
    except OSError as error:
        raise no_room(error, path) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    fsync_folder(path.parent)
    return digest
