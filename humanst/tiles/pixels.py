"""Windows of pixels from any image, each tile decoded once.

Patches ask for neighbouring windows, so decoded tiles are kept, up to a number of bytes. JPEG tiles are decoded at a
few eighths of their size when less resolution is wanted: libjpeg then leaves out the fine part of each 8 x 8 block's
transform, which keeps positions exact, hardly aliases, and at 4/8 costs about half of decoding in full.
"""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from humanst.errors import UsageError
from humanst.tiles.faults import require_size, turned, unreadable
from humanst.tiles.raster import format_of, open_rgb
from humanst.tiles.tiff import TileTable, read_layout

if TYPE_CHECKING:
    import pyvips
    from numpy.typing import NDArray

CACHE_BYTES = 256 * 2**20
"""Default bound on the decoded tiles that are kept: two rows of 256 px tiles of a slide 100,000 px wide, and more."""

_SOI = b"\xff\xd8"
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
_APPLICATION_MARKERS = range(0xE0, 0xF0)


class PixelSource(Protocol):
    """Anything that gives windows of RGB pixels, at full size and possibly at some smaller sizes in eighths."""

    @property
    def width_px(self) -> int:
        """Full width."""

    @property
    def height_px(self) -> int:
        """Full height."""

    @property
    def eighths(self) -> tuple[int, ...]:
        """Sizes on offer, in eighths, 8 first."""

    @property
    def tile_px(self) -> tuple[int, int]:
        """Width and height of a tile."""

    def read(self, x: int, y: int, w: int, h: int, *, eighths: int = 8) -> NDArray[np.uint8]:
        """Read the window with upper left pixel ``(x, y)``; all in pixels of the image at that size.

        Returns
        -------
        ndarray
            ``(h, w, 3)`` uint8 RGB. It may be a view of a cached tile: not to be written to.
        """

    def close(self) -> None:
        """Let go of the file."""


def open_image(path: Path, *, cache_bytes: int = CACHE_BYTES) -> PixelSource:
    """Open an image for windows: tiled RGB JPEG TIFFs with their own tile cache, all others through libvips.

    Parameters
    ----------
    path
        JPEG, PNG or TIFF, 8-bit RGB.
    cache_bytes
        Bound on the decoded tiles kept in memory. It changes the time, never the pixels.

    Raises
    ------
    DataError
        ``image-unreadable``, ``image-not-rgb``, ``image-orientation``.
    HostileError
        ``image-too-large``.
    """
    path = Path(path)
    if format_of(path) == "tiff":
        layout = read_layout(path)
        if layout.levels and layout.levels[0].is_rgb_jpeg:
            require_size(path, layout.width_px, layout.height_px)
            if layout.orientation != 1:
                raise turned(path, layout.orientation)
            return TiledJpegSource(path, layout.levels[0], cache_bytes=cache_bytes)
    return VipsSource(path)


def _require_window(source: PixelSource, x: int, y: int, w: int, h: int, eighths: int) -> None:
    if eighths not in source.eighths:
        raise UsageError("This size is not offered", found=f"{eighths} eighths", expected=source.eighths)
    width, height = source.width_px * eighths // 8, source.height_px * eighths // 8
    if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
        raise UsageError(
            "The window is not inside the image",
            code="window-outside-image",
            expected=f"a window inside {width} x {height} pixels",
            found=f"{w} x {h} pixels at ({x}, {y})",
        )


