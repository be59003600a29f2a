"""Where tissue is, and whether the stain is H&E.

The mask follows architecture.md: background is the median of the low-saturation pixels, tissue is a summed optical
density above 0.15, then cleaned. Pixels blacked out by a curator are neither background nor tissue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from humanst.findings import Findings

MASK_UM_PER_PIXEL = 8.0
MIN_OPTICAL_DENSITY = 0.15
LOW_SATURATION = 0.10
BRIGHT_BACKGROUND = 150
BLACKED_OUT = 40
CLOSE_UM = 40.0
MIN_AREA_UM2 = 10_000.0
MEDIAN_PX = 3
# Haematoxylin and eosin lie between blue-purple and red-pink; hues as in HSV, degrees.
HE_HUE_FROM, HE_HUE_TO = 210.0, 20.0
MIN_HE_SHARE = 0.5
MIN_STAINED_PIXELS = 200


@dataclass(frozen=True, slots=True)
class TissueMask:
    """A boolean tissue mask over the whole image.

    Attributes
    ----------
    mask
        ``(h, w)`` bool, row-major from the image's top left.
    um_per_pixel
        Side of a mask pixel in um.
    source
        ``optical-density`` or the name of a given outline.
    """

    mask: NDArray[np.bool_]
    um_per_pixel: float
    source: str

    def fraction(self, xy_um: NDArray[np.float64], side_um: float) -> NDArray[np.float32]:
        """Tissue share of the square of ``side_um`` centred on each of ``(n, 2)`` centres (x, y) in um."""
        table = np.pad(self.mask.astype(np.int64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        height, width = self.mask.shape
        low = np.rint((xy_um - side_um / 2) / self.um_per_pixel).astype(np.int64)
        high = np.rint((xy_um + side_um / 2) / self.um_per_pixel).astype(np.int64)
        x0, x1 = np.clip(low[:, 0], 0, width), np.clip(high[:, 0], 0, width)
        y0, y1 = np.clip(low[:, 1], 0, height), np.clip(high[:, 1], 0, height)
        inside = table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0]
        area = np.maximum((high[:, 0] - low[:, 0]) * (high[:, 1] - low[:, 1]), 1)
        share: NDArray[np.float32] = (inside / area).astype(np.float32)
        return share

    @property
    def area_mm2(self) -> float:
        """Tissue area in square millimetres."""
        return float(self.mask.sum()) * self.um_per_pixel**2 / 1e6


def _saturation(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    # Channel by channel: numpy takes ten times as long along an axis of three.
    red, green, blue = rgb[:, :, 0], rgb[:, :, 1], rgb[:, :, 2]
    brightest: NDArray[np.uint8] = np.maximum(np.maximum(red, green), blue)
    spread = (brightest - np.minimum(np.minimum(red, green), blue)).astype(np.float32)
    return np.divide(spread, np.maximum(brightest, 1), dtype=np.float32), brightest


def background_colour(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Median colour ``(3,)`` of the bright low-saturation pixels; white where there are none."""
    saturation, brightest = _saturation(rgb)
    glass = (saturation < LOW_SATURATION) & (brightest > BRIGHT_BACKGROUND)
    if not glass.any():
        return np.full(3, 255.0)
    return np.median(rgb[glass].astype(np.float64), axis=0)


def optical_density(rgb: NDArray[np.uint8], background: NDArray[np.float64]) -> NDArray[np.float32]:
    """Optical density summed over the channels, ``(h, w)``, against the background colour."""
    levels = np.arange(256, dtype=np.float64) + 1.0
    total = np.zeros(rgb.shape[:2], dtype=np.float32)
    for channel in range(3):
        density = -np.log10(np.minimum(levels / (background[channel] + 1.0), 1.0)).astype(np.float32)
        total += density[rgb[:, :, channel]]
    return total


def tissue_mask(rgb: NDArray[np.uint8], um_per_pixel: float) -> TissueMask:
    """The tissue mask of a thumbnail ``(h, w, 3)`` uint8 whose pixels are ``um_per_pixel`` wide."""
    from scipy import ndimage

    _, brightest = _saturation(rgb)
    stained = optical_density(rgb, background_colour(rgb)) > MIN_OPTICAL_DENSITY
    mask = stained & (brightest >= BLACKED_OUT)
    mask = ndimage.median_filter(mask, size=MEDIAN_PX)
    if steps := round(CLOSE_UM / um_per_pixel):
        pad = steps + 1
        padded = np.pad(mask, pad)
        mask = ndimage.binary_closing(padded, iterations=steps)[pad:-pad, pad:-pad]
    mask = ndimage.binary_fill_holes(mask)
    label, n = ndimage.label(mask)
    area = ndimage.sum_labels(mask, label, np.arange(n + 1)) * um_per_pixel**2
    keep = area >= MIN_AREA_UM2
    keep[0] = False
    return TissueMask(mask=keep[label], um_per_pixel=um_per_pixel, source="optical-density")


def check_stain(rgb: NDArray[np.uint8], findings: Findings, *, file: str) -> None:
    """Refuse an image whose tissue is not the pink and purple of H&E.

    The hue is judged on stained pixels only: neither the glass nor anything blacked out takes part, so a black
    background alone does not make an image fluorescence.
    """
    saturation, brightest = _saturation(rgb)
    stained = (optical_density(rgb, background_colour(rgb)) > MIN_OPTICAL_DENSITY) & (brightest >= BLACKED_OUT)
    stained &= saturation > 0.05
    if int(stained.sum()) < MIN_STAINED_PIXELS:
        findings.refuse(
            "no-tissue",
            "No stained tissue was found in the image",
            file=file,
            expected="an H&E image with tissue",
            found=f"{int(stained.sum())} stained pixels in the thumbnail",
            todo="Check that this is the section's H&E image",
        )
        return
    hue = _hue_degrees(rgb[stained])
    share = float(np.mean((hue >= HE_HUE_FROM) | (hue <= HE_HUE_TO)))
    if share < MIN_HE_SHARE:
        findings.refuse(
            "not-he",
            "The image is not H&E: its tissue has other hues",
            file=file,
            field="hue",
            expected=f"at least {MIN_HE_SHARE:.0%} of tissue pixels pink to purple ({HE_HUE_FROM:g}-{HE_HUE_TO:g} deg)",
            found=f"{share:.0%} (median hue {np.median(hue):.0f} deg), as in immunofluorescence",
            todo="Give the section's H&E image",
        )


def _hue_degrees(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Hues of ``(n, 3)`` pixels; a slide has few colours, and each is worked out once."""
    from skimage.color import rgb2hsv

    codes, place = np.unique(rgb.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32), return_inverse=True)
    colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.uint8)
    hue: NDArray[np.float64] = rgb2hsv(colours[np.newaxis])[0, :, 0] * 360.0
    return hue[place]
