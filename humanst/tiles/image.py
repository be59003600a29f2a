"""The image of record: the one tiled pyramid that every patch of a section is cut from.

A source that already is a tiled pyramid of RGB JPEG tiles is used as it is. Any other image is written once as such a
pyramid; the pixels are those of the source, nothing is turned, scaled or colour-managed, and none of its metadata
(EXIF, ICC profile, descriptions, label or macro images) goes along. The same source and scale give the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from humanst import files
from humanst.errors import UsageError
from humanst.tiles.faults import named, require_size, turned
from humanst.tiles.raster import format_of, image_size, open_rgb, thumbnail, vips_fault
from humanst.tiles.tiff import Level, TiffLayout, read_layout
from humanst.tiles.vendor import codec_version, vendor_kind

__all__ = ["ImageOfRecord", "image_of_record", "image_size", "thumbnail"]

CARD_SCHEMA = "humanst.image/1"
TILE_PX = 256
QUALITY = 90
_SUBSAMPLING = "444"
_CLASSIC_TIFF_BYTES = 2**32
_ROOM_BYTES_PER_PX = 0.5


@dataclass(frozen=True, slots=True)
class ImageOfRecord:
    """The image that patches are cut from, and where it came from.

    Attributes
    ----------
    path
        The tiled pyramid: the source itself, or the file made from it.
    name
        Its path as recorded in provenance.
    sha256
        Of the file at ``path``.
    width_px, height_px
        Level-0 size.
    um_per_pixel
        Level-0 scale, as given by the caller.
    levels
        Finest first.
    derived
        Whether the file was made by humanst.
    source_sha256
        Of the file it was made from; equal to ``sha256`` when ``derived`` is false.
    """

    path: Path
    name: str
    sha256: str
    width_px: int
    height_px: int
    um_per_pixel: float
    levels: tuple[Level, ...]
    derived: bool
    source_sha256: str


def image_of_record(
    source: Path, target: Path, *, um_per_pixel: float, name: str, source_sha256: str | None = None
) -> ImageOfRecord:
    """Use ``source`` as it is when it is a tiled RGB JPEG pyramid, else write ``target`` from it once.

    ``target`` is a pyramidal TIFF of 256 px JPEG tiles, quality 90, chroma not subsampled. Beside it lies a card
    (``<target>.card.json``, written last); a target whose card names the same source bytes, scale and parameters, and
    whose own bytes are those on the card, is kept.

    Parameters
    ----------
    source
        JPEG, PNG or TIFF, 8-bit RGB; with the extra ``slides`` also vendors' slides and tiles in JPEG 2000.
    target
        Where the pyramid goes when one is made (``.tif``).
    um_per_pixel
        Scale of the source, in um per pixel; written into the TIFF as its resolution.
    name
        Path to record for provenance, relative.
    source_sha256
        When it is known already, to save reading the source once more.

    Raises
    ------
    DataError
        ``image-unreadable``, ``image-not-rgb``, ``image-orientation``, ``needs-extra``.
    HostileError
        ``image-too-large`` above 2**34 pixels.
    NoRoomError
        When the disk cannot hold the pyramid.
    UsageError
        When ``um_per_pixel`` is not a positive number.
    """
    source, target = Path(source), Path(target)
    if not (np.isfinite(um_per_pixel) and um_per_pixel > 0):
        raise UsageError("um_per_pixel must be a positive number", file=name, found=um_per_pixel)
    with named(name):
        is_tiff = vendor_kind(source) is None and format_of(source) == "tiff"
        layout = read_layout(source) if is_tiff else None
        if layout is not None and layout.is_jpeg_pyramid:
            return _as_it_is(source, layout, um_per_pixel, name, source_sha256)
        return _made_once(source, target, um_per_pixel, name, source_sha256)


def _made_once(source: Path, target: Path, um_per_pixel: float, name: str, source_sha256: str | None) -> ImageOfRecord:
    digest = source_sha256 or files.sha256_file(source)
    made = {"source_sha256": digest, "parameters": _parameters(source, um_per_pixel)}
    sha256 = _sha256_if_current(target, made)
    if sha256 is None:
        sha256 = _write_pyramid(source, target, um_per_pixel)
        files.write_json(_card_path(target), {"schema": CARD_SCHEMA, **made, "sha256": sha256})
    return _record(target, read_layout(target), um_per_pixel, name, sha256, digest)


def _as_it_is(
    source: Path, layout: TiffLayout, um_per_pixel: float, name: str, source_sha256: str | None
) -> ImageOfRecord:
    require_size(source, layout.width_px, layout.height_px)
    if layout.orientation != 1:
        raise turned(source, layout.orientation)
    digest = source_sha256 or files.sha256_file(source)
    return _record(source, layout, um_per_pixel, name, digest, digest)


def _record(
    path: Path, layout: TiffLayout, um_per_pixel: float, name: str, sha256: str, source_sha256: str
) -> ImageOfRecord:
    return ImageOfRecord(
        path=path,
        name=name,
        sha256=sha256,
        width_px=layout.width_px,
        height_px=layout.height_px,
        um_per_pixel=float(um_per_pixel),
        levels=tuple(table.level for table in layout.levels),
        derived=sha256 != source_sha256,
        source_sha256=source_sha256,
    )


def _parameters(source: Path, um_per_pixel: float) -> dict[str, Any]:
    import pyvips

    vendor = vendor_kind(source)
    return {
        **({} if vendor is None else {"decoder": codec_version(vendor)}),
        "um_per_pixel": float(um_per_pixel),
        "tile_px": TILE_PX,
        "quality": QUALITY,
        "subsampling": _SUBSAMPLING,
        "libvips": ".".join(str(pyvips.version(part)) for part in range(3)),
    }


def _card_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.card.json")


def _sha256_if_current(target: Path, made: dict[str, Any]) -> str | None:
    """Hash the target when its card tells of the same making and its bytes are those on the card, else give None."""
    try:
        card = json.loads(_card_path(target).read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(card, dict) or not target.is_file():
        return None
    same = card.get("schema") == CARD_SCHEMA and all(card.get(key) == value for key, value in made.items())
    if not same:
        return None
    sha256 = files.sha256_file(target)
    return sha256 if sha256 == card.get("sha256") else None


def _write_pyramid(source: Path, target: Path, um_per_pixel: float) -> str:
    import pyvips

    image = open_rgb(source)
    n_px = image.width * image.height
    files.require_room(target.parent, round(n_px * _ROOM_BYTES_PER_PX))
    px_per_mm = 1000.0 / um_per_pixel

    def write(partial: Path) -> None:
        try:
            image.tiffsave(
                str(partial),
                compression="jpeg",
                Q=QUALITY,
                tile=True,
                tile_width=TILE_PX,
                tile_height=TILE_PX,
                pyramid=True,
                region_shrink="mean",
                keep="none",
                resunit="cm",
                xres=px_per_mm,
                yres=px_per_mm,
                # The limit is for the worst case, raw pixels and a third more for the pyramid.
                bigtiff=n_px * 4 > _CLASSIC_TIFF_BYTES,
            )
        except pyvips.Error as error:
            raise vips_fault(source, error) from error

    files.remove(_card_path(target))
    return files.write_with(target, write)
