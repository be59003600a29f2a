"""Every store opens with plain ``spatialdata.read_zarr``, and what it holds lies over itself in um.

Spots, image and tissue are put on one raster by spatialdata, through the transformations the store carries; none of
our own code takes part. What was painted, and how large the image is, comes from the atlas's truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from humanst.demo import Truth, load_truth
from tests.demo.test_cross_platform import KINDS

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("in-place")

UM_PER_RASTER_PIXEL = 4.0
TARGETS = {
    "visium": ("circle", 55.0),
    "visium_v1": ("circle", 55.0),
    "st": ("circle", 100.0),
    "xenium": ("square", 112.0),
    "visium_hd": ("square", 112.0),
}


@dataclass(frozen=True)
class Raster:
    """One section at 4 um a pixel, (h, w) each.

    Attributes
    ----------
    spots
        Number of the spot (from 1) that covers a pixel, 0 for none.
    stained
        Whether the image is stained there, small openings closed.
    tissue
        The store's own tissue labels.
    painted
        Whether tissue was painted there.
    """

    truth: Truth
    n_spots: int
    spots: NDArray[np.int64]
    stained: NDArray[np.bool_]
    tissue: NDArray[np.bool_]
    painted: NDArray[np.bool_]


def laid_on_one_raster(store: Path, atlas: Path) -> Raster:
    import spatialdata

    sdata, truth = spatialdata.read_zarr(store), load_truth(atlas, store.stem)
    height, width = truth.class_map.shape
    far = [width * truth.map_um_per_pixel, height * truth.map_um_per_pixel]

    def raster(name: str) -> NDArray[np.float64]:
        laid = spatialdata.rasterize(
            sdata[name],
            axes=("x", "y"),
            min_coordinate=[0.0, 0.0],
            max_coordinate=far,
            target_coordinate_system="um",
            target_unit_to_pixels=1.0 / UM_PER_RASTER_PIXEL,
        )
        return np.asarray(laid, dtype=np.float64)

    rgb = raster("he")
    saturation = np.ptp(rgb, axis=0) / np.maximum(rgb.max(axis=0), 1.0)
    stained = ndimage.binary_closing((saturation > 0.10) & (rgb.max(axis=0) > 0), iterations=5)
    at = [((np.arange(n) + 0.5) * UM_PER_RASTER_PIXEL / truth.map_um_per_pixel).astype(int) for n in stained.shape]
    return Raster(
        truth=truth,
        n_spots=len(sdata["spots"]),
        spots=np.squeeze(raster("spots")).astype(np.int64),
        stained=stained,
        tissue=np.squeeze(raster("tissue")) > 0,
        painted=truth.tissue_mask[np.ix_(*at)],
    )


@pytest.fixture(scope="module")
def rasters(section_stores: dict[str, Path], demo_atlas: Path) -> dict[str, Raster]:
    return {kind: laid_on_one_raster(section_stores[name], demo_atlas) for kind, name in KINDS.items()}


def test_every_store_opens_in_one_coordinate_system(section_stores: dict[str, Path]) -> None:
    import spatialdata

    assert len(section_stores) == 20
    for name, path in section_stores.items():
        sdata = spatialdata.read_zarr(path)
        assert sdata.coordinate_systems == ["um"], name
        assert {(kind, element) for kind, element, _ in sdata.gen_elements()} == {
            ("images", "he"), ("labels", "tissue"), ("shapes", "spots"), ("tables", "table"),
        }, name  # fmt: skip
        table, spots = sdata["table"], sdata["spots"]
        assert (spots.loc[table.obs["instance_id"]].centroid.get_coordinates().to_numpy() == pytest.approx(
            table.obsm["spatial"], abs=1e-6)), name  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_image_has_the_size_it_was_painted_in(section_stores: dict[str, Path], demo_atlas: Path, kind: str) -> None:
    import spatialdata
    import yaml

    store = section_stores[KINDS[kind]]
    sdata, truth = spatialdata.read_zarr(store), load_truth(demo_atlas, store.stem)
    study, section = store.stem.rsplit("_", 1)
    listed = yaml.safe_load((demo_atlas / "catalog.yaml").read_text())["studies"][study]["sections"][section]["files"]
    from PIL import Image

    with Image.open(demo_atlas / "mirror" / study / listed["image"]["path"]) as image:
        wanted = np.array(image.size) * truth.um_per_pixel
    for name, least in (("he", 0.003), ("tissue", 0.01)):
        extent = spatialdata.get_extent(sdata[name], coordinate_system="um")
        assert [extent["x"][0], extent["y"][0]] == [0.0, 0.0]
        assert [extent["x"][1], extent["y"][1]] == pytest.approx(wanted, rel=least), name


@pytest.mark.parametrize("kind", KINDS)
def test_spots_have_the_area_of_their_target(rasters: dict[str, Raster], kind: str) -> None:
    raster, (shape, side_um) = rasters[kind], TARGETS[kind]
    area = np.pi / 4 * side_um**2 if shape == "circle" else side_um**2
    found = np.bincount(raster.spots.ravel(), minlength=raster.n_spots + 1)[1:] * UM_PER_RASTER_PIXEL**2
    assert (found > 0).all(), "no spot lies outside the image"
    assert found.mean() == pytest.approx(area, rel=0.06)


def on_stain(spots: NDArray[np.int64], stained: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Stained share of every spot."""
    pixels = np.bincount(spots.ravel())[1:]
    share: NDArray[np.float64] = np.bincount(spots.ravel(), stained.ravel().astype(float))[1:] / np.maximum(pixels, 1)
    return share


def other_ways(mask: NDArray[np.generic]) -> list[NDArray[np.generic]]:
    return [mask[:, ::-1], mask[::-1], mask[::-1, ::-1]]


@pytest.mark.parametrize("kind", KINDS)
def test_rasterised_spots_lie_on_tissue(rasters: dict[str, Raster], kind: str) -> None:
    """Measured: 97 to 99 % of the pixels of spots are stained; 90 % of Xenium's squares, which begin off the tissue."""
    raster = rasters[kind]
    share = on_stain(raster.spots, raster.stained)
    assert share.mean() > (0.85 if kind == "xenium" else 0.95)
    assert (share >= 0.5).mean() > (0.8 if kind == "xenium" else 0.99)
    wrong = [on_stain(spots, raster.stained).mean() for spots in other_ways(raster.spots)]
    assert np.mean(wrong) < share.mean() - 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_image_labels_and_paint_are_one_tissue(rasters: dict[str, Raster], kind: str) -> None:
    """Intersection over union with what was painted; measured 0.99, at most 0.86 laid another way."""
    raster = rasters[kind]

    def overlap(mask: NDArray[np.bool_]) -> float:
        return float((mask & raster.painted).sum() / (mask | raster.painted).sum())

    for mask in (raster.stained, raster.tissue):
        assert overlap(mask) > 0.97
        assert max(overlap(way) for way in other_ways(mask)) < 0.92
