"""Patches per second per core: humanst's cutter, a read per patch into HDF5, and what the codec allows.

Three ways over the same spots of the same slides, alternating in one process, medians of several repeats:

- ``humanst``: :func:`humanst.tiles.cut_patches` - open, cut, measure blur, encode JPEG.
- ``openslide``: one ``read_region`` a patch, bilinear resize to 224 px, appended to an HDF5 dataset chunked by patch.
- ``bound``: each needed tile decoded once in full, each patch resampled and encoded, all from memory, nothing else;
  ``bound_scaled`` is the same with libjpeg's scaled decoding where the slide is at least twice as fine as the patch.

The slides are synthetic: H&E-like texture, 256 px JPEG tiles (quality 87, 4:2:0), one level. Times are CPU seconds of
this process, which has one thread, so that other work on the machine counts as little as possible; wall time is shown.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

TILE_PX = 256
TEXTURE_PX = 4096
SIDE_PX = 224
UM_PER_PIXEL = 0.5
SIDE_UM = SIDE_PX * UM_PER_PIXEL
SLIDE_UM = 5_000.0
SLIDE_QUALITY = 87
PATCH_QUALITY = 90
WRAP_PX = 512
# Per um of the finest grain: chosen so that tiles cost 0.2 to 0.25 bytes a pixel, as scanned slides do.
GRAIN = 0.03


@dataclass(frozen=True, slots=True)
class Slide:
    """A synthetic slide: its file, its scale, its JPEG tiles row by row, and its decoded period by reduction."""

    path: Path
    um_per_pixel: float
    size_px: int
    tiles: tuple[bytes, ...]
    textures: dict[int, NDArray[np.uint8]]


def texture(seed: int) -> NDArray[np.uint8]:
    """H&E-like periodic texture ``(4096, 4096, 3)``: nuclei on a fibrous pink ground, through optical density."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)

    def noise(sigma: float) -> NDArray[np.float32]:
        field = rng.standard_normal((TEXTURE_PX, TEXTURE_PX), dtype=np.float32)
        smooth = ndimage.gaussian_filter(field, sigma, mode="wrap")
        return np.asarray(smooth / smooth.std(), dtype=np.float32)

    grain = noise(1.0) * GRAIN
    nuclei = 1.0 / (1.0 + np.exp(-6.0 * (noise(9.0) - 1.2)))
    stroma = 0.45 + 0.12 * noise(30.0) + 0.07 * noise(3.0)
    haematoxylin = np.clip(0.9 * nuclei + 0.06 + grain, 0, None)
    eosin = np.clip(stroma + grain, 0, None)
    density = haematoxylin[..., None] * np.array([0.65, 0.70, 0.29], dtype=np.float32)
    density += eosin[..., None] * np.array([0.07, 0.99, 0.11], dtype=np.float32)
    return np.asarray(np.clip(240.0 * np.exp(-density), 0, 255), dtype=np.uint8)


