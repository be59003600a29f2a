"""Small ``square_*um`` folders of Visium HD for tests, every byte of them known."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.io import mmwrite
from scipy.sparse import csc_matrix

from humanst.catalog import Lattice, Recipe
from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.platforms.visium_hd import read

UM_PER_PIXEL = 0.27
HIRES = 0.25


def recipe(bin_um: float = 8.0, **options: Any) -> Recipe:
    return Recipe(
        platform="visium_hd",
        gene_id_type="ensembl",
        targeted=False,
        absent_genes="unmeasured",
        lattice=Lattice("square", bin_um, bin_um),
        options={"bin_um": bin_um, "target_side_um": 56.0, **options},
    )


@dataclass
class Binned:
    """One synthetic ``square_008um`` folder of 30 x 24 bins; those of the last columns are out of tissue."""

    folder: Path
    bin_um: float = 8.0
    positions: dict[str, Any] = field(default_factory=dict)
    barcodes: list[str] = field(default_factory=list)
    counts: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    factors: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(7)
        row, column = (axis.ravel() for axis in np.indices((30, 24)))
        pitch_px = self.bin_um / UM_PER_PIXEL
        inside = (column < 18).astype(np.int32)
        names = [f"s_{self.bin_um:03.0f}um_{r:05d}_{c:05d}-1" for r, c in zip(row, column, strict=True)]
        order = rng.permutation(len(row))
        self.positions = {
            "barcode": [names[i] for i in order],
            "in_tissue": inside[order],
            "array_row": row[order].astype(np.int32),
            "array_col": column[order].astype(np.int32),
            "pxl_row_in_fullres": (900.0 + row * pitch_px)[order],
            "pxl_col_in_fullres": (2500.0 - column * pitch_px)[order],
        }
        self.barcodes = [names[i] for i in rng.permutation(np.flatnonzero(inside)) if i % 11]
        self.counts = rng.poisson(0.4, (len(self.barcodes), 12))
        self.counts[0, 0] = 70_000
        self.factors = {
            "bin_size_um": self.bin_um,
            "microns_per_pixel": UM_PER_PIXEL * 1.0004,
            "tissue_hires_scalef": HIRES,
            "tissue_lowres_scalef": HIRES / 10,
        }

    def write(self, *, mex: bool = False, image: str = "image") -> LocalFiles:
        """Write the files and name them by role."""
        self.folder.mkdir(parents=True, exist_ok=True)
        paths = {
            "positions": self.folder / "tissue_positions.parquet",
            "scalefactors": self.folder / "scalefactors_json.json",
            image: self.folder / "image.tif",
        }
        pd.DataFrame(self.positions).to_parquet(paths["positions"])
        paths["scalefactors"].write_text(json.dumps(self.factors))
        paths[image].touch()
        return local(paths | (self._write_mex() if mex else {"counts": self._write_h5()}))

    def _write_h5(self) -> Path:
        path = self.folder / "filtered_feature_bc_matrix.h5"
        matrix = csc_matrix(self.counts.T)
        n_genes = matrix.shape[0]
        with h5py.File(path, "w") as handle:
            group = handle.create_group("matrix")
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(matrix, name)
            group["shape"] = np.array(matrix.shape)
            group["barcodes"] = np.array(self.barcodes, dtype="S")
            features = group.create_group("features")
            features["id"] = np.array([f"ENSG{number:011d}" for number in range(n_genes)], dtype="S")
            features["name"] = np.array([f"GENE{number}" for number in range(n_genes)], dtype="S")
            features["feature_type"] = np.array([b"Gene Expression"] * n_genes)
        return path

    def _write_mex(self) -> dict[str, Path]:
        names = {"matrix": "matrix.mtx.gz", "features": "features.tsv.gz", "barcodes": "barcodes.tsv.gz"}
        paths = {role: self.folder / name for role, name in names.items()}
        with gzip.open(paths["matrix"], "wb") as handle:
            mmwrite(handle, csc_matrix(self.counts.T), field="integer")
        lines = [f"ENSG{number:011d}\tGENE{number}\tGene Expression" for number in range(self.counts.shape[1])]
        paths["features"].write_bytes(gzip.compress("\n".join(lines).encode()))
        paths["barcodes"].write_bytes(gzip.compress("\n".join(self.barcodes).encode()))
        return paths


def local(paths: dict[str, Path]) -> LocalFiles:
    names = {role: path.name for role, path in paths.items()}
    return LocalFiles("study", "s1", paths, dict.fromkeys(paths, "0" * 64), names)


def codes_of(files: LocalFiles, how: Recipe) -> set[str]:
    with pytest.raises(DataError) as caught:
        read(files, how)
    assert caught.value.facts.section == "s1"
    return {caught.value.facts.code, *(facts.code for facts in caught.value.also)}
