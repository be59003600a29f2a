"""The vendor files of the mini atlas, read as a user reads them: scanpy, pandas, tifffile, h5py."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise

import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import tifffile
from numpy.typing import NDArray
from PIL import Image

from humanst.demo import DemoAtlas, load_truth
from tests.demo.conftest import image_path

POSITION_COLUMNS = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]
VISIUM = ("demo_visium_V1", "demo_visium_v1_P2")


def outs(atlas: DemoAtlas, sample_id: str):
    study, section = sample_id.rsplit("_", 1)
    return atlas.mirror / study / section / "outs"


def positions(atlas: DemoAtlas, sample_id: str) -> pd.DataFrame:
    spatial = outs(atlas, sample_id) / "spatial"
    if sample_id.startswith("demo_visium_v1"):
        return pd.read_csv(spatial / "tissue_positions_list.csv", header=None, names=POSITION_COLUMNS)
    return pd.read_csv(spatial / "tissue_positions.csv")


def counts(atlas: DemoAtlas, sample_id: str):
    if sample_id.startswith("demo_visium_v1"):
        return sc.read_10x_mtx(outs(atlas, sample_id) / "filtered_feature_bc_matrix", var_names="gene_ids")
    table = sc.read_10x_h5(outs(atlas, sample_id) / "filtered_feature_bc_matrix.h5")
    table.var_names = table.var["gene_ids"]
    return table


@pytest.mark.parametrize("sample_id", VISIUM)
def test_barcodes_join_totally(small_atlas: DemoAtlas, sample_id: str) -> None:
    table, spots = counts(small_atlas, sample_id), positions(small_atlas, sample_id)
    assert list(spots.columns) == POSITION_COLUMNS
    assert spots["barcode"].is_unique
    assert all(re.fullmatch("[ACGT]{16}-1", barcode) for barcode in spots["barcode"])
    assert set(table.obs_names) == set(spots.loc[spots["in_tissue"] == 1, "barcode"])
    assert list(table.obs_names) == sorted(table.obs_names)
    assert 150 <= (spots["in_tissue"] == 1).sum() <= 330
    assert 40 <= (spots["in_tissue"] == 0).sum() <= 95


def test_sections_share_the_slide_barcodes(small_atlas: DemoAtlas) -> None:
    first, second = (
        positions(small_atlas, sample_id).set_index(["array_row", "array_col"])["barcode"] for sample_id in VISIUM
    )
    both = first.index.intersection(second.index)
    assert len(both) > 0
    assert (first[both] == second[both]).all()


@pytest.mark.parametrize("sample_id", VISIUM)
def test_visium_counts_look_like_counts(small_atlas: DemoAtlas, sample_id: str) -> None:
    table = counts(small_atlas, sample_id)
    values = table.X.toarray()
    assert (values >= 0).all()
    assert (values == np.rint(values)).all()
    totals = values.sum(axis=1)
    assert 3000 <= np.median(totals) <= 6000
    assert (totals < 200).sum() == 2, "two failed spots a section, for spot QC to drop"
    means = values.mean(axis=0)
    assert np.quantile(means, 0.99) > 100 * np.quantile(means, 0.1)
    assert table.var_names.str.fullmatch(r"ENSG\d{11}").all()
    assert table.var_names.is_unique
    assert 1200 <= table.n_vars <= 2000


def test_h5_has_the_10x_v3_layout(small_atlas: DemoAtlas) -> None:
    with h5py.File(outs(small_atlas, "demo_visium_V1") / "filtered_feature_bc_matrix.h5") as store:
        assert store.attrs["filetype"] == "matrix"
        assert set(store["matrix"]) == {"barcodes", "data", "features", "indices", "indptr", "shape"}
        assert {"id", "name", "feature_type", "genome"} <= set(store["matrix/features"])
        assert store["matrix/data"].dtype == np.int32
        n_genes, n_spots = store["matrix/shape"]
        assert store["matrix/indptr"].shape == (n_spots + 1,)
        assert store["matrix/features/id"].shape == (n_genes,)
        assert store["matrix/indptr"][-1] == store["matrix/data"].size


@pytest.mark.parametrize("sample_id", VISIUM)
def test_pitch_and_fiducials_tell_the_scale(small_atlas: DemoAtlas, sample_id: str) -> None:
    spots = positions(small_atlas, sample_id)
    scale = load_truth(small_atlas.folder, sample_id).um_per_pixel
    lattice = np.column_stack([spots["array_row"], spots["array_col"], np.ones(len(spots))])
    xy = spots[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(float)
    affine, *_ = np.linalg.lstsq(lattice, xy, rcond=None)
    along_row = 2 * np.hypot(*affine[1]) * scale
    between_rows = np.hypot(*affine[0]) * scale
    assert along_row == pytest.approx(100.0, rel=1e-3)
    assert between_rows == pytest.approx(100.0 * np.sqrt(3) / 2, rel=1e-3)
    # Rows of `affine` are the steps of row and column: (row, column) -> (x, y) turns the plane over, as on v1 slides.
    assert np.linalg.det(affine[:2].T) < 0
    assert np.abs(lattice @ affine - xy).max() < 1.0, "whole pixels: nothing but rounding"
    factors = json.loads((outs(small_atlas, sample_id) / "spatial/scalefactors_json.json").read_bytes())
    assert 105.0 / factors["fiducial_diameter_fullres"] == pytest.approx(scale)
    assert factors["spot_diameter_fullres"] * scale == pytest.approx(65.0)


@pytest.mark.parametrize("sample_id", VISIUM)
def test_reduced_images_fit_their_scale_factors(small_atlas: DemoAtlas, sample_id: str) -> None:
    spatial = outs(small_atlas, sample_id) / "spatial"
    factors = json.loads((spatial / "scalefactors_json.json").read_bytes())
    with tifffile.TiffFile(image_path(small_atlas, sample_id)) as slide:
        height, width = slide.pages[0].shape[:2]
    for name, longest in (("hires", 2000), ("lowres", 600)):
        small = Image.open(spatial / f"tissue_{name}_image.png")
        scale = factors[f"tissue_{name}_scalef"]
        assert max(small.size) == longest
        assert np.abs(np.array(small.size) - np.array([width, height]) * scale).max() <= 1.0


@pytest.mark.parametrize("sample_id", VISIUM)
def test_slide_is_a_tiled_jpeg_pyramid(small_atlas: DemoAtlas, sample_id: str) -> None:
    scale = load_truth(small_atlas.folder, sample_id).um_per_pixel
    with tifffile.TiffFile(image_path(small_atlas, sample_id)) as slide:
        widths = [page.imagewidth for page in slide.pages]
        assert len(widths) >= 4
        assert all(page.is_tiled and page.compression == tifffile.COMPRESSION.JPEG for page in slide.pages)
        assert all(abs(wide / narrow - 2) < 0.02 for wide, narrow in pairwise(widths))
        per_cm = slide.pages[0].tags["XResolution"].value
        assert 1e4 / (per_cm[0] / per_cm[1]) == pytest.approx(scale, rel=1e-3)


def test_previous_symbols_where_ensembl_ids_tell(small_atlas: DemoAtlas, tmp_path) -> None:
    from humanst.demo.genes import load_genes

    genes = load_genes()
    today = counts(small_atlas, "demo_visium_v1_P2").var["gene_symbols"]
    assert "SEPTIN7" in set(today)
    older = dict(zip(genes.ensembl_ids, genes.names("previous"), strict=True))
    renamed = {old for old, new in zip(genes.names("previous"), genes.symbols, strict=True) if old != new}
    assert {"SEPT7", "MARCH1", "H2AFZ", "ATP5A1", "C10orf54", "FAM19A4", "WISP2"} <= renamed
    assert set(older) == set(today.index)


def st_tables(atlas: DemoAtlas) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    data = atlas.mirror / "demo_st/data"
    table = pd.read_csv(data / "ST-cnts/A1.tsv.gz", sep="\t", index_col=0)
    spots = pd.read_csv(data / "ST-spotfiles/A1_selection.tsv", sep="\t")
    labels = pd.read_csv(data / "ST-pat/lbl/A1_labeled_coordinates.tsv", sep="\t")
    return table, spots, labels


def test_st_tables_join_as_the_real_study_does(small_atlas: DemoAtlas) -> None:
    table, spots, labels = st_tables(small_atlas)
    ids = spots["x"].astype(str) + "x" + spots["y"].astype(str)
    assert set(table.index) < set(ids)
    assert len(spots) - len(table) == 2, "a couple of spots have no row in the count table"
    assert table.columns.is_unique
    assert "FO538757.1" in table.columns
    assert {"SEPT7", "MARCH1", "H2AFZ"} <= set(table.columns)
    assert not {"SEPTIN7", "MARCHF1", "H2AZ1"} & set(table.columns)
    assert (table.sum(axis=0).drop("FO538757.1") > 0).all(), "a legacy table lists only what it found"
    assert 1500 <= table.sum(axis=1).median() <= 3000
    joined = labels.merge(spots, left_on=["x", "y"], right_on=["new_x", "new_y"], suffixes=("_label", ""))
    assert len(joined) == len(labels) == len(table)
    assert (np.abs(joined["pixel_x"] - joined["pixel_x_label"]) > 1).any(), "label pixels are no image pixels"


def test_st_spots_scatter_around_the_lattice(small_atlas: DemoAtlas) -> None:
    _, spots, _ = st_tables(small_atlas)
    scale = load_truth(small_atlas.folder, "demo_st_A1").um_per_pixel
    pixels = spots[["pixel_x", "pixel_y"]].to_numpy()
    fitted = np.column_stack([spots["new_x"], spots["new_y"], np.ones(len(spots))])
    affine, *_ = np.linalg.lstsq(fitted, pixels, rcond=None)
    assert np.abs(fitted @ affine - pixels).max() < 0.05, "new_x, new_y are an affine copy of the pixels"
    lattice = np.column_stack([spots["x"], spots["y"], np.ones(len(spots))])
    affine, *_ = np.linalg.lstsq(lattice, pixels, rcond=None)
    assert np.hypot(affine[:2, 0], affine[:2, 1]) * scale == pytest.approx([200.0, 200.0], rel=0.005)
    scatter = np.std(lattice @ affine - pixels) * scale / 200.0
    assert 0.05 <= scatter <= 0.11
    assert 150 <= len(spots) <= 330


def test_st_image_is_a_plain_jpeg(small_atlas: DemoAtlas, image_of: Callable[[str], NDArray[np.uint8]]) -> None:
    image = Image.open(image_path(small_atlas, "demo_st_A1"))
    assert image.format == "JPEG"
    assert not image.getexif()
    assert min(image_of("demo_st_A1").shape[:2]) > 3400
