"""Room on the disk, asked for before and said when it ran out; and what else a system refuses to write or read."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from humanst.errors import HumanstError, NoRoomError, UsageError


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


def refused_by_system(error: OSError) -> HumanstError | None:
    """What an error of the system stands for that is nobody's bug: no room, or no right; ``None`` for any other."""
    name = Path(os.fsdecode(error.filename)).name if isinstance(error.filename, str | bytes) else None
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UsageError(
            "The system does not let humanst read or write here",
            code="not-allowed",
            file=name,
            expected="the right to read what is asked for, and to write where it goes",
            found=error.strerror,
            done="It was given up",
            todo="Change the rights of the file or its folder, or choose another folder",
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        too_long = error.errno == errno.EFBIG
        return NoRoomError(
            "A file grows beyond what one file may have here" if too_long else "The disk is full",
            code="file-limit" if too_long else None,
            file=name,
            expected="room to finish writing",
            found=error.strerror or str(error),
            done="It was given up",
            todo="Make room and run the same command again",
        )
    return None
