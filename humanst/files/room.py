"""Room on the disk: asked for before, and said when it ran out."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from humanst.errors import NoRoomError


def existing_folder(folder: Path) -> Path:
    """The folder, or the nearest of its parents that exists."""
    probe = folder.absolute()
    while not probe.exists():
        probe = probe.parent
    return probe


def require_room(folder: Path, need_bytes: int) -> None:
    """Ask for disk room before starting.

    Raises
    ------
    NoRoomError
        With the bytes needed and the bytes free.
    """
    free = shutil.disk_usage(existing_folder(folder)).free
    if free < need_bytes:
        raise NoRoomError(
            "Not enough disk room",
            file=folder.name,
            expected=f"{need_bytes:,} bytes free",
            found=f"{free:,} bytes free",
            done="Nothing was written",
            todo="Make room, or choose another folder",
        )


def no_room(error: OSError, path: Path) -> Exception:
    """What a failed write stands for: :class:`NoRoomError` for a full disk, else the error itself."""
    if error.errno == errno.EFBIG:
        return NoRoomError(
            "A file grows beyond what one file may have here",
            code="file-limit",
            file=path.name,
            expected="a file within the limits of the file system and of a task (256 GiB)",
            found=str(error),
            done="The unfinished file was removed",
            todo="Check where its sources come from, or choose a file system that takes larger files",
        )
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    free = shutil.disk_usage(path.parent).free
    return NoRoomError(
        "The disk is full",
        file=path.name,
        expected="room to finish writing",
        found=f"{free:,} bytes free",
        done="The unfinished file was removed",
        todo="Make room and run the same command again",
    )
