"""Transcripts pooled on a square grid, with every one of them accounted for.

A transcript is counted in the square it falls into or leaves under the first reason that applies: it stands for no
gene (by category), its quality is low, it lies off the image. The sums are 64-bit and exact; memory follows the number
of distinct (square, gene) pairs, not the number of transcripts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError
from humanst.platforms.transcript_batch import Batch

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

COMPACT_AT = 1 << 22
GENE_CATEGORIES = frozenset({"predesigned_gene", "custom_gene"})
CUSTOM = "custom_gene"
CUSTOM_REASON, NO_GENE, LOW_QV, PARTIAL = "custom-gene", "not-a-gene", "low-qv", "partial-square"
# Names of what is no gene, for tables without a category column; begun alike in all versions.
CONTROL_NAMES = (
    ("negcontrolprobe_", "negative-control-probe"),
    ("negcontrolcodeword_", "negative-control-codeword"),
    ("antisense_", "antisense-probe"),
    ("blank_", "blank-codeword"),
    ("unassignedcodeword_", "unassigned-codeword"),
    ("deprecatedcodeword_", "deprecated-codeword"),
    ("intergenic_", "genomic-control-probe"),
)
_BITS = 20
_LAST = (1 << _BITS) - 1


@dataclass(frozen=True, slots=True)
class SquareGrid:
    """A square grid anchored at the origin of a frame, and the way there from the assay's own um.

    Square (row, column) covers ``[column, column + 1) x [row, row + 1)`` sides: lower borders belong to it.

    Attributes
    ----------
    side_um
        Side of a square.
    to_frame
        ``(2, 3)`` float64 affine from assay um to frame um.
    width_um, height_um
        Of the image that bounds the frame; ``None`` without one.
    outside
        The reason given for what lies outside the frame.
    """

    side_um: float
    to_frame: NDArray[np.float64]
    width_um: float | None
    height_um: float | None
    outside: str

    @property
    def shape(self) -> tuple[int, int] | None:
        """Rows and columns of squares wholly inside the image; ``None`` without one."""
        if self.width_um is None or self.height_um is None:
            return None
        # An image of exactly n squares may come out a hair short.
        rows, columns = (int(length / self.side_um + 1e-9) for length in (self.height_um, self.width_um))
        return rows, columns

    def place(self, xy_um: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Find the square of each of ``(n, 2)`` assay positions: ``(n, 2)`` (row, column), outside, partial."""
        a = self.to_frame
        x = a[0, 0] * xy_um[:, 0] + a[0, 1] * xy_um[:, 1] + a[0, 2]
        y = a[1, 0] * xy_um[:, 0] + a[1, 1] * xy_um[:, 1] + a[1, 2]
        outside = (x < 0) | (y < 0)
        partial = np.zeros(len(x), dtype=bool)
        # What lies far outside must not overflow; it is told by ``outside``.
        row_col = np.clip(np.floor(np.stack([y, x], axis=1) / self.side_um), -1, _LAST).astype(np.int64)
        if self.shape is not None and self.width_um is not None and self.height_um is not None:
            outside |= (x >= self.width_um) | (y >= self.height_um)
            partial = ~outside & ((row_col[:, 0] >= self.shape[0]) | (row_col[:, 1] >= self.shape[1]))
        return row_col, outside, partial

    def to_assay(self, xy_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Assay um ``(n, 2)`` of ``(n, 2)`` frame um: the inverse of ``to_frame``."""
        (a, b, c), (d, e, f) = self.to_frame.tolist()
        x, y = xy_um[:, 0] - c, xy_um[:, 1] - f
        back: NDArray[np.float64] = np.stack([e * x - b * y, a * y - d * x], axis=1) / (a * e - b * d)
        return back

    def centres_um(self, row_col: NDArray[np.int64]) -> NDArray[np.float64]:
        """Centres ``(n, 2)`` (x, y) in frame um of squares ``(n, 2)`` (row, column)."""
        return (row_col[:, ::-1].astype(np.float64) + 0.5) * self.side_um


@dataclass(frozen=True, slots=True)
class Pooled:
    """What became of all transcripts.

    Attributes
    ----------
    counts
        ``(n_squares, n_features)`` int64 CSR of the transcripts kept; only squares with at least one are listed.
    row_col
        ``(n_squares, 2)`` int64, sorted by row, then column.
    features
        ``(n_features,)`` names of every feature of the table, sorted.
    is_gene
        ``(n_features,)`` bool: at least one of its transcripts, of any quality, stands for a gene that is kept.
    dropped
        Reason -> ``(n_features,)`` int64 transcripts, sorted by reason.
    n_transcripts
        Rows of the table; ``counts.sum()`` plus all of ``dropped``.
    box_um
        (x0, y0, x1, y1) of all positions in the assay's frame.
    """

    counts: csr_matrix
    row_col: NDArray[np.int64]
    features: NDArray[np.str_]
    is_gene: NDArray[np.bool_]
    dropped: Mapping[str, NDArray[np.int64]]
    n_transcripts: int
    box_um: tuple[float, float, float, float]


class Tally:
    """Counts of int64 keys, kept sorted and distinct: added up whenever the new ones outgrow the old."""

    def __init__(self, compact_at: int = COMPACT_AT) -> None:
        self._compact_at = compact_at
        self._parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self._settled = 0
        self._pending = 0

    def add(self, keys: NDArray[np.int64]) -> None:
        """Count each key once more."""
        values, counts = np.unique(keys, return_counts=True)
        self._parts.append((values, counts.astype(np.int64)))
        self._pending += len(values)
        if self._pending > max(self._compact_at, self._settled):
            self.result()

    def result(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The distinct keys, sorted, and how often each was added."""
        keys = np.concatenate([part[0] for part in self._parts] or [np.empty(0, dtype=np.int64)])
        counts = np.concatenate([part[1] for part in self._parts] or [np.empty(0, dtype=np.int64)])
        self._parts.clear()
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], counts[order]
        first = np.flatnonzero(np.diff(keys, prepend=keys[:1] - 1)) if len(keys) else np.empty(0, dtype=np.int64)
        settled = (keys[first], np.add.reduceat(counts, first) if len(first) else counts)
        self._parts.append(settled)
        self._settled, self._pending = len(first), 0
        return settled


