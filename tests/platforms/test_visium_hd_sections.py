"""Visium HD on the real layouts, and the demo study through the reader and the commands."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from humanst.catalog import Lattice, Recipe
from humanst.fetch import LocalFiles
from humanst.findings import Findings
from humanst.platforms.bin_positions import read_bins
from humanst.platforms.visium_hd import read
from tests.helpers import output_json, run_humanst
from tests.platforms.hd_folders import codes_of, local, recipe


def real_files(folder: Path, **more: str) -> LocalFiles:
    names = {
        "positions": "spatial/tissue_positions.parquet",
        "scalefactors": "spatial/scalefactors_json.json",
        "lowres": "spatial/tissue_lowres_image.png",
        **more,
    }
    return local({role: folder / name for role, name in names.items()})


H5 = {"counts": "filtered_feature_bc_matrix.h5"}
MEX = {
    role: f"filtered_feature_bc_matrix/{role}.{'mtx' if role == 'matrix' else 'tsv'}.gz"
    for role in ("matrix", "features", "barcodes")
}
SEURAT, VISIUMIO = "seurat_visium_hd/binned_outputs", "visiumio_binned_outputs"


@pytest.mark.parametrize(
    ("folder", "bin_um", "agrees"),
    [
        (f"{SEURAT}/square_008um", 8.0, False),
        (f"{SEURAT}/square_016um", 16.0, True),
        (f"{VISIUMIO}/square_002um", 2.0, True),
    ],
)
def test_real_positions_and_header_tell_one_scale(real_data: Path, folder: str, bin_um: float, agrees: bool) -> None:
    """The 8 um fixture was cut from 16 um positions: its pitch is twice what its header says, and that is seen."""
    from humanst.harmonize.space import check_scale, fit_lattice

    files = real_files(real_data / "visium_hd_fixtures" / folder)
    bins = read_bins(files, Findings())
    assert bins is not None
    table = pd.read_parquet(files.paths["positions"])
    assert bins.row_col.tolist() == table[["array_row", "array_col"]].to_numpy().tolist()
    assert bins.xy_px.tolist() == table[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy().tolist()
    assert [name.decode() for name in bins.barcodes.to_pylist()] == table["barcode"].tolist()
    assert (bins.in_tissue == (table["in_tissue"] == 1)).all()
    findings = Findings()
    fit = fit_lattice(bins.row_col, bins.xy_px, Lattice("square", bin_um, bin_um), findings)
    assert fit is not None
    header = json.loads(files.paths["scalefactors"].read_text())
    assert header["bin_size_um"] == bin_um
    assert fit.um_per_pixel * (1 if agrees else 2) == pytest.approx(header["microns_per_pixel"], rel=0.001)
    check_scale(fit, {"microns_per_pixel": header["microns_per_pixel"]}, findings)
    assert findings.refused is not agrees


@pytest.mark.parametrize(
    ("folder", "bin_um", "matrix", "reasons"),
    [
        (f"{SEURAT}/square_008um", 8.0, H5, {"no-squares"}),
        (f"{SEURAT}/square_016um", 16.0, H5, {"barcodes-without-position"}),
        (f"{VISIUMIO}/square_002um", 2.0, H5, {"bin-size-refused"}),
        (f"{VISIUMIO}/square_002um", 2.0, MEX, {"bin-size-refused", "barcodes-without-position"}),
    ],
)
def test_real_layouts_with_stub_counts_are_refused_for_the_stated_reason(
    real_data: Path, folder: str, bin_um: float, matrix: dict[str, str], reasons: set[str]
) -> None:
    """Seurat's barcodes are those of a Visium v1 slide: 2,695 of them, of which its 16 um positions know 642."""
    files = real_files(real_data / "visium_hd_fixtures" / folder, **matrix)
    assert codes_of(files, recipe(bin_um, target_side_um=112.0)) == reasons


def demo_files(atlas: Path, section_id: str) -> tuple[LocalFiles, Recipe]:
    from humanst.catalog import load_catalog

    study = load_catalog(atlas / "catalog.yaml").study("demo_hd")
    section = study.section(section_id)
    paths = {source.role: atlas / "mirror" / "demo_hd" / source.path for source in section.sources}
    return local(paths), study.recipe