class TiledJpegSource:
    """Level 0 of a TIFF of RGB JPEG tiles. See :class:`PixelSource`.

    Level 0 only: the coarser levels were resampled and compressed again by whoever wrote the file.

    Parameters
    ----------
    path
        The TIFF.
    table
        Its level 0, from :func:`~humanst.tiles.tiff.read_layout`.
    cache_bytes
        Bound on the decoded tiles that are kept; at least one tile is.
    """

    def __init__(self, path: Path, table: TileTable, *, cache_bytes: int = CACHE_BYTES) -> None:
        from simplejpeg import decode_jpeg

        self.width_px, self.height_px = table.level.width_px, table.level.height_px
        self.tile_px = (table.tile_width_px, table.tile_height_px)
        # 7 and 6 eighths take up to twice a full decode (measured) and bring nothing that resampling does not.
        whole_blocks = self.tile_px[0] % 8 == self.tile_px[1] % 8 == 0
        self.eighths: tuple[int, ...] = (8, 5, 4, 3, 2, 1) if whole_blocks else (8,)
        self._path, self._table, self._decode_jpeg = path, table, decode_jpeg
        self._offsets, self._byte_counts = table.offsets.tolist(), table.byte_counts.tolist()
        # libtiff goes by the TIFF tag alone; libjpeg goes by markers. Ours is put first and theirs are left out.
        self._head = _SOI + _ADOBE + bytes([table.is_ycbcr])
        self._head += _without_application_markers(table.jpeg_tables)[:-2] if table.jpeg_tables else b""
        self._cache: OrderedDict[tuple[int, int], NDArray[np.uint8]] = OrderedDict()
        self._cache_bytes, self._cached_bytes = cache_bytes, 0
        self._descriptor = os.open(path, os.O_RDONLY)
        self.close = weakref.finalize(self, os.close, self._descriptor)

    def read(self, x: int, y: int, w: int, h: int, *, eighths: int = 8) -> NDArray[np.uint8]:
        """Read a window; see :meth:`PixelSource.read`.

        Raises
        ------
        DataError
            ``image-unreadable`` when a tile does not decode.
        UsageError
            When the window is not inside the image.
        """
        _require_window(self, x, y, w, h, eighths)
        tile_w, tile_h = self.tile_px[0] * eighths // 8, self.tile_px[1] * eighths // 8
        columns, rows = range(x // tile_w, (x + w - 1) // tile_w + 1), range(y // tile_h, (y + h - 1) // tile_h + 1)
        if len(columns) == len(rows) == 1:
            left, top = x - columns[0] * tile_w, y - rows[0] * tile_h
            return self._tile(rows[0], columns[0], eighths)[top : top + h, left : left + w]
        window = np.empty((h, w, 3), dtype=np.uint8)
        for row in rows:
            top, bottom = max(y, row * tile_h), min(y + h, (row + 1) * tile_h)
            for column in columns:
                left, right = max(x, column * tile_w), min(x + w, (column + 1) * tile_w)
                tile = self._tile(row, column, eighths)
                window[top - y : bottom - y, left - x : right - x] = tile[
                    top - row * tile_h : bottom - row * tile_h, left - column * tile_w : right - column * tile_w
                ]
        return window

    def _tile(self, row: int, column: int, eighths: int) -> NDArray[np.uint8]:
        index = row * self._table.tiles_across + column
        key = (eighths, index)
        tile = self._cache.get(key)
        if tile is not None:
            self._cache.move_to_end(key)
            return tile
        tile = self._decoded(index, eighths)
        self._cache[key] = tile
        self._cached_bytes += tile.nbytes
        while self._cached_bytes > self._cache_bytes and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return tile

    def _decoded(self, index: int, eighths: int) -> NDArray[np.uint8]:
        data = os.pread(self._descriptor, self._byte_counts[index], self._offsets[index])
        width, height = self.tile_px[0] * eighths // 8, self.tile_px[1] * eighths // 8
        expected = f"tile {index} to be a whole JPEG of {self.tile_px[0]} x {self.tile_px[1]} pixels"
        if data[:2] != _SOI:
            raise unreadable(self._path, expected, f"bytes that begin with {data[:4]!r}")
        stream = self._head + _without_application_markers(data)
        try:
            tile: NDArray[np.uint8] = self._decode_jpeg(stream, min_height=height, min_width=width)
        except ValueError as error:
            raise unreadable(self._path, expected, error) from error
        if tile.shape != (height, width, 3):
            raise unreadable(self._path, expected, f"an array of shape {tile.shape} at {eighths}/8")
        return tile


def _without_application_markers(stream: bytes) -> bytes:
    """Cut off the SOI of a JPEG stream and the APPn segments that follow it (JFIF, Adobe, EXIF)."""
    at = 2
    while len(stream) > at + 4 and stream[at] == 0xFF and stream[at + 1] in _APPLICATION_MARKERS:
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return stream[at:]


class VipsSource:
    """Any JPEG, PNG or TIFF through libvips, at full resolution only. See :class:`PixelSource`.

    An image without tiles is decoded whole on the first read, which is why the image of record is tiled.
    """

    eighths: tuple[int, ...] = (8,)
    tile_px: tuple[int, int] = (256, 256)

    def __init__(self, path: Path) -> None:
        import pyvips

        self._path = path
        self._image: pyvips.Image = open_rgb(path, access="random")
        self._region = pyvips.Region.new(self._image)
        self.width_px, self.height_px = int(self._image.width), int(self._image.height)

    def read(self, x: int, y: int, w: int, h: int, *, eighths: int = 8) -> NDArray[np.uint8]:
        """Read a window; see :meth:`PixelSource.read`.

        Raises
        ------
        DataError
            ``image-unreadable`` when the pixels do not decode.
        UsageError
            When the window is not inside the image.
        """
        import pyvips

        _require_window(self, x, y, w, h, eighths)
        try:
            data = self._region.fetch(x, y, w, h)
        except pyvips.Error as error:
            raise unreadable(self._path, "an image that decodes to its end", error) from error
        return np.frombuffer(data, dtype=np.uint8).reshape(h, w, 3)

    def close(self) -> None:
        """Nothing to let go of by hand: libvips closes the file with its last reference."""
