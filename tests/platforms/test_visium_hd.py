"""The Visium HD reader on small folders written here: pooling in place, scale, sides, and every fault by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from humanst.catalog import Lattice
from humanst.errors import DataError
from humanst.findings import Findings
from humanst.harmonize.section import measure_scale
from humanst.platforms.tenx import read_matrix
from humanst.platforms.tenx_blocks import open_matrix
from humanst.platforms.visium_hd import allowed_sides_um, read
from tests.platforms.hd_folders import HIRES, UM_PER_PIXEL, Binned, codes_of, recipe


@pytest.mark.parametrize("mex", [False, True])
def test_bins_are_pooled_to_squares_in_place(tmp_path: Path, mex: bool) -> None:
    """7 x 7 bins a square, by a group-by of pandas; of the third column of squares, 4 of 7 columns are in tissue."""
    binned = Binned(tmp_path)
    raw = read(binned.write(mex=mex), recipe())
    table = pd.DataFrame(binned.positions).set_index("barcode").loc[binned.barcodes]
    square = "r" + (table["array_row"] // 7).astype(str) + "c" + (table["array_col"] // 7).astype(str)
    wanted = pd.DataFrame(binned.counts, index=square.to_numpy()).groupby(level=0).sum()
    kept = sorted(f"r{row}c{column}" for row in range(4) for column in range(3))
    assert raw.spot_ids.tolist() == kept, "rows 28 and 29 make no whole square"
    assert (raw.counts.toarray() == wanted.loc[kept].to_numpy()).all()
    assert raw.counts.dtype == np.int64
    edge = wanted.loc[[name for name in wanted.index if name.startswith("r4")]]
    assert [(drop.what, drop.reason, drop.n, drop.counts) for drop in raw.drops] == [
        ("spots", "edge-square", 3, int(edge.to_numpy().sum()))
    ]
    assert int(raw.counts.sum()) + sum(drop.counts for drop in raw.drops) == int(binned.counts.sum())
    pitch_px = 8.0 / UM_PER_PIXEL
    at = {name: (2500 - (int(name[3]) * 7 + 3) * pitch_px, 900 + (int(name[1]) * 7 + 3) * pitch_px) for name in kept}
    assert raw.xy_px == pytest.approx(np.array([at[name] for name in kept]))
    assert raw.lattice == Lattice("square", 8.0, 56.0)
    assert raw.target_shape == "square"
    assert len(raw.all_row_col) == 720


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    cover=st.sampled_from([0.4, 0.8, 1.0]),
    listed=st.sampled_from([0.3, 1.0]),
    empty=st.sampled_from([0.0, 0.9]),
    most=st.sampled_from([1, 70_000, 2**31 - 1]),
    first=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    mex=st.booleans(),
)
def test_whatever_the_files_hold_is_conserved_gene_by_gene(
    tmp_path: Path,
    seed: int,
    cover: float,
    listed: float,
    empty: float,
    most: int,
    first: tuple[int, int],
    mex: bool,
) -> None:
    """From the bytes of the files to squares and drops, against pandas: bins off tissue, cut squares, empty bins."""
    rng, binned = np.random.default_rng(seed), Binned(tmp_path)
    # A square that is wholly in tissue is always there.
    table = pd.DataFrame(binned.positions)
    sure = table["array_row"].between(7, 20) & table["array_col"].between(7, 20)
    table["in_tissue"] = (sure | (rng.random(len(table)) < cover)).astype(np.int32)
    table["array_row"] += np.int32(first[0])
    table["array_col"] += np.int32(first[1])
    binned.positions = {name: table[name].to_numpy() for name in table}
    inside = table.loc[rng.random(len(table)) < listed, "barcode"]
    binned.barcodes = [*inside, *table.loc[sure, "barcode"].iloc[:1][lambda names: ~names.isin(inside)]]
    binned.counts = rng.integers(0, most, (len(binned.barcodes), 5), endpoint=True)
    binned.counts[rng.random(len(binned.counts)) < empty] = 0
    binned.counts[-1] = most
    raw = read(binned.write(mex=mex), recipe())
    bins = table.set_index("barcode").loc[binned.barcodes]
    square = bins[["array_row", "array_col"]] // 7
    name = "r" + square["array_row"].astype(str) + "c" + square["array_col"].astype(str)
    counts = pd.DataFrame(binned.counts, index=name.where(bins["in_tissue"] == 1, "off").to_numpy())
    pooled = counts.groupby(level=0).sum().reindex(raw.spot_ids, fill_value=0)
    assert (raw.counts.toarray() == pooled.to_numpy()).all()
    lost = {drop.reason: drop.counts for drop in raw.drops}
    per_gene = binned.counts.sum(axis=0) - np.asarray(raw.counts.sum(axis=0)).ravel()
    assert sum(lost.values()) == per_gene.sum()
    assert lost.get("out-of-tissue-bin", 0) == counts.loc[counts.index == "off"].to_numpy().sum()
    low, high = table[["array_row", "array_col"]].min(), table[["array_row", "array_col"]].max()
    whole = ((square * 7 >= low) & (square * 7 + 6 <= high)).all(axis=1) & (bins["in_tissue"] == 1)
    cut = ~whole & (bins["in_tissue"] == 1)
    assert lost.get("edge-square", 0) == binned.counts[cut.to_numpy()].sum()


def test_a_raw_matrix_loses_its_bins_out_of_tissue_by_name(tmp_path: Path) -> None:
    binned = Binned(tmp_path)
    filtered = read(binned.write(), recipe())
    outside = [name for name in binned.positions["barcode"] if name.endswith("_00020-1")]
    binned.barcodes += outside
    binned.counts = np.vstack([binned.counts, np.full((len(outside), 12), 3)])
    raw = read(binned.write(), recipe())
    assert (raw.counts != filtered.counts).nnz == 0
    assert ("counts", "out-of-tissue-bin", 30 * 12 * 3, 30 * 12 * 3) in [
        (drop.what, drop.reason, drop.n, drop.counts) for drop in raw.drops
    ]


def test_the_header_is_a_second_witness_of_the_scale(tmp_path: Path) -> None:
    raw = read(Binned(tmp_path).write(), recipe())
    assert raw.um_per_pixel_witnesses == pytest.approx({"microns_per_pixel": UM_PER_PIXEL * 1.0004})
    fit = measure_scale(raw, recipe())
    assert fit.um_per_pixel == pytest.approx(UM_PER_PIXEL)
    assert "scale-one-witness" not in raw.findings.codes()


@pytest.mark.parametrize("stated", [UM_PER_PIXEL * 2, UM_PER_PIXEL / 2, 1.0, 0.0])
def test_a_header_that_contradicts_the_pitch_is_refused(tmp_path: Path, stated: float) -> None:
    binned = Binned(tmp_path)
    binned.factors["microns_per_pixel"] = stated
    raw = read(binned.write(), recipe())
    with pytest.raises(DataError) as caught:
        measure_scale(raw, recipe())
    assert caught.value.facts.code == "scale-disagrees"


def test_a_hires_image_scales_positions_and_witness_together(tmp_path: Path) -> None:
    full, small = (read(Binned(tmp_path).write(image=role), recipe()) for role in ("image", "hires"))
    assert small.xy_px == pytest.approx(full.xy_px * HIRES)
    assert measure_scale(small, recipe()).um_per_pixel == pytest.approx(UM_PER_PIXEL / HIRES)
    assert small.image_name == "image.tif"


@pytest.mark.parametrize("block_entries", [1, 100, 10**6])
def test_a_matrix_in_blocks_is_the_matrix(tmp_path: Path, block_entries: int) -> None:
    files = Binned(tmp_path).write()
    matrix = open_matrix(files, Findings(), block_entries=block_entries)
    whole = read_matrix(files, Findings())
    rows = [(first, block.toarray()) for first, block in matrix.blocks()]
    assert all(np.count_nonzero(block) <= block_entries or len(block) == 1 for _, block in rows)
    order = np.argsort([name.decode() for name in matrix.barcodes.to_pylist()])
    assert [first for first, _ in rows] == np.cumsum([0, *(len(block) for _, block in rows[:-1])]).tolist()
    assert (np.vstack([block for _, block in rows])[order] == whole.counts.toarray()).all()
    assert (len(rows) == 1) is (block_entries == 10**6)
    assert matrix.feature_ids.tolist() == whole.feature_ids.tolist()


@pytest.mark.parametrize(("bin_um", "sides"), [(8.0, (56, 112)), (16.0, (64, 112)), (2.0, ()), (4.0, ()), (24.0, ())])
def test_sides_that_bins_are_pooled_to(bin_um: float, sides: tuple[float, ...]) -> None:
    assert allowed_sides_um(bin_um) == sides


SIDES = [(8, 56, 7), (8, 112, 14), (16, 64, 4), (16, 112, 7)]


@pytest.mark.parametrize(("bin_um", "side_um", "bins_a_side"), SIDES)
def test_every_side_on_offer_is_made_of_whole_bins(
    tmp_path: Path, bin_um: float, side_um: float, bins_a_side: int
) -> None:
    raw = read(Binned(tmp_path, bin_um=float(bin_um)).write(), recipe(float(bin_um), target_side_um=side_um))
    assert raw.facts["pooling"]["bins_a_side"] == bins_a_side
    apart = np.hypot(*np.diff(raw.xy_px[np.isin(raw.spot_ids, ["r0c0", "r1c0"])], axis=0)[0])
    assert apart * UM_PER_PIXEL == pytest.approx(side_um)


@pytest.mark.parametrize(
    ("bin_um", "side_um"),
    [*((8, side) for side in (64, 100, 55, 8, 16, 0, -56, 112.5)), *((16, side) for side in (56, 128, 100, 16))],
)
def test_any_other_side_is_refused(tmp_path: Path, bin_um: float, side_um: float) -> None:
    files = Binned(tmp_path, bin_um=float(bin_um)).write()
    assert codes_of(files, recipe(float(bin_um), target_side_um=side_um)) == {"side-not-a-multiple"}


@pytest.mark.parametrize("bin_um", [2, 4, 24])
@pytest.mark.parametrize("side_um", [56, 112])
def test_any_other_binning_is_refused(tmp_path: Path, bin_um: float, side_um: float) -> None:
    """112 um are 56 bins of 2 um, and yet: the vendor's 8 um bins hold the same transcripts."""
    files = Binned(tmp_path, bin_um=float(bin_um)).write()
    assert codes_of(files, recipe(float(bin_um), target_side_um=side_um)) == {"bin-size-refused"}


