"""The viewer's transcripts.zarr.zip of a transcript table, written with zarr as the instrument lays it out."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from numcodecs import Blosc

TILE_UM = 250.0
# The order of the columns is the archive's own business.
CATEGORIES = {
    "is_gene": (),
    "is_negative_control_codeword": ("negative_control_codeword",),
    "is_negative_control_probe": ("negative_control_probe",),
    "is_unassigned_codeword": ("unassigned_codeword",),
    "is_predesigned_gene": ("predesigned_gene",),
    "is_deprecated_codeword": ("deprecated_codeword",),
    "is_custom_gene": ("custom_gene",),
    "is_genomic_control": ("genomic_control_probe",),
}


def write_archive(
    path: Path, frame: pd.DataFrame, *, version: int = 4, tile_um: float = TILE_UM, **changes: Any
) -> Path:
    """Write an archive of all rows; ``changes`` replace attributes of the root or of ``grids``, or ``valid``.

    Level 0 has every row once, in tiles of ``tile_um``; level 1 has clusters of them, in tiles twice as wide.
    """
    names = sorted(frame["feature_name"].unique())
    root_attributes = {
        "name": "RnaDataset",
        "major_version": version,
        "minor_version": 1,
        "spatial_units": "micron",
        "coordinate_space": "refined-final_global_micron",
        "gene_names": names,
        "number_genes": len(names),
        "number_rnas": len(frame),
    }
    valid = changes.pop("valid", np.ones(len(frame), dtype=np.uint8))
    rows = frame.assign(gene=[names.index(name) for name in frame["feature_name"]], valid=valid)
    with zarr.storage.ZipStore(path, mode="w") as store, warnings.catch_warnings():
        # Attributes that are put later come as a second member of one name, as in the instrument's archives.
        warnings.filterwarnings("ignore", "Duplicate name")
        root = zarr.create_group(store, zarr_format=2)
        grids = root.create_group("grids")
        tiles = [_level(grids.create_group(str(level)), rows, level, tile_um * 2**level) for level in (0, 1)]
        if "codeword_category" in frame:
            _categories(root, frame, names)
        grid_attributes = {
            "grid_keys": [list(found) for found in tiles],
            "grid_number_objects": [list(found.values()) for found in tiles],
            "grid_size": [tile_um],
            "number_levels": 2,
        }
        for group, attributes in ((root, root_attributes), (grids, grid_attributes)):
            kept = {key: changes.get(key, value) for key, value in attributes.items()}
            group.attrs.put({key: value for key, value in kept.items() if value is not None})
    return path


def _level(group: Any, rows: pd.DataFrame, level: int, side: float) -> dict[str, int]:
    keys = np.floor(rows[["x_location", "y_location"]] / side).astype(int)
    found = {}
    for (column, row), tile in rows.groupby([keys["x_location"], keys["y_location"]]):
        part = group.create_group(f"{column},{row}")
        found[f"{column},{row}"] = len(tile)
        _put(part, "location", tile[["x_location", "y_location", "z_location"]].to_numpy(np.float32))
        _put(part, "gene_identity", tile[["gene"]].to_numpy(np.uint16))
        if level == 0:
            _put(part, "quality_score", tile[["qv"]].to_numpy(np.float32))
            _put(part, "valid", tile[["valid"]].to_numpy(np.uint8))
        else:
            _put(part, "cluster_count", np.ones((len(tile), 1), dtype=np.uint32))
    return found


def _categories(root: Any, frame: pd.DataFrame, names: list[str]) -> None:
    kind = frame.groupby("feature_name")["codeword_category"].first()[names]
    flags = np.array([[value in kinds for kinds in CATEGORIES.values()] for value in kind], dtype=bool)
    flags[:, 0] = kind.str.endswith("_gene")
    _put(root, "gene_category", flags, chunks=(len(names), 1)).attrs.put({"column_names": list(CATEGORIES)})


def _put(group: Any, name: str, values: np.ndarray, *, chunks: tuple[int, int] | None = None) -> Any:
    """Columns first and every chunk, as the instrument writes; in several chunks, the last of them padded."""
    chunks = chunks or (min(len(values), 37), values.shape[1])
    compressor = Blosc("zstd", clevel=5, shuffle=Blosc.SHUFFLE)
    array = group.create_array(
        name, shape=values.shape, dtype=values.dtype, chunks=chunks, compressors=compressor, order="F",
        config={"write_empty_chunks": True},
    )  # fmt: skip
    array[...] = values
    return array


def rewrite(path: Path, change: Callable[[dict[str, bytes]], Mapping[str, bytes]]) -> Path:
    """Write the archive again with other members, each named once."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in change(members).items():
            archive.writestr(name, data)
    return path


def edit_json(path: Path, member: str, **values: Any) -> Path:
    """Change keys of a JSON member."""
    return rewrite(
        path, lambda members: members | {member: json.dumps({**json.loads(members[member]), **values}).encode()}
    )
