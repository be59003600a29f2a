"""Nuclei and gland lumens: where they lie, and small stamps to paint them with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from humanst.demo.tissue import CELL_UM, CLASSES, Tissue

SPACING_UM = 7.2
GLAND_SPACING_UM = 78.0
PAD_PX = 48
STAMPS = 24
_GLAND = CLASSES.index("gland") + 1
_ADIPOSE = CLASSES.index("adipose") + 1

Stamp = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class NucleusKind:
    """How the nuclei of one class look: number a square millimetre, size in um, elongation, darkness 0..255."""

    per_mm2: float
    length_um: float
    aspect: float
    size_jitter: float
    darkness: float
    chromatin: float
    along_fibres: bool = False


KINDS: dict[str, NucleusKind] = {
    "tumour": NucleusKind(5200.0, 9.5, 1.25, 0.22, 150.0, 0.40),
    "stroma": NucleusKind(1500.0, 12.5, 3.4, 0.15, 150.0, 0.20, along_fibres=True),
    "adipose": NucleusKind(260.0, 8.0, 2.2, 0.15, 150.0, 0.15),
    "immune": NucleusKind(11000.0, 6.0, 1.08, 0.10, 200.0, 0.15),
    "necrosis": NucleusKind(2200.0, 3.4, 1.3, 0.50, 130.0, 0.20),
    "gland": NucleusKind(1100.0, 9.0, 2.4, 0.15, 140.0, 0.20, along_fibres=True),
}
RING = NucleusKind(0.0, 8.0, 1.35, 0.10, 165.0, 0.20)


def paint_nuclei(
    tissue: Tissue, size_px: tuple[int, int], *, um_per_pixel: float, fibre_angle: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Paint two planes: haematoxylin of nuclei, and openness of gland lumens.

    Parameters
    ----------
    size_px
        (width, height) of the image.

    Returns
    -------
    nuclei, lumens
        (height, width) uint8 each; 255 is densest, or wholly open.
    """
    width, height = size_px
    nuclei = np.zeros((height + 2 * PAD_PX, width + 2 * PAD_PX), np.uint8)
    lumens = np.zeros_like(nuclei)
    centres, radii = _glands(tissue, rng)
    _paint_lumens(lumens, centres, radii, um_per_pixel, rng)
    _paint_rings(nuclei, centres, radii, um_per_pixel, rng)
    xy_um = _scattered(tissue, rng)
    xy_um = xy_um[_clear_of_glands(xy_um, centres, radii)]
    kinds = tissue.class_at(xy_um)
    for index, name in enumerate(CLASSES, start=1):
        kind = KINDS[name]
        angle = fibre_angle if kind.along_fibres else None
        _paint(nuclei, xy_um[kinds == index], _stamps(kind, um_per_pixel, rng, angle), um_per_pixel, rng)
    inner = slice(PAD_PX, -PAD_PX)
    return nuclei[inner, inner], lumens[inner, inner]


def _scattered(tissue: Tissue, rng: np.random.Generator) -> NDArray[np.float64]:
    """Positions in um on a jittered grid, thinned to each class's density; proliferation crowds tumour nuclei."""
    height_um, width_um = (side * CELL_UM for side in tissue.mask.shape)
    y, x = np.meshgrid(np.arange(0, height_um, SPACING_UM), np.arange(0, width_um, SPACING_UM), indexing="ij")
    x[1::2] += SPACING_UM / 2
    xy = np.stack([x.ravel(), y.ravel()], axis=1) + SPACING_UM / 2
    xy += rng.uniform(-0.32, 0.32, xy.shape) * SPACING_UM
    kinds = tissue.class_at(xy)
    per_mm2 = np.array([0.0, *(KINDS[name].per_mm2 for name in CLASSES)])[kinds]
    crowding = np.where(kinds == 1, 0.55 + 0.9 * tissue.at(tissue.density, xy), 1.0)
    kept: NDArray[np.float64] = xy[rng.uniform(size=len(xy)) < per_mm2 * crowding * SPACING_UM**2 * 1e-6]
    return kept


