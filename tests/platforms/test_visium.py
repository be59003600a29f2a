"""The Visium reader on small folders written here: every generation of files, and every way the join can fail."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from humanst.errors import DataError
from humanst.findings import Findings
from humanst.harmonize.space import fit_lattice
from humanst.platforms.visium import read
from tests.platforms.visium_outs import MATRICES, PITCH_PX, RECIPE, Outs, local_files


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("matrix", MATRICES)
def test_every_layout_reads_to_the_same_section(tmp_path: Path, header: bool, matrix: str) -> None:
    outs = Outs(tmp_path / "outs", header=header, matrix=matrix)
    raw = read(outs.write(), RECIPE)
    order = np.argsort(outs.barcodes)
    assert raw.spot_ids.tolist() == [outs.barcodes[number] for number in order]
    assert (raw.counts.toarray() == outs.counts[order]).all()
    assert raw.counts.dtype == np.int64
    assert list(zip(raw.gene_ids, raw.gene_names, strict=True)) == outs.features()  # type: ignore[arg-type]
    assert set(raw.feature_types) == {"Gene Expression"}  # type: ignore[arg-type]
    assert raw.xy_px.tolist() == [list(outs.place[barcode]) for barcode in raw.spot_ids], "(x, y), column before row"
    assert raw.all_in_tissue.sum() == len(outs.barcodes)
    assert raw.um_per_pixel_witnesses == pytest.approx({"fiducial_diameter_fullres": 100 / PITCH_PX})
    assert not raw.findings.items


@pytest.mark.parametrize("role", ["positions", "barcodes", "features", "matrix"])
def test_gzip_is_told_by_the_bytes_and_not_by_the_name(tmp_path: Path, role: str) -> None:
    """A mirror or a download may drop or add the ending."""
    outs = Outs(tmp_path / "outs", matrix="mex-plain")
    local = outs.write()
    expected = read(local, RECIPE)
    local.paths[role].write_bytes(gzip.compress(local.paths[role].read_bytes()))
    assert (read(local, RECIPE).counts != expected.counts).nnz == 0


@pytest.mark.parametrize(("rows", "columns"), [(78, 128), (128, 224)])
def test_cytassist_slides_of_either_size(tmp_path: Path, rows: int, columns: int) -> None:
    """Fractional pixels, a lattice that runs the other way round, and a factor for the instrument's own image."""
    outs = Outs(
        tmp_path / "outs", rows=rows, columns=columns, mirrored=True, factors={"regist_target_img_scalef": 0.27}
    )
    raw = read(outs.write(), RECIPE)
    assert len(raw.all_row_col) == rows * columns // 2
    assert raw.image_scales == {"image": 1.0, "hires": 0.1, "lowres": 0.03}
    findings = Findings()
    fit = fit_lattice(raw.all_row_col, raw.all_xy_px, raw.lattice, findings)
    assert fit is not None
    assert fit.um_per_pixel == pytest.approx(100 / PITCH_PX, rel=1e-6)
    assert fit.max_residual_px < 0.001
    assert fit.handedness == -1
    assert not findings.items


def test_a_hires_image_scales_positions_and_witness_together(tmp_path: Path) -> None:
    full = Outs(tmp_path / "outs").write()
    paths = {role: path for role, path in full.paths.items() if role != "image"} | {"hires": full.paths["image"]}
    raw = read(local_files(paths), RECIPE)
    assert raw.xy_px == pytest.approx(read(full, RECIPE).xy_px * 0.1)
    assert raw.um_per_pixel_witnesses["fiducial_diameter_fullres"] == pytest.approx(1000 / PITCH_PX)


def test_spots_outside_tissue_in_a_raw_matrix_are_a_named_drop(tmp_path: Path) -> None:
    outs = Outs(tmp_path / "outs")
    outside = [row[0] for row in outs.positions if row[1] == "0"][:4]
    outs.barcodes += outside
    outs.counts = np.vstack([outs.counts, np.full((4, 30), 7)])
    raw = read(outs.write(), RECIPE)
    assert [(drop.reason, drop.n, drop.counts) for drop in raw.drops] == [("out-of-tissue", 4, 4 * 30 * 7)]
    assert not set(outside) & set(raw.spot_ids)


