"""Known scenes and ways of writing them, independent of the code under test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import simplejpeg
import tifffile
from numpy.typing import NDArray

# (period in um, direction in degrees, phase) of the waves of each colour; the shortest spans several coarse pixels.
_WAVES = {
    0: ((37.0, 10.0, 0.3), (13.0, 75.0, 1.1), (9.0, 130.0, 2.0)),
    1: ((29.0, 60.0, 0.9), (11.0, 15.0, 0.2), (8.0, 100.0, 1.4)),
    2: ((41.0, 120.0, 1.7), (17.0, 40.0, 2.6), (10.0, 165.0, 0.5)),
}


def scene(x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smooth colours at any point of the slide, by formula: ``(..., 3)`` in 0..255."""
    channels = []
    for waves in _WAVES.values():
        value = np.full(np.broadcast(x_um, y_um).shape, 128.0)
        for period, degrees, phase in waves:
            angle = np.deg2rad(degrees)
            along = x_um * np.cos(angle) + y_um * np.sin(angle)
            value = value + 30.0 * np.sin(2 * np.pi * along / period + phase)
        channels.append(value)
    return np.stack(channels, axis=-1)


def scene_image(width_px: int, height_px: int, um_per_pixel: float) -> NDArray[np.uint8]:
    """The scene as a scanner sees it: pixel ``i`` has its centre at ``(i + 0.5) * um_per_pixel``."""
    x = (np.arange(width_px) + 0.5) * um_per_pixel
    y = (np.arange(height_px) + 0.5) * um_per_pixel
    return np.rint(scene(x[None, :], y[:, None])).astype(np.uint8)


def noise_image(width_px: int, height_px: int, seed: int = 0) -> NDArray[np.uint8]:
    """Rough colours, so that a wrong pixel cannot pass for the right one."""
    return np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)


def psnr(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    """Peak signal to noise ratio in dB for 8-bit values."""
    error = np.mean((np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)) ** 2)
    return float(10 * np.log10(255.0**2 / max(error, 1e-12)))


def write_tiled(
    path: Path, rgb: NDArray[np.uint8], *, tile_px: int = 256, quality: int = 95, subsampling: str = "444"
) -> Path:
    """Write one level of whole JPEG tiles (each with its JFIF marker), as several scanners do."""
    height, width, _ = rgb.shape
    down, across = -(-height // tile_px), -(-width // tile_px)
    padded = np.pad(rgb, ((0, down * tile_px - height), (0, across * tile_px - width), (0, 0)), mode="edge")
    tiles = (
        simplejpeg.encode_jpeg(
            np.ascontiguousarray(padded[y : y + tile_px, x : x + tile_px]),
            quality=quality,
            colorsubsampling=subsampling,
        )
        for y in range(0, down * tile_px, tile_px)
        for x in range(0, across * tile_px, tile_px)
    )
    tifffile.imwrite(
        path,
        tiles,
        shape=rgb.shape,
        dtype=np.uint8,
        tile=(tile_px, tile_px),
        photometric="ycbcr",
        subsampling=(2, 2) if subsampling == "420" else (1, 1),
        compression="jpeg",
        metadata=None,
    )
    return path


def write_pyramid(path: Path, rgb: NDArray[np.uint8], **options: object) -> Path:
    """Write a pyramid of JPEG tiles with libvips; its tiles share their JPEG tables."""
    import pyvips

    settings: dict[str, object] = {"Q": 95, "tile_width": 256, "tile_height": 256, "pyramid": True, **options}
    pyvips.Image.new_from_array(rgb).tiffsave(str(path), compression="jpeg", tile=True, **settings)
    return path
