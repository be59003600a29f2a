"""Other real folders: section stores, labels, tissue, and refusals for the stated reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.helpers import output_json, run_humanst
from tests.real.test_her2st_release import built as built
from tests.real.test_her2st_release import store_of
from tests.studies import VISIUM_RECIPE, World, write_world

pytestmark = pytest.mark.real
# What is made once for these tests would be made again by a second worker.
FOUR_FOLDERS = pytest.mark.xdist_group("four-folders")


def visium_files(outs: Path, **more: Path) -> dict[str, Path]:
    """The files of an ``outs`` folder by role."""
    spatial = outs / "spatial"
    names = {
        "counts": outs / "filtered_feature_bc_matrix.h5",
        "matrix": outs / "filtered_feature_bc_matrix" / "matrix.mtx.gz",
        "features": outs / "filtered_feature_bc_matrix" / "features.tsv.gz",
        "barcodes": outs / "filtered_feature_bc_matrix" / "barcodes.tsv.gz",
        "scalefactors": spatial / "scalefactors_json.json",
        "hires": spatial / "tissue_hires_image.png",
        "lowres": spatial / "tissue_lowres_image.png",
    }
    files = {role: path for role, path in names.items() if path.exists()}
    positions = [spatial / "tissue_positions.csv", spatial / "tissue_positions_list.csv"]
    files["positions"] = next(path for path in positions if path.exists())
    return {**files, **more}


def gene_sets(real_data: Path) -> Path:
    return real_data / "gene_sets" / "msigdb_h.all.v2025.1.Hs.symbols.gmt"


@pytest.fixture(scope="module")
def visium_world(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Four real Visium folders as one study each: two good, a mouse, a trap."""
    block_a = real_data / "visium_10x_breast_blockA_s1"
    dlpfc = real_data / "visium_dlpfc_151673"
    studies = {
        "blocka": {"s1": visium_files(block_a / "outs", labels=block_a / "annotation_SEDR_metadata.tsv")},
        "dlpfc": {"s1": visium_files(dlpfc / "outs", labels=dlpfc / "layer_annotation.csv")},
        "mouse": {"s1": visium_files(real_data / "visium_mouse_cytassist_v2" / "outs")},
        "trap": {"s1": visium_files(real_data / "traps_incomplete" / "10x_ovarian_IF_no_counts" / "outs")},
    }
    recipes: dict[str, dict[str, Any]] = dict.fromkeys(studies, VISIUM_RECIPE)
    recipes["blocka"] = {**VISIUM_RECIPE, "labels": {"key": "ID", "column": ["annot_type", "fine_annot_type"]}}
    recipes["dlpfc"] = {**VISIUM_RECIPE, "labels": {"key": "barcode", "separator": ",", "column": "layer"}}
    folder = tmp_path_factory.mktemp("visium")
    return write_world(folder / "world", studies, recipes, gene_sets=gene_sets(real_data))


@pytest.fixture(scope="module")
def visium_built(visium_world: World) -> tuple[Path, CompletedProcess[str]]:
    """Where the four were built, and how it ended."""
    store, cache = (visium_world.folder.with_name(name) for name in ("store", "cache"))
    return store, run_humanst("build", "-o", str(store), "--json", atlas=visium_world.folder, cache=cache)


def read_store(path: Path) -> tuple[Any, dict[str, Any]]:
    import anndata

    attrs = json.loads((path / "zarr.json").read_bytes())["attributes"]["humanst"]
    return anndata.io.read_zarr(path / "tables" / "table"), attrs


@FOUR_FOLDERS
def test_four_visium_folders_two_build_two_are_refused(
    visium_built: tuple[Path, CompletedProcess[str]], real_data: Path
) -> None:
    store, result = visium_built
    assert result.returncode == 4, result.stderr
    content = output_json(result)
    assert [row["sample_id"] for row in content["sections"]] == ["blocka_s1", "dlpfc_s1"]
    failures = {row["item"]: row for row in content["failures"]}
    assert failures["mouse_s1"]["code"] == "not-human"
    assert failures["mouse_s1"]["exit_code"] == 5
    trap = failures["trap_s1"]
    codes = {trap["code"], *(facts["code"] for facts in trap["also"])}
    assert codes == {"not-he", "no-counts"}, "refused on both grounds"
    _check_block_a(store / "sections" / "blocka_s1.zarr", real_data)
    table, attrs = read_store(store / "sections" / "dlpfc_s1.zarr")
    layers = pd.read_csv(real_data / "visium_dlpfc_151673" / "layer_annotation.csv").set_index("barcode")["layer"]
    assert (table.obs["label_layer"].astype(str) == layers.reindex(table.obs_names).to_numpy(str)).mean() > 0.99
    assert attrs["um_per_pixel"] == pytest.approx(16.1, rel=0.02)


