"""Pathway targets of one section: bin-control scores, z over the section's fitting spots, and what was not measured.

A pathway that the section's panel does not cover, or that does not vary, is NaN with its reason. Genes that were not
measured are left out of everything, so they never change a score. Raw mean and sd are kept: ``raw = z * sd + mean``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from humanst.errors import DataError
from humanst.pathways.bincontrol import BinControl, bins_for, csr_of, expression_bins, log_cp10k

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from humanst.pathways.gene_sets import ResolvedSets

MIN_MEASURED_GENES = 10
MIN_SHARE_TARGETED = 0.05
MIN_SHARE_WHOLE = 0.20
# Scores are sums of some thousand float64 terms of order 1; below this, a spread is rounding and not signal.
MIN_SD = 1e-12
CHUNK_SPOTS = 256
# Logarithms of 33 million counts: 256 MiB.
KEPT_ENTRIES = 1 << 25

Reason = Literal["too-few-genes", "too-small-share", "no-fit-spots", "no-variation"]


@dataclass(frozen=True, slots=True)
class PathwayScores:
    """Scores of every spot of a section.

    Attributes
    ----------
    names
        (P,) set names.
    scores
        (n_spots, P) float32, z over the fitting spots; NaN in a masked pathway and for a spot without counts.
    raw_mean, raw_sd
        (P,) float64, of the raw score over the fitting spots (population sd); NaN where nothing was scored.
    n_measured, n_members
        (P,) int64: genes of the set that the section measured, and genes the set has.
    reasons
        (P,) why a pathway is masked, None where it is valid.
    n_fit
        Spots the bins, means and sds come from.
    n_bins
        Expression bins used.
    """

    names: tuple[str, ...]
    scores: NDArray[np.float32]
    raw_mean: NDArray[np.float64]
    raw_sd: NDArray[np.float64]
    n_measured: NDArray[np.int64]
    n_members: NDArray[np.int64]
    reasons: tuple[Reason | None, ...]
    n_fit: int
    n_bins: int

    @property
    def is_valid(self) -> NDArray[np.bool_]:
        """(P,) True where the pathway is scored in this section."""
        return np.array([reason is None for reason in self.reasons], dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class LibrarySize:
    """The number of transcripts of each spot, which the pathway scores leave out by design.

    Attributes
    ----------
    log10_counts
        (n_spots,) float64, log10 of the total; NaN for a spot without counts.
    z
        (n_spots,) float64, z over the fitting spots (population sd); NaN where the total is, or if nothing varies.
    mean, sd
        Of ``log10_counts`` over the fitting spots; NaN without fitting spots.
    """

    log10_counts: NDArray[np.float64]
    z: NDArray[np.float64]
    mean: float
    sd: float


def score_section(
    counts: csr_matrix,
    ensembl_ids: NDArray[Any],
    measured: NDArray[np.bool_],
    sets: ResolvedSets,
    *,
    in_fit: NDArray[np.bool_],
    targeted: bool,
    chunk_spots: int = CHUNK_SPOTS,
) -> PathwayScores:
    """Score every spot of a section for every gene set.

    Parameters
    ----------
    counts
        (n_spots, n_genes) integer counts, CSR. Only measured genes enter, also in the totals of CP10k.
    ensembl_ids
        (n_genes,) unique Ensembl ids, any order.
    measured
        (n_genes,) which genes the section's chemistry could see.
    sets
        Gene sets on Ensembl ids (:func:`humanst.pathways.resolve`).
    in_fit
        (n_spots,) the spots that set the bins, the mean and the sd: in tissue and past QC. A spot without counts is
        never among them and gets NaN.
    targeted
        Whether the section is of a targeted panel: a set is valid with >= 10 measured genes and >= 5 % of it on a
        panel, >= 20 % on a whole transcriptome.
    chunk_spots
        Spots scored in one go; memory grows with it, results do not change.

    Raises
    ------
    DataError
        ``scores-shape`` when the arrays do not fit together, ``gene-repeated`` when an id occurs twice.
    """
    _check(counts, ensembl_ids, measured, in_fit)
    ids = np.asarray(ensembl_ids, dtype=np.str_)
    columns = np.flatnonzero(measured)
    columns = columns[np.argsort(ids[columns], kind="stable")]
    has_counts = _totals(counts, columns, chunk_spots) > 0
    fit = np.asarray(in_fit, dtype=np.bool_) & has_counts
    return _score(counts, columns, _membership(sets, ids[columns]), sets, (fit, has_counts), targeted, chunk_spots)


def _score(
    counts: csr_matrix,
    columns: NDArray[np.int64],
    membership: csr_matrix,
    sets: ResolvedSets,
    spots: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    targeted: bool,
    size: int,
) -> PathwayScores:
    """Score the sets that are covered; ``columns`` are the measured genes in id order, the rows of ``membership``.

    ``spots``: which of them set bins, means and sds, and which have counts.
    """
    fit, has_counts = spots
    n_measured = np.asarray(membership.sum(axis=0)).ravel().astype(np.int64)
    n_members = np.array(sets.n_members, dtype=np.int64)
    reasons = _coverage_reasons(n_measured, n_members, targeted=targeted, n_fit=int(fit.sum()))
    scored = np.flatnonzero([reason is None for reason in reasons])
    n_bins = bins_for(len(columns))
    scores = np.full((counts.shape[0], len(sets.names)), np.nan, dtype=np.float32)
    mean, sd = np.full(len(sets.names), np.nan), np.full(len(sets.names), np.nan)
    if len(scored):
        logs = _logs(counts, columns, size)
        bins = expression_bins(_mean_log(logs(), fit, len(columns)), n_bins)
        scorer = BinControl.of(membership[:, scored], bins)
        raw = np.vstack([scorer.score(part) for _, part in logs()])
        mean[scored], sd[scored] = _mean_and_sd(raw[fit])
        varies = sd[scored] > MIN_SD
        reasons = _with(reasons, scored[~varies], "no-variation")
        scored, raw = scored[varies], raw[:, varies]
        scores[np.ix_(has_counts, scored)] = ((raw - mean[scored]) / sd[scored])[has_counts]
    return PathwayScores(
        names=sets.names,
        scores=scores,
        raw_mean=mean,
        raw_sd=sd,
        n_measured=n_measured,
        n_members=n_members,
        reasons=reasons,
        n_fit=int(fit.sum()),
        n_bins=n_bins,
    )


def library_size(counts: csr_matrix, *, in_fit: NDArray[np.bool_]) -> LibrarySize:
    """Return log10 of each spot's total and its z over the fitting spots.

    Parameters
    ----------
    counts
        (n_spots, n_genes) integer counts, CSR.
    in_fit
        (n_spots,) the spots that set mean and sd; a spot without counts is never among them.
    """
    totals = _totals(counts, np.arange(counts.shape[1]), CHUNK_SPOTS).astype(np.float64)
    has_counts = totals > 0
    log10_counts = np.full(len(totals), np.nan)
    np.log10(totals, out=log10_counts, where=has_counts)
    fit = np.asarray(in_fit, dtype=np.bool_) & has_counts
    if not fit.any():
        return LibrarySize(log10_counts, np.full(len(totals), np.nan), float("nan"), float("nan"))
    means, sds = _mean_and_sd(log10_counts[fit, np.newaxis])
    mean, sd = float(means[0]), float(sds[0])
    z = (log10_counts - mean) / sd if sd > MIN_SD else np.full(len(totals), np.nan)
    return LibrarySize(log10_counts, z, mean, sd)


def _check(counts: csr_matrix, ids: NDArray[Any], measured: NDArray[np.bool_], in_fit: NDArray[np.bool_]) -> None:
    n_spots, n_genes = counts.shape
    if (len(ids), len(measured), len(in_fit)) != (n_genes, n_genes, n_spots):
        what = "the arrays of a section do not fit together"
        raise DataError(
            what,
            code="scores-shape",
            expected=f"{n_genes} ids, {n_genes} measured flags, {n_spots} fit flags",
            found=f"{len(ids)}, {len(measured)}, {len(in_fit)}",
        )
    unique, times = np.unique(np.asarray(ids, dtype=np.str_), return_counts=True)
    if len(unique) < n_genes:
        what = "a gene has more than one column"
        raise DataError(
            what, code="gene-repeated", field="ensembl_ids", expected="each id once", found=unique[times > 1][0]
        )


def _membership(sets: ResolvedSets, genes: NDArray[np.str_]) -> csr_matrix:
    """W: (n_genes, P) float64, 1 where a measured gene is in a set; ``genes`` are sorted."""
    from scipy.sparse import csr_matrix

    place = {gene: row for row, gene in enumerate(genes.tolist())}
    pairs = [(place[g], p) for p, members in enumerate(sets.ensembl_ids) for g in members if g in place]
    rows, columns = (np.array([pair[axis] for pair in pairs], dtype=np.int64) for axis in (0, 1))
    return csr_matrix((np.ones(len(pairs)), (rows, columns)), shape=(len(genes), len(sets.names)))


def _coverage_reasons(
    n_measured: NDArray[np.int64], n_members: NDArray[np.int64], *, targeted: bool, n_fit: int
) -> tuple[Reason | None, ...]:
    share = MIN_SHARE_TARGETED if targeted else MIN_SHARE_WHOLE

    def reason(measured: int, members: int) -> Reason | None:
        if measured < MIN_MEASURED_GENES:
            return "too-few-genes"
        if measured / members < share:
            return "too-small-share"
        return None if n_fit else "no-fit-spots"

    return tuple(reason(int(a), int(b)) for a, b in zip(n_measured, n_members, strict=True))


def _with(reasons: tuple[Reason | None, ...], where: NDArray[np.int64], reason: Reason) -> tuple[Reason | None, ...]:
    places = set(where.tolist())
    return tuple(reason if index in places else old for index, old in enumerate(reasons))


def _logs(counts: csr_matrix, columns: NDArray[np.int64], size: int) -> Callable[[], Iterator[tuple[int, csr_matrix]]]:
    """``(first spot, log expression of the measured genes in id order)``, ``size`` spots at a time, as often as called.

    They are needed twice. Those of a section of ordinary size are kept; a larger one is computed again.
    """

    def made() -> Iterator[tuple[int, csr_matrix]]:
        return ((start, log_cp10k(part)) for start, part in _parts(counts, columns, size))

    if counts.nnz > KEPT_ENTRIES:
        return made
    kept = list(made())
    return lambda: iter(kept)


def _parts(counts: csr_matrix, columns: NDArray[np.int64], size: int) -> Iterator[tuple[int, csr_matrix]]:
    """``(first spot, counts of the measured genes in id order)``, ``size`` spots at a time; not to be written to."""
    in_order = len(columns) == counts.shape[1] and bool(np.all(columns[:-1] < columns[1:]))
    for start in range(0, counts.shape[0], size):
        part = _rows_of(counts, start, start + size)
        part = part if in_order else part[:, columns]
        if not part.has_canonical_format:
            part = part.copy()
            part.sum_duplicates()
        yield start, part


def _rows_of(counts: csr_matrix, start: int, stop: int) -> csr_matrix:
    """Some spots of a table, as a view of its arrays: not to be written to."""
    pointers = counts.indptr[start : stop + 1]
    entries = slice(int(pointers[0]), int(pointers[-1]))
    shape = (len(pointers) - 1, counts.shape[1])
    return csr_of(counts.data[entries], counts.indices[entries], pointers - pointers[0], shape)


def _totals(counts: csr_matrix, columns: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    is_measured = np.zeros(counts.shape[1], dtype=np.int64)
    is_measured[columns] = 1
    totals = np.zeros(counts.shape[0], dtype=np.int64)
    for start in range(0, counts.shape[0], size):
        totals[start : start + size] = _rows_of(counts, start, start + size) @ is_measured
    return totals


def _mean_log(logs: Iterator[tuple[int, csr_matrix]], fit: NDArray[np.bool_], n_genes: int) -> NDArray[np.float64]:
    sums = np.zeros(n_genes, dtype=np.float64)
    for start, log_expression in logs:
        is_fit = fit[start : start + log_expression.shape[0]]
        fitting = log_expression if is_fit.all() else log_expression[np.flatnonzero(is_fit)]
        # add.at goes entry by entry, spot after spot, so the sum is the same for every chunk size.
        np.add.at(sums, fitting.indices, fitting.data)
    return sums / int(fit.sum())


def _mean_and_sd(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # Each column is summed on its own as a contiguous row, so a set's figures do not depend on the other sets.
    by_set = np.ascontiguousarray(values.T)
    mean = by_set.mean(axis=1)
    centred = by_set - mean[:, np.newaxis]
    return mean, np.sqrt((centred * centred).mean(axis=1))