def _glands(tissue: Tissue, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres (n, 2) and lumen radii (n,) in um of glands, on a jittered grid where the tissue is gland."""
    height_um, width_um = (side * CELL_UM for side in tissue.mask.shape)
    step = GLAND_SPACING_UM
    y, x = np.meshgrid(np.arange(step / 2, height_um, step), np.arange(step / 2, width_um, step), indexing="ij")
    x[1::2] += step / 2
    xy = np.stack([x.ravel(), y.ravel()], axis=1)
    xy += rng.uniform(-0.16, 0.16, xy.shape) * step
    xy = xy[(tissue.class_at(xy) == _GLAND) & (tissue.at(tissue.depth_um, xy) > 40.0)]
    return xy, rng.uniform(9.0, 15.0, len(xy))


def _clear_of_glands(
    xy_um: NDArray[np.float64], centres: NDArray[np.float64], radii: NDArray[np.float64]
) -> NDArray[np.bool_]:
    from scipy.spatial import cKDTree

    if not len(centres):
        return np.ones(len(xy_um), dtype=bool)
    distance, nearest = cKDTree(centres).query(xy_um)
    clear: NDArray[np.bool_] = distance > radii[nearest] + 15.0
    return clear


def _paint_lumens(
    plane: NDArray[np.uint8],
    centres: NDArray[np.float64],
    radii: NDArray[np.float64],
    um_per_pixel: float,
    rng: np.random.Generator,
) -> None:
    for centre, radius in zip(centres, radii, strict=True):
        stamp = _disc(2.0 * radius / um_per_pixel, rng.uniform(1.0, 1.5), rng.uniform(0.0, np.pi))
        _paint(plane, centre[None], [stamp], um_per_pixel, rng)


def _paint_rings(
    plane: NDArray[np.uint8],
    centres: NDArray[np.float64],
    radii: NDArray[np.float64],
    um_per_pixel: float,
    rng: np.random.Generator,
) -> None:
    """Paint a ring of nuclei round every lumen, behind a rim of cytoplasm."""
    stamps = _stamps(RING, um_per_pixel, rng, None)
    for centre, radius in zip(centres, radii, strict=True):
        ring = radius + 10.0
        angles = np.arange(0.0, 2.0 * np.pi, 8.0 / ring) + rng.uniform(0.0, 0.5)
        distance = ring + rng.normal(0.0, 0.8, len(angles))
        xy = centre + distance[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        _paint(plane, xy, stamps, um_per_pixel, rng)


def _disc(length_px: float, aspect: float, angle: float) -> Stamp:
    """Draw a soft-edged ellipse of major axis ``length_px``, 255 inside."""
    half = int(np.ceil(length_px / 2)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = (-x * np.sin(angle) + y * np.cos(angle)) * aspect
    inside = length_px / 2 - np.hypot(along, across)
    disc: Stamp = (np.clip(inside / 1.5 + 0.5, 0.0, 1.0) * 255.0).astype(np.uint8)
    return disc


def _stamps(kind: NucleusKind, um_per_pixel: float, rng: np.random.Generator, fibre_angle: float | None) -> list[Stamp]:
    """``STAMPS`` variants of one kind of nucleus: size, direction, darkness and chromatin grain differ."""
    from scipy.ndimage import gaussian_filter

    stamps = []
    for _ in range(STAMPS):
        length_px = kind.length_um * float(np.exp(rng.normal(0.0, kind.size_jitter))) / um_per_pixel
        angle = rng.uniform(0.0, np.pi) if fibre_angle is None else fibre_angle + rng.normal(0.0, 0.25)
        shape = _disc(length_px, kind.aspect * rng.uniform(0.9, 1.15), float(angle)).astype(np.float64)
        grain = gaussian_filter(rng.standard_normal(shape.shape), 0.6 / um_per_pixel)
        grain /= max(float(grain.std()), 1e-9)
        darkness = kind.darkness / 255.0 * rng.uniform(0.8, 1.15)
        stamps.append(np.clip(shape * darkness * (1.0 + kind.chromatin * 0.5 * grain), 0.0, 255.0).astype(np.uint8))
    return stamps


def _paint(
    plane: NDArray[np.uint8],
    xy_um: NDArray[np.float64],
    stamps: list[Stamp],
    um_per_pixel: float,
    rng: np.random.Generator,
) -> None:
    """Lay a random stamp at every position, darkest wins; ``plane`` has ``PAD_PX`` to spare on all sides."""
    height, width = plane.shape
    at = np.rint(xy_um / um_per_pixel).astype(np.int64) + PAD_PX
    inside = (at[:, 0] >= PAD_PX) & (at[:, 0] < width - PAD_PX) & (at[:, 1] >= PAD_PX) & (at[:, 1] < height - PAD_PX)
    which = rng.integers(len(stamps), size=len(at))
    for x, y, k in zip(at[inside, 0].tolist(), at[inside, 1].tolist(), which[inside].tolist(), strict=True):
        stamp = stamps[k]
        half = stamp.shape[0] // 2
        window = plane[y - half : y + half + 1, x - half : x + half + 1]
        np.maximum(window, stamp, out=window)
