"""What an audit takes: one section's counts with their lattice, and how the audit is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from humanst.errors import DataError, UsageError
from humanst.pathways.options import Scoring

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

Lattice = Literal["hex", "square"]
LATTICES: tuple[Lattice, ...] = get_args(Lattice)


@dataclass(frozen=True, slots=True)
class AuditSection:
    """The counts of a section and where its targets sit.

    Attributes
    ----------
    sample_id, donor_group, platform
        As in the section's record. ``donor_group`` is the group that splits keep together.
    split
        The split of the section in a release, None outside one.
    targeted
        Whether the section is of a targeted panel.
    counts
        (n_spots, n_genes) CSR, non-negative integers.
    ensembl_ids
        (n_genes,) unique Ensembl ids, any order.
    measured
        (n_genes,) which genes the section's chemistry could see.
    in_fit
        (n_spots,) the spots that set bins, means and sds, and that every figure of the audit is taken over.
    row, col
        (n_spots,) int64 lattice indices, one target a place. In a ``hex`` lattice they are those of Visium: columns of
        one row step by two, and the six neighbours are (0, +-2) and (+-1, +-1).
    lattice
        ``hex`` or ``square`` (eight neighbours).
    target_shape, target_side_um
        ``circle`` or ``square``, and its diameter or side.

    Raises
    ------
    DataError
        ``audit-shape`` when the arrays do not fit together, ``audit-counts`` when counts are no CSR of integers >= 0,
        ``audit-lattice`` for a lattice that is neither hex nor square, or two targets in one place, or hex
        places whose row + col are not all even or all odd.
    """

    sample_id: str
    donor_group: str
    split: str | None
    platform: str
    targeted: bool
    counts: csr_matrix
    ensembl_ids: NDArray[np.str_]
    measured: NDArray[np.bool_]
    in_fit: NDArray[np.bool_]
    row: NDArray[np.int64]
    col: NDArray[np.int64]
    lattice: Lattice
    target_shape: str
    target_side_um: float

    def __post_init__(self) -> None:
        _check_counts(self.counts, self.sample_id)
        n_spots, n_genes = self.counts.shape
        for name, length in (
            ("ensembl_ids", n_genes),
            ("measured", n_genes),
            ("in_fit", n_spots),
            ("row", n_spots),
            ("col", n_spots),
        ):
            found = np.shape(getattr(self, name))
            if found != (length,):
                what = "an array of the section has not the shape of its counts"
                raise _refusal(what, "audit-shape", self.sample_id, name, (length,), found)
        _check_lattice(self.row, self.col, self.lattice, self.sample_id)


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """How an audit is done.

    Attributes
    ----------
    scoring
        The scorer and its options, those of the targets that are audited.
    n_seeds
        Thinnings of the counts into two halves, at least 1.
    n_draws
        Matched-random draws of the whole collection, at least 1.
    seed
        Of thinnings and draws.

    Raises
    ------
    UsageError
        ``audit-options`` when a number is too small.
    """

    scoring: Scoring = field(default_factory=Scoring)
    n_seeds: int = 3
    n_draws: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("n_seeds", 1), ("n_draws", 1), ("seed", 0)):
            if getattr(self, name) < least:
                what = "an option of the audit is too small"
                raise UsageError(
                    what, code="audit-options", field=name, expected=f">= {least}", found=getattr(self, name)
                )


def _check_counts(counts: Any, sample_id: str) -> None:
    from scipy.sparse import issparse

    if not issparse(counts) or counts.format != "csr" or counts.dtype.kind not in "iu":
        kind = f"{getattr(counts, 'format', type(counts).__name__)} of {getattr(counts, 'dtype', 'no dtype')}"
        what = "the counts of the section are not a sparse table of integers"
        raise _refusal(what, "audit-counts", sample_id, "counts", "csr of an integer type", kind)
    if counts.nnz and counts.data.min() < 0:
        what = "a count is negative"
        raise _refusal(what, "audit-counts", sample_id, "counts", ">= 0", counts.data.min())


def _check_lattice(row: NDArray[np.int64], col: NDArray[np.int64], lattice: str, sample_id: str) -> None:
    if lattice not in LATTICES:
        what = "the lattice of the section is not known"
        raise _refusal(what, "audit-lattice", sample_id, "lattice", " or ".join(LATTICES), lattice)
    for name, index in (("row", row), ("col", col)):
        if np.asarray(index).dtype.kind not in "iu":
            what = "lattice indices are not whole numbers"
            raise _refusal(what, "audit-lattice", sample_id, name, "an integer type", np.asarray(index).dtype)
    places = np.stack([np.asarray(row), np.asarray(col)], axis=1)
    unique, times = np.unique(places, axis=0, return_counts=True)
    if len(unique) < len(places):
        what = "two targets of the section are in one place of the lattice"
        raise _refusal(what, "audit-lattice", sample_id, "row, col", "each once", unique[times > 1][0].tolist())
    if lattice == "hex":
        parity = places.sum(axis=1) % 2
        odd = np.flatnonzero(parity != parity[:1])
        if len(odd):
            what = "a place is not on the hex lattice of Visium"
            expected, found = "row + col all even or all odd", places[odd[0]].tolist()
            raise _refusal(what, "audit-lattice", sample_id, "row, col", expected, found)


def _refusal(what: str, code: str, sample_id: str, name: str, expected: Any, found: Any) -> DataError:
    return DataError(what, code=code, section=sample_id, field=name, expected=expected, found=found)
