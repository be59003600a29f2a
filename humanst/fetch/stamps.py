"""Stamps: what a cached file hashed to, beside it, so that an unchanged file is not hashed again.

``<file>.stamp`` holds size, mtime_ns and sha256. A file whose size or mtime differs from its stamp is hashed anew.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from humanst import files
from humanst.fetch.receive import Expected


def stamp_path(path: Path) -> Path:
    """Where the stamp of ``path`` lies."""
    return path.with_name(f"{path.name}.stamp")


def write_stamp(path: Path, sha256: str) -> None:
    """Stamp a file that was just verified."""
    status = path.stat()
    stamp = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256}
    files.write_json(stamp_path(path), stamp)


def verified_sha256(path: Path, expected: Expected) -> str | None:
    """The sha256 of a cached file that is the file on record, else ``None``.

    A current stamp is believed; without one the file is hashed, and stamped when it is right.
    """
    if not expected.pinned or not path.is_file():
        return None
    size = path.stat().st_size
    if expected.bytes is not None and size != expected.bytes:
        return None
    stamped = stamped_sha256(path)
    if stamped is not None and expected.sha256 is not None:
        if stamped == expected.sha256:
            return stamped
        return None
    if stamped is not None and _md5(path) == expected.md5:
        return stamped
    found = files.sha256_file(path)
    if expected.sha256 is not None and found != expected.sha256:
        return None
    if expected.md5 is not None and _md5(path) != expected.md5:
        return None
    write_stamp(path, found)
    return found


def stamped_sha256(path: Path) -> str | None:
    """What the stamp of a file says, ``None`` without a file, without a stamp, and for a file changed since."""
    try:
        stamp = json.loads(stamp_path(path).read_bytes())
        status = path.stat()
        current = (stamp["size"], stamp["mtime_ns"]) == (status.st_size, status.st_mtime_ns)
        return str(stamp["sha256"]) if current else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _md5(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
