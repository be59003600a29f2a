"""From spot centres to RGB patches at one scale: the image of record, windows of its pixels, patches."""

from __future__ import annotations

from humanst.tiles.cut import Patch, cut_patches
from humanst.tiles.image import ImageOfRecord, image_of_record, image_size, thumbnail
from humanst.tiles.pixels import PixelSource, open_image
from humanst.tiles.scaled import ScaledImage, scaled_image
from humanst.tiles.slide import claimed_um_per_pixel, image_tissue
from humanst.tiles.spec import PatchSpec, codec_versions, inside, require_fine_enough
from humanst.tiles.tiff import Level

__all__ = [
    "ImageOfRecord",
    "Level",
    "Patch",
    "PatchSpec",
    "PixelSource",
    "ScaledImage",
    "claimed_um_per_pixel",
    "codec_versions",
    "cut_patches",
    "image_of_record",
    "image_size",
    "image_tissue",
    "inside",
    "open_image",
    "require_fine_enough",
    "scaled_image",
    "thumbnail",
]
