"""Patches lie on their spots, at the right scale, wholly inside, and depend on nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from humanst.errors import DataError, UsageError
from humanst.tiles import PatchSpec, cut_patches, inside, require_fine_enough
from tests.tiles.scenes import noise_image, psnr, scene, scene_image, write_tiled

SCALES = (0.125, 0.22, 0.25, 0.2527, 0.31, 0.37, 0.5, 0.503, 0.69, 0.9, 1.15)
CROPPED = {0.125, 0.25, 0.5}
SPOTS_UM = np.array([[70.13, 64.02], [91.77, 80.31], [64.49, 95.6]])
SIDE_UM = 160.0


def decode(jpg: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(jpg)))


def slide(folder: Path, um_per_pixel: float, subsampling: str = "444") -> tuple[Path, NDArray[np.uint8]]:
    n = round(SIDE_UM / um_per_pixel)
    rgb = scene_image(n, n, um_per_pixel)
    return write_tiled(folder / f"{um_per_pixel}.tif", rgb, subsampling=subsampling), rgb


def expected_patch(
    xy_um: NDArray[np.float64], shift_px: NDArray[np.float64], scale: float, thin: int = 1
) -> NDArray[np.float64]:
    """What the formula gives for a patch whose centre is off by ``shift_px`` and whose scale is off by ``scale``."""
    at = (np.arange(0, 224, thin) + 0.5 - 112) * 0.5 * scale
    x, y = xy_um + shift_px * 0.5
    return scene((x + at)[None, :], (y + at)[:, None])


def recovered(patch: NDArray[np.uint8], xy_um: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Find shift (px) and scale of a patch against the formula, by Gauss-Newton from the true place."""
    guess, thin = np.array([0.0, 0.0, 1.0]), 4
    for _ in range(4):
        here = expected_patch(xy_um, guess[:2], guess[2], thin)
        columns = []
        for which, step in enumerate((0.01, 0.01, 1e-4)):
            moved = guess.copy()
            moved[which] += step
            columns.append(((expected_patch(xy_um, moved[:2], moved[2], thin) - here) / step).ravel())
        guess = (
            guess + np.linalg.lstsq(np.stack(columns, axis=1), (patch[::thin, ::thin] - here).ravel(), rcond=None)[0]
        )
    return guess[:2], float(guess[2])


@pytest.mark.parametrize("um_per_pixel", SCALES)
def test_centre_and_scale_are_recovered_from_the_patch(tmp_path: Path, um_per_pixel: float) -> None:
    path, _ = slide(tmp_path, um_per_pixel)
    patches = list(cut_patches(path, SPOTS_UM / um_per_pixel, um_per_pixel=um_per_pixel))
    assert sorted(patch.index for patch in patches) == [0, 1, 2]
    for patch in patches:
        shift, scale = recovered(decode(patch.jpg), SPOTS_UM[patch.index])
        # Cropped at whole pixels: up to half a pixel off by promise. Resampled: true to the sub-pixel.
        assert np.abs(shift).max() <= (0.51 if um_per_pixel in CROPPED else 0.06)
        assert scale == pytest.approx(1.0, abs=5e-4)
        assert psnr(decode(patch.jpg), expected_patch(SPOTS_UM[patch.index], shift, scale)) > 34


@pytest.mark.parametrize("subsampling", ["444", "420"])
@pytest.mark.parametrize("um_per_pixel", [0.25, 0.37, 0.5, 0.69, 0.9])
def test_patch_agrees_with_pillow_on_the_whole_image(tmp_path: Path, um_per_pixel: float, subsampling: str) -> None:
    path, rgb = slide(tmp_path, um_per_pixel, subsampling)
    centres = np.round(SPOTS_UM / um_per_pixel / 2) * 2
    half = 56.0 / um_per_pixel
    for patch in cut_patches(path, centres, um_per_pixel=um_per_pixel):
        x, y = centres[patch.index]
        box = (x - half, y - half, x + half, y + half)
        reference = Image.fromarray(rgb).resize((224, 224), Image.Resampling.BILINEAR, box=box)
        assert psnr(decode(patch.jpg), np.asarray(reference)) > 32


