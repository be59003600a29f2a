"""What lies in the cache: who it belongs to, whether it is still right, and what nobody needs any more."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from humanst import files
from humanst.errors import IntegrityError
from humanst.fetch.owner_ids import owner_folder
from humanst.fetch.stamps import recorded_sha256

_HIDDEN = (".lock", ".stamp")


@dataclass(frozen=True, slots=True)
class CachedOwner:
    """The fetched files of one study or resource."""

    owner_id: str
    n_files: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Garbage:
    """What was removed."""

    n_entries: int
    n_bytes: int


def cached_owners(cache: Path) -> list[CachedOwner]:
    """Every study and resource with fetched files, in order of their ids."""
    root = cache / "sources"
    found = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        sizes = [path.stat().st_size for path in _fetched(folder)]
        if sizes:
            found.append(CachedOwner(folder.name, len(sizes), sum(sizes)))
    return found


def remove_owner(cache: Path, owner_id: str) -> int:
    """Remove the fetched files of one study or resource; returns their bytes.

    Raises
    ------
    HostileError
        For an id that is not one folder name.
    """
    folder = cache / "sources" / owner_folder(owner_id)
    n_bytes = _bytes_below(folder)
    files.remove(folder)
    return n_bytes


def collect_garbage(cache: Path) -> Garbage:
    """Remove unfinished downloads and partials that no living process writes, and what was unpacked from gone files."""
    n_entries = n_bytes = 0
    for folder, names, _ in os.walk(cache):
        # What is unfinished is removed whole, here, and not walked into.
        names[:] = [name for name in names if not name.startswith(".")]
        parts = files.ownerless_parts(Path(folder))
        n_entries += len(parts)
        n_bytes += files.remove_parts(Path(folder))
        n_entries += len(files.sweep_partials(Path(folder)))
    known = {recorded_sha256(path) for path in _fetched(cache / "sources")}
    unpacked = cache / "unpacked"
    for entry in sorted(unpacked.iterdir()) if unpacked.is_dir() else []:
        if entry.name not in known:
            n_entries, n_bytes = n_entries + 1, n_bytes + _bytes_below(entry)
            files.remove(entry)
    return Garbage(n_entries, n_bytes)


def damaged_files(cache: Path) -> tuple[int, list[IntegrityError]]:
    """Hash every fetched file: how many there are, and an error for each that is not what was placed.

    What a file was is in its stamp, whatever its size and time are now. One without a stamp is hashed when it is
    asked for, and counts as right here.
    """
    n_files, damaged = 0, []
    for path in _fetched(cache / "sources"):
        n_files += 1
        expected = recorded_sha256(path)
        if expected is None:
            continue
        found = files.sha256_file(path)
        if found != expected:
            files.remove(path.with_name(f"{path.name}.stamp"))
            damaged.append(
                IntegrityError(
                    "This file is not what was placed",
                    code="hash-differs",
                    file=path.relative_to(cache / "sources").as_posix(),
                    field="sha256",
                    expected=f"sha256 {expected}",
                    found=f"sha256 {found}",
                    done="Its stamp was removed, so the next fetch looks at it again",
                    todo="Fetch it again",
                )
            )
    return n_files, damaged


def _fetched(folder: Path) -> list[Path]:
    """Every placed file below a folder: no lock, no stamp, nothing unfinished."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(place) / name for name in sorted(names) if not name.startswith(".") and not name.endswith(_HIDDEN)
        ]
    return found


def _bytes_below(folder: Path) -> int:
    return sum((Path(place) / name).stat().st_size for place, _, names in os.walk(folder) for name in names)
