"""Spot QC: what is dropped, by name and with its counts; what is only flagged."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.findings import Drop

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, slots=True)
class SpotQC:
    """Thresholds of spot QC. The defaults are those of Visium and legacy ST.

    Attributes
    ----------
    min_counts, min_genes
        A spot with fewer transcripts or fewer detected genes is dropped (``low-counts``, ``low-genes``).
    max_mt_fraction
        A spot above it is flagged ``high-mt``, never dropped.
    """

    min_counts: int = 200
    min_genes: int = 100
    max_mt_fraction: float = 0.30

    @classmethod
    def for_recipe(cls, *, targeted: bool, overrides: dict[str, Any] | None = None) -> SpotQC:
        """The defaults of whole-transcriptome or targeted assays, with a recipe's overrides."""
        base = {"min_counts": 30, "min_genes": 0} if targeted else {}
        return cls(**{**base, **(overrides or {})})

    def to_dict(self) -> dict[str, Any]:
        """The thresholds as plain data, for provenance."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SpotMeasures:
    """Per-spot measures of a count table ``(n_spots, n_genes)``.

    Attributes
    ----------
    n_counts
        ``(n,)`` int64 transcripts.
    n_genes
        ``(n,)`` int32 genes with at least one transcript.
    mt_fraction
        ``(n,)`` float32 share of transcripts from mitochondrial genes; 0 for empty spots.
    """

    n_counts: NDArray[np.int64]
    n_genes: NDArray[np.int32]
    mt_fraction: NDArray[np.float32]


def measure(counts: csr_matrix, is_mitochondrial: NDArray[np.bool_]) -> SpotMeasures:
    """Measure every spot of a CSR count table."""
    n_counts = np.asarray(counts.sum(axis=1)).ravel().astype(np.int64)
    n_genes = np.diff(counts.indptr).astype(np.int32) - _explicit_zeros(counts)
    mt = np.asarray(counts[:, np.flatnonzero(is_mitochondrial)].sum(axis=1)).ravel()
    return SpotMeasures(n_counts, n_genes, (mt / np.maximum(n_counts, 1)).astype(np.float32))


def _explicit_zeros(counts: csr_matrix) -> NDArray[np.int32]:
    zeros = np.concatenate([[0], np.cumsum(counts.data == 0)])
    n_zeros: NDArray[np.int32] = np.diff(zeros[counts.indptr]).astype(np.int32)
    return n_zeros


def select_spots(
    measures: SpotMeasures, spot_ids: NDArray[np.str_], qc: SpotQC
) -> tuple[NDArray[np.bool_], tuple[Drop, ...], NDArray[np.str_]]:
    """Apply the thresholds; the first reason that applies names the drop.

    Returns
    -------
    keep : ndarray of bool, shape (n,)
    drops : tuple of Drop
        One for each reason that dropped anything.
    qc_flags : ndarray of str, shape (n,)
        Comma-separated flags of every spot, kept or not.
    """
    keep = np.ones(len(spot_ids), dtype=bool)
    drops = []
    reasons = {"low-counts": measures.n_counts < qc.min_counts, "low-genes": measures.n_genes < qc.min_genes}
    for reason, fails in reasons.items():
        gone = np.flatnonzero(keep & fails)
        if len(gone):
            lost = int(measures.n_counts[gone].sum())
            drops.append(Drop("spots", reason, len(gone), lost, tuple(map(str, spot_ids[gone][:5]))))
            keep[gone] = False
    flags = np.where(measures.mt_fraction > qc.max_mt_fraction, "high-mt", "")
    return keep, tuple(drops), flags.astype(str)
