"""Synthetic ``outs`` folders of every generation of Space Ranger, for the tests of the Visium reader."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from scipy.io import mmwrite
from scipy.sparse import csc_matrix

from humanst.catalog import Lattice, Recipe
from humanst.fetch import LocalFiles

RECIPE = Recipe(
    platform="visium",
    gene_id_type="ensembl",
    targeted=False,
    absent_genes="unmeasured",
    lattice=Lattice("hex", 100.0, 55.0),
)
PITCH_PX = 273.0
HEADER = "barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres"
MATRICES = ("h5", "h5-genome", "mex", "mex-genes", "mex-plain")


@dataclass
class Outs:
    """One synthetic ``outs`` folder: 6 rows of spots, every third position out of tissue.

    ``matrix`` is one of ``MATRICES``: HDF5 of version 3, HDF5 with a group a genome, Market Exchange with
    ``features.tsv.gz`` or ``genes.tsv``, or not compressed. ``mirrored``, ``rows``, ``columns``: a CytAssist slide.
    """

    folder: Path
    header: bool = True
    matrix: str = "h5"
    seed: int = 0
    rows: int = 6
    columns: int = 16
    mirrored: bool = False
    factors: Mapping[str, float] = field(default_factory=dict)
    genes: Sequence[tuple[str, str]] = tuple((f"ENSG{number:011d}", f"GENE{number}") for number in range(30))
    barcodes: list[str] = field(default_factory=list)
    positions: list[list[str]] = field(default_factory=list)
    counts: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        letters = np.array(list("ACGT"))
        spots = [(row, col) for row in range(self.rows) for col in range(row % 2, self.columns, 2)]
        for number, (row, col) in enumerate(spots):
            barcode = "".join(letters[rng.integers(0, 4, 16)]) + "-1"
            x, y = 500 + col * PITCH_PX / 2, 400 + row * PITCH_PX * np.sqrt(3) / 2
            x = 500 + self.columns * PITCH_PX - x if self.mirrored else x
            tissue = int(number % 3 != 0)
            self.positions.append([barcode, str(tissue), str(row), str(col), f"{y:.4f}", f"{x:.4f}"])
            if tissue:
                self.barcodes.append(barcode)
        self.counts = rng.poisson(2.0, (len(self.barcodes), len(self.genes)))

    @property
    def place(self) -> dict[str, tuple[float, float]]:
        """Barcode -> (x, y) in full-resolution pixels."""
        return {row[0]: (float(row[5]), float(row[4])) for row in self.positions}

    def write(self) -> LocalFiles:
        """Write the files and name them by role."""
        spatial = self.folder / "spatial"
        spatial.mkdir(parents=True, exist_ok=True)
        lines = [",".join(row) for row in self.positions]
        if self.header:
            lines.insert(0, HEADER)
        positions = spatial / ("tissue_positions.csv" if self.header else "tissue_positions_list.csv")
        positions.write_text("\n".join(lines) + "\n")
        factors = spatial / "scalefactors_json.json"
        values = {"fiducial_diameter_fullres": 105 * PITCH_PX / 100, "tissue_hires_scalef": 0.1}
        values |= {"tissue_lowres_scalef": 0.03, "spot_diameter_fullres": 999.0, **self.factors}
        factors.write_text(json.dumps(values))
        image = self.folder / "image.tif"
        image.touch()
        paths = {"positions": positions, "scalefactors": factors, "image": image, **self._write_matrix()}
        return local_files(paths)

    def features(self) -> list[tuple[str, str]]:
        """(id, name) of every feature."""
        return list(self.genes)

    def _write_matrix(self) -> dict[str, Path]:
        return {"counts": self._write_h5()} if self.matrix.startswith("h5") else self._write_mex()

    def _write_h5(self) -> Path:
        path = self.folder / "filtered_feature_bc_matrix.h5"
        matrix = csc_matrix(self.counts.T)
        ids, names = (np.array(column, dtype="S") for column in zip(*self.features(), strict=True))
        with h5py.File(path, "w") as handle:
            group = handle.create_group("GRCh38" if self.matrix == "h5-genome" else "matrix")
            group["data"] = matrix.data.astype(np.int32)
            group["indices"], group["indptr"] = matrix.indices, matrix.indptr
            group["shape"] = np.array(matrix.shape)
            group["barcodes"] = np.array(self.barcodes, dtype="S")
            if self.matrix == "h5-genome":
                group["genes"], group["gene_names"] = ids, names
            else:
                features = group.create_group("features")
                features["id"], features["name"] = ids, names
                features["feature_type"] = np.array([b"Gene Expression"] * matrix.shape[0])
                features["genome"] = np.array([b"GRCh38"] * matrix.shape[0])
                handle.attrs["library_ids"] = np.array([b"library"])
        return path

    def _write_mex(self) -> dict[str, Path]:
        folder = self.folder / "filtered_feature_bc_matrix"
        folder.mkdir(parents=True, exist_ok=True)
        old = self.matrix == "mex-genes"
        files = {"matrix": "matrix.mtx", "features": "genes.tsv" if old else "features.tsv", "barcodes": "barcodes.tsv"}
        paths = {role: folder / name for role, name in files.items()}
        with paths["matrix"].open("wb") as handle:
            mmwrite(handle, csc_matrix(self.counts.T), field="integer")
        kind = "" if old else "\tGene Expression"
        paths["features"].write_text("".join(f"{one}\t{two}{kind}\n" for one, two in self.features()))
        paths["barcodes"].write_text("".join(f"{barcode}\n" for barcode in self.barcodes))
        return paths if self.matrix == "mex-plain" else {role: gzipped(path) for role, path in paths.items()}


def gzipped(path: Path) -> Path:
    """Replace a file by its gzipped copy."""
    target = path.with_name(f"{path.name}.gz")
    target.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    path.unlink()
    return target


def local_files(paths: Mapping[str, Path]) -> LocalFiles:
    """The files of one section, as fetch gives them."""
    names = {role: path.name for role, path in paths.items()}
    return LocalFiles("study", "s1", dict(paths), dict.fromkeys(paths, "0" * 64), names)


def add_geo_members(tar: tarfile.TarFile, prefix: str, local: LocalFiles, hires_png: bytes) -> None:
    """Put a section into an archive as GEO has it: names with a prefix, and all but the matrix gzipped."""
    members = {
        "filtered_feature_bc_matrix.h5": local.paths["counts"].read_bytes(),
        "tissue_positions_list.csv.gz": gzip.compress(local.paths["positions"].read_bytes()),
        "scalefactors_json.json.gz": gzip.compress(local.paths["scalefactors"].read_bytes()),
        "tissue_hires_image.png.gz": gzip.compress(hires_png),
    }
    for member, data in members.items():
        info = tarfile.TarInfo(f"{prefix}_{member}")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
