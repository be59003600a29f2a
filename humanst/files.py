"""The only room that writes, renames and deletes.

Every artefact is written aside in the same folder, hashed while it is written, flushed and fsynced, renamed into
place, and the folder is fsynced. What carries a final name is therefore whole. Partials left by a killed process are
swept at the next start. Locks only save work: a unique partial name keeps the data right without them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from humanst.errors import HostileError, NoRoomError

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
STALE_PARTIAL_SECONDS = 24 * 3600
# A download that lives writes every few seconds; one of another machine that did not for this long is up for taking.
STALE_PART_SECONDS = 3600
_PARTIAL = re.compile(r"^\.(?P<name>.+)\.partial-(?P<host>[A-Za-z0-9-]+)-(?P<pid>\d+)-[0-9a-f]{8}$")
_PART = re.compile(r"^\.(?P<name>.+)\.part(-(?P<host>[A-Za-z0-9-]+)-(?P<pid>\d+)-[0-9a-f]{8})?$")
_REPLACED = re.compile(r"^\.(?P<name>.+)\.replaced-(?P<host>[A-Za-z0-9-]+)-(?P<pid>\d+)-[0-9a-f]{8}$")
_WINDOWS_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))})


class AsideFile:
    """A file being written aside: ``write`` hashes and counts as it goes.

    Attributes
    ----------
    n_bytes
        Bytes written so far.
    path
        The partial file, for readers that need a path before the commit.
    """

    def __init__(self, handle: IO[bytes], path: Path) -> None:
        self._handle = handle
        self._hash = hashlib.sha256()
        self.path = path
        self.n_bytes = 0

    def write(self, data: bytes | memoryview) -> int:
        """Append ``data``; returns the number of bytes written."""
        self._handle.write(data)
        self._hash.update(data)
        self.n_bytes += len(data)
        return len(data)

    @property
    def sha256(self) -> str:
        """Hex digest of everything written so far."""
        return self._hash.hexdigest()


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
        return os.pread(self._handle.fileno(), n_bytes, offset)


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
        descriptor = os.open(data, os.O_RDWR | os.O_CREAT, 0o666)
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
        raise _no_room(error, path) from error
    finally:
        if kept:
            _park(folder, path)
        shutil.rmtree(folder, ignore_errors=True)
    _fsync_folder(path.parent)


def _claim_part(path: Path) -> Path:
    """A part folder of this process: the fullest that nobody owns, else a new one; the others are removed."""
    own = path.with_name(f".{path.name}.part-{_host()}-{os.getpid()}-{secrets.token_hex(4)}")
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


def ownerless_parts(folder: Path, name: str | None = None) -> list[Path]:
    """Parts of unfinished downloads in a folder (of one file) that no living process writes."""
    found = []
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = _PART.match(entry.name)
        if match is None or (name is not None and match["name"] != name):
            continue
        try:
            owned = match["host"] is not None and _is_owned(match, entry, STALE_PART_SECONDS)
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
        doomed = _partial_path(entry)
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


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "host"


def _partial_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial-{_host()}-{os.getpid()}-{secrets.token_hex(4)}")


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise _no_room(error, folder) from error
    finally:
        os.close(descriptor)


@contextmanager
def write_aside(path: Path) -> Iterator[AsideFile]:
    """Write ``path`` aside and put it in place when the block ends without an error.

    Raises
    ------
    NoRoomError
        When the disk fills up. Nothing is left behind and an older ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial_path(path)
    try:
        with partial.open("xb") as handle:
            aside = AsideFile(handle, partial)
            yield aside
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _no_room(error, path) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _fsync_folder(path.parent)


def _no_room(error: OSError, path: Path) -> Exception:
    import errno

    if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
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
    folder = _partial_path(path)
    partial = folder / path.name
    folder.mkdir()
    try:
        writer(partial)
        _fsync_file(partial)
        digest = sha256_file(partial)
        partial.replace(path)
    except OSError as error:
        raise _no_room(error, path) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _fsync_folder(path.parent)
    return digest


