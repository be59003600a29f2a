"""File formats shared by the vendors' layouts: gzip, PNG, JPEG and tiled TIFF with the same bytes on every run."""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING, Any

from humanst import files

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pyvips
    from numpy.typing import NDArray

TIFF_TILE_PX = 256
TIFF_QUALITY = 85
JPEG_QUALITY = 88


def gzip_bytes(data: bytes) -> bytes:
    """Compress ``data`` without name or time in the header."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=5, fileobj=buffer, mtime=0) as stream:
        stream.write(data)
    return buffer.getvalue()


def vips_image(rgb: NDArray[np.uint8]) -> pyvips.Image:
    """Wrap a (height, width, 3) uint8 array for libvips, marked as sRGB."""
    import pyvips

    height, width, bands = rgb.shape
    image: Any = pyvips.Image.new_from_memory(rgb.data, width, height, bands, "uchar")
    return image.copy(interpretation="srgb")


def write_pyramid(path: Path, rgb: NDArray[np.uint8], *, um_per_pixel: float) -> None:
    """Write the slide image: tiled pyramidal JPEG TIFF with its resolution in the header."""
    per_mm = 1000.0 / um_per_pixel

    def save(partial: Path) -> None:
        vips_image(rgb).tiffsave(
            str(partial),
            tile=True,
            tile_width=TIFF_TILE_PX,
            tile_height=TIFF_TILE_PX,
            pyramid=True,
            compression="jpeg",
            Q=TIFF_QUALITY,
            resunit="cm",
            xres=per_mm,
            yres=per_mm,
        )

    files.write_with(path, save)


def write_jpeg(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write a plain JPEG of the whole image, with no metadata."""
    files.write_bytes(path, vips_image(rgb).jpegsave_buffer(Q=JPEG_QUALITY, keep="none"))


def write_reduced_png(path: Path, rgb: NDArray[np.uint8], *, longest_px: int) -> float:
    """Write a PNG whose longer side is ``longest_px`` at most; returns its scale over the full image."""
    height, width = rgb.shape[:2]
    scale: float = min(longest_px / max(height, width), 1.0)
    small = vips_image(rgb).resize(round(width * scale) / width, vscale=round(height * scale) / height, kernel="linear")
    files.write_bytes(path, small.pngsave_buffer(compression=3, filter="up", keep="none"))
    return scale
