"""What the header of an H&E image says: its size, and the scale it claims.

The claim is a witness beside another reading, never the scale itself. No pixel is decoded here.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from humanst.errors import DataError
from humanst.vips import vips

SAME_SCALE_WITHIN = 0.01
# Slide scanners lie between these; a coarser tag is a print resolution (72 dpi is 353 um a pixel).
PLAUSIBLE_UM_PER_PIXEL = (0.05, 5.0)
# Slides whose first page, or whose named file, is not the slide itself but a label, a macro image or an index.
_OPENSLIDE_SUFFIXES = frozenset({".mrxs", ".vms", ".vmu", ".svslide", ".czi", ".dcm"})
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# What tifffile raises on headers that are cut or spoilt, beside its own error.
_DAMAGED = (struct.error, OSError, ValueError, IndexError, KeyError, TypeError, AttributeError, ArithmeticError)
_UM_PER_UNIT = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Size of an image, and the scale its header claims.

    Attributes
    ----------
    um_per_pixel
        ``None`` where the header claims none, or one that no slide scanner has.
    """

    width_px: int
    height_px: int
    um_per_pixel: float | None


def read_image_header(path: Path, *, name: str) -> ImageHeader:
    """Size and claimed scale of a TIFF (OME and Aperio among them), JPEG, PNG or vendor's slide, from its header.

    Raises
    ------
    DataError
        ``image-unreadable``; ``needs-extra`` for a vendor's slide without openslide.
    """
    import tifffile

    pyvips = vips()
    if path.suffix.lower() in _OPENSLIDE_SUFFIXES:
        return _slide_header(path, name)
    try:
        with path.open("rb") as handle:
            head = handle.read(4)
        if head in _TIFF_MAGIC:
            with tifffile.TiffFile(path) as slide:
                page = slide.pages.first
                if slide.is_scn or slide.is_bif:
                    return _slide_header(path, name)
                claims = (_ome_scale(slide.ome_metadata), _aperio_scale(slide, page), _tag_scale(page))
                scale = _plausible(next((claim for claim in claims if claim), None))
                return ImageHeader(int(page.imagewidth), int(page.imagelength), scale)
        load = pyvips.Image.jpegload if head.startswith(b"\xff\xd8\xff") else pyvips.Image.pngload
        image = load(str(path))
    except (pyvips.Error, tifffile.TiffFileError, *_DAMAGED) as error:
        raise _unreadable(name, error) from error
    return ImageHeader(int(image.width), int(image.height), None)


def _unreadable(name: str, error: Exception) -> DataError:
    return DataError(
        "The image cannot be read",
        code="image-unreadable",
        file=name,
        expected="a TIFF, JPEG or PNG image, or a slide that openslide reads",
        found=f"{type(error).__name__}: {error}",
        todo="Fetch the file again",
    )


def _slide_header(path: Path, name: str) -> ImageHeader:
    try:
        import openslide
    except (ImportError, OSError) as error:
        raise DataError(
            "This slide needs a library that is not installed",
            code="needs-extra",
            file=name,
            expected="openslide",
            found=str(error),
            todo="pip install 'humanst[slides]'",
        ) from error
    try:
        with openslide.OpenSlide(path) as slide:
            width_px, height_px = slide.dimensions
            scale = _agreed(slide.properties.get("openslide.mpp-x"), slide.properties.get("openslide.mpp-y"))
    except (openslide.OpenSlideError, OSError) as error:
        raise _unreadable(name, error) from error
    return ImageHeader(int(width_px), int(height_px), _plausible(scale))


def _plausible(um_per_pixel: float | None) -> float | None:
    low, high = PLAUSIBLE_UM_PER_PIXEL
    return um_per_pixel if um_per_pixel is not None and low <= um_per_pixel <= high else None


def _agreed(x: Any, y: Any) -> float | None:
    """The scale along x where that along y is the same; ``None`` where either is no number or they differ."""
    try:
        along_x, along_y = float(x), float(y)
    except (TypeError, ValueError):
        return None
    if not (along_x > 0 and along_y > 0 and abs(along_x / along_y - 1) <= SAME_SCALE_WITHIN):
        return None
    return along_x


def _ome_scale(ome: str | None) -> float | None:
    """The first PhysicalSizeX of OME-XML; its unit is um unless given. A regular expression: no XML is parsed."""
    sizes = []
    for axis in "XY":
        size = re.search(rf'\bPhysicalSize{axis}="([0-9.eE+-]+)"', ome or "")
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]*)"', ome or "")
        factor = _UM_PER_UNIT.get(unit[1]) if unit else 1.0
        try:
            sizes.append(float(size[1]) * factor if size and factor else None)
        except ValueError:
            return None
    # Some writers give X alone.
    return _agreed(sizes[0], sizes[1] if re.search(r"\bPhysicalSizeY=", ome or "") else sizes[0])


def _aperio_scale(slide: Any, page: Any) -> float | None:
    """The MPP of an Aperio description."""
    found = re.search(r"\|\s*MPP\s*=\s*([0-9.]+)", str(page.description)) if slide.is_svs else None
    return _agreed(found[1], found[1]) if found else None


def _tag_scale(page: object) -> float | None:
    """Scale in um per pixel of the resolution tags; ``None`` without a unit or where x and y differ."""
    tags = getattr(page, "tags", {})
    values = {name: tags[name].value for name in ("XResolution", "YResolution", "ResolutionUnit") if name in tags}
    um_per_unit = {2: 25_400.0, 3: 10_000.0}.get(int(values.get("ResolutionUnit", 0)))
    if um_per_unit is None or len(values) < 3:
        return None
    scales = []
    for name in ("XResolution", "YResolution"):
        numerator, denominator = values[name]
        scales.append(um_per_unit * denominator / numerator if numerator else None)
    return _agreed(*scales)
