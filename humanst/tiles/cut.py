"""Patches: what the microscope shows around each spot, at one scale for every study.

A patch covers ``side_px * um_per_pixel`` micrometres (112 um by default) centred on its spot. It lies wholly inside
the image or it is not cut. Its bytes depend on the image, the spot and the spec alone: not on the order, the cache or
the other spots.

Coordinates are continuous level-0 pixels: pixel ``i`` covers ``[i, i + 1)``, its centre is ``i + 0.5``, and the image
covers ``[0, width]``.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from humanst.errors import UsageError
from humanst.tiles.image import ImageOfRecord
from humanst.tiles.pixels import CACHE_BYTES, PixelSource, open_image
from humanst.tiles.spec import PatchSpec, as_xy, inside, require_fine_enough

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

EXACT = 1e-3
"""Within this of the wanted scale pixels are taken as they are: 0.1 um over a patch of 112 um."""

LARGEST_STEP = 1.6
"""Tiles are decoded no larger than this times the wanted scale when a smaller size is offered."""

LINEAR_STEPS = (1.1, 1.6)
"""Between these, bilinear samples are as close to the scene as filtered ones (within 0.4 dB, on synthetic scenes of
known truth) at a fifth of the time. Nearer to 1 they would be sharp and blurred by turns; above, they would alias."""

_LINEAR_PHASES = 32
_MARGIN_PX = 3


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch.

    Attributes
    ----------
    index
        Row of its spot in the ``xy_px`` that was given.
    jpg
        Baseline JPEG, RGB, without EXIF or ICC.
    blur
        Variance of the Laplacian of its gray values before JPEG encoding; small means blurred.
    """

    index: int
    jpg: bytes
    blur: float


