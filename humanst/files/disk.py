"""What is on the disk for good: fsync, hashes, removal, modes."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from humanst.errors import HostileError
from humanst.files.room import no_room

CHUNK_BYTES = 1 << 20


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder last; Windows opens no folder, and keeps names by itself.

    Raises
    ------
    NoRoomError
        When the disk is full.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise no_room(error, folder) from error
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    """Make the bytes of a file last.

    Raises
    ------
    NoRoomError
        When the disk is full.
    """
    try:
        # Windows brings only what may be written to the disk.
        with path.open("r+b" if sys.platform == "win32" else "rb") as handle:
            os.fsync(handle.fileno())
    except OSError as error:
        raise no_room(error, path) from error


def begin_writeback(descriptor: int, offset: int, n_bytes: int) -> None:
    """Ask Linux to begin bringing bytes to the disk, so that the fsync at the end finds little left; elsewhere nothing.

    What fails shows at the fsync, which alone says that bytes are on the disk.
    """
    if sys.platform == "linux" and (sync_file_range := _sync_file_range()) is not None:
        sync_file_range_write = 2
        sync_file_range(descriptor, offset, n_bytes, sync_file_range_write)


@lru_cache(maxsize=1)
def _sync_file_range() -> Callable[..., int] | None:
    import ctypes

    found = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if found is not None:
        found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return found


def delete(path: Path) -> None:
    """Delete a file, or a folder that is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Delete a file or folder of ours; missing is fine."""
    if path.exists() or path.is_symlink():
        delete(path)


def require_plain(path: Path, *, name: str | None = None) -> None:
    """Refuse what a read could hang on, or that never ends: pipes, sockets and devices. Links are followed.

    Parameters
    ----------
    name
        How messages call it; its own name by default.

    Raises
    ------
    HostileError
        ``not-a-file``.
    OSError
        When nothing is there.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    raise HostileError(
        "This is not a plain file",
        code="not-a-file",
        file=name or path.name,
        expected="a plain file, or a link to one",
        found=kinds.get(stat.S_IFMT(mode), "something else"),
        done="It was not opened",
        todo="Put the file itself in its place",
    )


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in 1 MiB chunks.

    Raises
    ------
    HostileError
        ``not-a-file`` for a pipe, a socket or a device.
    OSError
        For what cannot be opened.
    """
    require_plain(path)
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def let_group_read(path: Path, root: Path) -> None:
    """Let the group read a file of ours, and pass through its folders below ``root``, whose mode its owner chose."""
    with suppress(PermissionError):
        path.chmod(path.stat().st_mode | 0o040)
        for folder in path.parents:
            if folder == root:
                break
            mode = folder.stat().st_mode
            if mode & 0o050 != 0o050:
                folder.chmod(mode | 0o050)
