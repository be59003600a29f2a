"""The release folder: only ever a release. Whatever else lies there is somebody's, and is left alone."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from humanst import files
from humanst.errors import UsageError

MANIFEST = "MANIFEST.json"
SUMS = "SHA256SUMS"

_OURS = re.compile(
    r"(MANIFEST\.json|SHA256SUMS|CHANGES\.md|samples\.parquet|targets/pathway_stats\.parquet|index/(train|val|test)\.parquet"
    r"|targets/[a-z0-9][a-z0-9_-]*/(((train|val|test)-\d{5}\.np[yz])|[a-z_]+\.parquet)"
    r"|data/(?P<split>train|val|test)/(?P=split)-\d{5}\.(tar|card\.json))"
)


def require_own_folder(release: Path, work: Path) -> None:
    """Refuse an output folder that holds anything but a release, or that the work folder shares.

    Raises
    ------
    UsageError
        Naming the first strangers. Nothing is touched.
    """
    release, work = release.resolve(), work.resolve()
    if release == work or release in work.parents or work in release.parents:
        raise UsageError(
            "The release and the work folder lie inside each other",
            field="--work",
            expected="two folders beside each other",
            found=f"{release.name} and {work.name}",
            done="Nothing was written",
            todo="Choose another --work",
        )
    for folder in (release, work):
        if next((parent for parent in (folder, *folder.parents) if parent.exists()), folder).is_file():
            raise UsageError("This is a file, not a folder", file=folder.name, field="-o", done="Nothing was written")
    if os.path.ismount(release):
        raise UsageError(
            "The output folder is a mount point, which cannot be replaced in one step",
            file=release.name,
            field="-o",
            expected="a folder below it",
            found=release.name,
            done="Nothing was written",
        )
    strangers = [name for name in names_in(release) if not is_ours(name)]
    if strangers:
        raise UsageError(
            "The output folder holds files that are no release of humanst",
            file=release.name,
            field="-o",
            expected="a new or empty folder, or an earlier release",
            found=f"{len(strangers)} other files, such as {', '.join(strangers[:3])}",
            done="Nothing was written and nothing was removed",
            todo="Choose another output folder",
        )


def names_in(release: Path) -> list[str]:
    """Paths of all files of a folder, but for those of runs that go on or were killed."""
    found = [path.relative_to(release) for path in release.rglob("*") if path.is_file()]
    # What a killed run left aside is swept or gone on with, and locks are ours.
    aside = (path for path in found if any(files.is_aside(part) for part in path.parts))
    return sorted(path.as_posix() for path in set(found) - set(aside) if not path.name.startswith("."))


def is_ours(name: str) -> bool:
    """Whether a path is one that a build writes."""
    return _OURS.fullmatch(name) is not None


def remove_old_shards(release: Path, expected: set[Path]) -> None:
    """Remove shards of an earlier, larger build of this release; nothing else."""
    for path in sorted(release.glob("data/*/*")):
        if path not in expected and is_ours(path.relative_to(release).as_posix()):
            files.remove(path)


def write_sums(release: Path) -> str:
    """Write SHA256SUMS over every file but the manifest and itself; returns its own sha256."""
    lines = []
    for path in sorted(p for p in release.rglob("*") if p.is_file()):
        name = path.relative_to(release).as_posix()
        if name not in (MANIFEST, SUMS) and not any(part.startswith(".") for part in name.split("/")):
            lines.append((name, files.sha256_file(path)))
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(lines))
    files.write_bytes(release / SUMS, text.encode())
    return hashlib.sha256(text.encode()).hexdigest()
