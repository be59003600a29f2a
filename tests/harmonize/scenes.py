"""Synthetic sections for the space gates: a lattice, a tissue mask and the vendor's flags, from one hidden truth.

Nothing here comes from the demo atlas: tissue is thresholded smooth noise in um, the mask is that truth with the faults
a mask from an image has (a frame of fiducials, specks, an uneven edge), the flags are those of a vendor who looked at
the truth spot by spot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.sparse import csr_matrix

from humanst.catalog import Lattice
from humanst.fetch import LocalFiles
from humanst.findings import Findings
from humanst.harmonize.space import lattice_um
from humanst.harmonize.tissue import TissueMask
from humanst.platforms import RawSection

MASK_UM = 8.0
LATTICES = {
    "visium": Lattice("hex", 100.0, 55.0),
    "visium_hd": Lattice("square", 16.0, 16.0),
    "st": Lattice("square", 200.0, 100.0),
}


@dataclass(frozen=True)
class Scene:
    raw: RawSection
    tissue: TissueMask
    size_px: tuple[int, int]
    um_per_pixel: float


def indices(platform: str) -> np.ndarray:
    """(row, column) of a full array: Visium 78 x 128 half-steps, HD 6.5 mm of 16 um bins, ST 33 x 35."""
    if platform == "visium":
        return np.array([(row, col) for row in range(78) for col in range(row % 2, 128, 2)], dtype=np.int64)
    rows, columns = (406, 406) if platform == "visium_hd" else (35, 33)
    grid = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return np.stack([axis.ravel() for axis in grid], axis=1).astype(np.int64)


def scene(platform: str, seed: int) -> Scene:
    """A clean section: another seed gives another tissue, scale, small rotation, image size and place of the array."""
    kept = _scene(platform, seed)
    return replace(kept, raw=replace(kept.raw, findings=Findings(study="study", section="section")))


@cache
def _scene(platform: str, seed: int) -> Scene:
    rng = np.random.default_rng([seed, sum(map(ord, platform))])
    lattice, row_col = LATTICES[platform], indices(platform)
    um_per_pixel = float(rng.uniform(0.25, 0.75))
    turn = math.radians(rng.uniform(-2, 2) + (180 if rng.random() < 0.3 else 0))
    ideal = lattice_um(row_col, lattice)
    ideal = ideal - ideal.mean(axis=0)
    um = ideal @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    low, high = rng.uniform(400, 1500, 2), rng.uniform(400, 1500, 2)
    um = um - um.min(axis=0) + low
    size_um = um.max(axis=0) + high
    truth = _truth(rng, size_um, um)
    at = np.rint(um / MASK_UM - 0.5).astype(int)
    inside = ndimage.uniform_filter(truth.astype(float), max(3, round(lattice.spot_diameter_um / MASK_UM)))
    inside = inside[at[:, 1], at[:, 0]] >= 0.5
    if platform == "st":
        # A spot file lists what lies under tissue, and hands place the spots.
        row_col, um, inside = row_col[inside], um[inside], inside[inside]
        um = um + rng.normal(0, 0.055 * lattice.pitch_um, um.shape)
    xy_px = um / um_per_pixel if platform == "st" else np.rint(um / um_per_pixel)
    raw = _raw(platform, lattice, row_col, xy_px, inside)
    mask = _observed(rng, truth)
    size = tuple(round(float(length) / um_per_pixel) for length in size_um)
    return Scene(raw, TissueMask(mask, MASK_UM, "optical-density"), (size[0], size[1]), um_per_pixel)


def _truth(rng: np.random.Generator, size_um: np.ndarray, um: np.ndarray) -> np.ndarray:
    shape = tuple(math.ceil(length / MASK_UM) for length in size_um[::-1])
    coarse = rng.standard_normal((shape[0] // 8 + 2, shape[1] // 8 + 2))
    relief = ndimage.gaussian_filter(coarse, rng.uniform(8, 18)) * 40 + 0.25 * ndimage.gaussian_filter(coarse, 2)
    relief = ndimage.zoom(relief, 8, order=1)[: shape[0], : shape[1]]
    at = np.rint(um / MASK_UM - 0.5).astype(int)
    threshold = np.quantile(relief[at[:, 1], at[:, 0]], 1 - rng.uniform(0.35, 0.85))
    return relief > threshold


def _observed(rng: np.random.Generator, truth: np.ndarray) -> np.ndarray:
    mask = ndimage.binary_dilation(truth, iterations=int(rng.integers(1, 5)))
    specks = ndimage.gaussian_filter(rng.standard_normal(truth.shape), 4)
    mask = mask | (specks > np.quantile(specks, 0.98))
    mask = mask & ~(specks < np.quantile(specks, 0.03))
    for along in range(20, min(mask.shape) - 20, 24):
        mask[along : along + 12, 8:20] = mask[8:20, along : along + 12] = True
    return mask


def _raw(platform: str, lattice: Lattice, row_col: np.ndarray, xy_px: np.ndarray, inside: np.ndarray) -> RawSection:
    none = np.zeros(0, dtype=np.str_)
    return RawSection(
        study_id="study",
        section_id="section",
        platform=platform,
        counts=csr_matrix((0, 0), dtype=np.int64),
        spot_ids=none,
        gene_names=none,
        gene_ids=None,
        feature_types=None,
        xy_px=xy_px,
        row_col=row_col,
        in_tissue=inside,
        all_xy_px=xy_px,
        all_row_col=row_col,
        all_in_tissue=inside,
        lattice=lattice,
        image_path=Path("image.tif"),
        image_name="image.tif",
        image_scale=1.0,
        um_per_pixel_witnesses={},
        files=LocalFiles("study", "section", {}, {}, {}),
        findings=Findings(study="study", section="section"),
    )


def with_positions(clean: Scene, xy_px: np.ndarray) -> Scene:
    return replace(clean, raw=replace(clean.raw, xy_px=xy_px, all_xy_px=xy_px, findings=Findings()))


def with_size(clean: Scene, factor: float) -> Scene:
    """Positions made for an image ``factor`` times as large: the lattice tells another scale for the same pixels."""
    tissue = replace(clean.tissue, um_per_pixel=clean.tissue.um_per_pixel / factor)
    return replace(with_positions(clean, clean.raw.all_xy_px * factor), tissue=tissue)


def with_image(clean: Scene, mask: np.ndarray, *, turned_over: bool) -> Scene:
    """The same positions on another image; ``turned_over`` when rows became columns."""
    width, height = clean.size_px
    size = (height, width) if turned_over else (width, height)
    tissue = replace(clean.tissue, mask=mask)
    return replace(clean, raw=replace(clean.raw, findings=Findings()), tissue=tissue, size_px=size)


IMAGE_FAULTS = {
    "mirrored left to right": (lambda mask: mask[:, ::-1], False),
    "mirrored top to bottom": (lambda mask: mask[::-1], False),
    "turned by 180 degrees": (lambda mask: mask[::-1, ::-1], False),
    "x and y swapped": (lambda mask: mask.T, True),
    "x and y swapped, turned by 180 degrees": (lambda mask: mask[::-1, ::-1].T, True),
    "turned by 90 degrees": (lambda mask: np.rot90(mask, -1), True),
    "turned by 270 degrees": (lambda mask: np.rot90(mask, 1), True),
}
