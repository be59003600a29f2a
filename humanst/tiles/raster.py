"""JPEG, PNG and TIFF through libvips, with every way of turning a broken file into pixels closed.

Only these three formats are opened, each by its own loader, so a file cannot choose another one; what libvips cannot
read comes from :mod:`humanst.tiles.vendor`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from humanst.tiles.faults import named, not_rgb, require_growth, require_size, require_streamed, turned, unreadable
from humanst.tiles.tiff import TIFF_MAGIC, TileTable, read_layout
from humanst.tiles.vendor import open_slide, vendor_image, vendor_kind
from humanst.vips import vips

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import pyvips
    from numpy.typing import NDArray

Format = Literal["jpeg", "png", "tiff"]
Access = Literal["sequential", "random"]

_JPEG_MAGIC = b"\xff\xd8\xff"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_OPAQUE = 255
_VIPS_PREAMBLE = re.compile(r"^unable to (call \w+|copy to memory|[a-z ]+)\s*")
_WRITE_FAULT = re.compile(r"no space left|write error|unable to write|file too large|quota", re.IGNORECASE)


def format_of(path: Path) -> Format:
    """Tell JPEG, PNG and TIFF apart by their first bytes; the name of the file does not matter.

    Raises
    ------
    DataError
        ``image-unreadable`` for anything else, a missing file included.
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(8)
    except OSError as error:
        raise unreadable(path, "a file that can be opened", error.strerror or error) from error
    if head.startswith(_JPEG_MAGIC):
        return "jpeg"
    if head == _PNG_MAGIC:
        return "png"
    if head[:4] in TIFF_MAGIC:
        return "tiff"
    raise unreadable(path, "a JPEG, PNG or TIFF image", f"a file that begins with {head!r}")


def open_raster(path: Path, *, access: Access = "sequential", level: TileTable | None = None) -> pyvips.Image:
    """Open an image lazily; the size limit and the orientation are checked on the header.

    Truncated JPEG and PNG data, corrupt JPEG data and TIFF warnings (which is how libvips reports tiles it cannot
    decode) become errors when the pixels are read. Where every read of a TIFF warns of the order of its tags, warnings
    mean nothing and only errors count; that its tiles lie inside the file is checked on the header for every TIFF.

    Parameters
    ----------
    path
        The file.
    access
        ``"sequential"`` for one pass from top to bottom, ``"random"`` for windows.
    level
        A level of a TIFF other than its first page.

    Raises
    ------
    DataError
        ``image-unreadable``, ``image-orientation``, ``needs-extra``.
    HostileError
        ``image-too-large``, ``image-bomb``.
    """
    pyvips = vips()

    if (vendor := vendor_kind(path)) is not None:
        if access != "sequential":
            raise unreadable(path, "the image of record, which is made from it", "a slide that is read once through")
        return vendor_image(path, vendor)
    kind = format_of(path)
    try:
        if kind == "jpeg":
            # libjpeg only warns of a hole in the middle, such as a lost block of zeros, and paints it grey.
            image = pyvips.Image.jpegload(str(path), access=access, fail_on="warning", revalidate=True)
        elif kind == "png":
            image = pyvips.Image.pngload(str(path), access=access, fail_on="truncated", revalidate=True)
        else:
            image = _tiff(path, access, level)
    except pyvips.Error as error:
        raise unreadable(path, f"a whole {kind.upper()} image", error) from error
    require_size(path, image.width, image.height)
    require_growth(path, image.width, image.height)
    if image.get_typeof("interlaced") and image.get("interlaced"):
        require_streamed(path, image.width, image.height)
    orientation = int(image.get("orientation")) if image.get_typeof("orientation") else 1
    if orientation != 1:
        raise turned(path, orientation)
    return image


def _tiff(path: Path, access: Access, level: TileTable | None) -> pyvips.Image:
    pyvips = vips()

    fail_on = "warning" if read_layout(path).has_tags_in_order else "error"
    where = {} if level is None else {"page": level.page}
    if level is not None and level.subifd is not None:
        where["subifd"] = level.subifd
    return pyvips.Image.tiffload(str(path), access=access, fail_on=fail_on, revalidate=True, **where)


def open_rgb(path: Path, *, access: Access = "sequential") -> pyvips.Image:
    """Open an image that must be 8-bit RGB; an alpha channel that is opaque everywhere is dropped.

    Raises
    ------
    DataError
        ``image-not-rgb`` for gray, CMYK, 16-bit and see-through images, and all of :func:`open_raster`.
    HostileError
        ``image-too-large``, ``image-bomb``.
    """
    image = open_raster(path, access=access)
    found = f"{image.bands} channels, {image.format}, {image.interpretation}"
    if image.format != "uchar" or image.interpretation not in ("srgb", "rgb") or image.bands not in (3, 4):
        raise not_rgb(path, found)
    if image.bands == 4:
        lowest = int(_computed(path, open_raster(path)[3].min))
        if lowest != _OPAQUE:
            raise not_rgb(path, f"an alpha channel that goes down to {lowest} of 255")
        image = image[0:3]
    return image


