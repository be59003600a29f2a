"""Bins pooled to larger squares, with every transcript accounted for.

Every bin of an array goes to exactly one row of one 0/1 matrix: the square it belongs to, or the reason under which it
leaves. Pooled counts and drops are the product of that matrix with the counts, in int64, so that per gene and in total
counts in = counts out + named drops, to the integer. Squares are numbered from the corner of the array before anything
is left out, and their centres come from the lattice of all bins, not from the bins that happen to hold counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from humanst.findings import Drop

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

OUT_OF_TISSUE_BIN, EDGE_SQUARE, OUT_OF_TISSUE = "out-of-tissue-bin", "edge-square", "out-of-tissue"
REASONS = (OUT_OF_TISSUE_BIN, EDGE_SQUARE, OUT_OF_TISSUE)
IN_TISSUE_RULE = "at least half of a square's bins are in tissue"
MAX_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class SquarePlan:
    """Where every bin of an array goes.

    Attributes
    ----------
    bins_a_side
        Bins along a side of a square.
    row_col
        ``(n_squares, 2)`` int64 (row, column) of the squares kept, in the order of their ids. Square (0, 0) begins at
        bin (0, 0), whatever bins are listed.
    spot_ids
        ``(n_squares,)`` str such as ``r3c12``, sorted.
    fate
        ``(n_bins,)`` int64: the square a bin is counted in, or ``n_squares + i`` when it leaves under ``REASONS[i]``.
    dropped
        Reason -> ids of the squares with at least one bin in tissue that leave under it, in order.
    """

    bins_a_side: int
    row_col: NDArray[np.int64]
    spot_ids: NDArray[np.str_]
    fate: NDArray[np.int64]
    dropped: Mapping[str, NDArray[np.str_]]


def plan_squares(row_col: NDArray[np.int64], in_tissue: NDArray[np.bool_], *, bins_a_side: int) -> SquarePlan:
    """Lay squares of ``bins_a_side`` bins over an array and decide which are kept.

    A bin out of tissue is left out, with or without counts: a raw and a filtered matrix give the same squares. Of the
    others, a square that is not wholly on the array leaves as ``edge-square``, one of which less than half of the bins
    are in tissue as ``out-of-tissue``.

    Parameters
    ----------
    row_col
        ``(n_bins, 2)`` lattice indices >= 0 of all bins of the array, with or without counts; each once. The array is
        the rectangle round them.
    in_tissue
        ``(n_bins,)``.
    """
    low, high = row_col.min(axis=0), row_col.max(axis=0)
    n_rows, n_columns = (int(last) // bins_a_side + 1 for last in high)
    square = row_col[:, 0] // bins_a_side * n_columns + row_col[:, 1] // bins_a_side
    tissue = np.bincount(square[in_tissue], minlength=n_rows * n_columns)
    rows, columns = _whole(low[0], high[0], bins_a_side), _whole(low[1], high[1], bins_a_side)
    whole = (rows[:, None] & columns).ravel()
    kept = whole & (2 * tissue >= bins_a_side**2)
    numbers = np.flatnonzero(kept)
    ids = _square_ids(numbers, n_columns)
    order = np.argsort(ids, kind="stable")
    numbers, ids = numbers[order], ids[order]
    fate = np.where(whole, len(ids) + REASONS.index(OUT_OF_TISSUE), len(ids) + REASONS.index(EDGE_SQUARE))
    fate[numbers] = np.arange(len(ids))
    touched = tissue > 0
    gone = {EDGE_SQUARE: touched & ~whole, OUT_OF_TISSUE: touched & whole & ~kept}
    return SquarePlan(
        bins_a_side=bins_a_side,
        row_col=np.stack([numbers // n_columns, numbers % n_columns], axis=1).astype(np.int64),
        spot_ids=ids,
        fate=np.where(in_tissue, fate[square], len(ids) + REASONS.index(OUT_OF_TISSUE_BIN)).astype(np.int64),
        dropped={reason: np.sort(_square_ids(np.flatnonzero(which), n_columns)) for reason, which in gone.items()},
    )


def _whole(low: np.int64, high: np.int64, bins_a_side: int) -> NDArray[np.bool_]:
    """Which squares along one axis have all their bins between two indices, both of them in."""
    first = np.arange(int(high) // bins_a_side + 1) * bins_a_side
    whole: NDArray[np.bool_] = (first >= low) & (first + bins_a_side - 1 <= high)
    return whole


def _square_ids(numbers: NDArray[np.int64], n_columns: int) -> NDArray[np.str_]:
    return np.array([f"r{row}c{column}" for row, column in zip(*divmod(numbers, n_columns), strict=True)], dtype=str)


@dataclass(frozen=True, slots=True)
class PooledBins:
    """What became of all transcripts.

    Attributes
    ----------
    counts
        ``(n_squares, n_columns)`` int64 CSR, sorted.
    lost
        Reason -> ``(n_columns,)`` int64 transcripts, for every one of :data:`REASONS`.
    n_transcripts
        What came in, counted apart; ``counts.sum()`` plus all of ``lost``.
    """

    counts: csr_matrix
    lost: Mapping[str, NDArray[np.int64]]
    n_transcripts: int


class BinPool:
    """Takes the counts of an array block by block and adds them up by square and reason."""

    def __init__(self, plan: SquarePlan, n_columns: int) -> None:
        from scipy.sparse import csr_matrix

        self._plan = plan
        self._n_rows = len(plan.spot_ids) + len(REASONS)
        self._sum = csr_matrix((self._n_rows, n_columns), dtype=np.int64)
        self._n_transcripts = 0

    def add(self, bins: NDArray[np.int64], counts: csr_matrix) -> None:
        """Add ``(m, n_columns)`` int64 counts of the bins at ``(m,)`` positions of the plan's array."""
        from scipy.sparse import csr_matrix

        self._n_transcripts += int(counts.sum())
        rows, m = self._plan.fate[bins], len(bins)
        indicator = csr_matrix((np.ones(m, dtype=np.int64), (rows, np.arange(m))), shape=(self._n_rows, m))
        self._sum = self._sum + indicator @ counts

    def result(self) -> PooledBins:
        """The counts so far."""
        n_squares = len(self._plan.spot_ids)
        counts = self._sum[:n_squares]
        counts.eliminate_zeros()
        counts.sort_indices()
        lost = self._sum[n_squares:].toarray()
        return PooledBins(counts, dict(zip(REASONS, lost, strict=True)), self._n_transcripts)


