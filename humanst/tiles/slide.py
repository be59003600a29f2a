"""What an image says of itself where no recipe does: where its tissue is, and the scale its header claims.

Both are worked out in rooms before this one; they are had from here by those who see pixels alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from humanst.tiles.raster import image_size, thumbnail

if TYPE_CHECKING:
    from humanst.harmonize.tissue import TissueMask


def image_tissue(path: Path, um_per_pixel: float) -> TissueMask:
    """The tissue mask of a whole image, by optical density, at 8 um per pixel or the scale of a coarser image.

    Parameters
    ----------
    path
        The image of record.
    um_per_pixel
        Scale of the image.

    Raises
    ------
    DataError, HostileError
        See :func:`humanst.tiles.thumbnail`.
    """
    from humanst.harmonize.tissue import MASK_UM_PER_PIXEL, tissue_mask

    width_px, _ = image_size(path)
    rgb = thumbnail(path, um_per_pixel, MASK_UM_PER_PIXEL)
    # The thumbnail has whole pixels: its true scale is that of the image it covers.
    return tissue_mask(rgb, um_per_pixel * width_px / rgb.shape[1])


def claimed_um_per_pixel(path: Path) -> float | None:
    """The scale that the header of an image claims; ``None`` where it claims none, or none that a scanner has.

    Raises
    ------
    DataError
        ``image-unreadable``, ``needs-extra``.
    """
    from humanst.platforms.image_header import read_image_header

    return read_image_header(path, name=path.name).um_per_pixel
