"""One target file a shard: counts, values of genes, components or gene sets, rows in the shard's order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.shards.target_counts import AxisReader, log_expression, shard_counts
from humanst.shards.target_files import COUNTS, VALUES, write_counts, write_values
from humanst.shards.target_fit import lacks_too_much
from humanst.shards.target_layout import ShardRows
from humanst.shards.target_sets import Kind
from humanst.shards.target_sources import SCORES

AXES: Mapping[Kind, str] = {
    "counts": "genes.parquet",
    "hvg": "columns.parquet",
    "pca": "loadings.parquet",
    "gmt": "columns.parquet",
    "random": "columns.parquet",
    "shuffle": "columns.parquet",
}
"""The file beside the target files that names what their columns are made of."""


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One file of a set; picklable.

    Attributes
    ----------
    folder
        Of the set; the files beside the target files are there already, and are read.
    sources
        Number of a section -> what :func:`humanst.shards.target_sources.extract_source` made of it.
    """

    shard: ShardRows
    kind: Kind
    folder: Path
    sources: Mapping[int, Path]

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"{self.shard.name}{COUNTS if self.kind == 'counts' else VALUES}"


def write_shard(task: ShardTask) -> int:
    """Write one file of a set; returns its rows."""
    if task.kind in ("gmt", "random", "shuffle"):
        write_values(task.path, _scores(task))
        return len(task.shard.row)
    reader = AxisReader({gene: place for place, gene in enumerate(_axis(task)["ensembl_id"])})
    if task.kind == "counts":
        write_counts(task.path, shard_counts(task.shard, task.sources, reader))
    elif task.kind == "hvg":
        write_values(task.path, _genes(task, reader))
    else:
        write_values(task.path, _components(task, reader))
    return len(task.shard.row)


def _axis(task: ShardTask) -> dict[str, list[Any]]:
    import pyarrow.parquet as pq

    axis: dict[str, list[Any]] = pq.read_table(task.folder / AXES[task.kind]).to_pydict()
    return axis


def _scores(task: ShardTask) -> NDArray[np.float32]:
    parts, places = [], []
    for number, positions, rows in task.shard.by_section():
        parts.append(np.load(task.sources[number] / SCORES, mmap_mode="r", allow_pickle=False)[rows])
        places.append(positions)
    values = np.concatenate(parts)
    found = np.empty_like(values)
    found[np.concatenate(places)] = values
    return found


def _genes(task: ShardTask, reader: AxisReader) -> NDArray[np.float32]:
    values = np.full((len(task.shard.row), len(reader.place_of)), np.nan, dtype=np.float32)
    for number, positions, rows in task.shard.by_section():
        logs, empty = log_expression(task.sources[number], reader, rows)
        own = logs.toarray()
        own[:, ~reader.is_measured(task.sources[number])] = np.nan
        own[empty] = np.nan
        values[positions] = own
    return values


def _components(task: ShardTask, reader: AxisReader) -> NDArray[np.float32]:
    axis = _axis(task)
    mean, loadings = np.array(axis["mean"]), np.array(axis["loadings"], dtype=np.float32).astype(np.float64)
    values = np.full((len(task.shard.row), loadings.shape[1]), np.nan, dtype=np.float32)
    for number, positions, rows in task.shard.by_section():
        source = task.sources[number]
        if lacks_too_much(reader, source):
            continue
        logs, empty = log_expression(source, reader, rows)
        # Summed gene after gene: numpy adds along the first axis of a table row by row.
        centre = (mean[:, np.newaxis] * loadings)[reader.is_measured(source)].sum(axis=0)
        own = logs @ loadings - centre
        own[empty] = np.nan
        values[positions] = own
    return values
