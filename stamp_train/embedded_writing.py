"""Files of embeddings, written: as :mod:`stamp_train.embedded_file` reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.files import canonical_json, write_with
from stamp_train.embedded_file import COORDS, FACTS, FEATURES, H5_SUFFIXES


def write_file(
    path: Path,
    blocks: Iterable[NDArray[np.float32]],
    columns: Mapping[str, NDArray[Any]],
    facts: Mapping[str, Any],
    about_coords: Mapping[str, Any],
) -> str:
    """Write embeddings aside, and put the file in place when it is whole; returns its sha256.

    Parameters
    ----------
    blocks
        (b, d) rows of features, one block below the other.
    columns
        What stands beside them, n values each: text, or ``coords`` (n, 2).
    facts
        Plain data, kept in ``humanst``. The same content gives the same bytes.
    about_coords
        Attributes of ``coords`` in an h5 file.
    """
    if path.suffix in H5_SUFFIXES:
        return write_with(path, lambda partial: _write_h5(partial, blocks, columns, facts, about_coords))
    return write_with(path, lambda partial: _write_parquet(partial, blocks, columns, facts))


def _write_h5(
    path: Path,
    blocks: Iterable[NDArray[np.float32]],
    columns: Mapping[str, NDArray[Any]],
    facts: Mapping[str, Any],
    about_coords: Mapping[str, Any],
) -> None:
    import h5py

    n_rows = len(next(iter(columns.values())))
    with h5py.File(path, "w") as file:
        file.attrs[FACTS] = canonical_json(facts).decode()
        features, done = None, 0
        for block in blocks:
            if features is None:
                features = file.create_dataset(FEATURES, (n_rows, block.shape[1]), np.float32)
            features[done : done + len(block)] = block
            done += len(block)
        for name, values in columns.items():
            # Text of one width: readers in any language take it, and nothing in it points elsewhere.
            file.create_dataset(name, data=values if name == COORDS else np.char.encode(values.astype(str), "utf-8"))
        for name, value in about_coords.items():
            file[COORDS].attrs[name] = value


def _write_parquet(
    path: Path,
    blocks: Iterable[NDArray[np.float32]],
    columns: Mapping[str, NDArray[Any]],
    facts: Mapping[str, Any],
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    beside: dict[str, Any] = {}
    for name, values in columns.items():
        # A table has a column for each axis.
        parts = {"x_px": values[:, 0], "y_px": values[:, 1]} if name == COORDS else {name: values.astype(str)}
        beside |= {part: pa.array(given) for part, given in parts.items()}
    writer, done = None, 0
    try:
        for block in blocks:
            lists = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), block.shape[1])
            table = pa.table({name: values[done : done + len(block)] for name, values in beside.items()})
            table = table.append_column(FEATURES, lists)
            if writer is None:
                table = table.replace_schema_metadata({FACTS: canonical_json(facts)})
                writer = pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
            done += len(block)
    finally:
        if writer is not None:
            writer.close()
