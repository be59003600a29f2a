"""Slides that libvips cannot read, through kept libraries: vendors' formats by openslide, tile codecs by imagecodecs.

Both come with the extra ``slides``. What is read is level 0 (or a coarser level of the same picture, for thumbnails);
label and macro images are never opened. The rows flow into libvips as they are decoded, one band at a time, so a slide
needs no second copy on disk or in memory to become an image of record.
"""

from __future__ import annotations

import logging
import struct
import zlib
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from humanst.errors import DataError, HumanstError
from humanst.tiles.codestream import claimed_px
from humanst.tiles.faults import not_rgb, require_size, turned, unreadable
from humanst.tiles.tiff import DAMAGED_HEADER, TIFF_MAGIC, TileTable, read_layout
from humanst.vips import vips

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyvips
    from numpy.typing import NDArray
    from tifffile import TiffPage, TiffPages

logger = logging.getLogger(__name__)

Kind = Literal["openslide", "imagecodecs"]

BAND_PX = 256
# TIFF compressions of the libvips that is installed with humanst: none, CCITT, LZW, JPEG, deflate, PackBits, LZMA,
# Zstandard, WebP.
_OF_LIBVIPS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000, 50001})
# YCbCr in JPEG 2000 that only Aperio's own files hold.
_APERIO_YCBCR = 33003
_NDPI_TAG = 65420
_RGB = 2
# Formats of several files, or of another kind than TIFF, are known by their names, as openslide does.
_OPENSLIDE_SUFFIXES = frozenset({".mrxs", ".vms", ".vmu", ".svslide", ".czi", ".dcm"})
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_EIGHT_BIT_RGB = (8, 2, 0, 0, 0)


class Slide(Protocol):
    """A picture that gives its rows from top to bottom."""

    levels: tuple[tuple[int, int, float], ...]
    """(width, height, downsample), finest first."""

    def rows(self, level: int) -> Iterator[NDArray[np.uint8]]:
        """Bands of rows of a level, ``(h, width, 3)`` each."""


def vendor_kind(path: Path) -> Kind | None:
    """Which library a slide needs, ``None`` for what libvips reads (and for what nothing reads)."""
    from tifffile import TiffFile, TiffFileError

    if path.suffix.lower() in _OPENSLIDE_SUFFIXES:
        return "openslide"
    try:
        with path.open("rb") as handle:
            if handle.read(4) not in TIFF_MAGIC:
                return None
        with TiffFile(path) as tiff:
            if _NDPI_TAG in tiff.pages.first.tags or tiff.is_scn or tiff.is_bif:
                return "openslide"
            if int(tiff.pages.first.compression) in _OF_LIBVIPS:
                return None
            return "openslide" if tiff.is_svs else "imagecodecs"
    except (TiffFileError, *DAMAGED_HEADER):
        # What cannot be read at all is said where it is read.
        return None


def open_slide(path: Path, kind: Kind) -> Slide:
    """Open a slide with the library it needs.

    Raises
    ------
    DataError
        ``needs-extra`` when the library is not installed, ``image-unreadable``, ``image-not-rgb``,
        ``image-orientation``.
    HostileError
        ``image-too-large``.
    """
    slide: Slide = _OpenSlide(path) if kind == "openslide" else _TiffSlide(path)
    width_px, height_px, _ = slide.levels[0]
    require_size(path, width_px, height_px)
    return slide


def vendor_image(path: Path, kind: Kind, *, shrink: float = 1.0) -> pyvips.Image:
    """A slide as a libvips image to be read once, from top to bottom.

    Parameters
    ----------
    shrink
        How much smaller it will be made: a coarser level is taken where one is at least twice as fine as that.

    Raises
    ------
    DataError, HostileError
        See :func:`open_slide`.
    """
    pyvips = vips()

    slide = open_slide(path, kind)
    fine_enough = [number for number, (_, _, downsample) in enumerate(slide.levels) if downsample <= shrink / 2]
    level = fine_enough[-1] if fine_enough else 0
    width_px, height_px, _ = slide.levels[level]
    source = pyvips.SourceCustom()
    source.on_read(_reader(_png(width_px, height_px, slide.rows(level)), path))
    try:
        return pyvips.Image.new_from_source(source, "", access="sequential", fail_on="truncated")
    except pyvips.Error as error:
        raise unreadable(path, "a slide that decodes to its end", error) from error


