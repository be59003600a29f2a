"""Parts: downloads written aside that a later try or process can go on with."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from humanst.files.aside import AsideFile, write_json
from humanst.files.disk import CHUNK_BYTES, fsync_folder
from humanst.files.owners import OWNER, is_owned, is_partial, owned_path, partial_path
from humanst.files.room import no_room

# A download that lives writes every few seconds; one of another machine that did not for this long is up for taking.
STALE_PART_SECONDS = 3600
_PART = re.compile(rf"^\.(?P<name>.+)\.part(-{OWNER})?$")


class PartFile(AsideFile):
    """A download being written aside, which a later try or process can go on with.

    Attributes
    ----------
    note
        What was remembered of its origin; empty for one that cannot be gone on with.
    keep
        Whether to leave it for a later run when this one fails.
    """

    def __init__(self, handle: IO[bytes], path: Path, *, md5: bool) -> None:
        super().__init__(handle, path)
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None
        self.keep = True
        try:
            note = json.loads(self._note_path.read_bytes())
        except (OSError, ValueError):
            note = None
        self.note: dict[str, Any] = note if isinstance(note, dict) else {}
        self._in_file = os.fstat(handle.fileno()).st_size

    @property
    def _note_path(self) -> Path:
        return self.path.with_name("note.json")

    @property
    def md5(self) -> str | None:
        """Hex md5 of everything written so far, where it was asked for."""
        return None if self._md5 is None else self._md5.hexdigest()

    @property
    def holds_bytes(self) -> bool:
        """Whether there is something to go on with."""
        return bool(self.note) and max(self.n_bytes, self._in_file) > 0

    def take_up(self) -> int:
        """Hash what an earlier process left, so that writing goes on behind it; returns the bytes there are."""
        if self.n_bytes < self._in_file:
            self._handle.seek(self.n_bytes)
            while block := self._handle.read(CHUNK_BYTES):
                self._count(block)
            self._in_file = self.n_bytes
        return self.n_bytes

    def restart(self) -> None:
        """Begin from zero."""
        self._handle.seek(0)
        self._handle.truncate()
        self._hash = hashlib.sha256()
        if self._md5 is not None:
            self._md5 = hashlib.md5(usedforsecurity=False)
        self.n_bytes = self._in_file = 0
        self.note = {}
        self._note_path.unlink(missing_ok=True)

    def remember(self, note: dict[str, Any]) -> None:
        """Keep a note beside the bytes, before any of them comes."""
        self.note = note
        write_json(self._note_path, note)

    def write(self, data: bytes | memoryview) -> int:
        """Append ``data``; returns the number of bytes written."""
        self._handle.write(data)
        self._count(data)
        self._in_file = self.n_bytes
        return len(data)

    def _count(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        if self._md5 is not None:
            self._md5.update(data)
        self.n_bytes += len(data)

    def head(self, n_bytes: int) -> bytes:
        """The first bytes of what was written so far."""
        return self.read_at(0, n_bytes)

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """Bytes of what was written so far, fewer where it ends."""
        if hasattr(os, "pread"):
            return os.pread(self._handle.fileno(), n_bytes, offset)
        end = self._handle.tell()
        self._handle.seek(offset)
        data = self._handle.read(n_bytes)
        self._handle.seek(end)
        return data


@contextmanager
def write_part(path: Path, *, md5: bool = False) -> Iterator[PartFile]:
    """Write a download of ``path`` aside, going on with what an earlier process left of it.

    The part is a folder ``.<name>.part-...`` with the bytes and a note of where they come from. Taking over another's
    is one rename, so two processes never write the same one. When the block ends without an error the file is put in
    place as by :func:`write_aside`; else the part stays, unless it has no note or ``keep`` was taken away. ``md5`` has
    that hash made too.

    Raises
    ------
    NoRoomError
        When the disk fills up. The part is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = _claim_part(path)
    data, kept = folder / "data", False
    try:
        descriptor = os.open(data, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(descriptor, "r+b", buffering=0) as handle:
            part = PartFile(handle, data, md5=md5)
            try:
                yield part
            except OSError:
                raise
            except BaseException:
                kept = part.keep and part.holds_bytes
                raise
            os.fsync(handle.fileno())
        data.replace(path)
    except OSError as error:
        raise no_room(error, path) from error
    finally:
        if kept:
            _park(folder, path)
        shutil.rmtree(folder, ignore_errors=True)
    fsync_folder(path.parent)


def _claim_part(path: Path) -> Path:
    """A part folder of this process: the fullest that nobody owns, else a new one; the others are removed."""
    own = owned_path(path, "part")
    ownerless = sorted(ownerless_parts(path.parent, path.name), key=_part_bytes, reverse=True)
    for entry in ownerless:
        try:
            entry.replace(own)
            break
        except FileNotFoundError:
            # Another process took it first.
            continue
    else:
        own.mkdir()
    remove_parts(path.parent, path.name)
    return own


def is_aside(name: str) -> bool:
    """Whether a name is one of what is being written, or was when a process was killed."""
    return _PART.match(name) is not None or is_partial(name)


def ownerless_parts(folder: Path, name: str | None = None) -> list[Path]:
    """Parts of unfinished downloads in a folder (of one file) that no living process writes."""
    found = []
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = _PART.match(entry.name)
        if match is None or (name is not None and match["name"] != name):
            continue
        try:
            owned = match["host"] is not None and is_owned(match, entry, STALE_PART_SECONDS)
        except FileNotFoundError:
            continue
        if not owned:
            found.append(entry)
    return found


def remove_parts(folder: Path, name: str | None = None) -> int:
    """Remove the parts that nobody owns; returns their bytes."""
    n_bytes = 0
    for entry in ownerless_parts(folder, name):
        # Renamed first: a process that takes it up in this moment gets either all of it or nothing.
        doomed = partial_path(entry)
        try:
            entry.replace(doomed)
        except FileNotFoundError:
            continue
        n_bytes += _part_bytes(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    return n_bytes


def part_bytes(path: Path) -> int:
    """Bytes that unfinished downloads of ``path`` hold and that a fetch would go on from."""
    return max((_part_bytes(entry) for entry in ownerless_parts(path.parent, path.name)), default=0)


def _part_bytes(folder: Path) -> int:
    try:
        return (folder / "data").stat().st_size
    except OSError:
        return 0


def _park(folder: Path, path: Path) -> None:
    """Leave a part to whoever comes next. Where one is parked already, this one is given up."""
    with suppress(OSError):
        folder.replace(path.with_name(f".{path.name}.part"))
