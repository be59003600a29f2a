"""Windows hold the pixels that other decoders find, in colour and in place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from humanst.errors import DataError, UsageError
from humanst.tiles import open_image
from tests.tiles.scenes import noise_image, scene_image, write_pyramid, write_tiled


def whole(path: Path) -> np.ndarray:
    source = open_image(path)
    pixels = source.read(0, 0, source.width_px, source.height_px).copy()
    source.close()
    return pixels


@pytest.mark.parametrize("subsampling", ["444", "420"])
def test_tiles_with_their_own_tables_decode_as_in_libtiff(tmp_path: Path, subsampling: str) -> None:
    path = write_tiled(tmp_path / "a.tif", scene_image(700, 530, 0.5), subsampling=subsampling)
    assert np.array_equal(whole(path), pyvips.Image.tiffload(str(path)).numpy())


@pytest.mark.parametrize("quality", [85, 95])
def test_tiles_with_shared_tables_decode_as_in_libtiff(tmp_path: Path, quality: int) -> None:
    # libvips writes YCbCr 4:2:0 below quality 90 and RGB without markers from 90 on.
    path = write_pyramid(tmp_path / "a.tif", scene_image(700, 530, 0.5), Q=quality)
    assert np.array_equal(whole(path), pyvips.Image.tiffload(str(path)).numpy())


def test_aperio_colours_are_those_of_openslide(real_data: Path) -> None:
    openslide = pytest.importorskip("openslide")
    path = real_data / "wsi_cmu1_small_region" / "CMU-1-Small-Region.svs"
    with openslide.OpenSlide(path) as slide:
        expected = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
    assert np.array_equal(whole(path), expected)


def test_smaller_sizes_are_area_averages_in_the_same_place(tmp_path: Path) -> None:
    rgb = scene_image(768, 512, 0.25)
    source = open_image(write_tiled(tmp_path / "a.tif", rgb))
    for eighths, factor in ((4, 2), (2, 4), (1, 8)):
        small = source.read(0, 0, 768 // factor, 512 // factor, eighths=eighths)
        averages = rgb.reshape(512 // factor, factor, 768 // factor, factor, 3).mean(axis=(1, 3))
        assert np.abs(small - averages).mean() < 1.5
    source.close()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_window_is_the_same_part_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "windows.tif"
    if not path.exists():
        write_tiled(path, noise_image(300, 210), tile_px=64, subsampling="420")
    eighths = data.draw(st.sampled_from((8, 5, 4, 1)))
    width, height = 300 * eighths // 8, 210 * eighths // 8
    x = data.draw(st.integers(0, width - 1))
    y = data.draw(st.integers(0, height - 1))
    w = data.draw(st.integers(1, width - x))
    h = data.draw(st.integers(1, height - y))
    source = open_image(path, cache_bytes=data.draw(st.sampled_from((0, 50_000, 2**28))))
    full = open_image(path).read(0, 0, width, height, eighths=eighths)
    assert np.array_equal(source.read(x, y, w, h, eighths=eighths), full[y : y + h, x : x + w])


def test_images_without_jpeg_tiles_have_the_same_interface(tmp_path: Path) -> None:
    rgb = noise_image(120, 90)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    pyvips.Image.new_from_array(rgb).tiffsave(str(tmp_path / "a.tif"), tile=True, compression="lzw")
    for name in ("a.png", "a.tif"):
        source = open_image(tmp_path / name)
        assert (source.width_px, source.height_px, source.eighths) == (120, 90, (8,))
        assert np.array_equal(source.read(30, 20, 50, 40), rgb[20:60, 30:80])


@pytest.mark.parametrize("window", [(-1, 0, 5, 5), (0, 0, 301, 5), (0, 206, 5, 5), (5, 5, 0, 5)])
def test_windows_beyond_the_image_are_refused(tmp_path: Path, window: tuple[int, int, int, int]) -> None:
    source = open_image(write_tiled(tmp_path / "a.tif", noise_image(300, 210), tile_px=64))
    with pytest.raises(UsageError, match="not inside"):
        source.read(*window)
    with pytest.raises(UsageError, match="not offered"):
        source.read(0, 0, 5, 5, eighths=7)


@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_a_damaged_tile_is_named_not_guessed(tmp_path: Path, damage: str) -> None:
    import tifffile

    path = write_tiled(tmp_path / "a.tif", noise_image(300, 210), tile_px=64)
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[0].dataoffsets[6], tiff.pages[0].databytecounts[6]
    data = bytearray(path.read_bytes())
    keep = 0 if damage == "garbage" else count // 2
    data[offset + keep : offset + count] = bytes(count - keep)
    path.write_bytes(data)
    source = open_image(path)
    assert source.read(0, 0, 64, 64).shape == (64, 64, 3)
    with pytest.raises(DataError) as caught:
        source.read(64, 64, 64, 64)
    assert caught.value.facts.code == "image-unreadable"
    assert "tile 6" in str(caught.value)
