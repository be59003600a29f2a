"""Pathway targets of one section: raw scores, z over the section's fitting spots, and what was not measured.

A pathway that the section's panel does not cover, that has no count, or that does not vary, is NaN with its reason, the
same for every scorer. Genes that were not measured are left out of everything, so they never change a score. Raw mean
and sd are kept: ``raw = z * sd + mean``, as far as nothing was clipped. Every score comes from a scorer of
:mod:`humanst.pathways.scorers`; library size is carried beside (:func:`humanst.pathways.library_size`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from humanst.errors import DataError, UsageError
from humanst.pathways.bincontrol import bins_for
from humanst.pathways.depth import MIN_SD, mean_and_sd
from humanst.pathways.expression import CHUNK_SPOTS, Expression, fitting_rows
from humanst.pathways.options import SCORERS, Scoring
from humanst.pathways.scorers import scorer_of
from humanst.pathways.scorers.base import SetWeights
from humanst.pathways.smoothing import neighbour_means, smoothed

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from humanst.pathways.gene_sets import ResolvedSets
    from humanst.pathways.smoothing import Lattice

MIN_MEASURED_GENES = 10
MIN_SHARE_TARGETED = 0.05
MIN_SHARE_WHOLE = 0.20
SETS_AT_ONCE = 64

Reason = Literal["too-few-genes", "too-small-share", "no-fit-spots", "no-counts", "no-variation"]


@dataclass(frozen=True, slots=True)
class PathwayScores:
    """Scores of every spot of a section.

    Attributes
    ----------
    names
        (P,) set names.
    scores
        (n_spots, P) float32, z over the fitting spots, or raw where z is off; NaN in a masked pathway and for a spot
        without counts.
    raw_mean, raw_sd
        (P,) float64, of the raw score over the fitting spots (population sd), after smoothing if there is any; NaN
        where nothing was scored.
    n_measured, n_members
        (P,) int64: genes of the set that the section measured, and genes the set has.
    reasons
        (P,) why a pathway is masked, None where it is valid.
    n_fit
        Spots the bins, means and sds come from.
    n_bins
        Expression bins used; 0 for a scorer that has none.
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


