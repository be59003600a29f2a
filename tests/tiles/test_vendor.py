"""Slides through kept libraries: JPEG 2000 and vendors' formats become the image of record, or say what to install."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from humanst.errors import DataError
from humanst.tiles import ImageOfRecord, image_of_record, image_size, open_image, thumbnail
from humanst.tiles.raster import open_raster
from humanst.tiles.tiff import read_layout
from humanst.tiles.vendor import vendor_image, vendor_kind
from tests.tiles.scenes import psnr, scene_image

RGB = scene_image(700, 530, 0.5)
JPEG_2000 = 34712
APERIO_RGB, APERIO_YCBCR = 33005, 33003


def write_jpeg2000(path: Path, pixels: np.ndarray = RGB, **options: object) -> Path:
    settings = {"tile": (256, 256), "photometric": "rgb", "compression": JPEG_2000, "metadata": None}
    tifffile.imwrite(path, pixels, **{**settings, "compressionargs": {"level": 0}, **options})
    return path


def planar(path: Path) -> Path:
    return write_jpeg2000(path, RGB.transpose(2, 0, 1), planarconfig="separate")


def strips(path: Path) -> Path:
    return write_jpeg2000(path, tile=None, rowsperstrip=100)


def aperio(path: Path) -> Path:
    return write_jpeg2000(path, compression=APERIO_RGB, description="Aperio Image Library v1|MPP = 0.5")


def aperio_ycbcr(path: Path) -> Path:
    """The older of Aperio's two kinds: YCbCr that the tile itself does not tell."""
    pixels = np.asarray(Image.fromarray(RGB).convert("YCbCr"))
    return write_jpeg2000(
        path, pixels, compression=APERIO_YCBCR, compressionargs={"level": 0, "mct": False}, description="Aperio Image"
    )


def pyramid(path: Path) -> Path:
    """A level 1 that is not the half of level 0, so that a test can tell which one was read."""
    settings = {"tile": (128, 128), "photometric": "rgb", "compression": JPEG_2000, "metadata": None}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(RGB, subifds=1, compressionargs={"level": 0}, **settings)
        tiff.write(255 - RGB[::2, ::2], subfiletype=1, compressionargs={"level": 0}, **settings)
    return path


def jpeg(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=97, subsampling=0)
    return out.getvalue()


def write_ndpi(path: Path) -> Path:
    """A small Hamamatsu slide by hand: 8-byte directory offsets in a classic TIFF, two levels and a macro image."""
    out, at = bytearray(b"II*\0" + bytes(8)), 4
    macro = np.zeros((100, 200, 3), dtype=np.uint8)
    for pixels, lens in ((RGB, 40.0), (RGB[::2, ::2], 20.0), (macro, -1.0)):
        data, start = jpeg(pixels), len(out)
        height, width, _ = pixels.shape
        out += data + bytes(len(data) % 2)
        bits = len(out)
        out += struct.pack("<HHHxx", 8, 8, 8)
        magnification = struct.unpack("<I", struct.pack("<f", lens))[0]
        tags = [
            (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, bits), (259, 3, 1, 7), (262, 3, 1, 6),
            (273, 4, 1, start), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, len(data)), (65420, 4, 1, 1),
            (65421, 11, 1, magnification), (65422, 9, 1, 0), (65423, 9, 1, 0), (65424, 9, 1, 0),
        ]  # fmt: skip
        struct.pack_into("<Q", out, at, len(out))
        out += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        at = len(out)
        out += bytes(8) + bytes(4 * len(tags))
    path.write_bytes(out)
    return path


SLIDES = {
    "tiles.tif": write_jpeg2000,
    "planes.tif": planar,
    "strips.tif": strips,
    "levels.tif": pyramid,
    "aperio.svs": aperio,
    "older.svs": aperio_ycbcr,
    "hamamatsu.ndpi": write_ndpi,
}
LIBRARY = {"aperio.svs": "openslide", "older.svs": "openslide", "hamamatsu.ndpi": "openslide"}


def record(source: Path, target: Path) -> ImageOfRecord:
    return image_of_record(source, target, um_per_pixel=0.5, name=f"slides/{source.name}")


