"""The index of a release: one row a pair, and the json that travels with each pair."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst import files

if TYPE_CHECKING:
    import pyarrow as pa

    from humanst.shards.pack import SectionFacts

_TEXT, _INT, _LONG, _FLOAT, _DOUBLE = "string", "int32", "int64", "float32", "float64"
COLUMNS: Mapping[str, str] = {
    "uid": _TEXT,
    "key": _TEXT,
    "shard": _TEXT,
    "jpg_offset": _LONG,
    "jpg_length": _INT,
    "jpg_hash": _TEXT,
    "json_offset": _LONG,
    "json_length": _INT,
    "json_hash": _TEXT,
    "npy_offset": _LONG,
    "npy_length": _INT,
    "npy_hash": _TEXT,
    "sample_id": _TEXT,
    "spot_id": _TEXT,
    "donor_group": _TEXT,
    "platform": _TEXT,
    "x_px": _DOUBLE,
    "y_px": _DOUBLE,
    "x_um": _DOUBLE,
    "y_um": _DOUBLE,
    "row": _INT,
    "col": _INT,
    "native_um_per_pixel": _DOUBLE,
    "target_shape": _TEXT,
    "target_side_um": _DOUBLE,
    "tissue_fraction": _FLOAT,
    "blur": _FLOAT,
    "n_counts": _LONG,
    "n_genes": _INT,
    "mt_fraction": _FLOAT,
    "log10_counts": _FLOAT,
    "log10_counts_z": _FLOAT,
    "qc_flags": _TEXT,
}
_JSON_ROUNDED = ("blur", "log10_counts", "log10_counts_z", "mt_fraction", "tissue_fraction")
JSON_DIGITS = 6
GROUP_ROWS = 65_536
_JSON_COLUMNS = (
    "uid",
    "key",
    "sample_id",
    "spot_id",
    "x_px",
    "y_px",
    "x_um",
    "y_um",
    "row",
    "col",
    "target_shape",
    "target_side_um",
    "n_counts",
    "n_genes",
    "qc_flags",
)
_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def index_schema() -> pa.Schema:
    """The Arrow schema of ``index/<split>.parquet``: names, order and types of architecture.md."""
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])


def write_index(path: Path, table: pa.Table) -> str:
    """Write an index table; same rows, same bytes. Returns its sha256."""
    import pyarrow.parquet as pq

    return files.write_with(
        path, lambda target: pq.write_table(table, target, compression="zstd", row_group_size=GROUP_ROWS)
    )


def join_index(path: Path, parts: Sequence[Path]) -> str:
    """Write the index whose rows are those of all ``parts``, one after the other; returns its sha256.

    The bytes are those of :func:`write_index`; of a whole atlas no more than a row group is in memory.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def write(target: Path) -> None:
        with pq.ParquetWriter(target, index_schema(), compression="zstd") as out:
            waiting = index_schema().empty_table()
            for part in parts:
                waiting = pa.concat_tables([waiting, pq.read_table(part)])
                while waiting.num_rows >= GROUP_ROWS:
                    out.write_table(waiting.slice(0, GROUP_ROWS), row_group_size=GROUP_ROWS)
                    waiting = waiting.slice(GROUP_ROWS)
            if waiting.num_rows or not parts:
                out.write_table(waiting, row_group_size=GROUP_ROWS)

    return files.write_with(path, write)


def pair_json(pair: Mapping[str, Any], facts: SectionFacts) -> bytes:
    """The json member of a pair: constant keys, no nulls, an integer ``label`` (the organ's code)."""
    values: dict[str, Any] = {name: pair[name] for name in _JSON_COLUMNS}
    for name in _JSON_ROUNDED:
        values[name] = round(float(pair[name]), JSON_DIGITS)
    values |= {
        "donor_group": facts.donor_group,
        "label": facts.organ_code,
        "organ": facts.organ,
        "platform": facts.platform,
        "split": facts.split,
        "study_id": facts.study_id,
    }
    return _JSON.encode(values).encode()
