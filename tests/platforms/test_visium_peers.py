"""Beside other readers: scanpy and pandas agree on every file, spatialdata-io where it is right; and why ours is."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.findings import Findings
from humanst.platforms import RawSection
from humanst.platforms.tenx import read_matrix
from humanst.platforms.visium import read
from tests.platforms.visium_outs import RECIPE, Outs, local_files


def theirs(folder: Path, **more: Any) -> Any:
    from spatialdata_io import visium

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return visium(folder, dataset_id="s1", **more)


@pytest.mark.parametrize("header", [True, False])
def test_a_whole_folder_reads_the_same(tmp_path: Path, header: bool) -> None:
    outs = Outs(tmp_path / "outs", header=header)
    raw = read(outs.write(), RECIPE)
    table = theirs(outs.folder)["table"][raw.spot_ids]
    assert (table.X.toarray() == raw.counts.toarray()).all()
    assert table.obsm["spatial"].tolist() == raw.xy_px.tolist()
    assert table.obs[["array_row", "array_col"]].to_numpy().tolist() == raw.row_col.tolist()


def by_scanpy(local: LocalFiles) -> Any:
    """The matrix as scanpy reads it."""
    import scanpy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "counts" in local.paths:
            return scanpy.read_10x_h5(local.paths["counts"])
        return scanpy.read_10x_mtx(local.paths["matrix"].parent, var_names="gene_ids")


@pytest.mark.parametrize("matrix", ["h5", "h5-genome", "mex"])
def test_scanpy_and_pandas_read_the_same_files_to_the_same_numbers(tmp_path: Path, matrix: str) -> None:
    outs = Outs(tmp_path / "outs", matrix=matrix, header=False)
    local = outs.write()
    check(read(local, RECIPE), by_scanpy(local), local.paths["positions"])


def check(raw: RawSection, matrix: Any, positions: Path) -> None:
    matrix = matrix[raw.spot_ids.tolist()]
    assert (raw.counts != matrix.X).nnz == 0
    assert raw.gene_ids is not None
    named = matrix.var.get("gene_ids", matrix.var_names)
    assert raw.gene_ids.tolist() == list(named)
    table = pd.read_csv(positions, header=None, index_col=0).loc[raw.spot_ids.tolist()]
    assert (table[[5, 4]].to_numpy(float) == raw.xy_px / raw.image_scale).all()
    assert table[[2, 3]].to_numpy().tolist() == raw.row_col.tolist()


@pytest.mark.real
@pytest.mark.parametrize("folder", ["visium_10x_breast_blockA_s1/outs", "visium_dlpfc_151673/outs"])
def test_real_folders_read_as_scanpy_and_pandas_read_them(real_data: Path, folder: str) -> None:
    outs = real_data / folder
    paths = {
        "counts": outs / "filtered_feature_bc_matrix.h5",
        "positions": outs / "spatial" / "tissue_positions_list.csv",
        "scalefactors": outs / "spatial" / "scalefactors_json.json",
    }
    raw = read(local_files(paths), RECIPE)
    check(raw, by_scanpy(raw.files), paths["positions"])
    assert not raw.drops
    assert not raw.findings.items


@pytest.mark.real
def test_a_real_matrix_of_probes_is_refused(real_data: Path) -> None:
    path = real_data / "visium_tiny_fixtures/scanpy_visium_data/2.1.0/raw_probe_bc_matrix.h5"
    with pytest.raises(DataError) as caught:
        read_matrix(local_files({"counts": path}), Findings())
    assert caught.value.facts.code == "probe-matrix"


def test_a_lost_suffix_gives_them_spots_without_a_place_and_us_a_refusal(tmp_path: Path) -> None:
    outs = Outs(tmp_path / "outs")
    outs.barcodes = [barcode.removesuffix("-1") for barcode in outs.barcodes]
    local = outs.write()
    table = theirs(outs.folder)["table"]
    assert np.isnan(table.obsm["spatial"].astype(float)).all(), "a left join and no word"
    with pytest.raises(DataError, match="have no position"):
        read(local, RECIPE)


def test_a_large_count_is_the_integer_of_the_file(tmp_path: Path) -> None:
    outs = Outs(tmp_path / "outs")
    outs.counts[0, 0] = 2**24 + 1
    raw = read(outs.write(), RECIPE)
    spot = raw.spot_ids.tolist().index(outs.barcodes[0])
    assert int(raw.counts[spot, 0]) == 2**24 + 1
    assert int(theirs(outs.folder)["table"][outs.barcodes[0]].X[0, 0]) == 2**24, "float32 has no such number"