def score_section(
    counts: csr_matrix,
    ensembl_ids: NDArray[Any],
    measured: NDArray[np.bool_],
    sets: ResolvedSets,
    *,
    in_fit: NDArray[np.bool_],
    targeted: bool,
    scoring: Scoring | None = None,
    lattice: Lattice | None = None,
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
        (n_spots,) the spots that set bins and other statistics of genes, the mean and the sd, and that are neighbours
        where scores are smoothed: in tissue and past QC. A spot without counts is never among them and gets NaN.
    targeted
        Whether the section is of a targeted panel: a set is valid with >= 10 measured genes and >= 5 % of it on a
        panel, >= 20 % on a whole transcriptome.
    scoring
        Scorer, smoothing, z and clip; the default scorer and z alone when it is None.
    lattice
        ``(row, col, kind)`` of the spots, for smoothing alone: (n_spots,) whole numbers, twice, and ``"hex"`` (6
        neighbours; a column is half a pitch) or ``"square"`` (8 neighbours).
    chunk_spots
        Spots scored in one go; memory grows with it, results do not change.

    Raises
    ------
    DataError
        ``scores-shape`` when the arrays do not fit together, ``scores-counts`` when counts are no CSR of integers >= 0,
        ``gene-repeated`` when an id occurs twice, ``lattice-repeated`` when two spots have one place.
    UsageError
        ``scoring-option`` for an option out of its range or without what it needs, ``lattice-kind``,
        ``scorer-weights`` for sets with weights and a scorer that has no use for them.
    """
    _check_scoring(scoring or Scoring(), sets, chunk_spots, has_lattice=lattice is not None)
    _check(counts, ensembl_ids, measured, in_fit)
    expression = Expression(counts, np.asarray(ensembl_ids, dtype=np.str_), measured, in_fit, chunk_spots)
    return score_expression(expression, sets, targeted=targeted, scoring=scoring, lattice=lattice)


def score_expression(
    expression: Expression,
    sets: ResolvedSets,
    *,
    targeted: bool,
    scoring: Scoring | None = None,
    lattice: Lattice | None = None,
    keep: bool = False,
) -> PathwayScores:
    """Score a section that was made ready.

    Parameters are those of :func:`score_section`, and so are the results; with ``keep`` the logarithms that were made
    for these sets are there for the next.

    Raises
    ------
    UsageError
        As there.
    """
    asked = Scoring() if scoring is None else scoring
    _check_scoring(asked, sets, has_lattice=lattice is not None)
    means = neighbour_means(lattice, expression.fit) if lattice is not None and asked.smooth > 0 else None
    weights = SetWeights.of(sets, expression.genes)
    n_members = np.array(sets.n_members, dtype=np.int64)
    reasons = _coverage_reasons(weights.n_measured, n_members, targeted=targeted, n_fit=expression.n_fit)
    reasons = _with(reasons, _uncounted(expression, weights, reasons, keep=keep), "no-counts")
    scores = np.full((expression.n_spots, len(sets.names)), np.nan, dtype=np.float32)
    mean, sd = np.full(len(sets.names), np.nan), np.full(len(sets.names), np.nan)
    scored = np.flatnonzero([reason is None for reason in reasons])
    n_bins = bins_for(len(expression.genes)) if asked.scorer == "bincontrol" else 0
    if len(scored):
        raw, n_bins = _raw_scores(expression, weights.only(scored), asked, keep=keep)
        # Some sets at a time: what is made on the way stays small beside the scores.
        for first in range(0, len(scored), SETS_AT_ONCE):
            few = scored[first : first + SETS_AT_ONCE]
            rows = raw[first : first + SETS_AT_ONCE]
            rows = rows if means is None else smoothed(rows, means, asked.smooth, expression.has_counts)
            mean[few], sd[few] = mean_and_sd(np.ascontiguousarray(rows[:, expression.fit]))
            varies = sd[few] > MIN_SD
            values = _finished(rows[varies], mean[few[varies]], sd[few[varies]], asked)
            values[:, ~expression.has_counts] = np.nan
            scores[:, few[varies]] = values.T
        reasons = _with(reasons, scored[~(sd[scored] > MIN_SD)], "no-variation")
    return PathwayScores(
        names=sets.names,
        scores=scores,
        raw_mean=mean,
        raw_sd=sd,
        n_measured=weights.n_measured,
        n_members=n_members,
        reasons=reasons,
        n_fit=expression.n_fit,
        n_bins=n_bins,
    )


def _uncounted(
    expression: Expression, weights: SetWeights, reasons: tuple[Reason | None, ...], *, keep: bool
) -> NDArray[np.int64]:
    """Sets without a single count in the fitting spots: a score would be that of their controls alone."""
    left = np.flatnonzero([reason is None for reason in reasons])
    matrix = weights.matrix
    has_counts = np.zeros(matrix.shape[0], dtype=np.bool_)
    # A few spots settle it for nearly every set.
    for block in expression.blocks(keep=keep) if len(left) else ():
        fitting = fitting_rows(block.counts, block.is_fit)
        has_counts[fitting.indices[fitting.data > 0]] = True
        n_counted = np.bincount(matrix.indices, np.repeat(has_counts, np.diff(matrix.indptr)), matrix.shape[1])
        left = left[n_counted[left] == 0]
        if not len(left):
            break
    return left


def _raw_scores(
    expression: Expression, weights: SetWeights, asked: Scoring, *, keep: bool
) -> tuple[NDArray[np.float64], int]:
    """(P, n_spots), a row a set, and the bins of the scorer."""
    scorer = scorer_of(asked.scorer).fit(expression, weights)
    raw = np.empty((len(weights.n_measured), expression.n_spots))
    for block in expression.blocks(keep=keep):
        raw[:, block.start : block.stop] = scorer.score(block).T
    return raw, scorer.n_bins


def _finished(
    rows: NDArray[np.float64], mean: NDArray[np.float64], sd: NDArray[np.float64], asked: Scoring
) -> NDArray[np.float64]:
    """Turn raw scores of some sets, (P, n_spots), into what is asked for."""
    if not asked.z:
        return rows.copy()
    z = (rows - mean[:, np.newaxis]) / sd[:, np.newaxis]
    return z if asked.clip is None else np.clip(z, -asked.clip, asked.clip)


def _check_scoring(asked: Scoring, sets: ResolvedSets, chunk_spots: int = CHUNK_SPOTS, *, has_lattice: bool) -> None:
    faults = list(asked.faults())
    if asked.smooth > 0 and not has_lattice:
        faults.append(("smooth", "the lattice of the spots, whose neighbours are smoothed over", "no lattice"))
    if chunk_spots < 1:
        faults.append(("chunk_spots", "at least one spot", chunk_spots))
    for field, expected, found in faults:
        what = "pathways cannot be scored like this"
        raise UsageError(what, code="scoring-option", field=field, expected=expected, found=repr(found))
    if getattr(sets, "weights", None) is not None and not scorer_of(asked.scorer).takes_weights:
        takers = ", ".join(name for name in SCORERS if scorer_of(name).takes_weights)
        raise UsageError(
            "this scorer has no use for the weights of genes",
            code="scorer-weights",
            expected=f"sets without weights, or one of {takers}",
            found=f"{asked.scorer} and the weighted sets of {sets.name}",
        )


def _check(counts: csr_matrix, ids: NDArray[Any], measured: NDArray[np.bool_], in_fit: NDArray[np.bool_]) -> None:
    is_counts = getattr(counts, "format", None) == "csr" and counts.dtype.kind in "iu"
    if not is_counts or (counts.nnz and counts.data.min() < 0):
        what = "the counts to score are not counts"
        kind = f"{getattr(counts, 'format', type(counts).__name__)} of {getattr(counts, 'dtype', 'no dtype')}"
        found = f"{kind}, smallest {counts.data.min()}" if is_counts else kind
        raise DataError(what, code="scores-counts", field="counts", expected="csr of integers >= 0", found=found)
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