def test_a_raw_matrix_gives_what_the_filtered_one_gives(tmp_path: Path) -> None:
    filtered = Outs(tmp_path / "filtered")
    expected = read(filtered.write(), RECIPE)
    raw = Outs(tmp_path / "raw")
    outside = [row[0] for row in raw.positions if row[1] == "0"]
    raw.barcodes += outside
    raw.counts = np.vstack([raw.counts, np.random.default_rng(5).poisson(1.0, (len(outside), 30))])
    section = read(raw.write(), RECIPE)
    assert section.spot_ids.tolist() == expected.spot_ids.tolist()
    assert (section.counts != expected.counts).nnz == 0
    assert int(raw.counts.sum()) == int(section.counts.sum()) + sum(drop.counts for drop in section.drops)


def test_files_of_two_sections_are_told_by_their_tissue(tmp_path: Path) -> None:
    """All slides of a generation have the same barcodes: the join is total, and every count would lie elsewhere."""
    matrix = Outs(tmp_path / "one").write()
    other = Outs(tmp_path / "two")
    for number, row in enumerate(other.positions):
        row[1] = str(int(number % 3 != 1))
    positions = other.write().paths["positions"]
    with pytest.raises(DataError) as caught:
        read(local_files({**matrix.paths, "positions": positions}), RECIPE)
    assert caught.value.facts.code == "files-of-two-sections"
    assert caught.value.facts.found == "16 barcodes out of tissue, and 16 of 32 in tissue missing"


def test_in_tissue_spots_that_a_matrix_lacks_are_told(tmp_path: Path) -> None:
    """An author's own filter: what is there has its place, and what is not is said."""
    outs = Outs(tmp_path / "outs")
    gone, outs.barcodes, outs.counts = outs.barcodes[:2], outs.barcodes[2:], outs.counts[2:]
    raw = read(outs.write(), RECIPE)
    assert raw.findings.codes() == {"in-tissue-without-counts"}
    assert all(barcode in str(raw.findings.items[0].facts.found) for barcode in gone)
    assert len(raw.spot_ids) == len(outs.barcodes)


@pytest.mark.parametrize(
    ("endings", "rule"),
    [
        (("", "-1"), {"counts": "", "positions": "-1"}),
        (("-3", "-1"), {"counts": "-3", "positions": "-1"}),
        (("_sampleA", ""), {"counts": "_sampleA"}),
    ],
)
def test_a_barcode_suffix_is_taken_off_when_the_recipe_names_it(
    tmp_path: Path, endings: tuple[str, str], rule: dict[str, str]
) -> None:
    expected = read(Outs(tmp_path / "plain").write(), RECIPE)
    outs = Outs(tmp_path / "outs")
    outs.barcodes = [barcode.removesuffix("-1") + endings[0] for barcode in outs.barcodes]
    outs.positions = [[row[0].removesuffix("-1") + endings[1], *row[1:]] for row in outs.positions]
    local = outs.write()
    raw = read(local, replace(RECIPE, options={"barcode_suffix": rule}))
    assert raw.spot_ids.tolist() == [spot.removesuffix("-1") + endings[1] for spot in expected.spot_ids]
    assert (raw.counts != expected.counts).nnz == 0
    assert raw.xy_px.tolist() == expected.xy_px.tolist()
    with pytest.raises(DataError) as caught:
        read(local, RECIPE)
    assert caught.value.facts.code == "barcodes-without-position"
    with pytest.raises(DataError) as caught:
        read(local, replace(RECIPE, options={"barcode_suffix": {**rule, "counts": "-9"}}))
    assert caught.value.facts.code == "barcode-suffix"