def write_slide(path: Path, um_per_pixel: float, rgb: NDArray[np.uint8]) -> Slide:
    """Write a one-level tiled JPEG TIFF of ``SLIDE_UM`` a side from a periodic texture."""
    import cv2
    import simplejpeg
    import tifffile

    n = TEXTURE_PX // TILE_PX
    period: dict[tuple[int, int], bytes] = {}
    decoded = np.empty_like(rgb)
    for row in range(n):
        for column in range(n):
            where = np.s_[row * TILE_PX : (row + 1) * TILE_PX, column * TILE_PX : (column + 1) * TILE_PX]
            tile = np.ascontiguousarray(rgb[where])
            data = simplejpeg.encode_jpeg(tile, quality=SLIDE_QUALITY, colorsubsampling="420")
            period[row, column] = data
            decoded[where] = simplejpeg.decode_jpeg(data)
    size = round(SLIDE_UM / um_per_pixel)
    across = -(-size // TILE_PX)
    tiles = tuple(period[row % n, column % n] for row in range(across) for column in range(across))
    tifffile.imwrite(
        path,
        iter(tiles),
        shape=(size, size, 3),
        dtype=np.uint8,
        tile=(TILE_PX, TILE_PX),
        photometric="ycbcr",
        subsampling=(2, 2),
        compression="jpeg",
        metadata=None,
    )
    wrapped = np.pad(decoded, ((0, WRAP_PX), (0, WRAP_PX), (0, 0)), mode="wrap")
    half = cv2.resize(wrapped, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return Slide(path, um_per_pixel, size, tiles, {1: wrapped, 2: np.asarray(half, dtype=np.uint8)})


def dense_grid(n_spots: int, seed: int) -> NDArray[np.float64]:
    """A jittered square grid over the slide, about 69 um apart: ``(n_spots, 2)`` um, row by row."""
    across = int(np.ceil(np.sqrt(n_spots)))
    margin = SIDE_UM / 2 + 10.0
    steps = np.linspace(margin, SLIDE_UM - margin, across)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)[:n_spots]
    return grid + np.random.default_rng(seed).uniform(-8.0, 8.0, grid.shape)


def visium_grid() -> NDArray[np.float64]:
    """The Visium lattice over the slide: hexagonal, 100 um apart, ``(n, 2)`` um, row by row."""
    margin = SIDE_UM / 2 + 2.0
    ys = np.arange(margin, SLIDE_UM - margin, 100.0 * np.sqrt(0.75))
    rows = []
    for number, y in enumerate(ys):
        xs = np.arange(margin + 50.0 * (number % 2), SLIDE_UM - margin, 100.0)
        rows.append(np.stack([xs, np.full_like(xs, y)], axis=1))
    return np.concatenate(rows)


def run_humanst(slide: Slide, xy_um: NDArray[np.float64], folder: Path) -> int:
    """Cut, measure and encode every patch; returns their bytes."""
    from humanst.tiles import cut_patches

    del folder
    patches = cut_patches(slide.path, xy_um / slide.um_per_pixel, um_per_pixel=slide.um_per_pixel)
    return sum(len(patch.jpg) for patch in patches)


def run_openslide(slide: Slide, xy_um: NDArray[np.float64], folder: Path) -> int:
    """One ``read_region`` and one HDF5 append a patch; returns the bytes of the file."""
    import cv2
    import h5py
    import openslide

    side = round(SIDE_UM / slide.um_per_pixel)
    corners = np.round(xy_um / slide.um_per_pixel - side / 2).astype(int)
    target = folder / "openslide.h5"
    with openslide.OpenSlide(slide.path) as opened, h5py.File(target, "w") as store:
        shape = (SIDE_PX, SIDE_PX, 3)
        images = store.create_dataset("img", (0, *shape), maxshape=(None, *shape), chunks=(1, *shape), dtype="u1")
        for number, (x, y) in enumerate(corners.tolist()):
            region = np.asarray(opened.read_region((x, y), 0, (side, side)).convert("RGB"))
            patch = cv2.resize(region, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LINEAR)
            images.resize(number + 1, axis=0)
            images[number] = patch
    n_bytes = target.stat().st_size
    target.unlink()
    return n_bytes


def decode_needed(slide: Slide, xy_um: NDArray[np.float64], reduction: int) -> int:
    """Decode each tile that a patch touches once; returns how many."""
    import simplejpeg

    across = -(-slide.size_px // TILE_PX)
    low = np.floor((xy_um - SIDE_UM / 2) / slide.um_per_pixel / TILE_PX).astype(int)
    high = np.floor((xy_um + SIDE_UM / 2) / slide.um_per_pixel / TILE_PX).astype(int)
    needed = {
        row * across + column
        for (x0, y0), (x1, y1) in zip(low.tolist(), high.tolist(), strict=True)
        for row in range(y0, y1 + 1)
        for column in range(x0, x1 + 1)
    }
    side = TILE_PX // reduction
    for index in sorted(needed):
        simplejpeg.decode_jpeg(slide.tiles[index], min_height=side, min_width=side)
    return len(needed)


def resample_and_encode(slide: Slide, xy_um: NDArray[np.float64], reduction: int) -> int:
    """Resample and encode every patch from decoded pixels in memory; returns their bytes."""
    import cv2
    import simplejpeg

    span = SIDE_UM / slide.um_per_pixel / reduction
    small = slide.textures[reduction]
    period = TEXTURE_PX // reduction
    total = 0
    for x, y in (xy_um / slide.um_per_pixel / reduction - span / 2) % period:
        left, top, side = int(x), int(y), int(span)
        if side == SIDE_PX:
            patch: NDArray[Any] = np.ascontiguousarray(small[top : top + side, left : left + side])
        elif span == 2 * SIDE_PX:
            window = small[top : top + side, left : left + side]
            patch = cv2.resize(window, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        else:
            window = small[top : top + side + 2, left : left + side + 2]
            step = span / SIDE_PX
            shift = np.array([[step, 0.0, x - left + 0.5 * step - 0.5], [0.0, step, y - top + 0.5 * step - 0.5]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            patch = cv2.warpAffine(window, shift, (SIDE_PX, SIDE_PX), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        total += len(simplejpeg.encode_jpeg(patch, quality=PATCH_QUALITY, colorsubsampling="444"))
    return total


def run_bound(slide: Slide, xy_um: NDArray[np.float64], folder: Path) -> int:
    """The codec bound with tiles decoded in full."""
    del folder
    return decode_needed(slide, xy_um, 1) + resample_and_encode(slide, xy_um, 1)


def run_bound_scaled(slide: Slide, xy_um: NDArray[np.float64], folder: Path) -> int:
    """The codec bound with tiles decoded at half size where that is fine enough."""
    del folder
    reduction = 2 if 2 * slide.um_per_pixel <= UM_PER_PIXEL else 1
    return decode_needed(slide, xy_um, reduction) + resample_and_encode(slide, xy_um, reduction)


WAYS: dict[str, Callable[[Slide, NDArray[np.float64], Path], int]] = {
    "humanst": run_humanst,
    "openslide": run_openslide,
    "bound": run_bound,
    "bound_scaled": run_bound_scaled,
}


def measure(slide: Slide, xy_um: NDArray[np.float64], repeats: int, few: int, folder: Path) -> dict[str, Any]:
    """Run the ways in turn ``repeats`` times; openslide takes the first ``few`` spots, a band of whole rows."""
    cpu: dict[str, list[float]] = {name: [] for name in WAYS}
    wall: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(repeats):
        for name, run in WAYS.items():
            spots = xy_um[:few] if name == "openslide" else xy_um
            cpu_start, wall_start = time.process_time(), time.perf_counter()
            run(slide, spots, folder)
            cpu[name].append(len(spots) / (time.process_time() - cpu_start))
            wall[name].append(len(spots) / (time.perf_counter() - wall_start))
    rates = {name: statistics.median(values) for name, values in cpu.items()}
    return {
        "n_spots": len(xy_um),
        "patches_per_cpu_second": {name: round(rate, 1) for name, rate in rates.items()},
        "patches_per_second": {name: round(statistics.median(values), 1) for name, values in wall.items()},
        "spread": {name: [round(min(values), 1), round(max(values), 1)] for name, values in cpu.items()},
        "humanst_over_openslide": round(rates["humanst"] / rates["openslide"], 2),
        "humanst_over_bound": round(rates["humanst"] / rates["bound"], 3),
        "humanst_over_bound_scaled": round(rates["humanst"] / rates["bound_scaled"], 3),
    }


def show(result: dict[str, Any]) -> None:
    """Print one table of a result."""
    head = f"{'um/px':>6} {'grid':<7} {'spots':>6} " + "".join(f"{name:>14}" for name in WAYS)
    click.echo(head + f"{'/openslide':>12}{'/bound':>8}{'/scaled':>9}")
    for row in result["rows"]:
        line = f"{row['um_per_pixel']:>6} {row['grid']:<7} {row['n_spots']:>6} "
        line += "".join(f"{row['patches_per_cpu_second'][name]:>14,.0f}" for name in WAYS)
        line += f"{row['humanst_over_openslide']:>11.1f}x{row['humanst_over_bound']:>8.0%}"
        click.echo(line + f"{row['humanst_over_bound_scaled']:>9.0%}")


@click.command()
@click.option("--spots", default=5000, show_default=True, help="Spots of the dense grid.")
@click.option("--openslide-spots", default=1000, show_default=True, help="How many of them openslide reads.")
@click.option("--repeats", default=3, show_default=True, help="Alternating repeats; medians are shown.")
@click.option("--seed", default=0, show_default=True, help="Seed of the texture and the jitter.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the table.")
def main(spots: int, openslide_spots: int, repeats: int, seed: int, as_json: bool) -> None:
    """Measure patches per second per core, side by side."""
    import cv2

    cv2.setNumThreads(1)
    rows = []
    rgb = texture(seed)
    grids = {"dense": dense_grid(spots, seed), "visium": visium_grid()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for um_per_pixel in (0.25, 0.37):
            slide = write_slide(folder / f"{um_per_pixel}.tif", um_per_pixel, rgb)
            bytes_per_px = slide.path.stat().st_size / slide.size_px**2
            for grid, xy_um in grids.items():
                click.echo(f"Measuring {um_per_pixel} um/px, {grid} grid", err=True)
                row = measure(slide, xy_um, repeats, openslide_spots, folder)
                about = {"um_per_pixel": um_per_pixel, "grid": grid, "bytes_per_px": round(bytes_per_px, 3)}
                rows.append({**about, **row})
    result = {
        "schema": "humanst.benchmark.patches/1",
        "python": sys.version.split()[0],
        "repeats": repeats,
        "rows": rows,
    }
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        show(result)


if __name__ == "__main__":
    main()
