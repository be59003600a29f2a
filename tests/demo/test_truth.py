"""What was painted can be found again: in the counts, and in the pixels where it should show, and only there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from humanst.demo import DemoAtlas, Truth, load_truth
from humanst.demo.genes import load_genes
from humanst.errors import UsageError
from tests.demo.conftest import SECTIONS
from tests.demo.test_vendor_files import counts, st_tables

PATCH_UM = 112.0
ReadImage = Callable[[str], NDArray[np.uint8]]


def counts_by_ensembl(atlas: DemoAtlas, truth: Truth) -> tuple[NDArray[np.float64], list[str]]:
    """Counts of the spots that have them, in truth order, and the Ensembl id of each column."""
    wanted = truth.spot_ids[truth.has_counts]
    if truth.sample_id.startswith("demo_st"):
        genes = load_genes()
        ids = dict(zip(genes.names("previous"), genes.ensembl_ids, strict=True))
        table = st_tables(atlas)[0].loc[wanted]
        return table.to_numpy(float), [ids.get(name, name) for name in table.columns]
    table = counts(atlas, truth.sample_id)[wanted]
    return table.X.toarray().astype(float), list(table.var_names)


def patches(image: NDArray[np.uint8], truth: Truth, chosen: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
    half = round(PATCH_UM / 2 / truth.um_per_pixel)
    centres = np.rint(truth.xy_px[chosen]).astype(int)
    return [image[y - half : y + half, x - half : x + half] for x, y in centres]


def test_spots_and_truth_are_the_same_spots(small_atlas: DemoAtlas) -> None:
    for sample_id in SECTIONS:
        truth = load_truth(small_atlas.folder, sample_id)
        values, _ = counts_by_ensembl(small_atlas, truth)
        assert len(values) == truth.has_counts.sum()
        assert truth.activity.shape == (len(truth.spot_ids), len(truth.programme_names))
        assert 8 <= len(truth.programme_names) <= 10
        assert 0.40 <= truth.tissue_mask.mean() <= 0.80
        assert set(np.unique(truth.class_map)) == set(range(len(truth.class_names)))


def test_truth_of_a_section_that_was_not_written(small_atlas: DemoAtlas) -> None:
    with pytest.raises(UsageError, match="demo_visium_V1"):
        load_truth(small_atlas.folder, "demo_visium_V2")


@pytest.mark.parametrize("sample_id", SECTIONS)
def test_programmes_are_in_the_counts(small_atlas: DemoAtlas, sample_id: str) -> None:
    truth = load_truth(small_atlas.folder, sample_id)
    values, ids = counts_by_ensembl(small_atlas, truth)
    log_rate = np.log1p(values / values.sum(axis=1, keepdims=True) * 1e4)
    genes = load_genes()
    set_of = dict(zip(genes.ensembl_ids, genes.gene_sets, strict=True))
    for programme in truth.programme_names:
        members = [i for i, gene in enumerate(ids) if set_of.get(gene) == programme]
        assert len(members) >= 20
        found = spearmanr(log_rate[:, members].mean(axis=1), truth.activity_of(programme)[truth.has_counts])
        assert found.statistic > 0.5, programme


@pytest.mark.parametrize("sample_id", SECTIONS)
def test_library_size_follows_its_factor(small_atlas: DemoAtlas, sample_id: str) -> None:
    truth = load_truth(small_atlas.folder, sample_id)
    values, _ = counts_by_ensembl(small_atlas, truth)
    factor = truth.library_factor[truth.has_counts]
    assert spearmanr(values.sum(axis=1), factor).statistic > 0.9
    assert factor.max() / np.median(factor) > 1.5


def test_sections_differ_by_batch(small_atlas: DemoAtlas) -> None:
    """Two sections disagree on genes by far more than Poisson noise, and agree on what is high."""
    logs = []
    for sample_id in ("demo_visium_V1", "demo_visium_v1_P2"):
        values, ids = counts_by_ensembl(small_atlas, load_truth(small_atlas.folder, sample_id))
        total = dict(zip(ids, values.sum(axis=0), strict=True))
        logs.append(np.log([max(total[gene], 0.5) for gene in load_genes().ensembl_ids]))
    plenty = np.minimum(*logs) > np.log(400)
    assert plenty.sum() > 300
    difference = (logs[0] - logs[1])[plenty]
    assert 0.2 < difference.std() < 1.0
    assert np.corrcoef(logs[0][plenty], logs[1][plenty])[0, 1] > 0.7


@pytest.mark.parametrize("sample_id", SECTIONS)
def test_spots_in_tissue_lie_on_paint(small_atlas: DemoAtlas, image_of: ReadImage, sample_id: str) -> None:
    truth = load_truth(small_atlas.folder, sample_id)
    image = image_of(sample_id)
    grey = np.array([patch.mean() for patch in patches(image, truth, np.arange(len(truth.spot_ids)))])
    assert np.median(grey[truth.in_tissue]) < 210
    assert (grey[truth.tissue_class > 0] < 240).mean() > 0.99
    if (~truth.in_tissue).any():
        assert np.median(grey[~truth.in_tissue]) > 235


@pytest.mark.parametrize("sample_id", SECTIONS)
def test_painted_area_is_the_mask(small_atlas: DemoAtlas, image_of: ReadImage, sample_id: str) -> None:
    """Outside the mask nothing is stained; inside nearly everything is, open fat and lumens apart."""
    truth = load_truth(small_atlas.folder, sample_id)
    image = image_of(sample_id)
    step = truth.map_um_per_pixel / truth.um_per_pixel
    height, width = truth.class_map.shape
    rows = np.minimum(((np.arange(height) + 0.5) * step).astype(int), image.shape[0] - 1)
    columns = np.minimum(((np.arange(width) + 0.5) * step).astype(int), image.shape[1] - 1)
    saturation = np.ptp(image[np.ix_(rows, columns)].astype(int), axis=2)
    far = gaussian_filter(truth.tissue_mask.astype(float), 3.0)
    dense = np.isin(truth.class_map, [truth.class_names.index(name) for name in ("tumour", "stroma", "necrosis")])
    assert (saturation[far < 0.01] > 25).mean() < 0.01
    assert (saturation[dense & (far > 0.99)] > 25).mean() > 0.95


@pytest.mark.parametrize("sample_id", SECTIONS)
def test_stain_is_pink_and_purple_on_white(image_of: ReadImage, sample_id: str) -> None:
    from skimage.color import rgb2hsv

    small = image_of(sample_id)[::16, ::16]
    hsv = rgb2hsv(small)
    stained = hsv[..., 1] > 0.12
    hue = hsv[..., 0][stained] * 360
    assert ((hue > 240) | (hue < 20)).mean() > 0.98
    assert small[hsv[..., 1] < 0.05].mean() > 230


def test_classes_differ_in_morphology(small_atlas: DemoAtlas, image_of: ReadImage) -> None:
    """Dark nuclei cover most where immune cells are, least in fat, and fat is the palest."""
    truth = load_truth(small_atlas.folder, "demo_st_A1")
    image = image_of("demo_st_A1")
    dark, pale = {}, {}
    for k, name in enumerate(truth.class_names[1:], start=1):
        cut = patches(image, truth, np.flatnonzero(truth.tissue_class == k))
        assert len(cut) >= 5
        dark[name] = np.median([(patch[..., 0] < 130).mean() for patch in cut])
        pale[name] = np.median([patch.mean() for patch in cut])
    assert dark["immune"] > dark["stroma"] > dark["adipose"]
    assert dark["tumour"] > 2 * dark["stroma"]
    assert max(pale, key=pale.__getitem__) == "adipose"


def grain(patch: NDArray[np.uint8], um_per_pixel: float) -> float:
    """Log ratio of the variance below 2 um scale to the variance between 2 and 8 um, in the green channel."""
    green = patch[..., 1].astype(np.float32)
    soft, softer = (gaussian_filter(green, um / um_per_pixel) for um in (1.6, 8.0))
    return float(np.log((green - soft).var() / (soft - softer).var()))


def test_texture_programme_shows_as_texture_only(small_atlas: DemoAtlas, image_of: ReadImage) -> None:
    activity, colour, texture, is_stroma = [], [], [], []
    for sample_id in SECTIONS:
        truth = load_truth(small_atlas.folder, sample_id)
        chosen = np.flatnonzero(truth.tissue_class > 0)
        cut = patches(image_of(sample_id), truth, chosen)
        activity.append(truth.activity_of(truth.texture_programme)[chosen])
        colour.append(np.array([patch.mean(axis=(0, 1)) for patch in cut]))
        texture.append([grain(patch, truth.um_per_pixel) for patch in cut])
        is_stroma.append(truth.tissue_class[chosen] == truth.class_names.index("stroma"))
    fibres, grains, rgb = np.concatenate(activity), np.concatenate(texture), np.concatenate(colour)
    stroma = np.concatenate(is_stroma)
    for channel in range(3):
        assert abs(np.corrcoef(rgb[:, channel], fibres)[0, 1]) < 0.15
    design = np.column_stack([rgb, np.ones(len(rgb))])
    fitted = design @ np.linalg.lstsq(design, fibres, rcond=None)[0]
    assert np.corrcoef(fitted, fibres)[0, 1] < 0.2, "no mix of the colours predicts it either"
    assert np.corrcoef(grains, fibres)[0, 1] > 0.3
    assert np.corrcoef(grains[stroma], fibres[stroma])[0, 1] > 0.6


def test_colour_programme_shows_and_hidden_one_does_not(small_atlas: DemoAtlas, image_of: ReadImage) -> None:
    truth = load_truth(small_atlas.folder, "demo_visium_V1")
    stroma = np.flatnonzero(truth.tissue_class == truth.class_names.index("stroma"))
    assert truth.visible_as.count("texture") == 1
    green = [patch[..., 1].mean() for patch in patches(image_of("demo_visium_V1"), truth, stroma)]
    by_kind = {kind: truth.activity[stroma, truth.visible_as.index(kind)] for kind in ("colour", "hidden")}
    assert np.corrcoef(green, by_kind["colour"])[0, 1] < -0.4
    everywhere = np.flatnonzero(truth.tissue_class > 0)
    grey = [patch.mean() for patch in patches(image_of("demo_visium_V1"), truth, everywhere)]
    hidden = truth.activity[everywhere, truth.visible_as.index("hidden")]
    assert abs(np.corrcoef(grey, hidden)[0, 1]) < 0.15
