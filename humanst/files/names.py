"""Names that are safe to write, on every system and whoever chose them."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

from humanst.errors import HostileError

_WINDOWS_RESERVED = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{d}{n}" for d in ("com", "lpt") for n in "123456789\u00b9\u00b2\u00b3"}
)
# File systems take 255 bytes; what is written aside needs some of them for host, process and a random part.
MAX_PART_BYTES = 160
MAX_PATH_BYTES = 1000


def safe_relative_path(name: str) -> Path:
    """Accept a relative path that stays below its folder on POSIX and on Windows.

    Raises
    ------
    HostileError
        For absolute paths, drives, ``..``, NUL and control characters, reserved names, trailing dots or spaces, names
        that are not Unicode or hold marks that reorder text, parts beyond 160 bytes and paths beyond 1,000.
    """
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    bad_part = any(_is_bad_part(part) for part in windows.parts)
    bad_character = any(_is_bad_character(character) for character in name)
    if not name or bad_character or posix.is_absolute() or windows.drive or windows.root or bad_part:
        raise _unsafe(name, "a relative path below its folder, valid on POSIX and Windows")
    if len(name.encode()) > MAX_PATH_BYTES or any(len(part.encode()) > MAX_PART_BYTES for part in posix.parts):
        raise _unsafe(name, f"at most {MAX_PART_BYTES} bytes between slashes, and {MAX_PATH_BYTES:,} in all")
    return Path(*posix.parts)


def _is_bad_part(part: str) -> bool:
    return part in ("..", ".") or part != part.rstrip(". ") or part.split(".")[0].lower() in _WINDOWS_RESERVED


def _is_bad_character(character: str) -> bool:
    # Control characters, marks that reorder text or have no width, and bytes that are no Unicode.
    return character in '<>:"|?*\\' or unicodedata.category(character) in ("Cc", "Cf", "Cs")


def _unsafe(name: str, expected: str) -> HostileError:
    return HostileError(
        "This file name is not safe to write",
        found=ascii(name if len(name) <= 200 else f"{name[:200]}..."),
        expected=expected,
        done="Nothing was written",
        todo="Correct the name in the catalog or archive",
    )


def folded_name(name: str) -> str:
    """What two names have in common that are one file on disks that ignore case or the way accents are written."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