def _check_block_a(store: Path, real_data: Path) -> None:
    table, attrs = read_store(store)
    assert attrs["um_per_pixel"] == pytest.approx(4.44, rel=0.01)
    assert attrs["counts_in"] == attrs["counts_out"] + sum(drop["counts"] for drop in attrs["drops"])
    assert "scale-one-witness" not in {finding["code"] for finding in attrs["findings"]}
    labels = pd.read_csv(real_data / "visium_10x_breast_blockA_s1/annotation_SEDR_metadata.tsv", sep="\t", index_col=0)
    assert (labels.loc[table.obs_names, "annot_type"].to_numpy() == table.obs["label_annot_type"].to_numpy()).all()
    _check_tissue_of_block_a(store, table, attrs, real_data)


def _check_tissue_of_block_a(store: Path, table: Any, attrs: dict[str, Any], real_data: Path) -> None:
    """Vendor flags judge the store as built: its spots, and all positions on the mask it carries."""
    import spatialdata

    assert (table.obs["tissue_fraction"] >= 0.15).mean() >= 0.98
    path = real_data / "visium_10x_breast_blockA_s1/outs/spatial/tissue_positions_list.csv"
    positions = pd.read_csv(path, header=None, index_col=0)
    # um of every position, by the um per pixel of the image that the store's own spots tell.
    mine = positions.loc[table.obs_names]
    centre = np.column_stack(
        [positions[full] * (table.obs[um] / mine[full]).median() for full, um in ((4, "y_um"), (5, "x_um"))]
    )
    mask = spatialdata.read_zarr(store)["tissue"].to_numpy().astype(bool)
    half = round(56 / attrs["tissue"]["um_per_pixel"])
    windows = [
        tuple(slice(max(int(v) - half, 0), int(v) + half) for v in place)
        for place in centre / attrs["tissue"]["um_per_pixel"]
    ]
    share = np.array([mask[window].sum() / (2 * half) ** 2 for window in windows])
    inside = positions[1].to_numpy() == 1
    assert (share[inside] >= 0.15).mean() >= 0.98
    assert (share[~inside] >= 0.15).mean() <= 0.25
    wanted = pd.Series(share, index=positions.index).loc[table.obs_names]
    assert table.obs["tissue_fraction"].to_numpy() == pytest.approx(wanted.to_numpy(), abs=0.15)


@FOUR_FOLDERS
def test_an_image_coarser_than_115_gives_a_store_but_no_patches(
    visium_world: World, visium_built: tuple[Path, CompletedProcess[str]], tmp_path: Path
) -> None:
    work = tmp_path / "work"
    shutil.copytree(visium_built[0], work)
    result = run_humanst(
        "build-shards", "blocka", "-o", str(tmp_path / "out"), "--work", str(work),
        atlas=visium_world.folder, cache=visium_world.folder.with_name("cache"),
    )  # fmt: skip
    assert result.returncode == 5
    for part in ("blocka/s1", "1.15", "4.438", "um per pixel"):
        assert part in result.stderr
    assert (work / "sections" / "blocka_s1.zarr").is_dir()
    assert not (tmp_path / "out" / "MANIFEST.json").exists()


