"""What 10x Genomics publishes of a section: an archive, and files beside it that begin with the same name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

_IMAGE = r"(tissue_)?image\.(tiff?|btf|jpe?g|png)"


@dataclass(frozen=True, slots=True)
class Layout:
    """How the vendor publishes one platform.

    Attributes
    ----------
    archive
        What the name of the archive ends with.
    beside
        Role -> what the name of a file ends with, after the part that it shares with the archive.
    needed
        Roles a section cannot do without.
    members
        Role -> the member of the archive.
    """

    platform: str
    archive: str
    beside: Mapping[str, str]
    needed: tuple[str, ...]
    members: Mapping[str, str]


# The richer archive first: pages of Visium HD have a `spatial.tar.gz` as well.
LAYOUTS = (
    Layout(
        "visium_hd",
        r"binned_outputs\.tar\.gz",
        {"image": _IMAGE},
        ("image",),
        {
            "counts": "binned_outputs/square_008um/filtered_feature_bc_matrix.h5",
            "positions": "binned_outputs/square_008um/spatial/tissue_positions.parquet",
            "scalefactors": "binned_outputs/square_008um/spatial/scalefactors_json.json",
            "hires": "binned_outputs/square_008um/spatial/tissue_hires_image.png",
            "lowres": "binned_outputs/square_008um/spatial/tissue_lowres_image.png",
        },
    ),
    Layout(
        "xenium",
        r"(xe_)?outs\.zip",
        {"image": r"he_(unaligned_)?image\.ome\.tiff?", "alignment": r"he_image_?alignment\.csv"},
        ("image", "alignment"),
        {
            "transcripts": "transcripts.parquet",
            "counts": "cell_feature_matrix.h5",
            "experiment": "experiment.xenium",
        },
    ),
    Layout(
        "visium",
        r"spatial\.tar\.gz",
        {"counts": r"filtered_feature_bc_matrix\.h5", "image": _IMAGE},
        ("counts", "image"),
        {
            "positions": "spatial/tissue_positions*.csv",
            "scalefactors": "spatial/scalefactors_json.json",
            "hires": "spatial/tissue_hires_image.png",
            "lowres": "spatial/tissue_lowres_image.png",
        },
    ),
)


@dataclass(slots=True)
class Published:
    """Sections found among file names.

    Attributes
    ----------
    sections
        What the names of a section's files begin with -> role -> path; of the layout with the most sections.
    others
        Layouts of sections that are not in it, with how many there are.
    """

    layout: Layout
    sections: dict[str, dict[str, str]] = field(default_factory=dict)
    others: tuple[tuple[Layout, int], ...] = ()


def published(paths: Iterable[str]) -> Published | None:
    """Sections as the vendor publishes them; ``None`` when no archive has such a name."""
    known = list(paths)
    found: dict[str, Published] = {}
    claimed: set[str] = set()
    for layout in LAYOUTS:
        mine = Published(layout)
        for archive in known:
            head = str(PurePosixPath(archive).parent)
            match = re.fullmatch(f"(?P<prefix>.*?){layout.archive}", PurePosixPath(archive).name)
            if match is None or f"{head}/{match['prefix']}" in claimed:
                continue
            claimed.add(f"{head}/{match['prefix']}")
            mine.sections[match["prefix"]] = {"archive": archive, **_beside(known, match["prefix"], layout)}
        if mine.sections:
            found[layout.platform] = mine
    if not found:
        return None
    most = max(found.values(), key=lambda one: len(one.sections))
    most.others = tuple((one.layout, len(one.sections)) for one in found.values() if one is not most)
    return most


def _beside(paths: Iterable[str], prefix: str, layout: Layout) -> dict[str, str]:
    files: dict[str, str] = {}
    for path in paths:
        name = PurePosixPath(path).name
        for role, ending in layout.beside.items():
            if name.startswith(prefix) and re.fullmatch(ending, name.removeprefix(prefix), re.IGNORECASE):
                files.setdefault(role, path)
    return files
