"""The counts of one section as scorers take them: measured genes in the order of their ids, blocks of spots.

A scorer sees a section through :class:`Expression` alone, so that no scorer sees genes that were not measured, the
order of genes in a file, or a whole section at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.pathways.bincontrol import log_cp10k
from humanst.pathways.sparse import add_rows, csr_of, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

CHUNK_SPOTS = 256
# Logarithms of 33 million counts: 256 MiB.
KEPT_ENTRIES = 1 << 25


@dataclass(frozen=True, eq=False)
class Block:
    """Some spots of a section.

    Attributes
    ----------
    start
        Place of the first spot in the section.
    counts
        (n, n_genes) integer CSR with sorted indices; not to be written to.
    totals
        (n,) float64, counts of each spot over the measured genes.
    is_fit
        (n,) the fitting spots among them.
    """

    start: int
    counts: csr_matrix
    totals: NDArray[np.float64]
    is_fit: NDArray[np.bool_]

    @cached_property
    def logs(self) -> csr_matrix:
        """``L = log1p(CP10k)``, float64 CSR with the entries of ``counts``; kept with the block."""
        return log_cp10k(self.counts, self.totals)

    @property
    def stop(self) -> int:
        """Place after the last spot."""
        return self.start + len(self.totals)


class Expression:
    """One section's counts, totals and fitting spots.

    Parameters
    ----------
    counts
        (n_spots, n_columns) integer CSR; it is not written to.
    ids
        (n_columns,) Ensembl ids.
    measured
        (n_columns,) the columns that count; every other is as if it were not there.
    in_fit
        (n_spots,) the spots that statistics of genes come from; those without counts are taken out.
    chunk_spots
        Spots a block.
    kept_entries
        Counts whose logarithms are kept for the next time.

    Attributes
    ----------
    genes
        (n_genes,) ids of the measured genes, sorted: the columns of every block.
    totals
        (n_spots,) int64, counts of each spot over them.
    has_counts, fit
        (n_spots,) spots with a count, and those of them that fit.
    n_fit
        How many fit.
    """

    def __init__(
        self,
        counts: csr_matrix,
        ids: NDArray[np.str_],
        measured: NDArray[np.bool_],
        in_fit: NDArray[np.bool_],
        chunk_spots: int = CHUNK_SPOTS,
        kept_entries: int = KEPT_ENTRIES,
    ) -> None:
        self._columns = columns_of(ids, measured)
        self._counts, self._size = counts, chunk_spots
        self._kept: list[Block] = []
        self._room = self._most = kept_entries
        self.genes = ids[self._columns]
        self.totals = totals_of(counts, self._columns, chunk_spots)
        self.has_counts: NDArray[np.bool_] = self.totals > 0
        self.fit: NDArray[np.bool_] = np.asarray(in_fit, dtype=np.bool_) & self.has_counts
        self.n_fit = int(self.fit.sum())

    @property
    def n_spots(self) -> int:
        """Number of spots, fitting or not."""
        return len(self.totals)

    def blocks(self, *, keep: bool = True) -> Iterator[Block]:
        """Every spot in order, as often as called.

        Blocks with their logarithms are kept for the next time as far as there is room, which a section of ordinary
        size never fills; those beyond are made again. ``keep=False`` keeps no more of them: for the last time.
        """
        yield from self._kept
        start = self._kept[-1].stop if self._kept else 0
        for block in self._made_from(start):
            # Kept are the first blocks of the section without a gap, whatever is asked for at the same time.
            is_next = block.start == (self._kept[-1].stop if self._kept else 0)
            if keep and is_next and block.counts.nnz <= self._room:
                self._room -= block.counts.nnz
                self._kept.append(block)
            yield block

    def forget(self) -> None:
        """Let go of the blocks that are kept."""
        self._kept, self._room = [], self._most

    def _made_from(self, first: int) -> Iterator[Block]:
        in_order = len(self._columns) == self._counts.shape[1] and bool(np.all(np.diff(self._columns) > 0))
        is_canonical = in_order and bool(self._counts.has_canonical_format)
        for start in range(first, self.n_spots, self._size):
            part = rows_of(self._counts, start, start + self._size)
            part = part if in_order else part[:, self._columns]
            if not (is_canonical or part.has_canonical_format):
                part = part.copy()
                part.sum_duplicates()
            spots = slice(start, start + self._size)
            yield Block(start, part, self.totals[spots].astype(np.float64), self.fit[spots])

    @cached_property
    def mean_log(self) -> NDArray[np.float64]:
        """(n_genes,) mean of ``log1p(CP10k)`` over the fitting spots."""
        sums = np.zeros(len(self.genes), dtype=np.float64)
        for block in self.blocks():
            add_rows(sums, fitting_rows(block.logs, block.is_fit))
        return sums / self.n_fit

    @cached_property
    def sd_log(self) -> NDArray[np.float64]:
        """(n_genes,) population sd of ``log1p(CP10k)`` over the fitting spots."""
        mean = self.mean_log
        squares, seen = np.zeros(len(mean), dtype=np.float64), np.zeros(len(mean), dtype=np.int64)
        for block in self.blocks():
            fitting = fitting_rows(block.logs, block.is_fit)
            centred = fitting.data - mean.take(fitting.indices)
            add_rows(squares, csr_of(centred * centred, fitting.indices, fitting.indptr, fitting.shape))
            seen += np.bincount(fitting.indices, minlength=len(mean))
        return np.sqrt((squares + (self.n_fit - seen) * mean * mean) / self.n_fit)

    @cached_property
    def gene_totals(self) -> NDArray[np.int64]:
        """(n_genes,) counts of each gene over the fitting spots."""
        sums = np.zeros(len(self.genes), dtype=np.int64)
        for block in self.blocks():
            fitting = fitting_rows(block.counts, block.is_fit)
            # Sums of one block are exact in float64.
            sums += np.bincount(fitting.indices, fitting.data, minlength=len(sums)).astype(np.int64)
        return sums


def fitting_rows(matrix: csr_matrix, is_fit: NDArray[np.bool_]) -> csr_matrix:
    """Return the rows of the fitting spots."""
    return matrix if is_fit.all() else matrix[np.flatnonzero(is_fit)]


def columns_of(ids: NDArray[np.str_], measured: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the columns of the measured genes in the order of their ids: that of everything here."""
    columns = np.flatnonzero(measured)
    return columns[np.argsort(np.asarray(ids, dtype=np.str_)[columns], kind="stable")]


def totals_of(
    counts: csr_matrix, columns: NDArray[Any] | None = None, chunk_spots: int = CHUNK_SPOTS
) -> NDArray[np.int64]:
    """Sum the counts of each spot over some genes.

    Parameters
    ----------
    counts
        (n_spots, n_columns) integer CSR.
    columns
        The columns that count, each once; all of them without it.
    chunk_spots
        Spots summed in one go.

    Returns
    -------
    (n_spots,) int64.
    """
    every = columns is None or len(columns) == counts.shape[1]
    is_measured = np.zeros(counts.shape[1], dtype=np.int64)
    is_measured[slice(None) if columns is None else columns] = 1
    totals = np.zeros(counts.shape[0], dtype=np.int64)
    for start in range(0, counts.shape[0], chunk_spots):
        part = rows_of(counts, start, start + chunk_spots)
        sums = part.sum(axis=1, dtype=np.int64) if every else part @ is_measured
        totals[start : start + chunk_spots] = np.asarray(sums).ravel()
    return totals
