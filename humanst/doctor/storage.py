"""Where things go: room, the kind of file system, and whether the cache can be worked in. Nothing is left behind."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from humanst import files
from humanst.doctor.checks import Check
from humanst.errors import HumanstError, NoRoomError, UsageError
from humanst.settings import Settings

_GIB = 1 << 30
# A Visium section with its slide is about 1 GiB to fetch, and its image of record, store and patches are as much again.
_TIGHT_BYTES = 10 * _GIB
_NONE_BYTES = _GIB
_SHARED = "its locks are those of a server: after a node died, `build-shards --clear-dead-locks`"
_HINTS = {
    "nfs": _SHARED,
    "nfs4": _SHARED,
    "cifs": "mount it without `nobrl`, or humanst has no locks on it",
    "lustre": "many small files are slow on it: work in a folder on a local disk, and put releases here",
    "gpfs": "many small files are slow on it: work in a folder on a local disk, and put releases here",
    "beegfs": "many small files are slow on it: work in a folder on a local disk, and put releases here",
    "tmpfs": "it is memory, and gone when the machine starts anew",
    "ramfs": "it is memory, and gone when the machine starts anew",
}
_MEMORY = frozenset({"tmpfs", "ramfs"})
# How the table of mounts writes spaces, tabs, newlines and backslashes; other letters are as they are.
_OCTAL = re.compile(r"\\([0-7]{3})")


def disk_checks(known: Settings, outputs: Sequence[Path]) -> list[Check]:
    """Free room, and the file system, of the cache, of the folders that results go to and of temporary files."""
    places = {"cache": known.resolved_cache_dir(), "temporary files": Path(tempfile.gettempdir())}
    places |= {f"output {folder}": folder for folder in outputs or (Path.cwd(),)}
    checks = []
    for item, folder in places.items():
        try:
            checks.append(_room(item, folder))
        except OSError as error:
            checks.append(_closed("disk", item, folder, error))
    return checks


def _closed(group: str, item: str, folder: Path, error: OSError) -> Check:
    """A folder that cannot even be looked for."""
    found = f"{error.strerror or error} ({folder})"
    return Check(group, item, "fail", found, "Ask its owner to let you in, or choose another folder", UsageError)


def _room(item: str, folder: Path) -> Check:
    here = files.existing_folder(folder)
    free = shutil.disk_usage(here).free
    kind = file_system(here)
    found = f"{free / _GIB:,.1f} GiB free on {kind} ({folder})"
    if free < _NONE_BYTES:
        return Check("disk", item, "fail", found, "Make room, or choose another folder", NoRoomError)
    hint = _HINTS.get(kind, "over FUSE: slower than a disk" if kind.startswith("fuse") else None)
    if free < _TIGHT_BYTES and item != "temporary files":
        return Check("disk", item, "warn", found, "Enough for a few sections: make room, or choose another folder")
    return Check("disk", item, "warn" if kind in _MEMORY and item == "cache" else "ok", found, hint)


def file_system(folder: Path, table: str | None = None) -> str:
    """The kind of file system that a folder is on, as Linux names it; ``unknown`` where nothing says.

    Parameters
    ----------
    table
        Lines as in ``/proc/self/mountinfo``, which is read without it.
    """
    try:
        lines = (table or Path("/proc/self/mountinfo").read_text("utf-8", "replace")).splitlines()
    except OSError:
        return "unknown"
    here, best, kind = folder.resolve(), -1, "unknown"
    for line in lines:
        mount, _, source = line.partition(" - ")
        point = Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), mount.split()[4]))
        # Of several mounts on one folder the last is seen.
        if (here == point or point in here.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), source.split()[0]
    return kind


def cache_checks(known: Settings) -> list[Check]:
    """Whether files can be written, renamed and locked in the cache, or where it will be made; the caches of others."""
    cache = known.resolved_cache_dir()
    try:
        checks = _tries(cache)
    except OSError as error:
        checks = [_closed("cache", "folder", cache, error)]
    return [*checks, *(_shared(Path(folder).expanduser()) for folder in known.shared_cache)]


def _tries(cache: Path) -> list[Check]:
    here = files.existing_folder(cache)
    shown = str(cache) if here == cache else f"{cache} (to be made in {here})"
    if not here.is_dir():
        todo = "HUMANST_CACHE_DIR must be a folder"
        return [Check("cache", "folder", "fail", f"{here} is a file", todo, UsageError)]
    trial = files.partial_path(here / "humanst-doctor")
    try:
        checks = [_tried("write", shown, lambda: _writes(trial)), _tried("rename", shown, lambda: _renames(trial))]
        if all(check.status == "ok" for check in checks):
            checks.append(_locks(shown, files.locks_hold(trial)))
    finally:
        files.remove(trial)
    return checks


def _writes(trial: Path) -> bool:
    files.write_bytes(trial / "file", b"humanst")
    return (trial / "file").read_bytes() == b"humanst"


def _renames(trial: Path) -> bool:
    """One file is put in the place of another, as every file of humanst is."""
    files.write_bytes(trial / "file", b"again")
    return (trial / "file").read_bytes() == b"again" and len(list(trial.iterdir())) == 1


def _tried(item: str, shown: str, action: Callable[[], bool]) -> Check:
    todo = "Make the folder yours (chmod u+rwx), or name another in HUMANST_CACHE_DIR"
    try:
        good = action()
    except HumanstError as error:
        return Check("cache", item, "fail", str(error), error.facts.todo, type(error))
    except OSError as error:
        return Check("cache", item, "fail", f"{error.strerror or error} ({shown})", todo, UsageError)
    if not good:
        return Check("cache", item, "fail", f"what was written is not what is there ({shown})", todo, UsageError)
    return Check("cache", item, "ok", shown)


def _locks(shown: str, hold: bool) -> Check:
    if hold:
        return Check("cache", "lock", "ok", shown)
    todo = "Data stays right without locks, but processes do the same work twice: better a cache on another file system"
    return Check("cache", "lock", "warn", f"locks keep nobody out ({shown})", todo)


def _shared(folder: Path) -> Check:
    found = "holds nothing that can be read"
    try:
        if (folder / "sources").is_dir():
            return Check("cache", f"shared {folder}", "ok", "can be read")
    except OSError as error:
        found = error.strerror or str(error)
    todo = "Correct HUMANST_SHARED_CACHE, or ask its owner to let you read it"
    return Check("cache", f"shared {folder}", "warn", found, todo)
