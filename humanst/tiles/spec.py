"""What all patches of a release share, and which spots can have one.

Coordinates are continuous level-0 pixels: pixel ``i`` covers ``[i, i + 1)``, its centre is ``i + 0.5``, and the image
covers ``[0, width]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from humanst.errors import DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_EDGE_PX = 1e-6


@dataclass(frozen=True, slots=True)
class PatchSpec:
    """What every patch of a release has in common.

    Attributes
    ----------
    side_px, um_per_pixel
        224 px at 0.5 um/px: 112 um.
    quality, subsampling
        Of the JPEG: baseline, ``"444"`` keeps colour at full resolution.
    max_native_um_per_pixel
        Images coarser than this give no patches.
    min_tissue_fraction
        Patches with less tissue are dropped later, by whoever knows the tissue mask.
    """

    side_px: int = 224
    um_per_pixel: float = 0.5
    quality: int = 90
    subsampling: str = "444"
    max_native_um_per_pixel: float = 1.15
    min_tissue_fraction: float = 0.15

    @property
    def side_um(self) -> float:
        """Side of a patch in micrometres."""
        return self.side_px * self.um_per_pixel


def inside(
    xy_px: ArrayLike, width_px: int, height_px: int, um_per_pixel: float, spec: PatchSpec | None = None
) -> NDArray[np.bool_]:
    """Tell which spots have a patch wholly inside the image.

    Parameters
    ----------
    xy_px
        ``(n, 2)`` spot centres (x, y) in level-0 pixels.
    width_px, height_px, um_per_pixel
        Size and scale of level 0.
    spec
        Defaults to :class:`PatchSpec`.

    Returns
    -------
    ndarray
        ``(n,)`` bool; false for centres that are not finite.

    Raises
    ------
    UsageError
        When ``xy_px`` is not ``(n, 2)``.
    """
    xy = as_xy(xy_px)
    half = (spec or PatchSpec()).side_um / um_per_pixel / 2
    low = (xy - half >= -_EDGE_PX).all(axis=1)
    high = (xy + half <= np.array([width_px, height_px]) + _EDGE_PX).all(axis=1)
    return np.asarray(low & high)


def require_fine_enough(name: str, um_per_pixel: float, spec: PatchSpec | None = None) -> None:
    """Refuse patches from an image that is too coarse for them.

    Raises
    ------
    DataError
        ``image-too-coarse``.
    """
    limit = (spec or PatchSpec()).max_native_um_per_pixel
    if um_per_pixel > limit:
        raise DataError(
            "The image is too coarse for patches",
            code="image-too-coarse",
            file=name,
            field="um_per_pixel",
            expected=f"at most {limit} um per pixel",
            found=f"{um_per_pixel:.6g} um per pixel",
            done="No patch was cut from it",
            todo="Give the full-resolution image, or build the section store only",
        )


def as_xy(xy_px: ArrayLike) -> NDArray[np.float64]:
    """Take spot centres as an ``(n, 2)`` float64 array.

    Raises
    ------
    UsageError
        For any other shape.
    """
    xy = np.asarray(xy_px, dtype=np.float64)
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise UsageError("Spot centres must be an (n, 2) array of x and y", found=f"shape {xy.shape}")
    return xy


def codec_versions() -> dict[str, str]:
    """Name the libraries whose arithmetic is in a patch: the same versions give the same bytes.

    Returns
    -------
    dict
        Library name to version, sorted by name.
    """
    from importlib.metadata import version

    import cv2
    import pyvips

    libvips = ".".join(str(pyvips.version(part)) for part in range(3))
    python = {name: version(name) for name in ("numpy", "pillow", "simplejpeg")}
    return dict(sorted({"libvips": libvips, "opencv": str(cv2.__version__), **python}.items()))
