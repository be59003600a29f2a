"""The real section B4 of her2st: a landmark is where it should be, and reads as it does elsewhere."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from humanst.tiles import cut_patches, image_of_record, thumbnail
from tests.tiles.scenes import psnr

UM_PER_PIXEL = 0.69


def darkest_blob(rgb: NDArray[np.uint8]) -> tuple[int, int]:
    """(x, y) of the darkest compact place of the inner tissue: dark against its own surroundings."""
    gray = rgb.mean(axis=2)
    contrast = ndimage.gaussian_filter(gray, 12) - ndimage.gaussian_filter(gray, 3)
    contrast[:200], contrast[-200:], contrast[:, :200], contrast[:, -200:] = 0, 0, 0, 0
    y, x = np.unravel_index(int(contrast.argmax()), contrast.shape)
    return int(x), int(y)


def test_a_landmark_of_b4_is_in_the_middle_of_its_patch(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**9)
    source = real_data / "her2st" / "data" / "ST-imgs" / "B" / "B4" / "BT10737_D2_HE.jpg"
    picture = Image.open(source)
    record = image_of_record(source, tmp_path / "b4.tif", um_per_pixel=UM_PER_PIXEL, name="B4.jpg")
    assert (record.width_px, record.height_px) == picture.size == (9272, 9923)
    assert record.levels[-1].downsample == 64.0

    left, top = 4000, 4000
    x, y = darkest_blob(np.asarray(picture.crop((left, top, left + 1600, top + 1600))))
    # The centre of that pixel, in coordinates where pixel i covers [i, i + 1).
    centre = np.array([left + x + 0.5, top + y + 0.5])
    (patch,) = cut_patches(record, centre[None])
    pixels = np.asarray(Image.open(io.BytesIO(patch.jpg)))

    half = 56.0 / UM_PER_PIXEL
    box = (centre[0] - half, centre[1] - half, centre[0] + half, centre[1] + half)
    reference = np.asarray(picture.resize((224, 224), Image.Resampling.BILINEAR, box=box))
    assert psnr(pixels, reference) > 32
    moved = np.asarray(
        picture.resize((224, 224), Image.Resampling.BILINEAR, box=(box[0] + 1.4, box[1], box[2] + 1.4, box[3]))
    )
    assert psnr(pixels, moved) < psnr(pixels, reference) - 3

    gray = pixels.mean(axis=2)
    scale = UM_PER_PIXEL / 0.5
    contrast = ndimage.gaussian_filter(gray, 12 * scale) - ndimage.gaussian_filter(gray, 3 * scale)
    found_y, found_x = np.unravel_index(int(contrast[80:144, 80:144].argmax()), (64, 64))
    assert abs(80 + found_x + 0.5 - 112) <= 2
    assert abs(80 + found_y + 0.5 - 112) <= 2


def test_a_thumbnail_of_b4_keeps_its_extent(real_data: Path) -> None:
    source = real_data / "her2st" / "data" / "ST-imgs" / "B" / "B4" / "BT10737_D2_HE.jpg"
    small = thumbnail(source, UM_PER_PIXEL, 8.0)
    assert small.shape == (round(9923 * UM_PER_PIXEL / 8), round(9272 * UM_PER_PIXEL / 8), 3)
    assert 100 < small.mean() < 250
