"""What the first bytes of vendor files suggest: how genes are named, which species, which scale."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.catalog import Lattice
from humanst.errors import DataError, HumanstError
from humanst.findings import Findings
from humanst.harmonize.gene_names import foreign_mark, is_title_case
from humanst.harmonize.gene_table import human_ensembl_id
from humanst.harmonize.space import LatticeFit, fit_lattice
from humanst.platforms.h5_guard import open_h5
from humanst.platforms.tables import read_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

VISIUM = Lattice("hex", 100.0, 55.0)
MAX_NAMES = 40_000
# A whole transcriptome has ten thousands of genes; a panel hundreds, or 5,000 at most.
PANEL_BELOW = 6_000


def feature_ids(folder: Path, files: dict[str, str]) -> list[str]:
    """Ids (else names) of the features of a 10x matrix or a transcript table; empty where they cannot be read."""
    try:
        if "transcripts" in files:
            return _transcript_names(folder / files["transcripts"])
        if "counts" in files and files["counts"].endswith(".h5"):
            return _h5_ids(folder / files["counts"])
        if "features" in files:
            path = folder / files["features"]
            with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as handle:
                return [line.split("\t")[0].strip() for _, line in zip(range(MAX_NAMES), handle, strict=False)]
    except (DataError, OSError, EOFError, UnicodeDecodeError, KeyError, ValueError):
        return []
    return []


def _transcript_names(path: Path) -> list[str]:
    """Names of features among the first transcripts, sorted."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as handle:
            names = handle.read_row_group(0, columns=["feature_name"])["feature_name"].to_pylist()[:MAX_NAMES]
    else:
        names = read_table(path, name=path.name, usecols=["feature_name"], nrows=MAX_NAMES)["feature_name"].tolist()
    return sorted({name.decode() if isinstance(name, bytes) else str(name) for name in names})


def _h5_ids(path: Path) -> list[str]:
    with open_h5(path, path.name) as handle:
        values = handle["matrix/features/id"][:MAX_NAMES]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def gene_id_type(names: Sequence[str]) -> str:
    """``ensembl`` when most names are Ensembl ids of any species, else ``symbol``."""
    known = sum(1 for name in names if human_ensembl_id(name) or (foreign_mark(name) or "").startswith("ENS"))
    return "ensembl" if names and known > len(names) / 2 else "symbol"


def foreign_genes(names: Sequence[str]) -> str | None:
    """What speaks against human genes, as text; ``None`` where nothing does."""
    marks = Counter(mark for name in names if (mark := foreign_mark(name)))
    if marks.total() > len(names) / 100:
        return f"{marks.total():,} of {len(names):,} features are {marks.most_common(1)[0][0]}"
    title = sum(1 for name in names if is_title_case(name))
    if names and title > len(names) / 2:
        return f"{title:,} of {len(names):,} names are in title case, as in mouse and rat"
    return None


def visium_scale(folder: Path, files: dict[str, str]) -> LatticeFit | None:
    """The scale of the full-resolution image by the lattice; ``None`` where the positions do not tell it."""
    path = files.get("positions", "")
    if not path.removesuffix(".gz").endswith(".csv"):
        return None
    try:
        table = read_table(folder / path, name=path, header=None, dtype=str)
        rows = table.iloc[1:] if str(table.iloc[0, 0]) == "barcode" else table
        numbers = rows.iloc[:, 1:6].astype(float).to_numpy()
    except (DataError, OSError, EOFError, ValueError, IndexError):
        return None
    if numbers.shape[1] != 5 or not np.isfinite(numbers).all():
        return None
    return fit_lattice(numbers[:, 1:3].astype(np.int64), numbers[:, [4, 3]], VISIUM, Findings())


def spot_scale(folder: Path, path: str, columns: dict[str, str], separator: str, lattice: Lattice) -> LatticeFit | None:
    """The same from a spot file of legacy ST, for a guessed pitch."""
    try:
        table = read_table(folder / path, name=path, sep=separator)
        array: NDArray[Any] = table[[columns["array_y"], columns["array_x"]]].to_numpy(float)
        xy_px = table[[columns["pixel_x"], columns["pixel_y"]]].to_numpy(float)
    except (DataError, OSError, EOFError, ValueError, KeyError):
        return None
    if not (np.isfinite(array).all() and np.isfinite(xy_px).all()):
        return None
    return fit_lattice(np.rint(array).astype(np.int64), xy_px, lattice, Findings())


def scale_factors(folder: Path, files: dict[str, str]) -> dict[str, float]:
    """The numbers of ``scalefactors_json.json``; empty where it cannot be read."""
    if "scalefactors" not in files:
        return {}
    try:
        path = folder / files["scalefactors"]
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        content = json.loads(raw, parse_int=float)
    except (OSError, EOFError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {str(key): float(value) for key, value in content.items() if isinstance(value, float)}


def picture_fault(folder: Path, path: str) -> str | None:
    """Why a picture cannot be the H&E image, as text; ``None`` where nothing speaks against it."""
    from humanst.harmonize.tissue import check_stain
    from humanst.tiles import image_size, thumbnail

    findings = Findings()
    try:
        width, height = image_size(folder / path, name=path)
        check_stain(thumbnail(folder / path, 1.0, max(1.0, max(width, height) / 1024)), findings, file=path)
    except HumanstError as error:
        return str(error.facts.found or error.facts.what)
    return next((f"{item.facts.what.lower()} ({item.facts.found})" for item in findings.of("refuse")), None)