def test_112_um_is_the_default(tmp_path: Path) -> None:
    how = replace(recipe(), options={})
    raw = read(Binned(tmp_path).write(), how)
    assert raw.lattice == Lattice("square", 8.0, 112.0)
    assert raw.spot_ids.tolist() == ["r0c0", "r1c0"]


def test_another_binning_than_the_recipe_says_is_refused(tmp_path: Path) -> None:
    binned = Binned(tmp_path)
    assert codes_of(binned.write(), recipe(16.0, target_side_um=112.0)) == {"bin-size-differs"}
    del binned.factors["bin_size_um"]
    assert codes_of(binned.write(), recipe()) == {"bin-size-differs"}


def test_a_recipe_with_the_lattice_of_spots_is_refused(tmp_path: Path) -> None:
    how = replace(recipe(), lattice=Lattice("hex", 100.0, 55.0))
    assert codes_of(Binned(tmp_path).write(), how) == {"recipe-lattice"}


def lose_suffix(binned: Binned) -> None:
    binned.barcodes = [name.removesuffix("-1") for name in binned.barcodes]


def matrix_barcode_twice(binned: Binned) -> None:
    binned.barcodes[1] = binned.barcodes[0]


def position_barcode_twice(binned: Binned) -> None:
    binned.positions["barcode"][1] = binned.positions["barcode"][0]