def cut_patches(
    image: ImageOfRecord | Path | str,
    xy_px: ArrayLike,
    *,
    um_per_pixel: float | None = None,
    spec: PatchSpec | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> Iterator[Patch]:
    """Cut and encode one patch per spot that is :func:`inside`; the others are left to the caller to count.

    Tiles are decoded at the size (in eighths) nearest above what is wanted. What then is at the wanted scale is
    cropped at whole pixels, so nothing is blurred and a centre is at most half a patch pixel (0.25 um) off along each
    axis. Anything else is resampled once, true to a 32nd of a pixel: bilinear for shrinking by 1.1 to 1.6, else
    bicubic, with its support widened when shrinking.

    Parameters
    ----------
    image
        The image of record, or the path of an image.
    xy_px
        ``(n, 2)`` spot centres (x, y) in level-0 pixels.
    um_per_pixel
        Scale of level 0; taken from the image of record when left out.
    spec
        Defaults to :class:`PatchSpec`.
    cache_bytes
        Bound on the decoded tiles kept in memory.

    Yields
    ------
    Patch
        In the order of the image's tiles, so that each tile is decoded once; ``index`` says which spot it is.

    Raises
    ------
    DataError
        ``image-too-coarse`` at once; ``image-unreadable`` and the like from the image.
    UsageError
        When ``xy_px`` is not ``(n, 2)`` or the scale is unknown.
    """
    spec = spec or PatchSpec()
    path = image.path if isinstance(image, ImageOfRecord) else Path(image)
    if um_per_pixel is None and isinstance(image, ImageOfRecord):
        um_per_pixel = image.um_per_pixel
    if um_per_pixel is None or not (np.isfinite(um_per_pixel) and um_per_pixel > 0):
        raise UsageError("The scale of the image must be a positive number", file=path.name, found=um_per_pixel)
    require_fine_enough(path.name, um_per_pixel, spec)
    xy = as_xy(xy_px)
    source = open_image(path, cache_bytes=cache_bytes)
    return _cut(source, xy, um_per_pixel, spec)


@dataclass(frozen=True, slots=True)
class _Grid:
    """How patches lie on the image as it is decoded: ``step`` decoded pixels per patch pixel."""

    eighths: int
    step: float
    side_px: int
    width_px: int
    height_px: int

    @property
    def is_crop(self) -> bool:
        fits = min(self.width_px, self.height_px) >= self.side_px
        return fits and abs(self.step - 1) <= EXACT

    @property
    def span(self) -> float:
        """Side of a patch in decoded pixels."""
        return self.side_px * (1.0 if self.is_crop else self.step)

    def corner(self, xy_px: NDArray[np.float64]) -> tuple[float, float]:
        """Upper left corner of the patch of a spot, in decoded pixels."""
        half = self.span / 2
        return float(xy_px[0]) * self.eighths / 8 - half, float(xy_px[1]) * self.eighths / 8 - half


def _grid(source: PixelSource, um_per_pixel: float, spec: PatchSpec) -> _Grid:
    steps = {eighths: spec.um_per_pixel / um_per_pixel * eighths / 8 for eighths in source.eighths}
    exact = [eighths for eighths, step in steps.items() if abs(step - 1) <= EXACT]
    small = [eighths for eighths, step in steps.items() if step <= LARGEST_STEP]
    eighths = exact[0] if exact else max(small, default=min(source.eighths))
    width, height = source.width_px * eighths // 8, source.height_px * eighths // 8
    return _Grid(eighths, steps[eighths], spec.side_px, width, height)


def _cut(source: PixelSource, xy: NDArray[np.float64], um_per_pixel: float, spec: PatchSpec) -> Iterator[Patch]:
    grid = _grid(source, um_per_pixel, spec)
    wanted = np.flatnonzero(inside(xy, source.width_px, source.height_px, um_per_pixel, spec))
    try:
        for index in _raster_order(source, xy, wanted, spec.side_um / um_per_pixel / 2):
            with _one_cv2_thread():
                pixels = _pixels(source, grid, xy[index])
                blur = _blur(pixels)
            yield Patch(index, _encoded(pixels, spec), blur)
    finally:
        source.close()


def _raster_order(
    source: PixelSource, xy: NDArray[np.float64], wanted: NDArray[np.intp], half_px: float
) -> Iterator[int]:
    tile = np.floor((xy[wanted] - half_px) / np.array(source.tile_px))
    for at in np.lexsort((wanted, tile[:, 0], tile[:, 1])):
        yield int(wanted[at])


def _pixels(source: PixelSource, grid: _Grid, xy_px: NDArray[np.float64]) -> NDArray[np.uint8]:
    x, y = grid.corner(xy_px)
    if grid.is_crop:
        left, top = _whole(x, grid.width_px - grid.side_px), _whole(y, grid.height_px - grid.side_px)
        window = source.read(left, top, grid.side_px, grid.side_px, eighths=grid.eighths)
        return np.ascontiguousarray(window)
    margin = ceil(_MARGIN_PX * max(1.0, grid.step))
    left, right = max(0, floor(x) - margin), min(grid.width_px, ceil(x + grid.span) + margin)
    top, bottom = max(0, floor(y) - margin), min(grid.height_px, ceil(y + grid.span) + margin)
    window = source.read(left, top, right - left, bottom - top, eighths=grid.eighths)
    if LINEAR_STEPS[0] <= grid.step <= LINEAR_STEPS[1]:
        return _bilinear(window, x - left, y - top, grid)
    return _bicubic(window, x - left, y - top, grid)


def _whole(position: float, last: int) -> int:
    return min(max(floor(position + 0.5), 0), last)


def _bilinear(window: NDArray[np.uint8], x: float, y: float, grid: _Grid) -> NDArray[np.uint8]:
    import cv2

    side = grid.side_px
    # OpenCV's own fixed-point form of a map: whole pixels, and an index into its table of 32 x 32 phases.
    columns, column_phases = _whole_and_phase(x, grid)
    rows, row_phases = _whole_and_phase(y, grid)
    whole = np.empty((side, side, 2), dtype=np.int16)
    whole[..., 0], whole[..., 1] = columns, rows[:, None]
    phase = (row_phases[:, None] * _LINEAR_PHASES + column_phases).astype(np.uint16)
    patch = cv2.remap(window, whole, phase, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(patch, dtype=np.uint8)


def _whole_and_phase(corner: float, grid: _Grid) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the centres of patch pixels fall between the centres of window pixels, in whole pixels and 32nds."""
    centres = corner + (np.arange(grid.side_px) + 0.5) * grid.step - 0.5
    return np.divmod(np.rint(centres * _LINEAR_PHASES).astype(np.int64), _LINEAR_PHASES)


def _bicubic(window: NDArray[np.uint8], x: float, y: float, grid: _Grid) -> NDArray[np.uint8]:
    from PIL import Image

    # At a border that is not a whole number of decoded pixels the window may miss part of one; that edge is repeated.
    height, width = window.shape[:2]
    before = (max(0, ceil(-y)), max(0, ceil(-x)))
    after = (max(0, ceil(y + grid.span - height)), max(0, ceil(x + grid.span - width)))
    if any(before + after):
        window = np.pad(window, ((before[0], after[0]), (before[1], after[1]), (0, 0)), mode="edge")
    x, y = x + before[1], y + before[0]
    box = (x, y, x + grid.span, y + grid.span)
    picture = Image.fromarray(window)
    return np.asarray(picture.resize((grid.side_px, grid.side_px), Image.Resampling.BICUBIC, box=box))


def _encoded(pixels: NDArray[np.uint8], spec: PatchSpec) -> bytes:
    from simplejpeg import encode_jpeg

    data: bytes = encode_jpeg(pixels, quality=spec.quality, colorspace="RGB", colorsubsampling=spec.subsampling)
    return data


def _blur(pixels: NDArray[np.uint8]) -> float:
    import cv2

    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    # 16 bits hold every value of the 3 x 3 Laplacian of 8-bit gray, so both sums are exact whole numbers.
    edges = cv2.Laplacian(gray, cv2.CV_16S)
    mean = cv2.sumElems(edges)[0] / edges.size
    return float(cv2.norm(edges, cv2.NORM_L2SQR) / edges.size - mean * mean)


@contextmanager
def _one_cv2_thread() -> Iterator[None]:
    """Keep OpenCV to the calling thread while it works on one patch, and give the caller's setting back."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
