"""Rows of counts out of the sections' folders: by shard, on any gene axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from humanst.pathways.bincontrol import log_cp10k
from humanst.shards.target_files import CountRows, join_counts
from humanst.shards.target_layout import ShardRows
from humanst.shards.target_sources import COUNTS, GENES, read_source_card

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, slots=True)
class GeneAxis:
    """Genes of one section: ids ascending, and where each stands on a common axis.

    Attributes
    ----------
    places
        ``(n,)`` int64, -1 for a gene that is not on the common axis.
    """

    ensembl_ids: NDArray[np.str_]
    symbols: NDArray[np.str_]
    measured: NDArray[np.bool_]
    places: NDArray[np.int64]


@dataclass(slots=True)
class AxisReader:
    """Reads the genes of sections; sections of one axis share what is read.

    Attributes
    ----------
    place_of
        Ensembl id -> its place on the common axis.
    """

    place_of: Mapping[str, int] = field(default_factory=dict)
    _known: dict[str, GeneAxis] = field(default_factory=dict)

    def of(self, folder: Path) -> GeneAxis:
        """The genes of a section's folder."""
        import pyarrow.parquet as pq

        digest = str(read_source_card(folder)["axis_sha256"])
        if digest not in self._known:
            table = pq.read_table(folder / GENES)
            ids = table["ensembl_id"].to_numpy(zero_copy_only=False).astype(str)
            places = np.array([self.place_of.get(gene, -1) for gene in ids.tolist()], dtype=np.int64)
            symbols = table["symbol"].to_numpy(zero_copy_only=False).astype(str)
            measured = table["measured"].to_numpy(zero_copy_only=False).astype(bool)
            self._known[digest] = GeneAxis(ids, symbols, measured, places)
        return self._known[digest]

    def is_measured(self, folder: Path) -> NDArray[np.bool_]:
        """``(n_common,)`` which genes of the common axis the section measured."""
        genes = self.of(folder)
        found = np.zeros(len(self.place_of), dtype=np.bool_)
        found[genes.places[genes.measured & (genes.places >= 0)]] = True
        return found


def section_counts(folder: Path, rows: slice | None = None) -> CountRows:
    """A section's counts on its own genes, or a run of its rows, without reading the others."""
    data, indices, indptr = (np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in COUNTS)
    here = rows or slice(0, len(indptr) - 1)
    starts = np.asarray(indptr[here.start : here.stop + 1])
    run = slice(int(starts[0]), int(starts[-1]))
    n_genes = int(read_source_card(folder)["n_genes"])
    return CountRows(np.asarray(data[run]), np.asarray(indices[run]), starts - starts[0], n_genes)


def shard_counts(shard: ShardRows, sources: Mapping[int, Path], reader: AxisReader) -> CountRows:
    """All counts of a shard's pairs, in its order, on the common axis."""
    parts, places = [], []
    for number, positions, rows in shard.by_section():
        own = section_counts(sources[number], rows)
        columns = reader.of(sources[number]).places[own.indices]
        # Ids ascend on both axes, so columns ascend within a row here as there.
        parts.append(CountRows(own.data, columns.astype(np.int32), own.indptr, len(reader.place_of)))
        places.append(positions)
    order = np.empty(len(shard.row), dtype=np.int64)
    order[np.concatenate(places)] = np.arange(len(order))
    return join_counts(parts, Path(shard.name)).take(order)


def log_expression(folder: Path, reader: AxisReader, rows: slice | None = None) -> tuple[csr_matrix, NDArray[np.bool_]]:
    """log1p(CP10k) of a section's pairs on the common axis, totals over all measured genes.

    Returns
    -------
    csr_matrix
        ``(n_rows, n_common)`` float64.
    ndarray of bool
        ``(n_rows,)`` which pairs have no counts at all.
    """
    from scipy.sparse import csr_matrix

    counts, genes = section_counts(folder, rows), reader.of(folder)
    matrix = csr_matrix((counts.data, counts.indices, counts.indptr), shape=(counts.n_rows, counts.n_columns))
    if not genes.measured.all():
        matrix = matrix[:, np.flatnonzero(genes.measured)]
    places = genes.places[genes.measured]
    logs = log_cp10k(matrix)
    wanted = np.flatnonzero(places >= 0)
    # A sparse product with ones moves columns without changing a value.
    move = csr_matrix((np.ones(len(wanted)), (wanted, places[wanted])), shape=(len(places), len(reader.place_of)))
    moved = csr_matrix(logs @ move)
    moved.sort_indices()
    return moved, np.asarray(matrix.sum(axis=1)).ravel() == 0