def two_bins_at_one_place(binned: Binned) -> None:
    for key in ("array_row", "array_col"):
        binned.positions[key][1] = binned.positions[key][0]


def no_number(binned: Binned) -> None:
    binned.positions["pxl_col_in_fullres"][5] = np.nan


def text_for_numbers(binned: Binned) -> None:
    binned.positions["pxl_col_in_fullres"] = ["left"] * 720


def negative_index(binned: Binned) -> None:
    binned.positions["array_row"][5] = -1


def fractional_index(binned: Binned) -> None:
    binned.positions["array_row"] = binned.positions["array_row"] + 0.5


def flag_of_two(binned: Binned) -> None:
    binned.positions["in_tissue"][5] = 2


def no_tissue_column(binned: Binned) -> None:
    del binned.positions["in_tissue"]


def no_bins(binned: Binned) -> None:
    binned.positions = {key: values[:0] for key, values in binned.positions.items()}


def nothing_in_tissue(binned: Binned) -> None:
    binned.positions["in_tissue"][:] = 0


def nothing_counted(binned: Binned) -> None:
    binned.counts[:] = 0


def half_a_transcript(binned: Binned) -> None:
    binned.counts = binned.counts + 0.5


def less_than_nothing(binned: Binned) -> None:
    binned.counts[3, 3] = -1


