"""Paint a section: stain amounts from the tissue, colour by the law of Beer and Lambert.

Two planes, haematoxylin and eosin, are built strip by strip and turned into RGB by one look-up table a section.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from humanst.demo.nuclei import paint_nuclei
from humanst.demo.seeding import Field, named_rng, smooth_noise
from humanst.demo.texture import Tiles, make_tiles
from humanst.demo.tissue import CELL_UM, CLASSES, PROGRAMME_NAMES, Tissue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from humanst.demo.layout import SectionPlan

STRIP_PX = 16
LEVELS = 128
FULL_AMOUNT = 2.0
NUCLEUS_AMOUNT = 1.5
EDGE_UM = 6.0
CAPSULE_UM = 36.0

# The H&E reference matrix in common use with the method of Macenko 2009 (doi 10.1109/ISBI.2009.5193250).
HAEMATOXYLIN = (0.5626, 0.7201, 0.4062)
EOSIN = (0.2159, 0.8012, 0.5581)

_EOSIN_BASE = {"tumour": 0.34, "stroma": 0.50, "adipose": 0.52, "immune": 0.26, "necrosis": 0.62, "gland": 0.42}
_HAEMATOXYLIN_BASE = {
    "tumour": 0.16,
    "stroma": 0.04,
    "adipose": 0.03,
    "immune": 0.16,
    "necrosis": 0.08,
    "gland": 0.09,
}
_FIBRE = {"tumour": 0.11, "stroma": 0.15, "adipose": 0.12, "immune": 0.085, "necrosis": 0.13, "gland": 0.13}


def paint(tissue: Tissue, plan: SectionPlan, *, seed: int) -> NDArray[np.uint8]:
    """Paint the full-resolution image of a section.

    Returns
    -------
    ndarray of uint8, (height, width, 3)
        RGB.
    """
    rng = named_rng(seed, plan.sample_id, "paint")
    tiles = make_tiles(rng, um_per_pixel=plan.um_per_pixel)
    nuclei, lumens = paint_nuclei(
        tissue, plan.size_px, um_per_pixel=plan.um_per_pixel, fibre_angle=tiles.fibre_angle, rng=rng
    )
    planes = _coarse_planes(tissue, rng)
    colours = _colours(named_rng(seed, plan.sample_id, "stain"))
    rgb = np.empty((*nuclei.shape, 3), np.uint8)
    for top in range(0, nuclei.shape[0], STRIP_PX):
        rows = slice(top, min(top + STRIP_PX, nuclei.shape[0]))
        index = _stain_index(planes, tiles, nuclei[rows], lumens[rows], top, plan.um_per_pixel)
        np.take(colours, index, axis=0, out=rgb[rows])
    return rgb


def _by_class(tissue: Tissue, values: dict[str, float]) -> Field:
    levels = np.array([values[name] for name in CLASSES], np.float32)[:, None, None]
    summed: Field = (levels * tissue.membership).sum(axis=0)
    return summed


def _coarse_planes(tissue: Tissue, rng: np.random.Generator) -> Field:
    """Stack what varies slowly, on the tissue's grid: (9, h, w) float32, in the order `_stain_index` unpacks."""
    turn = tissue.activity[PROGRAMME_NAMES.index("DEMO_FIBRE_TEXTURE")] * (np.pi / 2)
    gradient = tissue.activity[PROGRAMME_NAMES.index("DEMO_OXPHOS_GRADIENT")]
    fibre = _by_class(tissue, _FIBRE)
    shape = tissue.mask.shape
    return np.stack(
        [
            tissue.depth_um,
            _by_class(tissue, _EOSIN_BASE) * (0.75 + 0.5 * gradient),
            _by_class(tissue, _HAEMATOXYLIN_BASE),
            fibre * np.cos(turn),
            fibre * np.sin(turn),
            tissue.membership[CLASSES.index("adipose")],
            30.0 * smooth_noise(rng, shape, 12.0),
            30.0 * smooth_noise(rng, shape, 12.0),
        ]
    ).astype(np.float32)