def pooling_drops(plan: SquarePlan, pooled: PooledBins) -> tuple[Drop, ...]:
    """The drops by name, those that lost anything, in the order of :data:`REASONS`."""
    drops = []
    for reason in REASONS:
        counts = int(pooled.lost[reason].sum())
        if reason == OUT_OF_TISSUE_BIN:
            if counts:
                drops.append(Drop("counts", reason, counts, counts))
        elif len(squares := plan.dropped[reason]):
            drops.append(Drop("spots", reason, len(squares), counts, tuple(map(str, squares[:MAX_EXAMPLES]))))
    return tuple(drops)


@dataclass(frozen=True, slots=True)
class BinLattice:
    """An affine map from fractional bin indices to pixels: ``origin + row * per_row + column * per_column``.

    Attributes
    ----------
    origin, per_row, per_column
        (x, y) in pixels.
    """

    origin: tuple[float, float]
    per_row: tuple[float, float]
    per_column: tuple[float, float]

    def centres(self, plan: SquarePlan) -> NDArray[np.float64]:
        """Centres ``(n_squares, 2)`` (x, y) in pixels of the squares of a plan."""
        middle = plan.row_col * plan.bins_a_side + (plan.bins_a_side - 1) / 2
        return np.stack(
            [
                self.origin[axis] + middle[:, 0] * self.per_row[axis] + middle[:, 1] * self.per_column[axis]
                for axis in (0, 1)
            ],
            axis=1,
        )


def fit_bins(row_col: NDArray[np.int64], xy_px: NDArray[np.float64]) -> BinLattice | None:
    """Fit ``(n, 2)`` pixel positions on ``(n, 2)`` bin indices by least squares; ``None`` where they lie on one line.

    The 2 x 2 normal equations are solved by hand in float64: no BLAS, so the same bins give the same bits.
    """
    middle, centre = row_col.mean(axis=0), xy_px.mean(axis=0)
    row, column = row_col[:, 0] - middle[0], row_col[:, 1] - middle[1]
    srr, scc, src = float(np.sum(row * row)), float(np.sum(column * column)), float(np.sum(row * column))
    determinant = srr * scc - src * src
    if determinant <= 1e-9 * max(srr, scc, 1.0) ** 2:
        return None
    steps = []
    for axis in (0, 1):
        given = xy_px[:, axis] - centre[axis]
        sr, sc = float(np.sum(row * given)), float(np.sum(column * given))
        steps.append(((sr * scc - sc * src) / determinant, (sc * srr - sr * src) / determinant))
    (x_row, x_column), (y_row, y_column) = steps
    return BinLattice(
        origin=(
            float(centre[0] - middle[0] * x_row - middle[1] * x_column),
            float(centre[1] - middle[0] * y_row - middle[1] * y_column),
        ),
        per_row=(x_row, y_row),
        per_column=(x_column, y_column),
    )