def one_line(binned: Binned) -> None:
    keep = binned.positions["array_row"] == 3
    binned.positions = {key: np.asarray(values)[keep] for key, values in binned.positions.items()}
    binned.barcodes = [name for name in binned.barcodes if "_00003_" in name]
    binned.counts = binned.counts[: len(binned.barcodes)]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lose_suffix, "barcodes-without-position"),
        (matrix_barcode_twice, "duplicate-spot-ids"),
        (position_barcode_twice, "duplicate-spot-ids"),
        (two_bins_at_one_place, "duplicate-bins"),
        (no_number, "positions-invalid"),
        (text_for_numbers, "positions-invalid"),
        (negative_index, "positions-invalid"),
        (fractional_index, "positions-invalid"),
        (flag_of_two, "positions-invalid"),
        (no_tissue_column, "missing-column"),
        (no_bins, "positions-invalid"),
        (nothing_in_tissue, "no-squares"),
        (nothing_counted, "counts-empty"),
        (half_a_transcript, "counts-fractional"),
        (less_than_nothing, "counts-negative"),
        (one_line, "lattice-too-small"),
    ],
)
def test_faults_are_refused_by_name(tmp_path: Path, spoil: Callable[[Binned], None], code: str) -> None:
    binned = Binned(tmp_path)
    spoil(binned)
    assert code in codes_of(binned.write(), recipe())


@pytest.mark.parametrize("role", ["counts", "positions"])
@pytest.mark.parametrize("keep", [0.3, 0.95])
def test_a_cut_file_is_refused(tmp_path: Path, role: str, keep: float) -> None:
    files = Binned(tmp_path).write()
    data = files.paths[role].read_bytes()
    files.paths[role].write_bytes(data[: int(len(data) * keep)])
    assert codes_of(files, recipe()) == {"matrix-unreadable" if role == "counts" else "table-unreadable"}


def test_a_matrix_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    files = Binned(tmp_path).write()
    with h5py.File(files.paths["counts"], "r+") as handle:
        handle["matrix/indptr"][-1] = 5
    assert codes_of(files, recipe()) == {"matrix-unreadable"}


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    binned = Binned(tmp_path)
    no_number(binned)
    binned.factors["bin_size_um"] = 16.0
    files = binned.write()
    files.paths["counts"].write_bytes(b"no matrix")
    found = codes_of(files, recipe(target_side_um=55.0))
    assert found == {"bin-size-differs", "side-not-a-multiple", "positions-invalid", "matrix-unreadable"}