@pytest.mark.parametrize("name", SLIDES)
def test_it_becomes_the_image_of_record_with_the_pixels_of_level_0(tmp_path: Path, name: str) -> None:
    source = SLIDES[name](tmp_path / name)
    assert image_size(source) == (700, 530)
    made = record(source, tmp_path / "record.tif")
    assert made.derived
    assert [(level.width_px, level.height_px) for level in made.levels] == [(700, 530), (350, 265), (175, 132)]
    assert psnr(open_image(made.path).read(0, 0, 700, 530), RGB) > 38
    again = record(source, tmp_path / "again.tif")
    assert again.sha256 == made.sha256
    assert record(source, tmp_path / "record.tif") == made, "made once"


@pytest.mark.parametrize("name", ["tiles.tif", "planes.tif", "strips.tif", "levels.tif"])
def test_jpeg_2000_that_libvips_gives_as_black_comes_pixel_for_pixel(tmp_path: Path, name: str) -> None:
    """Without the codec libvips warns and goes on with zeros; here the lossless tiles come as they were written."""
    source = SLIDES[name](tmp_path / name)
    assert vendor_kind(source) == "imagecodecs"
    assert (open_raster(source).numpy() == RGB).all()


def test_a_coarser_level_in_a_codec_that_libvips_lacks_is_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "mixed.tif"
    settings = {"tile": (128, 128), "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(source) as tiff:
        tiff.write(RGB, subifds=1, compression="jpeg", compressionargs={"level": 95}, **settings)
        tiff.write(RGB[::2, ::2], subfiletype=1, compression=JPEG_2000, **settings)
    expected = np.asarray(Image.fromarray(RGB).resize((88, 66), Image.Resampling.BOX))
    assert psnr(thumbnail(source, 0.5, 4.0), expected) > 30


@pytest.mark.parametrize("name", SLIDES)
def test_a_thumbnail_keeps_the_extent(tmp_path: Path, name: str) -> None:
    source = SLIDES[name](tmp_path / name)
    small = thumbnail(source, 0.5, 4.0)
    assert small.shape == (66, 88, 3)
    expected = np.asarray(Image.fromarray(RGB).resize((88, 66), Image.Resampling.BOX))
    expected = 255 - expected if name == "levels.tif" else expected
    assert psnr(small, expected) > 30, "read from the coarser level, where there is one"


@pytest.mark.parametrize("name", SLIDES)
def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    source = SLIDES[name](tmp_path / name)
    monkeypatch.setitem(sys.modules, LIBRARY.get(name, "imagecodecs"), None)
    attempts: list[Callable[[], object]] = [
        lambda: image_size(source, name=f"slides/{name}"),
        lambda: record(source, tmp_path / "record.tif"),
    ]
    for attempt in attempts:
        with pytest.raises(DataError) as caught:
            attempt()
        facts = caught.value.facts
        assert (facts.code, facts.file, facts.todo) == (
            "needs-extra", f"slides/{name}", "pip install 'humanst[slides]'"
        )  # fmt: skip
    assert not (tmp_path / "record.tif").exists()


def gray(path: Path) -> Path:
    return write_jpeg2000(path, RGB[:, :, 0], photometric="minisblack")


def sixteen_bit(path: Path) -> Path:
    return write_jpeg2000(path, RGB.astype(np.uint16) * 256)


def ycbcr(path: Path) -> Path:
    return write_jpeg2000(path, compression=APERIO_YCBCR)


def turned(path: Path) -> Path:
    return write_jpeg2000(path, extratags=[(274, 3, 1, 3, True)])


def damaged_tile(path: Path) -> Path:
    write_jpeg2000(path)
    table = read_layout(path).levels[0]
    data = bytearray(path.read_bytes())
    start, length = int(table.offsets[4]), int(table.byte_counts[4])
    data[start + 100 : start + length] = bytes(length - 100)
    path.write_bytes(data)
    return path


def bomb(path: Path) -> Path:
    """A tile that says it is 60,000 pixels wide and high: the decoder would ask for 43 GB."""
    write_jpeg2000(path)
    data = bytearray(path.read_bytes())
    start = int(read_layout(path).levels[0].offsets[4])
    assert data[start : start + 4] == b"\xff\x4f\xff\x51"
    for at in (8, 12, 24, 28):
        struct.pack_into(">I", data, start + at, 60_000)
    path.write_bytes(data)
    return path


def cut(path: Path) -> Path:
    data = write_jpeg2000(path).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def cut_ndpi(path: Path) -> Path:
    """All directories are there; the strip of level 0 stops in the middle."""
    path = write_ndpi(path.with_suffix(".ndpi"))
    data = path.read_bytes()
    whole = jpeg(RGB)
    path.write_bytes(data.replace(whole, whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2)))
    return path