def image_size(path: Path, *, name: str | None = None) -> tuple[int, int]:
    """Width and height in pixels, from the header alone.

    Parameters
    ----------
    path
        JPEG, PNG or TIFF.
    name
        How errors name the file; its own name when left out.

    Raises
    ------
    DataError
        ``image-unreadable``, ``image-orientation``, ``needs-extra``.
    HostileError
        ``image-too-large`` above 2**34 pixels, ``image-bomb``.
    """
    with named(name):
        if (vendor := vendor_kind(Path(path))) is not None:
            width_px, height_px, _ = open_slide(Path(path), vendor).levels[0]
            return width_px, height_px
        image = open_raster(Path(path))
    return int(image.width), int(image.height)


def thumbnail(path: Path, um_per_pixel_in: float, um_per_pixel_out: float) -> NDArray[np.uint8]:
    """Read the whole image, made smaller by averaging areas.

    The extent is kept: pixel ``i`` of ``n`` covers the ``i``-th ``n``-th of the image, so the true scale along an axis
    is ``size_in * um_per_pixel_in / size_out`` (from a pyramid, true to half a result pixel at the far edges). Gray and
    16-bit images become RGB, transparency becomes white.

    Parameters
    ----------
    path
        JPEG, PNG or TIFF; of a tiled pyramid the coarsest level that is fine enough is read.
    um_per_pixel_in, um_per_pixel_out
        Scale of the image and of the result. An image already coarser than the result keeps its size.

    Returns
    -------
    ndarray
        ``(height, width, 3)`` uint8 RGB.

    Raises
    ------
    DataError
        ``image-unreadable``, ``image-orientation``, ``image-not-rgb`` (more than three colours).
    HostileError
        ``image-too-large``, ``image-bomb``.
    """
    path = Path(path)
    factor = max(1.0, um_per_pixel_out / um_per_pixel_in)
    width, height = image_size(path)
    if (vendor := vendor_kind(path)) is not None:
        image = vendor_image(path, vendor, shrink=factor)
    else:
        image = open_raster(path, level=_coarse_level(path, factor))
    image = _as_rgb(path, image)
    new_width, new_height = max(1, round(width / factor)), max(1, round(height / factor))
    if (new_width, new_height) != (image.width, image.height):
        image = image.resize(new_width / image.width, vscale=new_height / image.height, kernel="linear")
    pixels: NDArray[np.uint8] = _computed(path, image.numpy)
    return pixels


def _coarse_level(path: Path, factor: float) -> TileTable | None:
    if format_of(path) != "tiff":
        return None
    levels = read_layout(path).levels
    # A level may lack one of its own pixels at the far edges; at half the step that is half a pixel of the result.
    # One compressed in another way than level 0 may be one that libvips does not know and gives as black.
    fine_enough = [
        table
        for table in levels
        if table.level.downsample <= factor / 2 and table.level.compression == levels[0].level.compression
    ]
    return fine_enough[-1] if fine_enough else None


def _as_rgb(path: Path, image: pyvips.Image) -> pyvips.Image:
    import pyvips

    try:
        if image.hasalpha():
            image = image.flatten(background=[2**16 - 1 if image.format == "ushort" else 255])
        image = image.colourspace("srgb")
    except pyvips.Error as error:
        raise not_rgb(path, f"{image.bands} channels, {error}") from error
    if image.bands != 3:
        raise not_rgb(path, f"{image.bands} channels, {image.interpretation}")
    return image.cast("uchar")


def _computed(path: Path, compute: Callable[[], Any]) -> Any:
    import pyvips

    try:
        return compute()
    except pyvips.Error as error:
        # Nothing goes to a disk here: "unable to write to memory" only says that the source stopped short.
        raise unreadable(path, "an image that decodes to its end", error) from error


def vips_fault(path: Path, error: Exception) -> Exception:
    """Tell what a failed libvips pipeline means: the disk is full, or the source is broken."""
    import errno

    if _WRITE_FAULT.search(str(error)):
        return OSError(errno.ENOSPC, str(error))
    reason = _VIPS_PREAMBLE.sub("", str(error)).strip()
    return unreadable(path, "an image that decodes to its end", reason or "pixels that libvips cannot decode")