def codec_version(kind: Kind) -> str:
    """Name and version of the library that decodes, for the record of how an image was made."""
    module = _extra(kind)
    return f"{kind} {getattr(module, '__library_version__', module.__version__)}"


def _extra(module: str, path: Path | None = None) -> Any:
    try:
        return import_module(module)
    except (ImportError, OSError) as error:
        raise DataError(
            "This slide needs a library that is not installed",
            code="needs-extra",
            file=path.name if path else None,
            expected=module,
            found=str(error),
            done="Nothing was made from it",
            todo="pip install 'humanst[slides]'",
        ) from error


class _OpenSlide:
    """A vendor's format through openslide; places that were not scanned have the slide's background colour."""

    def __init__(self, path: Path) -> None:
        openslide = _extra("openslide", path)
        self._path, self._fault = path, openslide.OpenSlideError
        try:
            self._slide = openslide.OpenSlide(path)
        except (openslide.OpenSlideError, OSError) as error:
            raise unreadable(path, "a whole slide", error) from error
        sizes = zip(self._slide.level_dimensions, self._slide.level_downsamples, strict=True)
        self.levels = tuple((int(size[0]), int(size[1]), float(downsample)) for size, downsample in sizes)
        self._background = f"#{self._slide.properties.get('openslide.background-color', 'FFFFFF')}"

    def rows(self, level: int) -> Iterator[NDArray[np.uint8]]:
        from PIL import Image

        width_px, height_px, downsample = self.levels[level]
        for top in range(0, height_px, BAND_PX):
            size = (width_px, min(BAND_PX, height_px - top))
            try:
                region = self._slide.read_region((0, round(top * downsample)), level, size)
            except (self._fault, OSError) as error:
                raise unreadable(self._path, "a slide that decodes to its end", error) from error
            band = Image.new("RGB", size, self._background)
            band.paste(region, mask=region.getchannel("A"))
            yield np.asarray(band)


@dataclass(frozen=True, slots=True)
class _Part:
    """A level of a TIFF: where its segments (tiles or strips) are, and what decodes them."""

    width_px: int
    height_px: int
    downsample: float
    segment_height_px: int
    segment_px: int
    across: int
    planes: int
    offsets: tuple[int, ...]
    byte_counts: tuple[int, ...]
    decode: Callable[..., Any]
    jpeg_tables: bytes | None


