"""Periodic texture tiles the painter takes its fine detail from: fibres in two gauges, fat cells, cloudiness.

The two fibre gauges are noise of equal mean and variance. Mixing them with weights whose squares sum to one changes
their grain but neither mean nor variance nor distribution, which is what lets one programme show as texture only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from humanst.demo.seeding import Field

# Powers of two, so that a position wraps by its low bits. A tile is at least 0.4 mm wide either way.
FINE_TILE_PX, COARSE_TILE_PX = 1024, 512
COARSE_FROM_UM_PER_PIXEL = 0.8
COARSE_FIBRE_UM = 26.0
FINE_FIBRE_UM = 6.5
FAT_CELL_UM = 38.0
FAT_WALL_UM = 5.0


@dataclass(frozen=True, slots=True)
class Tiles:
    """Texture tiles of one section.

    Attributes
    ----------
    stack
        (``side_px`` ** 2, 4) float32: coarse fibres, fine fibres, cloudiness (each mean 0, sd 1) and fat cell walls
        (1 on a wall, 0 inside the cell).
    fibre_angle
        Direction of the fibres, radians from the x axis.
    side_px
        Side of a tile, a power of two.
    """

    stack: Field
    fibre_angle: float
    side_px: int


def make_tiles(rng: np.random.Generator, *, um_per_pixel: float) -> Tiles:
    """Draw the tiles of one section at its scale."""
    angle = float(rng.uniform(0.0, np.pi))
    side = FINE_TILE_PX if um_per_pixel < COARSE_FROM_UM_PER_PIXEL else COARSE_TILE_PX
    planes = [
        _band(rng, side, COARSE_FIBRE_UM / um_per_pixel, angle),
        _band(rng, side, FINE_FIBRE_UM / um_per_pixel, angle),
        _cloud(rng, side),
        _fat_walls(rng, side, um_per_pixel),
    ]
    stack = np.stack([plane.ravel() for plane in planes], axis=1)
    return Tiles(np.ascontiguousarray(stack, dtype=np.float32), angle, side)


def _frequencies(side_px: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.meshgrid(np.fft.fftfreq(side_px), np.fft.rfftfreq(side_px), indexing="ij")


def _shaped(rng: np.random.Generator, side_px: int, gain: NDArray[np.float64]) -> Field:
    white = np.fft.rfft2(rng.standard_normal((side_px, side_px)))
    field = np.fft.irfft2(white * gain, s=(side_px, side_px))
    scaled: Field = ((field - field.mean()) / field.std()).astype(np.float32)
    return scaled


def _band(rng: np.random.Generator, side_px: int, wavelength_px: float, angle: float) -> Field:
    """Noise of one wavelength whose waves run across ``angle``, so that its ridges run along it."""
    fy, fx = _frequencies(side_px)
    radius = np.hypot(fy, fx)
    across = np.abs(-fx * np.sin(angle) + fy * np.cos(angle)) / np.maximum(radius, 1e-9)
    ring = np.exp(-0.5 * ((radius * wavelength_px - 1.0) / 0.25) ** 2)
    sector = np.exp(-0.5 * (np.arccos(np.clip(across, 0.0, 1.0)) / 0.35) ** 2)
    return _shaped(rng, side_px, ring * sector)


def _cloud(rng: np.random.Generator, side_px: int) -> Field:
    fy, fx = _frequencies(side_px)
    radius = np.hypot(fy, fx)
    gain = np.where(radius > 0, np.maximum(radius, 1.0 / side_px) ** -1.1, 0.0) * (radius > 6 / side_px)
    return _shaped(rng, side_px, gain)


def _fat_walls(rng: np.random.Generator, side_px: int, um_per_pixel: float) -> Field:
    """Walls between the cells of a periodic Voronoi pattern, worked out on a quarter of the pixels each way."""
    from scipy.ndimage import zoom
    from scipy.spatial import cKDTree

    step = 4
    side = side_px // step
    box = side_px * um_per_pixel
    per_side = max(round(box / FAT_CELL_UM), 1)
    grid = (np.arange(per_side) + 0.5) / per_side * box
    centres = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    centres = (centres + rng.uniform(-0.3, 0.3, centres.shape) * FAT_CELL_UM) % box
    axis = (np.arange(side) + 0.5) * step * um_per_pixel
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    near, _ = cKDTree(centres, boxsize=box).query(points, k=2)
    gap = (near[:, 1] - near[:, 0]).reshape(side, side)
    fine = zoom(gap, step, order=1, mode="grid-wrap", grid_mode=True)
    walls: Field = np.clip(1.5 - fine / FAT_WALL_UM, 0.0, 1.0).astype(np.float32)
    return walls