def _fsync_file(path: Path) -> None:
    try:
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
    except OSError as error:
        raise _no_room(error, path) from error


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """Fill a folder aside and swap it into place when the block ends without an error.

    An older folder at ``path`` stays whole until the new one is complete; after a kill in the middle of the swap
    :func:`sweep_partials` puts it back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial_path(path)
    partial.mkdir()
    try:
        yield partial
        for folder, _, names in os.walk(partial):
            for name in names:
                _fsync_file(Path(folder) / name)
            _fsync_folder(Path(folder))
        _swap_folder(partial, path)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise _no_room(error, path) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _swap_folder(partial: Path, path: Path) -> None:
    if not path.exists():
        partial.replace(path)
        _fsync_folder(path.parent)
        return
    replaced = path.with_name(f".{path.name}.replaced-{_host()}-{os.getpid()}-{secrets.token_hex(4)}")
    path.replace(replaced)
    partial.replace(path)
    _fsync_folder(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def sweep_partials(folder: Path) -> list[Path]:
    """Remove partials that no living process owns, and put back a folder whose swap was cut short.

    A partial of this host is dead when its process is; one of another host when it is older than a day.

    Returns
    -------
    list of Path
        What was removed or put back.
    """
    if not folder.is_dir():
        return []
    swept = []
    for entry in sorted(folder.iterdir()):
        leftover = _PARTIAL.match(entry.name) or _REPLACED.match(entry.name)
        try:
            if leftover is None or _is_owned(leftover, entry):
                continue
            final = folder / leftover["name"]
            if leftover.re is _REPLACED and not final.exists():
                entry.replace(final)
            else:
                _remove(entry)
            swept.append(entry)
        except FileNotFoundError:
            # Another process swept it first.
            continue
    if swept:
        logger.info("Swept %d leftovers of an interrupted run from %s", len(swept), folder)
    return swept


def is_aside(name: str) -> bool:
    """Whether a name is one of what is being written, or was when a process was killed."""
    return any(kind.match(name) for kind in (_PARTIAL, _PART, _REPLACED))


def _is_owned(partial: re.Match[str], entry: Path, stale_seconds: float = STALE_PARTIAL_SECONDS) -> bool:
    if partial["host"] == _host():
        pid = int(partial["pid"])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
    inside = list(entry.iterdir()) if entry.is_dir() else []
    return time.time() - max(path.stat().st_mtime for path in (entry, *inside)) < stale_seconds


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Delete a file or folder of ours; missing is fine."""
    if path.exists() or path.is_symlink():
        _remove(path)


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in 1 MiB chunks."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


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


def safe_relative_path(name: str) -> Path:
    """Accept a relative path that stays below its folder on POSIX and on Windows.

    Raises
    ------
    HostileError
        For absolute paths, drives, ``..``, NUL and control characters, reserved names, trailing dots or spaces.
    """
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    bad_part = any(
        part in ("..", ".") or part != part.rstrip(". ") or part.split(".")[0].lower() in _WINDOWS_RESERVED
        for part in windows.parts
    )
    bad_character = any(ord(character) < 32 or character in '<>:"|?*\\' for character in name)
    if not name or bad_character or posix.is_absolute() or windows.drive or windows.root or bad_part:
        raise HostileError(
            "This file name is not safe to write",
            found=repr(name),
            expected="a relative path below its folder, valid on POSIX and Windows",
            done="Nothing was written",
            todo="Correct the name in the catalog or archive",
        )
    return Path(*posix.parts)


@contextmanager
def locked(path: Path, *, what: str) -> Iterator[None]:
    """Hold ``<path>.lock`` while working, saying every ten seconds what is being waited for."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    while True:
        try:
            lock.acquire(timeout=10)
            break
        except Timeout:
            logger.warning("Waiting for another process that is working on %s (lock %s)", what, lock.lock_file)
        except NotImplementedError:
            logger.warning("This file system has no locks: other processes may do the work on %s once more", what)
            break
    try:
        yield
    finally:
        lock.release()


def hoist(inner: Path) -> None:
    """Move the content of ``inner`` into its parent (inside a partial folder, before its commit)."""
    for entry in sorted(inner.iterdir()):
        entry.replace(inner.parent / entry.name)
    inner.rmdir()


def link(source: Path, target: Path) -> bool:
    """Give a file a second name, without a copy; ``False`` where the file system has no such thing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial_path(target)
    try:
        os.link(source, partial)
    except OSError:
        return False
    partial.replace(target)
    # Renaming one name of a file to another name of it does nothing.
    partial.unlink(missing_ok=True)
    return True


def put_folder(new: Path, path: Path) -> None:
    """Put a finished folder in the place of ``path``; what is hidden in an older one moves along.

    After a kill in the middle, :func:`sweep_partials` of the parent puts the older one back.
    """
    for folder, _, names in os.walk(new):
        for name in names:
            _fsync_file(Path(folder) / name)
        _fsync_folder(Path(folder))
    if path.is_dir():
        for entry in path.iterdir():
            if entry.name.startswith(".") and not _PARTIAL.match(entry.name):
                entry.replace(new / entry.name)
    _swap_folder(new, path)


def replace_folder(new: Path, old: Path) -> None:
    """Put ``new`` in the place of ``old`` (inside a partial folder, before its commit)."""
    shutil.rmtree(old)
    new.replace(old)
