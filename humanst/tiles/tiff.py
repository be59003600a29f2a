"""What a TIFF says about itself: its levels, where their tiles lie, and whether all of them lie inside the file.

One pass over the header. No pixel is decoded here.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from humanst.tiles.faults import unreadable
from humanst.tiles.tiff_chain import require_chain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from tifffile import TiffFile, TiffPage, TiffPages

# What tifffile raises on headers that are cut or spoilt, beside its own error.
DAMAGED_HEADER = (struct.error, OSError, ValueError, IndexError, KeyError, TypeError, AttributeError, ArithmeticError)
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG = 7
_RGB = 2
_YCBCR = 6
_ORIENTATION_TAG = 274
_UPPER_LEFT = 1


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of a pyramid.

    Attributes
    ----------
    width_px, height_px
        Size of this level in its own pixels.
    downsample
        Level-0 pixels per pixel of this level; 1.0 for level 0.
    compression
        ``"jpeg"``, ``"lzw"``, ``"none"`` and so on, as TIFF names it, in lower case.
    tile_px
        Side of a tile (its width, where tiles are not square).
    """

    width_px: int
    height_px: int
    downsample: float
    compression: str
    tile_px: int


@dataclass(frozen=True, slots=True)
class TileTable:
    """Where the tiles of one level are, and what is needed to decode them.

    Attributes
    ----------
    level
        Size and downsample of the level.
    tile_width_px, tile_height_px
        Size of every tile, the padded ones at the right and lower border included.
    offsets, byte_counts
        ``(n_tiles,)`` int64, row by row.
    jpeg_tables
        The shared JPEG tables (SOI .. EOI), or ``b""`` when every tile is a whole JPEG.
    is_ycbcr
        Whether the tiles hold YCbCr (else RGB); the TIFF tag decides, not markers in the tiles, as in libtiff.
    is_rgb_jpeg
        Whether the tiles are baseline JPEG of three 8-bit channels, the kind that patches are cut from directly.
    page, subifd
        How libvips addresses the level: page number, or SubIFD number of page 0.
    """

    level: Level
    tile_width_px: int
    tile_height_px: int
    offsets: NDArray[np.int64]
    byte_counts: NDArray[np.int64]
    jpeg_tables: bytes
    is_ycbcr: bool
    is_rgb_jpeg: bool
    page: int
    subifd: int | None

    @property
    def tiles_across(self) -> int:
        """Number of tiles in one row of tiles."""
        return -(-self.level.width_px // self.tile_width_px)


@dataclass(frozen=True, slots=True)
class TiffLayout:
    """The tiled levels of one image, finest first; empty when its first page is not tiled.

    Attributes
    ----------
    width_px, height_px
        Size of the first page.
    orientation
        The TIFF orientation tag; 1 is upper left.
    has_tags_in_order
        Whether the tags of the pages are in ascending order without repeats, as TIFF 6.0 asks. Some writers repeat
        the description; libtiff warns of that at every read.
    """

    width_px: int
    height_px: int
    orientation: int
    has_tags_in_order: bool
    levels: tuple[TileTable, ...]

    @property
    def is_jpeg_pyramid(self) -> bool:
        """Whether patches can be cut from it as it is: at least two levels, all of them RGB JPEG tiles."""
        return len(self.levels) > 1 and all(table.is_rgb_jpeg for table in self.levels)


def read_layout(path: Path) -> TiffLayout:
    """Read the levels of a TIFF and check that every strip and tile of every page lies inside the file.

    libvips turns missing tiles into black pixels, so the check is made on the header, where a cut shows at once.

    Raises
    ------
    DataError
        ``image-unreadable`` when the header cannot be read, a tile lies outside the file, or a tile is empty.
    """
    from tifffile import TiffFile, TiffFileError

    size = path.stat().st_size if path.exists() else 0
    try:
        require_chain(path)
        with TiffFile(path) as tiff:
            first = tiff.pages[0].aspage()
            pages = list(_pages(tiff.pages, first))
            for page, number, subifd in pages:
                _require_inside(path, page, f"page {number}" if subifd is None else f"SubIFD {subifd}", size)
            _require_end(path, tiff, pages[-1][0] if pages[-1][2] is None else first)
            orientation = first.tags.valueof(_ORIENTATION_TAG, _UPPER_LEFT)
            levels = tuple(_levels(first, pages))
            in_order = all(_has_tags_in_order(page) for page, _, _ in pages)
            return TiffLayout(first.imagewidth, first.imagelength, int(orientation), in_order, levels)
    except (TiffFileError, *DAMAGED_HEADER) as error:
        raise unreadable(path, "a whole TIFF with readable pages", error) from error


def _pages(pages: TiffPages, first: TiffPage) -> Iterator[tuple[TiffPage, int, int | None]]:
    for number, page in enumerate(pages):
        yield page.aspage(), number, None
        if number == 0 and first.subifds:
            for subifd, child in enumerate(first.pages or ()):
                yield child.aspage(), 0, subifd


def _require_end(path: Path, tiff: TiffFile, last: TiffPage) -> None:
    """Refuse when the last page that could be read names a next one: it lies outside the file, or in a circle."""
    how = tiff.tiff
    with path.open("rb") as handle:
        handle.seek(last.offset)
        (n_tags,) = struct.unpack(how.tagnoformat, handle.read(how.tagnosize))
        handle.seek(n_tags * how.tagsize, os.SEEK_CUR)
        (following,) = struct.unpack(how.offsetformat, handle.read(how.offsetsize))
    if following:
        raise unreadable(path, "a last page that names no further one", f"a further page at byte {following:,}")


def _has_tags_in_order(page: TiffPage) -> bool:
    codes = [tag.code for tag in sorted(page.tags, key=lambda tag: tag.offset)]
    return all(code < after for code, after in pairwise(codes))


def _require_inside(path: Path, page: TiffPage, where: str, size: int) -> None:
    offsets = np.asarray(page.dataoffsets, dtype=np.int64)
    counts = np.asarray(page.databytecounts, dtype=np.int64)
    n_expected = int(np.prod(page.chunked)) if page.is_tiled else len(offsets)
    if len(offsets) != len(counts) or len(offsets) < n_expected or not len(offsets):
        found = f"{len(offsets)} offsets and {len(counts)} byte counts in {where}"
        raise unreadable(path, f"{n_expected} tiles or strips", found)
    outside = np.flatnonzero((offsets < 0) | (counts < 0) | (offsets + counts > size))
    if outside.size:
        last = int(outside[-1])
        found = f"{outside.size} of {len(offsets)} outside it, such as {where} part {last} ending at byte "
        found += f"{int(offsets[last] + counts[last]):,}"
        raise unreadable(path, f"every tile and strip inside the {size:,} bytes of the file", found)
    empty = np.flatnonzero(counts == 0)
    if empty.size:
        raise unreadable(path, "pixels in every tile", f"{empty.size} empty tiles in {where}, first {int(empty[0])}")


def _levels(first: TiffPage, pages: list[tuple[TiffPage, int, int | None]]) -> Iterator[TileTable]:
    if not first.is_tiled:
        return
    candidates = []
    for page, number, subifd in pages:
        downsample = _downsample(first, page)
        if page.is_tiled and downsample is not None:
            candidates.append((downsample, number, subifd, page))
    last = 0.0
    for downsample, number, subifd, page in sorted(candidates, key=lambda item: item[0]):
        if downsample > last:
            yield _table(page, downsample, number, subifd)
        last = downsample


def _downsample(first: TiffPage, page: TiffPage) -> float | None:
    """How much coarser a page is than the first one, or None when it shows something else (a label, a macro image).

    A page whose size is the size of the first divided by a power of two, rounded either way at each halving, is taken
    at that power: the sizes are rounded, the pixels are not.
    """
    if page.imagewidth < 1 or page.imagelength < 1:
        return None
    across = first.imagewidth / page.imagewidth
    down = first.imagelength / page.imagelength
    if max(across, down) < 1:
        return None
    power = float(2 ** round(np.log2(max(across, 1.0))))
    off_x = abs(page.imagewidth * power - first.imagewidth)
    off_y = abs(page.imagelength * power - first.imagelength)
    if max(off_x, off_y) < power:
        return power
    return (across + down) / 2 if abs(across / down - 1) < 0.01 else None


def _table(page: TiffPage, downsample: float, number: int, subifd: int | None) -> TileTable:
    is_rgb_jpeg = (
        page.compression == _JPEG
        and page.photometric in (_RGB, _YCBCR)
        and page.samplesperpixel == 3
        and page.bitspersample == 8
        and page.planarconfig == 1
    )
    return TileTable(
        level=Level(page.imagewidth, page.imagelength, downsample, _compression_name(page), page.tilewidth),
        tile_width_px=page.tilewidth,
        tile_height_px=page.tilelength,
        offsets=np.asarray(page.dataoffsets, dtype=np.int64),
        byte_counts=np.asarray(page.databytecounts, dtype=np.int64),
        jpeg_tables=page.jpegtables or b"",
        is_ycbcr=page.photometric == _YCBCR,
        is_rgb_jpeg=is_rgb_jpeg,
        page=number,
        subifd=subifd,
    )


def _compression_name(page: TiffPage) -> str:
    name = getattr(page.compression, "name", str(page.compression))
    return str(name).lower()