def test_a_fine_checkerboard_does_not_alias(tmp_path: Path) -> None:
    n = 1400
    board = ((np.add.outer(np.arange(n), np.arange(n)) % 2) * 255).astype(np.uint8)
    path = write_tiled(tmp_path / "board.tif", np.repeat(board[..., None], 3, axis=2), quality=100)
    for um_per_pixel in (0.125, 0.2, 0.25, 0.27):
        (patch,) = cut_patches(path, [[700.0, 700.0]], um_per_pixel=um_per_pixel)
        pixels = decode(patch.jpg).astype(float)
        assert pixels.mean() == pytest.approx(127.5, abs=2)
        assert pixels.std() < 16


def test_spots_at_the_edge_are_kept_exactly_when_wholly_inside(tmp_path: Path) -> None:
    path = write_tiled(tmp_path / "a.tif", noise_image(500, 460), tile_px=128)
    half = 224.0
    xy = np.array(
        [
            [half, half],
            [half - 0.01, half],
            [half, half - 0.01],
            [500 - half, 460 - half],
            [500 - half + 0.01, 230],
            [250, 460 - half + 0.01],
            [-250, 230],
            [np.nan, 230],
            [np.inf, 230],
        ]
    )
    kept = inside(xy, 500, 460, 0.25)
    assert kept.tolist() == [True, False, False, True, False, False, False, False, False]
    patches = list(cut_patches(path, xy, um_per_pixel=0.25))
    assert sorted(patch.index for patch in patches) == np.flatnonzero(kept).tolist()
    assert all(decode(patch.jpg).shape == (224, 224, 3) for patch in patches)


@given(
    width=st.integers(20, 400),
    um_per_pixel=st.floats(0.4, 1.15),
    x=st.floats(-50, 450, allow_nan=False),
)
def test_inside_is_the_plain_comparison(width: int, um_per_pixel: float, x: float) -> None:
    half = 16 * 0.5 / um_per_pixel
    spec = PatchSpec(side_px=32)
    found = bool(inside([[x, 200.0]], width, 400, um_per_pixel, spec)[0])
    distance = min(x - half, width - x - half)
    assert found == (distance >= 0) or abs(distance) < 1e-5


