"""A release copied to a folder: what is there is not copied again, and the manifest comes last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from humanst import files
from humanst.errors import DataError, IntegrityError, UsageError
from humanst.fetch.hub_faults import unreadable
from humanst.locks import held
from humanst.shards.folder import MANIFEST, is_ours, links_in, names_in, strangers_in
from humanst.shards.opened import OpenedRelease, broken

Progress = Callable[[str, int, int, int], None]


@dataclass(frozen=True, slots=True)
class Look:
    """What a folder lacks of a release, in the order to bring it, and what it holds beside it (path -> bytes)."""

    missing: tuple[str, ...]
    gone: Mapping[str, int]


def require_target(source: OpenedRelease, folder: Path) -> None:
    """Refuse a folder that holds anything but a release, or that the release shares.

    Raises
    ------
    UsageError
        Nothing is touched.
    """
    release = source.folder.resolve()
    if release == folder or release in folder.parents or folder in release.parents:
        raise UsageError(
            "The release and where it goes lie inside each other",
            field="--to",
            expected="another folder, beside the release",
            found=folder.name,
            done="Nothing was sent",
        )
    if next(place for place in (folder, *folder.parents) if place.exists()).is_file():
        raise UsageError("This is a file, not a folder", field="--to", found=folder.name, done="Nothing was sent")
    if strangers := _others(source, folder) if folder.is_dir() else []:
        raise UsageError(
            "The folder holds files that are no release of humanst",
            field="--to",
            file=folder.name,
            expected="a new or empty folder, or an earlier release",
            found=f"{len(strangers)} other files, such as {', '.join(strangers[:3])}",
            done="Nothing was sent and nothing was removed",
            todo="Choose another folder",
        )


def _others(source: OpenedRelease, folder: Path) -> list[str]:
    """What is no part of a release: files, hidden ones too, and links to folders, through which others would change."""
    found = {*strangers_in(folder, source.sums), *links_in(folder)}
    for path in folder.rglob(".*"):
        name = path.relative_to(folder)
        if path.is_file() and not any(files.is_aside(part) for part in name.parts):
            found.add(name.as_posix())
    return sorted(found)


def look_at(digests: Mapping[str, str], folder: Path) -> Look:
    """Compare a folder with a release, every file by its hash."""
    here = names_in(folder) if folder.is_dir() else []
    same = {name for name in here if name in digests and files.sha256_file(folder / name) == digests[name]}
    gone = {name: (folder / name).stat().st_size for name in here if name not in digests and is_ours(name)}
    return Look(tuple(name for name in digests if name not in same), gone)


def copy_release(
    source: OpenedRelease, digests: Mapping[str, str], folder: Path, tell: Progress, check: Callable[[], None]
) -> Look:
    """Bring what is missing, each file hashed on its way, and remove what another release left there.

    From the first change to the last the folder has no manifest: whoever reads it meanwhile is told it is unfinished.
    A copy that is refused at the end has none either.

    Parameters
    ----------
    digests
        Path -> sha256 of all files, the manifest last.
    check
        Raises what is wrong with the copy.

    Raises
    ------
    UsageError
        When something else came into the folder since it was looked at.
    DataError, IntegrityError
        ``hash-differs`` when a file of the release changed since it was checked, ``unreadable`` when it cannot be read;
        what ``check`` raises.
    NoRoomError
        Before anything is copied, or as soon as the disk is full.
    """
    with held(folder, what=folder.name):
        for place in [folder, *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())]:
            files.sweep_partials(place)
        # To verify a release takes hours, and somebody may have put something here meanwhile.
        require_target(source, folder)
        look = look_at(digests, folder)
        if not look.missing and not look.gone:
            check()
            return look
        files.require_room(folder, sum(size_of(source, name) for name in look.missing))
        _withdraw(folder)
        for name in look.gone:
            files.remove(folder / name)
        brought = [name for name in digests if name in look.missing and name != MANIFEST]
        for number, name in enumerate(brought, 1):
            _copy(source.folder / name, folder / name, name, digests[name])
            tell("copy", number, len(brought) + 1, 0)
        _copy(source.folder / MANIFEST, folder / MANIFEST, MANIFEST, digests[MANIFEST])
        tell("copy", len(brought) + 1, len(brought) + 1, 0)
        try:
            check()
        except (DataError, IntegrityError):
            _withdraw(folder)
            raise
        return look


def size_of(source: OpenedRelease, name: str) -> int:
    """Bytes of a file of a release.

    Raises
    ------
    IntegrityError
        ``unreadable`` when it is not there, or cannot be asked for.
    """
    try:
        return (source.folder / name).stat().st_size
    except OSError as error:
        raise unreadable(name, f"{type(error).__name__}: {error}") from error


def _withdraw(folder: Path) -> None:
    """Take the manifest away, for good before anything else changes."""
    files.remove(folder / MANIFEST)
    if folder.is_dir():
        files.fsync_folder(folder)


def _copy(path: Path, target: Path, name: str, sha256: str) -> None:
    with files.write_aside(target) as aside:
        for block in _blocks(path, name):
            aside.write(block)
        if aside.sha256 != sha256:
            raise broken(name, "hash-differs", sha256, aside.sha256)


def _blocks(path: Path, name: str) -> Iterator[bytes]:
    try:
        with path.open("rb") as handle:
            while block := handle.read(files.CHUNK_BYTES):
                yield block
    except OSError as error:
        raise unreadable(name, f"{type(error).__name__}: {error}") from error
