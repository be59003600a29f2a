"""The release folder: only ever a release. Whatever else lies there is somebody's, and is left alone."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from humanst import files
from humanst.errors import UsageError
from humanst.shards.spec import RELEASE_SCHEMA

MANIFEST = "MANIFEST.json"
SUMS = "SHA256SUMS"

_SPLIT = "(?P<split>train|val|test)"
_NAME = "[A-Za-z0-9_-]"
# Names that nobody else gives a file by chance.
_UNMISTAKABLE = re.compile(rf"data/{_SPLIT}/(?P=split)-\d{{5,}}\.(tar|card\.json)|targets/pathway_stats\.parquet")
# Names that anybody's folder may have: ours only in company.
_GENERIC = re.compile(
    rf"MANIFEST\.json|SHA256SUMS|README\.md|CHANGES\.md|CITATION\.bib|LICENSES\.tsv|croissant\.json|samples\.parquet"
    rf"|index/(train|val|test)\.parquet|data/(_info|index)\.json|data/(train|val|test)/(sizes|index)\.json"
    rf"|targets/reliability\.parquet|targets/{_NAME}+/{_NAME}+(\.{_NAME}+)*|sections/{_NAME}{{2,40}}\.zarr\.zip"
)
# Where an earlier build has files that a later one may not have; the others it has anew.
_OLD = re.compile(r"sections/[^/]+|(data|targets)/[^/]+/[^/]+")
_UNPACKED = re.compile(r"sections/([A-Za-z0-9_-]{2,40})\.zarr(/.*|\.card\.json)")


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
        _refuse_file(folder)
    require_release_folder(release)


def require_release_folder(release: Path, *, unpacked: bool = False) -> None:
    """Refuse an output folder that holds anything but a release, or that cannot be replaced in one step.

    Parameters
    ----------
    unpacked
        Whether it may hold section stores unpacked beside their zips.

    Raises
    ------
    UsageError
        Naming the first strangers. Nothing is touched.
    """
    release = release.resolve()
    _refuse_file(release)
    if os.path.ismount(release):
        raise UsageError(
            "The output folder is a mount point, which cannot be replaced in one step",
            file=release.name,
            field="-o",
            expected="a folder below it",
            found=release.name,
            done="Nothing was written",
        )
    strangers = [name for name in strangers_in(release) if not unpacked or unpacked_section(name) is None]
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


def _refuse_file(folder: Path) -> None:
    if next((parent for parent in (folder, *folder.parents) if parent.exists()), folder).is_file():
        raise UsageError("This is a file, not a folder", file=folder.name, field="-o", done="Nothing was written")


def names_in(release: Path) -> list[str]:
    """Paths of all files of a folder, but for those of runs that go on or were killed."""
    found = [path.relative_to(release) for path in release.rglob("*") if path.is_file()]
    # What a killed run left aside is swept or gone on with, and locks are ours.
    aside = (path for path in found if any(files.is_aside(part) for part in path.parts))
    return sorted(path.as_posix() for path in set(found) - set(aside) if not path.name.startswith("."))


def links_in(folder: Path) -> list[str]:
    """Links below a folder that lead to folders, or nowhere: what changes behind them is somebody else's."""
    found = (path for path in folder.rglob("*") if path.is_symlink() and not path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def require_no_links(release: Path) -> None:
    """Refuse to change a release in which a folder is a link.

    Raises
    ------
    UsageError
        Naming the first links. Nothing is touched.
    """
    if links := links_in(release):
        raise UsageError(
            "The output folder holds links to folders, behind which nothing is changed",
            code="links",
            file=release.name,
            field="-o",
            expected="folders",
            found=f"{len(links)} links, such as {', '.join(links[:3])}",
            done="Nothing was written and nothing was removed",
            todo="Put the folders there instead of the links, or choose another output folder",
        )


def is_ours(name: str) -> bool:
    """Whether a path is one that a release has; anybody's ``README.md`` has such a name too."""
    return (_UNMISTAKABLE.fullmatch(name) or _GENERIC.fullmatch(name)) is not None


def strangers_among(names: Collection[str]) -> list[str]:
    """The paths that are no part of a release of humanst, of a place whose files nobody looks into.

    A name that other people use too is ours only beside a shard, or another file that nobody else has.
    """
    in_company = any(_UNMISTAKABLE.fullmatch(name) for name in names)
    return [name for name in names if not (in_company and is_ours(name))]


def strangers_in(folder: Path, known: Mapping[str, str | None] | None = None) -> list[str]:
    """The files of a folder that are no part of a release of humanst, and its links to folders.

    A name that other people use too is ours only beside a manifest of ours, a shard, or another file that nobody else
    has. What lies behind a link to a folder is never ours.

    Parameters
    ----------
    known
        Path -> sha256 of more files that may be there. One that has this hash may be there alone: an interrupted fetch
        brought it first.
    """
    known = known or {}
    names = names_in(folder)
    in_company = any(_UNMISTAKABLE.fullmatch(name) for name in names) or is_our_manifest(folder / MANIFEST)
    here = {name for name in names if in_company and (is_ours(name) or name in known)}
    links = [name for name in links_in(folder) if not name.rpartition("/")[2].startswith(".")]
    return links + [name for name in names if name not in here and not _is_just(folder / name, known.get(name))]


def _is_just(path: Path, sha256: str | None) -> bool:
    return sha256 is not None and files.sha256_file(path) == sha256


def is_our_manifest(path: Path) -> bool:
    """Whether a file is the manifest of a release; one that cannot be read is none."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("schema") == RELEASE_SCHEMA


def remove_old_shards(release: Path, expected: set[Path]) -> None:
    """Remove shards, zips and target files of an earlier, larger build of this release; nothing else.

    Links to folders are not followed.
    """
    for name in names_in(release):
        if _OLD.fullmatch(name) and is_ours(name) and release / name not in expected:
            files.remove(release / name)


def unpacked_section(name: str) -> str | None:
    """The section of whose unpacked store, beside its zip, a path is; ``None`` for any other path."""
    match = _UNPACKED.fullmatch(name)
    return match[1] if match else None


def write_sums(release: Path) -> str:
    """Write SHA256SUMS over every file but the manifest, itself and unpacked stores; returns its own sha256."""
    lines = []
    for path in sorted(p for p in release.rglob("*") if p.is_file()):
        name = path.relative_to(release).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/"))
        if name not in (MANIFEST, SUMS) and not hidden and unpacked_section(name) is None:
            lines.append((name, files.sha256_file(path)))
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(lines))
    files.write_bytes(release / SUMS, text.encode())
    return hashlib.sha256(text.encode()).hexdigest()
