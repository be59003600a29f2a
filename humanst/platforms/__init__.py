"""One file a platform, one function ``read(files, recipe) -> RawSection``.

A reader understands one vendor's layout and nothing else: no study is named here, and whatever is odd about a study
arrives as data in its recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from humanst.catalog import Lattice, Recipe
from humanst.errors import UsageError
from humanst.fetch import LocalFiles
from humanst.findings import Drop, Findings

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, slots=True)
class RawSection:
    """A section as its vendor files tell it, before anything is harmonized.

    Attributes
    ----------
    counts
        ``(n_spots, n_columns)`` int64, exactly as in the file.
    spot_ids
        ``(n_spots,)`` unique strings, sorted.
    gene_names, gene_ids, feature_types
        ``(n_columns,)`` strings as in the file; the last two are ``None`` where the file has none.
    xy_px
        ``(n_spots, 2)`` float64 spot centres, (x, y), in pixels of ``image_path``.
    row_col
        ``(n_spots, 2)`` int64 lattice indices (row, column).
    in_tissue
        ``(n_spots,)`` the vendor's flag; all true where the vendor has none.
    all_xy_px, all_row_col, all_in_tissue
        The same for every position of the lattice that the files list, with or without counts.
    image_path, image_name
        The finest image at hand, and its catalog path for messages; ``None`` without one.
    image_scale
        Pixels of ``image_path`` per full-resolution pixel (1.0 for the full-resolution image).
    image_scales
        Pixels per full-resolution pixel of every image the files speak of, by role (``image`` is 1), for the check that
        the copies of one image have the sizes they should.
    um_per_pixel_witnesses
        Independent readings of um per pixel of ``image_path``, by name (the lattice is fitted later).
    target_shape
        Shape of the field whose transcripts make one spot; its diameter or side is ``lattice.spot_diameter_um``.
    facts
        What else provenance should know, as JSON-able data: a panel, how transcripts were placed.
    labels
        Per-spot annotations, by column name; empty string where a spot has none.
    drops, findings
        What the reader left out, and what it saw.
    counts_in
        Transcripts of the files, counted before anything was pooled: ``counts`` and the drops must add up to it.
        ``None`` where nothing is pooled.
    """

    study_id: str
    section_id: str
    platform: str
    counts: csr_matrix
    spot_ids: NDArray[np.str_]
    gene_names: NDArray[np.str_]
    gene_ids: NDArray[np.str_] | None
    feature_types: NDArray[np.str_] | None
    xy_px: NDArray[np.float64]
    row_col: NDArray[np.int64]
    in_tissue: NDArray[np.bool_]
    all_xy_px: NDArray[np.float64]
    all_row_col: NDArray[np.int64]
    all_in_tissue: NDArray[np.bool_]
    lattice: Lattice
    image_path: Path | None
    image_name: str
    image_scale: float
    um_per_pixel_witnesses: Mapping[str, float]
    files: LocalFiles
    findings: Findings
    image_scales: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    drops: tuple[Drop, ...] = ()
    target_shape: Literal["circle", "square"] = "circle"
    facts: Mapping[str, Any] = field(default_factory=dict)
    counts_in: int | None = None


@dataclass(frozen=True, slots=True)
class GeneColumns:
    """What a count table calls its columns: names, and Ensembl ids and feature types where it has them."""

    names: NDArray[np.str_]
    ids: NDArray[np.str_] | None
    types: NDArray[np.str_] | None


Reader = Callable[[LocalFiles, Recipe], RawSection]

_READERS = {
    "st": "humanst.platforms.st",
    "visium": "humanst.platforms.visium",
    "visium_hd": "humanst.platforms.visium_hd",
    "xenium": "humanst.platforms.xenium",
}


def platform_names() -> tuple[str, ...]:
    """The platforms that can be read."""
    return tuple(sorted(_READERS))


def reader_for(platform: str) -> Reader:
    """The ``read`` function of a platform.

    Raises
    ------
    UsageError
        For a platform without a reader.
    """
    reader: Reader = _module(platform).read
    return reader


def read_genes(platform: str, files: LocalFiles, recipe: Recipe) -> GeneColumns:
    """The columns of a section's count table, without reading its counts.

    Raises
    ------
    DataError
        When the table cannot be read.
    """
    columns: GeneColumns = _module(platform).read_genes(files, recipe)
    return columns


def _module(platform: str) -> Any:
    if platform not in _READERS:
        raise UsageError(
            "This platform has no reader",
            code="unknown-platform",
            field="platform",
            expected=f"one of {', '.join(platform_names())}",
            found=repr(platform),
            todo="Correct `platform` in the recipe",
        )
    return import_module(_READERS[platform])