@pytest.mark.parametrize("section_id", ["H1", "H2"])
def test_pooled_activity_follows_the_truth(demo_atlas: Path, section_id: str) -> None:
    from humanst.demo import load_truth
    from humanst.harmonize.gene_table import load_gene_table
    from humanst.harmonize.genes import map_genes
    from humanst.pathways.gene_sets import read_gmt, resolve
    from humanst.pathways.score import score_section

    files, how = demo_files(demo_atlas, section_id)
    raw, truth, table = read(files, how), load_truth(demo_atlas, f"demo_hd_{section_id}"), load_gene_table()
    assert raw.spot_ids.tolist() == sorted(truth.spot_ids[truth.in_tissue].tolist())
    row_of = {name: number for number, name in enumerate(truth.spot_ids.tolist())}
    rows = np.array([row_of[name] for name in raw.spot_ids.tolist()])
    assert np.abs(raw.xy_px - truth.xy_px[rows]).max() < 0.1, "the scatter of the bins is averaged out"
    mapped = map_genes(
        raw.counts, raw.gene_names, raw.gene_ids, table=table, gene_id_type="ensembl", findings=raw.findings
    )
    sets = resolve(read_gmt(demo_atlas / "mirror/gene_sets/demo.gmt", name="demo"), table)
    everywhere = np.ones(len(mapped.ensembl_ids), bool)
    scores = score_section(
        mapped.counts, mapped.ensembl_ids, everywhere, sets, in_fit=np.ones(len(rows), bool), targeted=False
    )
    for programme in truth.programme_names:
        found = spearmanr(scores.scores[:, scores.names.index(programme)], truth.activity_of(programme)[rows])
        assert found.statistic > 0.5, programme
    assert spearmanr(raw.counts.sum(axis=1).A1, truth.library_factor[rows]).statistic > 0.8


def test_the_commands_build_squares_and_pairs(demo_atlas: Path, tmp_path: Path) -> None:
    import spatialdata

    built = run_humanst("build", "demo_hd", "--sections", "H1", "-o", str(tmp_path / "store"), atlas=demo_atlas)
    assert built.returncode == 0, built.stderr
    store = spatialdata.read_zarr(tmp_path / "store/sections/demo_hd_H1.zarr")
    attrs = store.attrs["humanst"]
    assert attrs["target"] == {"shape": "square", "side_um": 112.0}
    assert attrs["counts_in"] == attrs["counts_out"] + sum(drop["counts"] for drop in attrs["drops"])
    assert {drop["reason"] for drop in attrs["drops"]} >= {"edge-square"}
    files, _ = demo_files(demo_atlas, "H1")
    with h5py.File(files.paths["counts"]) as handle:
        assert attrs["counts_in"] == handle["matrix/data"][...].sum()
    squares = store["spots"].geometry
    assert np.allclose(squares.area, 112.0**2)
    centres = store["table"].obsm["spatial"]
    assert np.allclose(np.column_stack([squares.centroid.x, squares.centroid.y]), centres)
    by_id = dict(zip(store["table"].obs_names, squares, strict=True))
    beside = [(a, b) for a, b in ((f"r4c{c}", f"r4c{c + 1}") for c in range(10)) if a in by_id and b in by_id]
    assert len(beside) > 3
    assert all(by_id[a].intersection(by_id[b]).area < 0.01 * 112.0**2 for a, b in beside)
    assert all(by_id[a].distance(by_id[b]) < 1.0 for a, b in beside), "squares tile the array, turned as it is"
    result = run_humanst(
        "build-shards", "demo_hd", "--sections", "H2", "-o", str(tmp_path / "release"),
        "--assign", str(demo_atlas / "assign.csv"), "--json", atlas=demo_atlas,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (row,) = output_json(result)["sections"]
    pairs = pd.concat([pd.read_parquet(path) for path in (tmp_path / "release/index").glob("*.parquet")])
    assert len(pairs) == row["pairs"] > 50
    assert set(pairs["target_shape"]) == {"square"}
    assert set(pairs["target_side_um"]) == {112.0}
    assert set(pairs["platform"]) == {"visium_hd"}
