"""What an image says of itself: where its tissue is, and how large its pixels are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image

from humanst.errors import DataError
from humanst.tiles import claimed_um_per_pixel, image_tissue


def stained(width_px: int, height_px: int) -> np.ndarray:
    """Glass whose left half is stained."""
    rgb = np.full((height_px, width_px, 3), 244, dtype=np.uint8)
    rgb[:, : width_px // 2] = (150, 80, 150)
    return rgb


@pytest.mark.parametrize("um_per_pixel", [0.5, 1.0, 10.0])
def test_tissue_is_where_the_stain_is_at_any_scale(tmp_path: Path, um_per_pixel: float) -> None:
    Image.fromarray(stained(1203, 801)).save(tmp_path / "s.png")
    found = image_tissue(tmp_path / "s.png", um_per_pixel)
    assert found.um_per_pixel == pytest.approx(max(8.0, um_per_pixel), rel=0.01)
    edge_um = 601 * um_per_pixel
    side_um = 100 * um_per_pixel
    centres = np.array([[edge_um - side_um, 400 * um_per_pixel], [edge_um + side_um, 400 * um_per_pixel]])
    assert found.fraction(centres, side_um).tolist() == [1.0, 0.0]
    assert found.fraction(np.array([[edge_um, 400 * um_per_pixel]]), side_um)[0] == pytest.approx(0.5, abs=0.2)


def test_the_scale_is_what_the_header_claims(tmp_path: Path) -> None:
    image = pyvips.Image.new_from_array(stained(300, 200))
    image.tiffsave(str(tmp_path / "s.tif"), xres=1000 / 0.25, yres=1000 / 0.25, resunit="cm")
    image.tiffsave(str(tmp_path / "print.tif"), xres=72 / 25.4, yres=72 / 25.4, resunit="inch")
    Image.fromarray(stained(300, 200)).save(tmp_path / "s.png")
    assert claimed_um_per_pixel(tmp_path / "s.tif") == pytest.approx(0.25, rel=1e-3)
    assert claimed_um_per_pixel(tmp_path / "print.tif") is None
    assert claimed_um_per_pixel(tmp_path / "s.png") is None
    (tmp_path / "torn.tif").write_bytes(b"II*\0")
    with pytest.raises(DataError):
        claimed_um_per_pixel(tmp_path / "torn.tif")
