"""A release copied to a folder: what is there is not copied again, and the manifest comes last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from humanst import files
from humanst.errors import UsageError
from humanst.locks import held
from humanst.shards.folder import MANIFEST, names_in, strangers_in
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
    if strangers := strangers_in(folder, source.sums) if folder.is_dir() else []:
        raise UsageError(
            "The folder holds files that are no release of humanst",
            field="--to",
            file=folder.name,
            expected="a new or empty folder, or an earlier release",
            found=f"{len(strangers)} other files, such as {', '.join(strangers[:3])}",
            done="Nothing was sent and nothing was removed",
            todo="Choose another folder",
        )


def look_at(digests: Mapping[str, str], folder: Path) -> Look:
    """Compare a folder with a release, every file by its hash."""
    here = names_in(folder) if folder.is_dir() else []
    same = {name for name in here if name in digests and files.sha256_file(folder / name) == digests[name]}
    gone = {name: (folder / name).stat().st_size for name in here if name not in digests}
    return Look(tuple(name for name in digests if name not in same), gone)


def copy_release(source: OpenedRelease, digests: Mapping[str, str], folder: Path, tell: Progress) -> Look:
    """Bring what is missing, each file hashed on its way, and remove what another release left there.

    From the first change to the last the folder has no manifest: whoever reads it meanwhile is told it is unfinished.

    Parameters
    ----------
    digests
        Path -> sha256 of all files, the manifest last.

    Raises
    ------
    IntegrityError
        ``hash-differs`` when a file of the release changed since it was checked.
    NoRoomError
        Before anything is copied, or as soon as the disk is full.
    """
    with held(folder, what=folder.name):
        for place in {folder, *((folder / name).parent for name in digests)}:
            files.sweep_partials(place)
        look = look_at(digests, folder)
        if not look.missing and not look.gone:
            return look
        sizes = {name: (source.folder / name).stat().st_size for name in look.missing}
        files.require_room(folder, sum(sizes.values()))
        files.remove(folder / MANIFEST)
        for name in look.gone:
            files.remove(folder / name)
        brought = [name for name in digests if name in look.missing and name != MANIFEST]
        for number, name in enumerate(brought, 1):
            _copy(source.folder / name, folder / name, name, digests[name])
            tell("copy", number, len(brought) + 1, 0)
        _copy(source.folder / MANIFEST, folder / MANIFEST, MANIFEST, digests[MANIFEST])
        tell("copy", len(brought) + 1, len(brought) + 1, 0)
        return look


def _copy(path: Path, target: Path, name: str, sha256: str) -> None:
    with path.open("rb") as handle, files.write_aside(target) as aside:
        while block := handle.read(files.CHUNK_BYTES):
            aside.write(block)
        if aside.sha256 != sha256:
            raise broken(name, "hash-differs", sha256, aside.sha256)
