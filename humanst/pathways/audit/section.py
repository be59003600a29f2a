"""The audit of one section: whether a score is reliable, spatial, more than library size, and more than chance.

Each figure stands beside that of matched-random gene sets, scored in the same go: the sets and all their draws are one
collection, so the cost is that of scoring the section ``1 + 2 * n_seeds`` times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.pathways.audit.correlation import pearson
from humanst.pathways.audit.moran import Neighbours, morans_i, neighbours_on
from humanst.pathways.audit.random_sets import joined, matched_random, some_sets
from humanst.pathways.audit.thinning import noise_ceiling, spearman_brown, thin
from humanst.pathways.depth import library_size
from humanst.pathways.expression import KEPT_ENTRIES, Expression
from humanst.pathways.score import score_expression, score_section

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from humanst.pathways.audit.inputs import AuditOptions, AuditSection
    from humanst.pathways.gene_sets import ResolvedSets
    from humanst.pathways.options import Scoring
    from humanst.pathways.score import PathwayScores

FIGURES = ("half_r", "moran", "moran_residual", "r_library")
# A pathway passes with this correlation of halves, and more than all but this share of its draws.
LEAST_HALF_R = 0.15
NULL_QUANTILE = 0.95
# Scores held at a time: 64 MiB of float64.
_SCORES_AT_A_TIME = 1 << 23


@dataclass(frozen=True, slots=True)
class _Figures:
    """What is measured of each of Q sets; NaN where a set is masked.

    ``half_r`` is (n_seeds, Q), the others (Q,).
    """

    half_r: NDArray[np.float64]
    moran: NDArray[np.float64]
    moran_residual: NDArray[np.float64]
    r_library: NDArray[np.float64]
    n_measured: NDArray[np.int64]
    reasons: tuple[str | None, ...]


def audit_section(section: AuditSection, sets: ResolvedSets, options: AuditOptions) -> pd.DataFrame:
    """Measure every pathway of a section, and as many matched-random sets as the options ask for.

    Parameters
    ----------
    section
        Counts and lattice. Every figure is over its ``in_fit`` spots that have counts.
    sets
        P gene sets.
    options
        Scorer, thinnings and draws.

    Returns
    -------
    One row a pathway, in the order of the sets. Where a pathway is masked, figures are NaN, and ``reason`` says why.

    sample_id, pathway
        Of the section and of the set.
    n_measured, n_members, share, reason
        Coverage: measured genes, genes of the set, their ratio, and why the pathway is masked, None when it is not.
    half_r, half_r_sd
        Pearson correlation, over spots, of the scores of two halves of the counts
        (:func:`humanst.pathways.audit.thinning.thin`): mean and sample sd over the thinnings; sd NaN of only one. It is
        0 of a thinning with a half that has no count of the set.
    reliability, ceiling
        Spearman-Brown of ``half_r`` and its root, the highest correlation that a prediction of the score can have.
        Over-dispersion and dropout are in both halves and so are not seen as noise: the ceiling is an upper bound.
    moran, moran_residual
        Moran's I of the score, and of what log10 counts do not explain of it linearly.
    r_library
        Pearson correlation of the score with log10 counts.
    X_null_median, X_null_p95, X_rank
        For X in ``half_r``, ``moran``, ``moran_residual``, ``r_library``: median and 95th percentile over the
        draws matched to the pathway, and the share of them that the pathway exceeds. Of ``r_library`` the absolute
        value is looked at, and the rank is the share of draws that follow library size *more* than the pathway.
    n_draws
        Draws that could be scored. The percentile of few draws is a low one: a set that is itself random exceeds that
        of 10 draws 12 times in 100, of 20 draws 9 times, of 100 draws 6 times.
    passes
        ``half_r`` is above ``half_r_null_p95`` and at least 0.15. False where masked.

    ``attrs["n_islands"]`` is the number of spots without a neighbour, which Moran's I leaves out.
    """
    expression = expression_of(section)
    neighbours = neighbours_on(section.row, section.col, section.lattice, expression.fit)
    figures = _measure(section, _with_draws(expression, sets, options), options, expression, neighbours)
    frame = _table(section.sample_id, sets, figures, options.n_draws)
    frame.attrs["n_islands"] = neighbours.n_islands
    return frame


def expression_of(
    section: AuditSection, counts: csr_matrix | None = None, *, kept_entries: int = KEPT_ENTRIES
) -> Expression:
    """Return the measured genes of a section as scorers see them; ``fit`` are the spots that have figures.

    Parameters
    ----------
    counts
        Other counts of its spots.
    kept_entries
        Counts whose logarithms are kept.
    """
    ids = np.asarray(section.ensembl_ids, np.str_)
    chosen = section.counts if counts is None else counts
    return Expression(chosen, ids, section.measured, section.in_fit, kept_entries=kept_entries)


def scores_of(
    section: AuditSection,
    sets: ResolvedSets,
    scoring: Scoring,
    *,
    counts: csr_matrix | None = None,
    measured: NDArray[np.bool_] | None = None,
    targeted: bool | None = None,
) -> PathwayScores:
    """Score a section as its targets are, or with other counts of its spots or fewer of its genes measured."""
    return score_section(
        section.counts if counts is None else counts,
        section.ensembl_ids,
        section.measured if measured is None else measured,
        sets,
        in_fit=section.in_fit,
        targeted=section.targeted if targeted is None else targeted,
        scoring=scoring,
        lattice=(section.row, section.col, section.lattice),
    )


def _with_draws(expression: Expression, sets: ResolvedSets, options: AuditOptions) -> ResolvedSets:
    """The sets, then each draw of all of them: (1 + n_draws) * P sets."""
    genes = expression.genes
    mean_log = expression.mean_log if expression.n_fit else np.zeros(len(genes))
    draws = [matched_random(sets, genes, mean_log, seed=options.seed, draw=draw) for draw in range(options.n_draws)]
    return joined([sets, *draws])


def _measure(
    section: AuditSection,
    sets: ResolvedSets,
    options: AuditOptions,
    expression: Expression,
    neighbours: Neighbours,
) -> _Figures:
    fit = expression.fit
    library = library_size(section.counts, in_fit=section.in_fit).log10_counts

    def of_whole(scores: PathwayScores) -> list[NDArray[Any]]:
        return [
            morans_i(scores.scores, neighbours),
            morans_i(scores.scores, neighbours, without=library),
            pearson(scores.scores[fit], library[fit]),
            scores.n_measured,
            np.array(scores.reasons, dtype=object),
        ]

    whole = _by_parts(sets, fit, lambda part: of_whole(_scores(section, expression, part, options.scoring)))
    expression.forget()
    half_r = []
    for number in range(options.n_seeds):
        halves = thin(section.counts, (options.seed, number))
        half_r.append(_by_parts(sets, fit, _half_r(section, options.scoring, halves, fit))[0])
    moran, residual, r_library, n_measured, reasons = whole
    masked = np.array([reason is not None for reason in reasons.tolist()], dtype=np.bool_)
    # A half may vary where the whole does not; what is masked has no figures.
    by_seed = np.where(masked, np.nan, np.array(half_r))
    return _Figures(by_seed, moran, residual, r_library, n_measured, tuple(reasons.tolist()))


def _half_r(
    section: AuditSection, scoring: Scoring, halves: tuple[csr_matrix, csr_matrix], fit: NDArray[np.bool_]
) -> Callable[[ResolvedSets], list[NDArray[Any]]]:
    # Logarithms are made once for all parts of the sets; the two halves share the room for them.
    ready = [expression_of(section, half, kept_entries=KEPT_ENTRIES // 2) for half in halves]

    def measure(part: ResolvedSets) -> list[NDArray[Any]]:
        one, other = (_scores(section, half, part, scoring) for half in ready)
        r = pearson(one.scores[fit], other.scores[fit])
        # A half without a count of a set, or with the same score everywhere, agrees with nothing.
        r[~(one.is_valid & other.is_valid)] = 0.0
        return [r]

    return measure


def _scores(section: AuditSection, expression: Expression, sets: ResolvedSets, scoring: Scoring) -> PathwayScores:
    lattice = (section.row, section.col, section.lattice)
    return score_expression(expression, sets, targeted=section.targeted, scoring=scoring, lattice=lattice, keep=True)


def _by_parts(
    sets: ResolvedSets, fit: NDArray[np.bool_], measure: Callable[[ResolvedSets], list[NDArray[Any]]]
) -> list[NDArray[Any]]:
    """Measure as many sets at a time as memory should hold scores of."""
    size = max(_SCORES_AT_A_TIME // max(len(fit), 1), 1)
    parts = [measure(some_sets(sets, start, start + size)) for start in range(0, max(len(sets.names), 1), size)]
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


def _table(sample_id: str, sets: ResolvedSets, figures: _Figures, n_draws: int) -> pd.DataFrame:
    import pandas as pd

    n_sets = len(sets.names)
    half_r = figures.half_r.mean(axis=0)
    of_set = half_r[:n_sets]
    reliability = spearman_brown(of_set)
    n_members = np.array(sets.n_members, dtype=np.int64)
    columns: dict[str, Any] = {
        "sample_id": [sample_id] * n_sets,
        "pathway": list(sets.names),
        "n_measured": figures.n_measured[:n_sets],
        "n_members": n_members,
        "share": figures.n_measured[:n_sets] / np.maximum(n_members, 1),
        "reason": np.array(figures.reasons[:n_sets], dtype=object),
        "half_r": of_set,
        "half_r_sd": _sd(figures.half_r[:, :n_sets]),
        "reliability": reliability,
        "ceiling": noise_ceiling(reliability),
    }
    of_all = {"half_r": half_r, **{name: getattr(figures, name) for name in FIGURES[1:]}}
    columns |= {name: of_all[name][:n_sets] for name in FIGURES[1:]}
    for name in FIGURES:
        columns |= _beside_null(name, of_all[name].reshape(1 + n_draws, n_sets))
    columns["n_draws"] = np.isfinite(half_r.reshape(1 + n_draws, n_sets)[1:]).sum(axis=0)
    columns["passes"] = (of_set > columns["half_r_null_p95"]) & (of_set >= LEAST_HALF_R)
    return pd.DataFrame(columns)


def _sd(by_seed: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(by_seed) < 2:
        return np.full(by_seed.shape[1], np.nan)
    return np.asarray(by_seed.std(axis=0, ddof=1), dtype=np.float64)


def _beside_null(name: str, values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Median and 95th percentile of the draws and the rank of the set; ``values`` has the sets in its first row."""
    looked_at = np.abs(values) if name == "r_library" else values
    of_set, draws = looked_at[0], looked_at[1:]
    n_drawn = np.isfinite(draws).sum(axis=0)
    told = (n_drawn > 0) & np.isfinite(of_set)
    median, high = (np.full(len(of_set), np.nan) for _ in range(2))
    median[told] = np.nanmedian(draws[:, told], axis=0)
    high[told] = np.nanquantile(draws[:, told], NULL_QUANTILE, axis=0)
    # A comparison with NaN is false, so a draw that was not scored is never counted.
    won = (draws > of_set if name == "r_library" else draws < of_set).sum(axis=0)
    rank = np.divide(won, n_drawn, out=np.full(len(of_set), np.nan), where=told)
    return {f"{name}_null_median": median, f"{name}_null_p95": high, f"{name}_rank": rank}
