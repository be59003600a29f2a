"""The Visium reader on small folders written here: every generation of files, and every way the join can fail."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import mmwrite
from scipy.sparse import csc_matrix

from humanst.catalog import Lattice, Recipe
from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.platforms.visium import read

RECIPE = Recipe(
    platform="visium",
    gene_id_type="ensembl",
    targeted=False,
    absent_genes="unmeasured",
    lattice=Lattice("hex", 100.0, 55.0),
)
PITCH_PX = 273.0


@dataclass
class Outs:
    """One synthetic ``outs`` folder: 6 rows of spots, every third position out of tissue."""

    folder: Path
    header: bool = True
    mex: bool = False
    seed: int = 0
    barcodes: list[str] = field(default_factory=list)
    positions: list[list[str]] = field(default_factory=list)
    counts: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        letters = np.array(list("ACGT"))
        spots = [(row, col) for row in range(6) for col in range(row % 2, 16, 2)]
        for number, (row, col) in enumerate(spots):
            barcode = "".join(letters[rng.integers(0, 4, 16)]) + "-1"
            x, y = 500 + col * PITCH_PX / 2, 400 + row * PITCH_PX * np.sqrt(3) / 2
            tissue = int(number % 3 != 0)
            self.positions.append([barcode, str(tissue), str(row), str(col), f"{y:.1f}", f"{x:.1f}"])
            if tissue:
                self.barcodes.append(barcode)
        self.counts = rng.poisson(2.0, (len(self.barcodes), 30))

    def write(self) -> LocalFiles:
        """Write the files and name them by role."""
        spatial = self.folder / "spatial"
        spatial.mkdir(parents=True)
        lines = [",".join(row) for row in self.positions]
        if self.header:
            lines.insert(0, "barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres")
        positions = spatial / ("tissue_positions.csv" if self.header else "tissue_positions_list.csv")
        positions.write_text("\n".join(lines) + "\n")
        factors = spatial / "scalefactors_json.json"
        values = {"fiducial_diameter_fullres": 105 * PITCH_PX / 100, "tissue_hires_scalef": 0.1}
        factors.write_text(json.dumps(values | {"spot_diameter_fullres": 999.0}))
        image = self.folder / "image.tif"
        image.touch()
        paths = {"positions": positions, "scalefactors": factors, "image": image}
        paths |= self._write_mex() if self.mex else {"counts": self._write_h5()}
        return LocalFiles(
            "study", "s1", paths, dict.fromkeys(paths, "0" * 64), {role: path.name for role, path in paths.items()}
        )

    def _features(self) -> list[tuple[str, str]]:
        return [(f"ENSG{number:011d}", f"GENE{number}") for number in range(self.counts.shape[1])]

    def _write_h5(self) -> Path:
        path = self.folder / "filtered_feature_bc_matrix.h5"
        matrix = csc_matrix(self.counts.T)
        with h5py.File(path, "w") as handle:
            group = handle.create_group("matrix")
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(matrix, name)
            group["shape"] = np.array(matrix.shape)
            group["barcodes"] = np.array(self.barcodes, dtype="S")
            features = group.create_group("features")
            features["id"] = np.array([one for one, _ in self._features()], dtype="S")
            features["name"] = np.array([two for _, two in self._features()], dtype="S")
            features["feature_type"] = np.array([b"Gene Expression"] * matrix.shape[0])
        return path

    def _write_mex(self) -> dict[str, Path]:
        folder = self.folder / "filtered_feature_bc_matrix"
        folder.mkdir()
        paths = {name: folder / f"{file}.gz" for name, file in MEX_FILES.items()}
        with gzip.open(paths["matrix"], "wb") as handle:
            mmwrite(handle, csc_matrix(self.counts.T), field="integer")
        lines = [f"{one}\t{two}\tGene Expression" for one, two in self._features()]
        paths["features"].write_bytes(gzip.compress("\n".join(lines).encode()))
        paths["barcodes"].write_bytes(gzip.compress("\n".join(self.barcodes).encode()))
        return paths


MEX_FILES = {"matrix": "matrix.mtx", "features": "features.tsv", "barcodes": "barcodes.tsv"}


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("mex", [True, False])
def test_every_layout_reads_to_the_same_section(tmp_path: Path, header: bool, mex: bool) -> None:
    outs = Outs(tmp_path / "outs", header=header, mex=mex)
    raw = read(outs.write(), RECIPE)
    order = np.argsort(outs.barcodes)
    assert raw.spot_ids.tolist() == [outs.barcodes[number] for number in order]
    assert (raw.counts.toarray() == outs.counts[order]).all()
    assert raw.counts.dtype == np.int64
    place = {row[0]: (float(row[5]), float(row[4])) for row in outs.positions}
    assert raw.xy_px.tolist() == [list(place[barcode]) for barcode in raw.spot_ids], "(x, y), column before row"
    assert raw.all_in_tissue.sum() == len(outs.barcodes)
    assert raw.um_per_pixel_witnesses == pytest.approx({"fiducial_diameter_fullres": 100 / PITCH_PX})


def test_a_hires_image_scales_positions_and_witness_together(tmp_path: Path) -> None:
    outs = Outs(tmp_path / "outs")
    full = outs.write()
    paths = {role: path for role, path in full.paths.items() if role != "image"} | {"hires": full.paths["image"]}
    names = {role: path.name for role, path in paths.items()}
    raw = read(LocalFiles("study", "s1", paths, dict.fromkeys(paths, "0" * 64), names), RECIPE)
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


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lose_suffix, "barcodes-without-position"),
        (another_section, "barcodes-without-position"),
        (barcode_twice, "duplicate-spot-ids"),
        (position_twice, "duplicate-spot-ids"),
        (word_for_number, "positions-invalid"),
        (empty_position, "positions-invalid"),
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
def test_a_cut_count_file_is_refused(tmp_path: Path, keep: float) -> None:
    local = Outs(tmp_path / "outs").write()
    data = local.paths["counts"].read_bytes()
    local.paths["counts"].write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError) as caught:
        read(local, RECIPE)
    assert caught.value.facts.code == "matrix-unreadable"


def test_the_spot_diameter_is_no_witness(tmp_path: Path) -> None:
    """The folder says 999 px for a spot; the scale does not move."""
    raw = read(Outs(tmp_path / "outs").write(), RECIPE)
    assert set(raw.um_per_pixel_witnesses) == {"fiducial_diameter_fullres"}
