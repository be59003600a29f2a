"""Stamps: what a cached file hashed to, beside it, so that an unchanged file is not hashed again.

``<file>.stamp`` holds size, mtime_ns, sha256 and, where that is what the record has, md5. A file whose size or mtime
differs from its stamp is hashed anew.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from humanst import files
from humanst.fetch.receive import Expected


def stamp_path(path: Path) -> Path:
    """Where the stamp of ``path`` lies."""
    return path.with_name(f"{path.name}.stamp")


def outside_stamp(path: Path, cache: Path) -> Path:
    """Where the stamp of a file outside the own cache lies: in that cache, by the file's place."""
    name = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:32]
    return cache / "shared" / f"{name}.stamp"


def write_stamp(path: Path, sha256: str, *, md5: str | None = None, stamp: Path | None = None) -> None:
    """Stamp a file that was just verified, beside it or at ``stamp``."""
    status = path.stat()
    content = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256}
    files.write_json(stamp or stamp_path(path), content | ({} if md5 is None else {"md5": md5}))


def trusted_sha256(path: Path, expected: Expected, *, stamp: Path | None = None) -> str | None:
    """The sha256 of a cached file whose stamp is current and says that it is the file on record; hashes nothing."""
    if not expected.pinned:
        return None
    content = _current_stamp(path, stamp or stamp_path(path))
    if content is None or (expected.bytes is not None and content["size"] != expected.bytes):
        return None
    if expected.sha256 is not None and content["sha256"] != expected.sha256:
        return None
    if expected.md5 is not None and content.get("md5") != expected.md5:
        return None
    return str(content["sha256"])


def verified_sha256(path: Path, expected: Expected, *, stamp: Path | None = None) -> str | None:
    """The sha256 of a cached file that is the file on record, else ``None``.

    A current stamp is believed; without one the file is hashed, and stamped when it is right.
    """
    if (known := trusted_sha256(path, expected, stamp=stamp)) is not None:
        return known
    if not expected.pinned or not path.is_file():
        return None
    if expected.bytes is not None and path.stat().st_size != expected.bytes:
        return None
    found = files.sha256_file(path)
    if expected.sha256 is not None and found != expected.sha256:
        return None
    md5 = None if expected.md5 is None else _md5(path)
    if md5 != expected.md5:
        return None
    write_stamp(path, found, md5=md5, stamp=stamp)
    return found


def stamped_sha256(path: Path) -> str | None:
    """What the stamp of a file says, ``None`` without a file, without a stamp, and for a file changed since."""
    content = _current_stamp(path, stamp_path(path))
    return None if content is None else str(content["sha256"])


def recorded_sha256(path: Path) -> str | None:
    """What the stamp of a file says, whether or not the file changed since; ``None`` without a stamp."""
    try:
        return str(json.loads(stamp_path(path).read_bytes())["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _current_stamp(path: Path, stamp: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(stamp.read_bytes())
        status = path.stat()
        is_current = (content["size"], content["mtime_ns"]) == (status.st_size, status.st_mtime_ns)
        return content if is_current and content["sha256"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _md5(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
