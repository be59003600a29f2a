"""What a report is of: a release, or a folder of section stores."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from humanst import files
from humanst.report.atlas_base import UNKNOWN, AtlasSource, Scores
from humanst.report.atlas_release import ReleaseSource
from humanst.report.atlas_stores import StoresSource
from humanst.report.sources import is_release

if TYPE_CHECKING:
    from humanst.pathways import PathwayChoice

__all__ = ["UNKNOWN", "AtlasSource", "ReleaseSource", "Scores", "StoresSource", "open_source"]


def open_source(
    path: Path,
    *,
    work: Path | None = None,
    scratch: Path | None = None,
    gene_sets: Path | None = None,
    choice: PathwayChoice | None = None,
) -> AtlasSource:
    """Open a release folder, a section store, or a folder of section stores.

    Parameters
    ----------
    work
        The work folder a release was built with, whose stores need no unpacking; ``<release>.work`` by default.
    scratch
        Where the zips of a release are unpacked, each for the time it is open; below the system's folder of temporary
        files by default.
    gene_sets, choice
        What the spots of stores are scored for, and how. A release has its scores.

    Raises
    ------
    DataError
        When the manifest of a release cannot be used.
    UsageError
        ``no-sections`` where there are none. A store that is not finished or is damaged is one of the sections; opening
        it raises what is wrong with it.
    """
    folder = path.resolve()
    if is_release(folder):
        aside = scratch or files.partial_path(Path(tempfile.gettempdir()) / "humanst-report")
        return ReleaseSource(folder, work or folder.with_name(f"{folder.name}.work"), aside)
    return StoresSource(folder, gene_sets, choice)