def test_a_lost_suffix_is_explained(tmp_path: Path) -> None:
    outs = Outs(tmp_path / "outs")
    lose_suffix(outs)
    with pytest.raises(DataError) as caught:
        read(outs.write(), RECIPE)
    assert "barcode_suffix" in str(caught.value.facts.todo)


def test_labels_join_by_barcode_with_a_suffix_of_their_own(tmp_path: Path) -> None:
    outs = Outs(tmp_path / "outs")
    local = outs.write()
    labels = tmp_path / "labels.csv"
    lines = [f"{barcode.removesuffix('-1')}_s1,layer{number % 3}" for number, barcode in enumerate(outs.barcodes)]
    labels.write_text("\n".join(["key,layer", *lines[5:]]) + "\n")
    recipe = replace(
        RECIPE,
        labels={"key": "key", "column": "layer", "separator": ","},
        options={"barcode_suffix": {"labels": "_s1", "positions": "-1", "counts": "-1"}},
    )
    local = local_files({**local.paths, "labels": labels})
    raw = read(local, recipe)
    truth = {barcode: f"layer{number % 3}" if number >= 5 else "" for number, barcode in enumerate(outs.barcodes)}
    assert raw.labels["label_layer"].tolist() == [truth[spot] for spot in raw.spot_ids]
    labels.write_text("\n".join(["key,layer", *lines, lines[0].replace("layer0", "layer1")]) + "\n")
    with pytest.raises(DataError) as caught:
        read(local, recipe)
    assert caught.value.facts.code == "duplicate-spot-ids", "two labels of one spot are not chosen between"


def test_labels_take_the_recipe_s_name_and_strangers_are_told(tmp_path: Path) -> None:
    outs = Outs(tmp_path / "outs")
    local = outs.write()
    labels = tmp_path / "labels.tsv"
    lines = [f"{barcode}\tlayer{number}" for number, barcode in enumerate(outs.barcodes)]
    labels.write_text("\n".join(["key\tlayer", *lines, "GATTACA-1\tlayer9"]) + "\n")
    local = local_files({**local.paths, "labels": labels})
    raw = read(local, replace(RECIPE, labels={"key": "key", "column": "layer", "name": "region"}))
    assert set(raw.labels) == {"label_region"}
    assert (raw.labels["label_region"] != "").all()
    assert raw.findings.codes() == {"labels-unmatched"}
    assert "GATTACA-1" in str(raw.findings.items[0].facts.found)
    labels.write_text("\n".join(["key\tlayer", *(line.replace("-1", "-2") for line in lines)]) + "\n")
    raw = read(local, replace(RECIPE, labels={"key": "key", "column": ["layer"]}))
    assert (raw.labels["label_layer"] == "").all()
    assert raw.findings.codes() == {"labels-unmatched"}, "no label found its spot, and that is said"


def lose_suffix(outs: Outs) -> None:
    outs.barcodes = [barcode.removesuffix("-1") for barcode in outs.barcodes]


def another_section(outs: Outs) -> None:
    outs.barcodes = Outs(outs.folder, seed=9).barcodes


def barcode_twice(outs: Outs) -> None:
    outs.barcodes[1] = outs.barcodes[0]


def position_twice(outs: Outs) -> None:
    outs.positions.append(outs.positions[2])


def word_for_number(outs: Outs) -> None:
    outs.positions[3][4] = "left"


def empty_position(outs: Outs) -> None:
    outs.positions[3][4] = ""


def half_a_row(outs: Outs) -> None:
    outs.positions[3][2] = "0.5"


def maybe_in_tissue(outs: Outs) -> None:
    outs.positions[3][1] = "2"


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lose_suffix, "barcodes-without-position"),
        (another_section, "barcodes-without-position"),
        (barcode_twice, "duplicate-spot-ids"),
        (position_twice, "duplicate-spot-ids"),
        (word_for_number, "positions-invalid"),
        (empty_position, "positions-invalid"),
        (half_a_row, "lattice-not-integer"),
        (maybe_in_tissue, "positions-invalid"),
    ],
)
def test_a_join_that_is_not_total_is_refused(tmp_path: Path, spoil: Callable[[Outs], None], code: str) -> None:
    outs = Outs(tmp_path / "outs")
    spoil(outs)
    with pytest.raises(DataError) as caught:
        read(outs.write(), RECIPE)
    assert code in {caught.value.facts.code, *(facts.code for facts in caught.value.also)}
    assert caught.value.facts.section == "s1"