class TranscriptPool:
    """Takes batches of transcripts and gives their counts a square.

    Parameters
    ----------
    grid
        Where they go.
    min_qv
        Transcripts of lower quality leave as ``low-qv``.
    identified
        Features that the files give an Ensembl id. A custom gene that is not among them leaves as ``custom-gene``:
        its name was chosen freely and proves nothing.
    unidentified
        Features that the panel lists without an Ensembl id; they leave as ``custom-gene`` too.
    """

    def __init__(
        self,
        grid: SquareGrid,
        *,
        min_qv: float,
        identified: Collection[str] = (),
        unidentified: Collection[str] = (),
    ) -> None:
        self._grid, self._min_qv = grid, min_qv
        self._identified, self._unidentified = frozenset(identified), frozenset(unidentified)
        self._code: dict[str, int] = {}
        self._is_gene: set[int] = set()
        self._dropped: dict[str, NDArray[np.int64]] = {}
        self._tally = Tally()
        self._rows = 0
        self._box = (np.inf, np.inf, -np.inf, -np.inf)

    def add(self, batch: Batch) -> None:
        """Account for every transcript of a batch.

        Raises
        ------
        DataError
            ``transcripts-invalid`` for a table of more distinct features than a key has room for.
        """
        code = np.array([self._code.setdefault(name, len(self._code)) for name in batch.feature.values], dtype=np.int64)
        if len(self._code) > _LAST:
            raise DataError(
                "The transcripts have more features than any panel",
                code="transcripts-invalid",
                field="feature_name",
                expected=f"at most {_LAST:,}",
                found=f"{len(self._code):,}",
            )
        feature = code[batch.feature.codes]
        self._rows += len(feature)
        low, high = batch.xy_um.min(axis=0), batch.xy_um.max(axis=0)
        self._box = (*np.minimum(self._box[:2], low).tolist(), *np.maximum(self._box[2:], high).tolist())
        left = np.ones(len(feature), dtype=bool)
        for reason, rows in _no_gene(batch, self._identified, self._unidentified).items():
            self._drop(reason, feature, left & rows)
            left &= ~rows
        self._is_gene.update(np.unique(feature[left]).tolist())
        row_col, outside, partial = self._grid.place(batch.xy_um)
        reasons = {LOW_QV: ~(batch.qv >= self._min_qv), self._grid.outside: outside, PARTIAL: partial}
        for reason, rows in reasons.items():
            self._drop(reason, feature, left & rows)
            left &= ~rows
        row, column = row_col[left, 0], row_col[left, 1]
        self._tally.add((row << 2 * _BITS) | (column << _BITS) | feature[left])

    def _drop(self, reason: str, feature: NDArray[np.int64], rows: NDArray[np.bool_]) -> None:
        if not rows.any():
            return
        known = self._dropped.get(reason, np.zeros(0, dtype=np.int64))
        total = np.zeros(len(self._code), dtype=np.int64)
        total[: len(known)] = known
        self._dropped[reason] = total + np.bincount(feature[rows], minlength=len(self._code))

    def result(self) -> Pooled:
        """The counts so far."""
        from scipy.sparse import csr_matrix

        names = np.array(list(self._code), dtype=str)
        order = np.argsort(names, kind="stable")
        place = np.empty(len(names), dtype=np.int64)
        place[order] = np.arange(len(names))
        keys, counts = self._tally.result()
        squares, first = np.unique(keys >> _BITS, return_index=True)
        indptr = np.append(first, len(keys)).astype(np.int64)
        matrix = csr_matrix((counts, place[keys & _LAST], indptr), shape=(len(squares), len(names)))
        matrix.sort_indices()
        gene = np.zeros(len(names), dtype=bool)
        gene[place[sorted(self._is_gene)]] = True
        dropped = {}
        for reason, known in sorted(self._dropped.items()):
            total = np.zeros(len(names), dtype=np.int64)
            total[place[: len(known)]] = known
            dropped[reason] = total
        return Pooled(
            counts=matrix,
            row_col=np.stack([squares >> _BITS, squares & _LAST], axis=1),
            features=names[order],
            is_gene=gene,
            dropped=dropped,
            n_transcripts=self._rows,
            box_um=self._box,
        )