class _TiffSlide:
    """A TIFF whose tiles or strips only imagecodecs decodes (JPEG 2000 and others)."""

    def __init__(self, path: Path) -> None:
        from tifffile import TiffFile

        _extra("imagecodecs", path)
        layout = read_layout(path)
        if layout.orientation != 1:
            raise turned(path, layout.orientation)
        self._path = path
        with TiffFile(path) as tiff:
            first = tiff.pages[0].aspage()
            pages = [(_page(first, tiff.pages, table), table.level.downsample) for table in layout.levels]
            self._parts = tuple(_part(path, page, downsample) for page, downsample in pages or [(first, 1.0)])
        self.levels = tuple((part.width_px, part.height_px, part.downsample) for part in self._parts)

    def rows(self, level: int) -> Iterator[NDArray[np.uint8]]:
        part = self._parts[level]
        down = -(-part.height_px // part.segment_height_px)
        with self._path.open("rb") as handle:
            for row in range(down):
                top = row * part.segment_height_px
                height_px = min(part.segment_height_px, part.height_px - top)
                band = np.zeros((height_px, part.width_px, 3), dtype=np.uint8)
                for plane in range(part.planes):
                    for column in range(part.across):
                        self._place(part, handle, (plane * down + row) * part.across + column, band, top)
                yield band

    def _place(self, part: _Part, handle: Any, index: int, band: NDArray[np.uint8], top: int) -> None:
        handle.seek(part.offsets[index])
        data = handle.read(part.byte_counts[index])
        expected = f"tile {index} to decode"
        if claimed_px(data) > part.segment_px:
            raise unreadable(self._path, expected, f"{claimed_px(data):,} pixels where {part.segment_px:,} have room")
        try:
            segment, (plane, _, y, x, _), _ = part.decode(data, index, jpegtables=part.jpeg_tables)
        except (ValueError, RuntimeError, TypeError) as error:
            raise unreadable(self._path, expected, error) from error
        if segment is None or segment.dtype != np.uint8 or segment.shape[3] != (3 if part.planes == 1 else 1):
            raise unreadable(self._path, expected, "something else than 8-bit pixels of its colours")
        inner = segment[0, : len(band), : part.width_px - x]
        channels = slice(None) if part.planes == 1 else slice(plane, plane + 1)
        band[y - top : y - top + len(inner), x : x + inner.shape[1], channels] = inner


def _page(first: TiffPage, pages: TiffPages, table: TileTable) -> TiffPage:
    if table.subifd is None:
        return pages[table.page].aspage()
    children = first.pages
    if children is None:  # pragma: no cover - the layout found the level there
        raise IndexError(table.subifd)
    return children[table.subifd].aspage()


def _part(path: Path, page: TiffPage, downsample: float) -> _Part:
    _require_rgb(path, page)
    size = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    return _Part(
        width_px=page.imagewidth,
        height_px=page.imagelength,
        downsample=downsample,
        segment_height_px=size[0],
        segment_px=size[0] * size[1],
        across=-(-page.imagewidth // page.tilewidth) if page.is_tiled else 1,
        planes=1 if page.planarconfig == 1 else 3,
        offsets=tuple(page.dataoffsets),
        byte_counts=tuple(page.databytecounts),
        decode=page.decode,
        jpeg_tables=page.jpegtables,
    )


def _require_rgb(path: Path, page: TiffPage) -> None:
    is_rgb = page.photometric == _RGB and page.samplesperpixel == 3 and page.bitspersample == 8
    if not is_rgb or page.compression == _APERIO_YCBCR:
        colours = getattr(page.photometric, "name", page.photometric)
        raise not_rgb(path, f"{page.samplesperpixel} channels of {page.bitspersample} bits, {colours}")


def _png(width_px: int, height_px: int, rows: Iterator[NDArray[np.uint8]]) -> Iterator[bytes]:
    """Rows as an uncompressed PNG stream: what libvips reads from top to bottom without seeking."""
    yield _PNG_MAGIC + _chunk(b"IHDR", struct.pack(">IIBBBBB", width_px, height_px, *_EIGHT_BIT_RGB))
    engine = zlib.compressobj(0)
    for band in rows:
        lines = np.zeros((len(band), 1 + 3 * width_px), dtype=np.uint8)
        lines[:, 1:] = band.reshape(len(band), -1)
        if data := engine.compress(lines.tobytes()):
            yield _chunk(b"IDAT", data)
    yield _chunk(b"IDAT", engine.flush()) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _reader(blocks: Iterator[bytes], path: Path) -> Callable[[int], bytes]:
    """A read function over a stream of blocks. A fault ends the stream, which libvips then finds too short."""
    kept = bytearray()

    def read(size: int) -> bytes:
        try:
            while not kept and (block := next(blocks, None)) is not None:
                kept.extend(block)
        except (HumanstError, OSError, ValueError, RuntimeError) as error:
            # An exception cannot cross libvips; the stream stops here and the image counts as cut.
            logger.warning("%s stops in the middle: %s", path.name, error)
        data = bytes(kept[:size])
        del kept[:size]
        return data

    return read
