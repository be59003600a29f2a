"""Beside the reader of spatialdata-io: the same where it is right, and why the join and the matrix are ours."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from humanst.errors import DataError
from humanst.platforms.visium import read
from tests.platforms.visium_outs import RECIPE, Outs


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
