"""The image of record: kept when it is fit, made once when it is not, refused when it is no whole RGB image."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image, ImageCms

from humanst.errors import DataError, HostileError, UsageError
from humanst.tiles import ImageOfRecord, image_of_record, image_size, open_image, thumbnail
from tests.tiles.scenes import noise_image, psnr, scene_image, write_pyramid, write_tiled

RGB = scene_image(700, 530, 0.5)


def save(path: Path, pixels: np.ndarray = RGB, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)  # type: ignore[arg-type]
    return path


def record(source: Path, target: Path, um_per_pixel: float = 0.5) -> ImageOfRecord:
    return image_of_record(source, target, um_per_pixel=um_per_pixel, name="imgs/a.jpg")


def refused(path: Path, target: Path) -> str:
    with pytest.raises(DataError) as caught:
        record(path, target)
    assert caught.value.facts.file == "imgs/a.jpg"
    assert caught.value.facts.expected
    assert caught.value.facts.found
    assert not target.exists()
    return caught.value.facts.code


def test_a_tiled_jpeg_pyramid_is_used_as_it_is(tmp_path: Path) -> None:
    for number, options in enumerate(({}, {"subifd": True})):
        source = write_pyramid(tmp_path / f"{number}.tif", RGB, **options)
        found = record(source, tmp_path / "target.tif", 0.4)
        assert (found.path, found.derived, found.name, found.um_per_pixel) == (source, False, "imgs/a.jpg", 0.4)
        assert found.sha256 == found.source_sha256
        sizes = [(level.width_px, level.height_px, level.downsample) for level in found.levels]
        assert sizes == [(700, 530, 1.0), (350, 265, 2.0), (175, 132, 4.0)]
        assert {(level.compression, level.tile_px) for level in found.levels} == {("jpeg", 256)}
        assert not (tmp_path / "target.tif").exists()


@pytest.mark.parametrize("kind", ["jpg", "png", "strips", "one level", "lzw pyramid"])
def test_any_other_rgb_image_becomes_a_pyramid_with_its_pixels(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    if kind in ("jpg", "png"):
        save(source, format={"jpg": "JPEG", "png": "PNG"}[kind], **({"quality": 95} if kind == "jpg" else {}))
    elif kind == "strips":
        tifffile.imwrite(source, RGB, photometric="rgb")
    elif kind == "one level":
        write_tiled(source, RGB)
    else:
        image = pyvips.Image.new_from_array(RGB)
        image.tiffsave(str(source), compression="lzw", tile=True, tile_width=128, tile_height=128, pyramid=True)
    found = record(source, tmp_path / "target.tif")
    assert found.derived
    assert (found.path, found.width_px, found.height_px) == (tmp_path / "target.tif", 700, 530)
    assert [level.downsample for level in found.levels] == [1.0, 2.0, 4.0]
    assert {(level.compression, level.tile_px) for level in found.levels} == {("jpeg", 256)}
    assert psnr(open_image(found.path).read(0, 0, 700, 530), RGB) > 38
    again = record(found.path, tmp_path / "again.tif")
    assert not again.derived


def test_colour_keeps_its_full_resolution(tmp_path: Path) -> None:
    stripes = np.zeros((300, 300, 3), dtype=np.uint8)
    stripes[:, ::2] = (220, 60, 60)
    stripes[:, 1::2] = (60, 60, 220)
    found = record(save(tmp_path / "a.png", stripes), tmp_path / "target.tif")
    pixels = open_image(found.path).read(10, 10, 200, 200).astype(int)
    assert np.abs(pixels[:, ::2, 0].mean() - pixels[:, 1::2, 0].mean()) > 120


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    source = save(tmp_path / "a.png", noise_image(900, 700))
    first = record(source, tmp_path / "one" / "a.tif")
    second = record(source, tmp_path / "two" / "b.tif")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.sha256 == second.sha256


def test_it_is_written_once_and_again_only_when_something_changed(tmp_path: Path) -> None:
    source, target = save(tmp_path / "a.png"), tmp_path / "target.tif"
    first = record(source, target)
    written = target.stat().st_mtime_ns, target.stat().st_ino
    assert record(source, target) == first
    assert (target.stat().st_mtime_ns, target.stat().st_ino) == written
    card = json.loads((tmp_path / "target.tif.card.json").read_text())
    assert card["sha256"] == first.sha256
    assert card["source_sha256"] == first.source_sha256

    target.write_bytes(target.read_bytes()[:-1])
    assert record(source, target) == first
    record(source, target, 0.6)
    assert record(source, target) == first
    (tmp_path / "target.tif.card.json").write_text("[]")
    assert record(source, target) == first
    save(source, RGB[::-1])
    assert record(source, target).sha256 != first.sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "target.tif", "target.tif.card.json"]


def test_no_metadata_of_the_source_goes_along(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "PATIENT Jane Doe"
    exif[0x9286] = "PATIENT comment"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    jpg = save(tmp_path / "a.jpg", exif=exif, icc_profile=profile, comment=b"PATIENT again")
    tif = tmp_path / "a.tif"
    tifffile.imwrite(tif, RGB, photometric="rgb", description="PATIENT Jane Doe", software="PATIENT scanner")
    for source in (jpg, tif):
        found = record(source, tmp_path / f"{source.suffix[1:]}_target.tif")
        assert b"PATIENT" not in found.path.read_bytes()
        with tifffile.TiffFile(found.path) as tiff:
            names = {tag.name for page in tiff.pages for tag in page.tags}
            resolution = tiff.pages[0].tags["XResolution"].value
        assert not names & {
            "ImageDescription",
            "InterColorProfile",
            "ExifTag",
            "XMP",
            "Software",
            "DateTime",
            "IPTCNAA",
        }
        assert resolution[0] / resolution[1] == pytest.approx(10_000 / 0.5)


def test_turned_images_are_refused_not_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    jpg = save(tmp_path / "a.jpg", exif=exif)
    strips, pyramid = tmp_path / "strips.tif", write_pyramid(tmp_path / "pyramid.tif", RGB)
    tifffile.imwrite(strips, RGB, photometric="rgb", extratags=[(274, "H", 1, 3, True)])
    with tifffile.TiffFile(pyramid, mode="r+") as tiff:
        tiff.pages[0].tags["Orientation"].overwrite(3)
    for path in (jpg, strips, pyramid):
        assert refused(path, tmp_path / "target.tif") == "image-orientation"
    exif[0x0112] = 1
    assert record(save(tmp_path / "a.jpg", exif=exif), tmp_path / "target.tif").derived


def _cmyk(path: Path) -> None:
    Image.fromarray(RGB).convert("CMYK").save(path, "JPEG")


def _deep(path: Path) -> None:
    pyvips.Image.new_from_array(RGB.astype(np.uint16) * 256).pngsave(str(path), bitdepth=16)


def _deep_tiff(path: Path) -> None:
    tifffile.imwrite(path, RGB.astype(np.uint16), photometric="rgb", tile=(256, 256))


def _see_through(path: Path) -> None:
    alpha = np.full((530, 700, 1), 255, dtype=np.uint8)
    alpha[9, 9] = 254
    Image.fromarray(np.concatenate([RGB, alpha], axis=2)).save(path, "PNG")


@pytest.mark.parametrize(
    "write",
    [
        lambda path: Image.fromarray(RGB[..., 0]).save(path, "JPEG"),
        lambda path: Image.fromarray(RGB[..., 0]).save(path, "PNG"),
        lambda path: Image.fromarray(RGB).convert("LA").save(path, "PNG"),
        lambda path: tifffile.imwrite(path, RGB.transpose(2, 0, 1).copy(), photometric="minisblack"),
        _cmyk,
        _deep,
        _deep_tiff,
        _see_through,
    ],
    ids=["gray jpg", "gray png", "gray alpha", "gray pages", "cmyk", "16-bit png", "16-bit tiff", "see-through"],
)
def test_images_that_are_not_rgb_are_refused(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "a")
    assert refused(tmp_path / "a", tmp_path / "target.tif") == "image-not-rgb"


def test_an_opaque_alpha_channel_is_dropped(tmp_path: Path) -> None:
    alpha = np.full((530, 700, 1), 255, dtype=np.uint8)
    save(tmp_path / "a.png", np.concatenate([RGB, alpha], axis=2))
    found = record(tmp_path / "a.png", tmp_path / "target.tif")
    assert psnr(open_image(found.path).read(0, 0, 700, 530), RGB) > 38


@pytest.mark.parametrize("content", [b"", b"barcode,in_tissue\n", b"<html>404</html>", b"\xff\xd8\xff\xe0", b"II*\0"])
def test_what_is_no_image_is_refused_whatever_its_name(tmp_path: Path, content: bytes) -> None:
    for name in ("a.jpg", "a.tif"):
        (tmp_path / name).write_bytes(content)
        assert refused(tmp_path / name, tmp_path / "target.tif") == "image-unreadable"
        with pytest.raises(DataError) as caught:
            image_size(tmp_path / name, name="imgs/b.jpg")
        assert caught.value.facts.file == "imgs/b.jpg"


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.jpg", tmp_path / "target.tif") == "image-unreadable"


@pytest.mark.parametrize("kind", ["jpg", "png", "strips", "tiles", "pyramid"])
def test_a_cut_file_is_refused_wherever_it_was_cut(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "whole"
    rgb = noise_image(400, 300)
    if kind in ("jpg", "png"):
        save(source, rgb, format={"jpg": "JPEG", "png": "PNG"}[kind])
    elif kind == "strips":
        tifffile.imwrite(source, rgb, photometric="rgb", rowsperstrip=16)
    elif kind == "tiles":
        write_tiled(source, rgb)
    else:
        write_pyramid(source, rgb)
    data = source.read_bytes()
    # The last bytes of a PNG (its end chunk) and of a TIFF may carry no pixels: cuts there are the hash's to find.
    for number in range(1, 20):
        cut = tmp_path / f"cut{number}"
        cut.write_bytes(data[: len(data) * number // 20])
        assert refused(cut, tmp_path / "target.tif") == "image-unreadable"


def test_an_image_larger_than_any_slide_is_refused_from_its_header(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 200_000, 100_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = zlib.compress(b"\0" * 1000)
    png += struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    (tmp_path / "bomb.png").write_bytes(png)
    for act in (lambda p: image_size(p), lambda p: record(p, tmp_path / "t.tif"), lambda p: open_image(p)):
        with pytest.raises(HostileError) as caught:
            act(tmp_path / "bomb.png")
        assert caught.value.facts.code == "image-too-large"
        assert "200,000 x 100,000" in str(caught.value)


def test_an_image_that_grows_beyond_its_file_is_refused_from_its_header(tmp_path: Path) -> None:
    """A blank page of 12,000 x 12,000 px is 432 MB in a file of half a megabyte."""
    blank = pyvips.Image.black(12_000, 12_000, bands=3)
    blank.copy(interpretation="srgb").pngsave(str(tmp_path / "bomb.png"), compression=9)
    with pytest.raises(HostileError) as caught:
        image_size(tmp_path / "bomb.png")
    assert caught.value.facts.code == "image-bomb"
    small = pyvips.Image.black(4_000, 4_000, bands=3).copy(interpretation="srgb")
    small.pngsave(str(tmp_path / "small.png"), compression=9)
    assert image_size(tmp_path / "small.png") == (4_000, 4_000)


def test_a_scale_that_is_no_scale_is_refused(tmp_path: Path) -> None:
    source = save(tmp_path / "a.png")
    for um_per_pixel in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError):
            record(source, tmp_path / "target.tif", um_per_pixel)


def test_image_size_reads_the_header(tmp_path: Path) -> None:
    assert image_size(save(tmp_path / "a.jpg")) == (700, 530)
    assert image_size(write_pyramid(tmp_path / "a.tif", RGB)) == (700, 530)


@pytest.mark.parametrize("kind", ["png", "pyramid"])
@pytest.mark.parametrize("um_per_pixel_out", [1.0, 2.2, 5.0])
def test_a_thumbnail_averages_areas_in_place(tmp_path: Path, kind: str, um_per_pixel_out: float) -> None:
    # Waves of 32 um and more when a pixel is read as 0.5 um: nothing that even the coarsest thumbnail could not show.
    wide = scene_image(1407, 1061, 0.125)
    path = save(tmp_path / "a.png", wide) if kind == "png" else write_pyramid(tmp_path / "a.tif", wide)
    small = thumbnail(path, 0.5, um_per_pixel_out)
    factor = um_per_pixel_out / 0.5
    assert small.shape == (round(1061 / factor), round(1407 / factor), 3)
    assert small.dtype == np.uint8
    reference = Image.fromarray(wide).resize(small.shape[1::-1], Image.Resampling.BOX)
    assert psnr(small, np.asarray(reference)) > 36
    assert np.abs(small.mean(axis=(0, 1)) - wide.mean(axis=(0, 1))).max() < 1


def test_a_thumbnail_is_never_larger_and_shows_transparency_as_white(tmp_path: Path) -> None:
    assert np.array_equal(thumbnail(save(tmp_path / "a.png"), 4.44, 4.0), RGB)
    alpha = np.zeros((530, 700, 1), dtype=np.uint8)
    alpha[:, 350:] = 255
    clear = thumbnail(save(tmp_path / "b.png", np.concatenate([RGB, alpha], axis=2)), 1.0, 1.0)
    assert (clear[:, :350] == 255).all()
    assert np.array_equal(clear[:, 350:], RGB[:, 350:])
    gray = thumbnail(save(tmp_path / "c.png", RGB[..., 0]), 1.0, 1.0)
    assert gray.shape == RGB.shape


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    assert np.array_equal(open_image(path).read(0, 0, 700, 530), RGB)
    save(path, RGB[::-1])
    assert np.array_equal(open_image(path).read(0, 0, 700, 530), RGB[::-1])


def test_a_thumbnail_of_a_cut_image_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(DataError, match="cannot be read"):
        thumbnail(path, 0.5, 4.0)