@pytest.mark.parametrize("um_per_pixel", [0.13, 0.25, 0.2497, 0.26, 0.31, 0.4, 0.5003, 0.7, 1.1])
def test_corner_patches_of_an_odd_image_are_cut_without_help_from_padding(tmp_path: Path, um_per_pixel: float) -> None:
    spec = PatchSpec(side_px=64)
    side = spec.side_um / um_per_pixel
    n = int(np.ceil(side)) + 1
    rgb = np.full((n, n, 3), 200, dtype=np.uint8)
    tile_px = 64
    padded = np.zeros((-(-n // tile_px) * tile_px,) * 2 + (3,), dtype=np.uint8)
    padded[:n, :n] = rgb
    path = write_tiled(tmp_path / "padded.tif", padded, tile_px=tile_px)
    crop_header(path, n)
    corners = np.array([[side / 2, side / 2], [n - side / 2, n - side / 2], [n - side / 2, side / 2]])
    patches = list(cut_patches(path, corners, um_per_pixel=um_per_pixel, spec=spec))
    assert len(patches) == 3
    for patch in patches:
        # JPEG blocks at the border mix in some of the black padding; whole black pixels would be far lower.
        assert decode(patch.jpg).mean() > 197


def crop_header(path: Path, size: int) -> None:
    """Say in the header that the image is ``size`` pixels wide and high; the tiles keep their padding."""
    import tifffile

    with tifffile.TiffFile(path, mode="r+") as tiff:
        for tag in ("ImageWidth", "ImageLength"):
            tiff.pages[0].tags[tag].overwrite(size)


@pytest.mark.parametrize("um_per_pixel", [0.25, 0.37, 0.6])
def test_bytes_depend_on_the_spot_alone(tmp_path: Path, um_per_pixel: float) -> None:
    path = write_tiled(tmp_path / "a.tif", noise_image(900, 800), subsampling="420", quality=80)
    rng = np.random.default_rng(3)
    half = 56 / um_per_pixel
    xy = rng.uniform([half, half], [900 - half, 800 - half], (24, 2))
    first = {patch.index: patch for patch in cut_patches(path, xy, um_per_pixel=um_per_pixel)}
    assert sorted(first) == list(range(24))
    order = rng.permutation(24)
    shuffled = {int(order[p.index]): p for p in cut_patches(path, xy[order], um_per_pixel=um_per_pixel)}
    tiny = {p.index: p for p in cut_patches(path, xy, um_per_pixel=um_per_pixel, cache_bytes=1)}
    alone = [next(cut_patches(path, xy[[i]], um_per_pixel=um_per_pixel)) for i in range(24)]
    for i in range(24):
        assert first[i].jpg == shuffled[i].jpg == tiny[i].jpg == alone[i].jpg
        assert first[i].blur == shuffled[i].blur == tiny[i].blur == alone[i].blur


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_spot_inside_comes_back_once(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "every_spot.tif"
    if not path.exists():
        write_tiled(path, noise_image(300, 200), tile_px=64)
    spec = PatchSpec(side_px=32)
    point = st.tuples(st.floats(-20, 320), st.floats(-20, 220))
    xy = np.array(data.draw(st.lists(point, max_size=20))).reshape(-1, 2)
    found = [patch.index for patch in cut_patches(path, xy, um_per_pixel=0.5, spec=spec)]
    assert sorted(found) == np.flatnonzero(inside(xy, 300, 200, 0.5, spec)).tolist()


def test_the_jpeg_is_baseline_444_quality_90_and_bare(tmp_path: Path) -> None:
    path, _ = slide(tmp_path, 0.5)
    (patch,) = cut_patches(path, [[160.0, 160.0]], um_per_pixel=0.5)
    picture = Image.open(io.BytesIO(patch.jpg))
    reference = io.BytesIO()
    Image.new("RGB", (16, 16)).save(reference, "JPEG", quality=90)
    reference.seek(0)
    assert (picture.mode, picture.size) == ("RGB", (224, 224))
    assert picture.quantization == Image.open(reference).quantization
    assert simplejpeg.decode_jpeg_header(patch.jpg)[3] == "444"
    assert "progressive" not in picture.info
    assert not picture.getexif()
    assert "icc_profile" not in picture.info


def test_blur_is_the_variance_of_the_laplacian(tmp_path: Path) -> None:
    rgb = noise_image(224, 224)
    smooth = ndimage.gaussian_filter(rgb, (2, 2, 0))
    found = []
    for name, pixels in (("rough", rgb), ("smooth", smooth)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        (patch,) = cut_patches(tmp_path / f"{name}.png", [[112.0, 112.0]], um_per_pixel=0.5)
        gray = np.rint(pixels @ np.array([0.299, 0.587, 0.114]))
        assert patch.blur == pytest.approx(ndimage.laplace(gray, mode="mirror").var(), rel=0.01)
        found.append(patch.blur)
    assert found[1] < found[0] / 50


def test_an_image_coarser_than_the_limit_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        cut_patches(tmp_path / "never_made.tif", [[1.0, 1.0]], um_per_pixel=4.44)
    facts = caught.value.facts
    assert facts.code == "image-too-coarse"
    assert "1.15" in str(facts.expected)
    assert "4.44" in str(facts.found)
    require_fine_enough("fine.tif", 1.15)


def test_without_a_scale_or_with_wrong_shapes_nothing_is_cut(tmp_path: Path) -> None:
    path, _ = slide(tmp_path, 0.5)
    with pytest.raises(UsageError):
        cut_patches(path, [[160.0, 160.0]])
    with pytest.raises(UsageError):
        cut_patches(path, [[160.0, 160.0]], um_per_pixel=float("nan"))
    with pytest.raises(UsageError):
        cut_patches(path, [160.0, 160.0], um_per_pixel=0.5)


def test_the_callers_opencv_threads_stay_as_they_were(tmp_path: Path) -> None:
    path, _ = slide(tmp_path, 0.37)
    before = cv2.getNumThreads()
    patches = cut_patches(path, SPOTS_UM / 0.37, um_per_pixel=0.37)
    next(patches)
    assert cv2.getNumThreads() == before
    patches.close()  # type: ignore[attr-defined]