def control_reason(name: str) -> str:
    """The reason slug of a control's or codeword's name; empty for the name of a gene."""
    text = name.lower()
    return next((reason for prefix, reason in CONTROL_NAMES if text.startswith(prefix)), "")


def _no_gene(batch: Batch, identified: frozenset[str], unidentified: frozenset[str]) -> dict[str, NDArray[np.bool_]]:
    """Reason -> rows that stand for no gene: by category where the table has one, and by name in any case."""
    slugs: list[str] = [""]

    def coded(reasons: list[str]) -> NDArray[np.int64]:
        slugs.extend(sorted(set(reasons) - set(slugs)))
        return np.array([slugs.index(reason) for reason in reasons], dtype=np.int64)

    names = batch.feature.values
    by_name = [control_reason(name) or (CUSTOM_REASON if name in unidentified else "") for name in names]
    reason = coded(by_name)[batch.feature.codes]
    if batch.category is not None:
        values = batch.category.values
        told = coded(["" if value in GENE_CATEGORIES else value.replace("_", "-") for value in values])
        told = told[batch.category.codes]
        reason = np.where(told > 0, told, reason)
        unknown = np.array([name not in identified for name in names])[batch.feature.codes]
        custom = np.array([value == CUSTOM for value in values])[batch.category.codes]
        reason = np.where(custom & unknown & (reason == 0), coded([CUSTOM_REASON])[0], reason)
    if batch.is_gene is not None:
        reason = np.where(~batch.is_gene & (reason == 0), coded([NO_GENE])[0], reason)
    return {slugs[code]: np.asarray(reason == code) for code in np.unique(reason[reason > 0]).tolist()}