def test_a_count_matrix_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    local = Outs(tmp_path / "outs").write()
    with h5py.File(local.paths["counts"], "r+") as handle:
        handle["matrix/indptr"][-1] = 5
    with pytest.raises(DataError) as caught:
        read(local, RECIPE)
    assert caught.value.facts.code == "matrix-unreadable"


@pytest.mark.parametrize("keep", [0.3, 0.9])
@pytest.mark.parametrize(("matrix", "role"), [("h5", "counts"), ("mex", "matrix"), ("mex-plain", "matrix")])
def test_a_cut_count_file_is_refused(tmp_path: Path, keep: float, matrix: str, role: str) -> None:
    local = Outs(tmp_path / "outs", matrix=matrix).write()
    data = local.paths[role].read_bytes()
    local.paths[role].write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError) as caught:
        read(local, RECIPE)
    assert caught.value.facts.code == "matrix-unreadable"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"tissue_hires_scalef": 1' + "0" * 400 + "}", "scalefactor-missing"),
        ('{"tissue_hires_scalef": "0.17"}', "scalefactor-missing"),
        ('{"tissue_hires_scalef": NaN}', "scalefactor-missing"),
        ("[0.17]", "scalefactors-unreadable"),
        ("{", "scalefactors-unreadable"),
    ],
)
def test_scale_factors_that_are_no_numbers_are_refused(tmp_path: Path, text: str, code: str) -> None:
    local = Outs(tmp_path / "outs").write()
    local.paths["scalefactors"].write_text(text)
    paths = {role: path for role, path in local.paths.items() if role != "image"} | {"hires": local.paths["image"]}
    with pytest.raises(DataError) as caught:
        read(local_files(paths), RECIPE)
    assert code in {caught.value.facts.code, *(facts.code for facts in caught.value.also)}


def test_a_matrix_of_two_genomes_is_refused(tmp_path: Path) -> None:
    local = Outs(tmp_path / "outs", matrix="h5-genome").write()
    with h5py.File(local.paths["counts"], "r+") as handle:
        handle.copy("GRCh38", "mm10")
    with pytest.raises(DataError) as caught:
        read(local, RECIPE)
    assert caught.value.facts.code == "several-genomes"
    assert caught.value.facts.found == "GRCh38, mm10"


def test_counts_of_probes_are_refused(tmp_path: Path) -> None:
    local = Outs(tmp_path / "outs").write()
    with h5py.File(local.paths["counts"], "r+") as handle:
        handle["matrix/features/gene_id"] = handle["matrix/features/id"][...]
        handle["matrix/features/filtered_probes"] = np.ones(30, dtype=bool)
    with pytest.raises(DataError) as caught:
        read(local, RECIPE)
    assert caught.value.facts.code == "probe-matrix"
    assert "filtered_feature_bc_matrix" in str(caught.value.facts.todo)


def test_a_gene_may_be_called_na(tmp_path: Path) -> None:
    local = Outs(tmp_path / "outs", matrix="mex-plain").write()
    features = local.paths["features"]
    features.write_text(features.read_text().replace("GENE3\t", "NA\t").replace("GENE4\t", '"odd\t'))
    assert read(local, RECIPE).gene_names.tolist()[3:5] == ["NA", '"odd']


def test_the_spot_diameter_is_no_witness(tmp_path: Path) -> None:
    """The folder says 999 px for a spot; the scale does not move."""
    raw = read(Outs(tmp_path / "outs").write(), RECIPE)
    assert set(raw.um_per_pixel_witnesses) == {"fiducial_diameter_fullres"}
