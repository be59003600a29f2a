"""The release folder: only ever a release. Whatever else lies there is somebody's, and is left alone."""

from __future__ import annotations

import os
import re
from pathlib import Path

from humanst.errors import UsageError

_OURS = re.compile(
    r"(MANIFEST\.json|SHA256SUMS|CHANGES\.md|samples\.parquet|targets/pathway_stats\.parquet|index/(train|val|test)\.parquet"
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
    strangers = [name for name in _names(release) if not _OURS.fullmatch(name)]
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


def _names(release: Path) -> list[str]:
    found = [path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file()]
    # Partials of a killed run are swept, and locks are ours.
    return sorted(name for name in found if not Path(name).name.startswith("."))