def test_block_a_tissue_keeps_in_tissue_and_leaves_out_of_tissue(real_data: Path) -> None:
    """Vendor flags are the reference: >= 98 % of in-tissue positions and <= 25 % of the others lie on the mask."""
    from humanst.catalog import Lattice
    from humanst.findings import Findings
    from humanst.harmonize.space import fit_lattice
    from humanst.harmonize.tissue import MASK_UM_PER_PIXEL, tissue_mask
    from humanst.tiles import thumbnail

    spatial = real_data / "visium_10x_breast_blockA_s1/outs/spatial"
    scale = json.loads((spatial / "scalefactors_json.json").read_text())["tissue_hires_scalef"]
    table = pd.read_csv(spatial / "tissue_positions_list.csv", header=None)
    xy = table[[5, 4]].to_numpy(float) * scale
    fit = fit_lattice(table[[2, 3]].to_numpy(np.int64), xy, Lattice("hex", 100.0, 55.0), Findings())
    assert fit is not None
    rgb = thumbnail(spatial / "tissue_hires_image.png", fit.um_per_pixel, MASK_UM_PER_PIXEL)
    mask = tissue_mask(rgb, fit.um_per_pixel * 2000 / rgb.shape[1])
    kept = mask.fraction(xy * fit.um_per_pixel, 112.0) >= 0.15
    inside = table[1].to_numpy() == 1
    assert kept[inside].mean() >= 0.98
    assert kept[~inside].mean() <= 0.25


def test_labelled_st_sections_carry_their_labels(real_data: Path, tmp_path: Path) -> None:
    """A1 has a blacked-out image (accepted as H&E, too coarse for patches); B1 and C1 have none on record."""
    result = run_humanst(
        "build", "her2st", "--sections", "A1,B1,C1", "-o", str(tmp_path / "store"), "--json", mirror=real_data
    )
    assert result.returncode == 0, result.stderr
    for name in ("A1", "B1", "C1"):
        table, attrs = read_store(tmp_path / "store" / "sections" / f"her2st_{name}.zarr")
        folder = real_data / "her2st" / "data"
        spots = pd.read_csv(folder / f"ST-spotfiles/{name}_selection.tsv", sep="\t")
        labels = pd.read_csv(folder / f"ST-pat/lbl/{name}_labeled_coordinates.tsv", sep="\t").dropna()
        spots["key"] = spots["new_x"].round(3).astype(str) + "/" + spots["new_y"].round(3).astype(str)
        labels["key"] = labels["x"].round(3).astype(str) + "/" + labels["y"].round(3).astype(str)
        merged = spots.merge(labels[["key", "label"]], on="key", how="left")
        merged.index = merged["x"].astype(str) + "x" + merged["y"].astype(str)
        wanted = merged.loc[table.obs_names, "label"].fillna("").to_numpy(str)
        assert (table.obs["label_label"].astype(str).to_numpy() == wanted).all()
        assert (wanted != "").mean() > 0.95
        codes = {finding["code"] for finding in attrs["findings"]}
        assert ("no-image" in codes) == (name != "A1")
        # Nobody knows how much tissue there is where there is no image: missing, not 0.
        assert table.obs["tissue_fraction"].isna().all() == (name != "A1")
    blind = tmp_path / "store" / "sections" / "her2st_B1.zarr"
    assert run_humanst("validate", str(blind)).returncode == 0
    table, attrs = read_store(tmp_path / "store" / "sections" / "her2st_A1.zarr")
    assert (table.obs["tissue_fraction"] >= 0.15).mean() >= 0.99
    assert attrs["um_per_pixel"] == pytest.approx(0.916 / 0.2876, rel=0.01)


@pytest.mark.xdist_group("her2st")
def test_a_store_opens_in_plain_spatialdata_with_spots_on_tissue(built: tuple[Path, dict[str, Any]]) -> None:
    import spatialdata
    from spatialdata.transformations import get_transformation

    path = store_of(built[0], "C3")
    sdata = spatialdata.read_zarr(path)
    assert sdata.coordinate_systems == ["um"]
    image = sdata["he"]["scale0"]["image"]
    matrix = get_transformation(image, "um").to_affine_matrix(("x", "y"), ("x", "y"))
    assert matrix[0, 0] == pytest.approx(2.0, rel=0.01), "the store's picture is at 2 um per pixel"
    assert image.dtype == np.uint8
    centres = np.array([(point.x, point.y) for point in sdata["spots"].geometry])
    px = np.rint(np.linalg.solve(matrix[:2, :2], (centres - matrix[:2, 2]).T)).astype(int)
    pixels = image.to_numpy()
    saturation = np.ptp(pixels.astype(int), axis=0)
    assert saturation[px[1], px[0]].mean() > 1.5 * saturation.mean(), "spots lie on stained tissue"
    assert sum(1 for file in path.rglob("*") if file.is_file()) <= 500
    assert set(sdata["table"].obs["region"]) == {"spots"}
    assert np.issubdtype(sdata["table"].X.dtype, np.integer)