def _enlarge(planes: Field, rows: NDArray[np.floating], columns: NDArray[np.floating]) -> Field:
    """Bilinear values of (k, h, w) ``planes`` at every pair of fractional cell ``rows`` and ``columns``."""
    height, width = planes.shape[1:]
    top = np.clip(np.floor(rows).astype(np.int64), 0, height - 2)
    down = np.clip(rows - top, 0.0, 1.0).astype(np.float32)[None, :, None]
    tall = planes[:, top] * (1 - down) + planes[:, top + 1] * down
    left = np.clip(np.floor(columns).astype(np.int64), 0, width - 2)
    right = np.clip(columns - left, 0.0, 1.0).astype(np.float32)[None, None]
    low: Field = tall[:, :, left]
    low += (tall[:, :, left + 1] - low) * right
    return low


def _stain_index(
    planes: Field,
    tiles: Tiles,
    nuclei: NDArray[np.uint8],
    lumens: NDArray[np.uint8],
    top: int,
    um_per_pixel: float,
) -> NDArray[np.int32]:
    """Stain amounts of one strip as an index into the colour table: haematoxylin level * LEVELS + eosin level."""
    height, width = nuclei.shape
    y = np.arange(top, top + height)
    x = np.arange(width)
    scale = um_per_pixel / CELL_UM
    depth, eosin, haematoxylin, coarse, fine, fat, warp_x, warp_y = _enlarge(
        planes, (y + 0.5) * scale - 0.5, (x + 0.5) * scale - 0.5
    )
    tile_x = (x + (warp_x / um_per_pixel).astype(np.int32)) & (tiles.side_px - 1)
    tile_y = (y[:, None] + (warp_y / um_per_pixel).astype(np.int32)) & (tiles.side_px - 1)
    detail = np.take(tiles.stack, tile_y * tiles.side_px + tile_x, axis=0)
    edge = np.clip(depth / EDGE_UM + detail[..., 2] + 0.5, 0.0, 1.0)
    solid = edge * (1.0 - lumens * np.float32(0.94 / 255.0))
    # Fat stops short of the edge: open cells there would be indistinguishable from glass.
    is_fat = np.clip((fat - 0.5) * 6.0, 0.0, 1.0) * np.clip(depth / CAPSULE_UM - 0.5, 0.0, 1.0)
    open_fat = is_fat * (1.0 - detail[..., 3]) * 0.92
    eosin = (eosin + coarse * detail[..., 0] + fine * detail[..., 1]) * solid * (1.0 - open_fat)
    haematoxylin = haematoxylin * (1.0 + 0.2 * detail[..., 2]) * solid * (1.0 - open_fat)
    haematoxylin += nuclei * (edge * (1.0 - open_fat) * np.float32(NUCLEUS_AMOUNT / 255.0))
    step = np.float32((LEVELS - 1) / FULL_AMOUNT)
    high = np.clip(haematoxylin * step + 0.5, 0, LEVELS - 1).astype(np.int32)
    low = np.clip(eosin * step + 0.5, 0, LEVELS - 1).astype(np.int32)
    index: NDArray[np.int32] = high * LEVELS + low
    return index


def _colours(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Tabulate the section's own stains, strength and white: (LEVELS * LEVELS, 3) uint8 RGB."""
    stains = np.array([HAEMATOXYLIN, EOSIN]) * rng.normal(1.0, 0.04, (2, 3))
    stains *= rng.uniform([[0.9], [0.9]], [[1.15], [1.2]])
    white = 243.0 + rng.uniform(-2.0, 3.0) + rng.normal(0.0, 0.6, 3)
    amount = np.arange(LEVELS) / (LEVELS - 1) * FULL_AMOUNT
    density = amount[:, None, None] * stains[0] + amount[None, :, None] * stains[1]
    colours: NDArray[np.uint8] = np.rint(white * np.exp(-density)).clip(0, 255).astype(np.uint8)
    return colours.reshape(-1, 3)