def mirax_without_its_data(path: Path) -> Path:
    path = path.with_suffix(".mrxs")
    path.write_bytes(jpeg(RGB))
    path.with_suffix("").mkdir()
    (path.with_suffix("") / "Slidedat.ini").write_text("[GENERAL]\n")
    return path


FAULTS = {
    gray: "image-not-rgb",
    sixteen_bit: "image-not-rgb",
    ycbcr: "image-not-rgb",
    turned: "image-orientation",
    damaged_tile: "image-unreadable",
    bomb: "image-unreadable",
    cut: "image-unreadable",
    cut_ndpi: "image-unreadable",
    mirax_without_its_data: "image-unreadable",
}


@pytest.mark.parametrize("make", FAULTS)
def test_what_is_no_whole_rgb_slide_leaves_nothing(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    source = make(tmp_path / "slide.tif")
    with pytest.raises(DataError) as caught:
        record(source, tmp_path / "record.tif")
    assert caught.value.facts.code == FAULTS[make]
    assert caught.value.facts.file == f"slides/{source.name}"
    assert not (tmp_path / "record.tif").exists()


def test_a_tile_that_claims_more_pixels_than_its_place_is_not_decoded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DataError):
        record(bomb(tmp_path / "slide.tif"), tmp_path / "record.tif")
    assert "3,600,000,000 pixels where 65,536 have room" in caplog.text


def pages_of(path: Path) -> list[tuple[int, ...]]:
    with tifffile.TiffFile(path) as tiff:
        return [page.aspage().shape for page in tiff.pages]


def test_a_real_slide_through_openslide_is_what_openslide_gives(real_data: Path) -> None:
    import openslide

    source = real_data / "wsi_cmu1_small_region" / "CMU-1-Small-Region.svs"
    theirs = np.asarray(openslide.OpenSlide(source).read_region((0, 0), 0, (2220, 2967)).convert("RGB"))
    assert (vendor_image(source, "openslide").numpy() == theirs).all()
    assert vendor_kind(source) is None, "its tiles are JPEG, which needs no extra"
    assert psnr(open_raster(source).numpy(), theirs) > 48


def test_the_label_and_macro_of_a_real_slide_stay_behind(real_data: Path, tmp_path: Path) -> None:
    """A real Aperio slide: one level of JPEG tiles, and beside it a thumbnail, a label and a macro image."""
    import openslide

    source = real_data / "wsi_cmu1_small_region" / "CMU-1-Small-Region.svs"
    assert set(openslide.OpenSlide(source).associated_images) == {"label", "macro", "thumbnail"}
    made = image_of_record(source, tmp_path / "cmu1.tif", um_per_pixel=0.499, name="CMU-1.svs")
    assert (made.width_px, made.height_px, made.derived) == (2220, 2967, True)
    assert pages_of(made.path) == [(2967 >> level, 2220 >> level, 3) for level in range(len(made.levels))], (
        "levels of the one picture and no other page"
    )
    with tifffile.TiffFile(made.path) as tiff:
        assert not tiff.pages.first.description
        assert set(tiff.pages.first.tags.keys()) <= {
            254, 256, 257, 258, 259, 262, 274, 277, 282, 283, 284, 296, 322, 323, 324, 325, 339, 347, 530, 532
        }  # fmt: skip
    window = (800, 1200, 512, 512)
    theirs = np.asarray(openslide.OpenSlide(source).read_region(window[:2], 0, window[2:]).convert("RGB"))
    assert psnr(open_image(made.path).read(*window), theirs) > 38
    assert psnr(open_image(source).read(*window), theirs) > 48, "and windows of the slide itself are the same"
