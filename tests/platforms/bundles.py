"""Small Xenium bundles written here: any transcripts, any alignment, an image that is only a header."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile

from humanst.catalog import Lattice, Recipe
from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.platforms import RawSection
from humanst.platforms.xenium import read

DAPI = 0.2125
IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
GENES = ("ERBB2", "EPCAM", "KRT7", "LUM")
# The header of an image whose pixels are those of the DAPI image.
OWN_SCALE = {"resolution": (10_000 / DAPI, 10_000 / DAPI), "resolutionunit": "CENTIMETER"}


def recipe(**options: Any) -> Recipe:
    """A Xenium recipe; ``um_per_pixel``, ``targeted`` and ``absent_genes`` are fields, all else options."""
    known = {key: options.pop(key) for key in ("um_per_pixel", "targeted", "absent_genes") if key in options}
    facts = {"targeted": True, "absent_genes": "unmeasured", **known}
    return Recipe("xenium", "symbol", lattice=Lattice("square", 112.0, 112.0), options=options, **facts)


def table(xy_um: np.ndarray, names: Sequence[str], qv: float | np.ndarray = 40.0, **columns: Any) -> pd.DataFrame:
    """A transcript table with the columns every version has, and more where given."""
    n = len(names)
    frame = pd.DataFrame(
        {
            "transcript_id": np.arange(n, dtype=np.uint64),
            "cell_id": ["UNASSIGNED"] * n,
            "overlaps_nucleus": np.zeros(n, dtype=np.uint8),
            "feature_name": list(names),
            "x_location": np.asarray(xy_um, dtype=np.float32)[:, 0] if n else np.empty(0, dtype=np.float32),
            "y_location": np.asarray(xy_um, dtype=np.float32)[:, 1] if n else np.empty(0, dtype=np.float32),
            "z_location": np.zeros(n, dtype=np.float32),
            "qv": np.broadcast_to(np.asarray(qv, dtype=np.float32), n),
        }
    )
    return frame.assign(**columns)


@dataclass
class Bundle:
    """A bundle below ``folder``; parts that are ``None`` are not written."""

    folder: Path
    transcripts: pd.DataFrame
    alignment: Sequence[Sequence[float]] | None = IDENTITY
    size_px: tuple[int, int] | None = (3000, 2000)
    image_tags: Mapping[str, Any] = field(default_factory=dict)
    experiment: Mapping[str, Any] | None = field(
        default_factory=lambda: {"panel_organism": "Human", "pixel_size": DAPI}
    )
    panel: Mapping[str, str] | None = None
    row_group: int = 100
    paths: dict[str, Path] = field(default_factory=dict)

    def write(self) -> LocalFiles:
        """Write the files and name them by role."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path("transcripts", "transcripts.parquet")
        pq.write_table(pa.Table.from_pandas(self.transcripts), path, row_group_size=self.row_group)
        if self.alignment is not None:
            rows = [*self.alignment, (0, 0, 1)]
            self._path("alignment", "he_imagealignment.csv").write_text(
                "\n".join(",".join(map(repr, map(float, row))) for row in rows)
            )
        if self.size_px is not None:
            write_header_only_tiff(self._path("image", "he.tif"), self.size_px, **self.image_tags)
        if self.experiment is not None:
            self._path("experiment", "experiment.xenium").write_text(json.dumps(self.experiment))
        if self.panel is not None:
            write_features(self._path("counts", "cell_feature_matrix.h5"), self.panel)
        return self.local()

    def _path(self, role: str, name: str) -> Path:
        self.paths[role] = self.folder / name
        return self.paths[role]

    def local(self) -> LocalFiles:
        """The files written so far."""
        names = {role: path.name for role, path in self.paths.items()}
        return LocalFiles("study", "s1", dict(self.paths), dict.fromkeys(self.paths, "0" * 64), names)


def write_header_only_tiff(path: Path, size_px: tuple[int, int], **tags: Any) -> None:
    """A white image that compresses to nothing: readers of transcripts look at its header alone."""
    width, height = size_px
    tile = np.full((256, 256, 3), 255, dtype=np.uint8)
    n_tiles = -(-width // 256) * -(-height // 256)
    tifffile.imwrite(
        path, (tile for _ in range(n_tiles)), shape=(height, width, 3), dtype=np.uint8, tile=(256, 256),
        photometric="rgb", compression="zlib", **tags,
    )  # fmt: skip


def write_features(path: Path, panel: Mapping[str, str], kind: str = "Gene Expression") -> None:
    """A cell_feature_matrix.h5 of name -> id, with one control among its features."""
    with h5py.File(path, "w") as handle:
        features = handle.create_group("matrix/features")
        features["name"] = np.array([*panel, "NegControlProbe_00001"], dtype="S")
        features["id"] = np.array([*panel.values(), "NegControlProbe_00001"], dtype="S")
        features["feature_type"] = np.array([kind] * len(panel) + ["Negative Control Probe"], dtype="S")


def codes(error: DataError) -> set[str]:
    """All codes an error carries."""
    return {error.facts.code, *(facts.code for facts in error.also)}


def refused(files: LocalFiles, **options: object) -> set[str]:
    """Codes of the refusal that reading must end with."""
    with pytest.raises(DataError) as caught:
        read(files, recipe(**options))
    assert caught.value.facts.section == "s1"
    return codes(caught.value)


def spread(n: int = 400, seed: int = 0) -> pd.DataFrame:
    """Transcripts of four genes, spread over 5 x 3 squares of 112 um."""
    rng = np.random.default_rng(seed)
    return table(rng.uniform((0, 0), (560, 336), (n, 2)), rng.choice(GENES, n).tolist())


def by_gene(raw: RawSection) -> dict[str, int]:
    """Transcripts of each column."""
    totals = np.asarray(raw.counts.sum(axis=0)).ravel()
    return {name: int(total) for name, total in zip(raw.gene_names.tolist(), totals, strict=True)}


def dropped(raw: RawSection) -> dict[str, int]:
    """Transcripts of each reason; every drop must be one of counts, with examples."""
    assert all(drop.what == "counts" and drop.n == drop.counts > 0 and drop.examples for drop in raw.drops)
    return {drop.reason: drop.n for drop in raw.drops}
