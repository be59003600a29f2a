"""What features of one half of the counts tell of the genes of the other half, in donors they were not fitted on.

A score is a function of the counts, so it holds no more than they do; but a model learns from few spots and many noisy
genes, and there an average may serve better. So the question is put to a learner: ridge regression from the first half
of the counts of a spot to the most variable genes of its second half, judged by the correlation over the spots of a
section of a donor left out. The halves share no noise, so the reliability of the genes sets a ceiling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.pathways.audit.pca import within_sections

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from humanst.pathways.audit.features import SpotFeatures

MAX_FOLDS = 8
INNER_FOLDS = 3
ALPHAS = (1.0, 1e1, 1e2, 1e3, 1e4)
# Without training groups to choose it on.
LONE_ALPHA = 1e2
TARGETS = ("log1p(CP10k)", "log1p(raw)")
COLUMNS = (
    "features", "target", "r", "ceiling", "share_of_ceiling", "n_sections", "n_folds", "left_out", "r_sd", "n_features",
    "n_draws", "n_genes", "reason",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Folds:
    """Which sections are left out together.

    Attributes
    ----------
    fold
        (S,) int64, the fold of each section.
    n
        Folds; 0 when nothing can be left out.
    left_out
        ``donor`` or ``section``, None when nothing can be.
    reason
        Why no donor is left out, None where one is.
    """

    fold: NDArray[np.int64]
    n: int
    left_out: str | None
    reason: str | None


def folds_of(donor_groups: Sequence[str]) -> Folds:
    """Leave donors out, or sections where there is one donor; never spots, whose neighbours would stay in.

    Parameters
    ----------
    donor_groups
        (S,) the donor group of each section. More than 8 groups share 8 folds.
    """
    donors, donor = np.unique(np.asarray(donor_groups, dtype=np.str_), return_inverse=True)
    n_sections = len(donor_groups)
    if n_sections < 2:
        return Folds(np.zeros(n_sections, dtype=np.int64), 0, None, "too few sections: one cannot be left out")
    if len(donors) < 2:
        return Folds(_grouped(np.arange(n_sections)), min(n_sections, MAX_FOLDS), "section", "too few donors")
    return Folds(_grouped(donor), min(len(donors), MAX_FOLDS), "donor", None)


def _grouped(group: NDArray[np.int64]) -> NDArray[np.int64]:
    from sklearn.model_selection import GroupKFold

    n = min(len(np.unique(group)), MAX_FOLDS)
    fold = np.empty(len(group), dtype=np.int64)
    for number, (_, test) in enumerate(GroupKFold(n).split(group, groups=group)):
        fold[test] = number
    return fold


def information(spots: SpotFeatures, section: NDArray[np.int64], folds: Folds) -> pd.DataFrame:
    """Measure what each kind of features keeps.

    Parameters
    ----------
    spots
        Of all sections.
    section
        (n,) the section of each spot, an index into ``folds.fold``.
    folds
        From :func:`folds_of`.

    Returns
    -------
    A row for each kind of features and target:

    features
        ``library_size``; ``pathways``; ``random_sets`` (mean over draws); ``pca`` (of log1p(CP10k) of all genes, axes
        from the training sections); ``same_genes`` (the target genes in the first half).
    target
        ``log1p(CP10k)`` or ``log1p(raw)`` of the genes in the second half.
    r
        Pearson correlation of prediction and target over the spots of a section, mean over genes, then sections. A
        gene that does not vary in a section is left out there; a prediction that does not has r = 0.
    ceiling
        Mean over genes of the square root of r between the halves (mean over sections, at least 0): what the expected
        expression of the spot itself would reach.
    share_of_ceiling
        r / ceiling, NaN where the ceiling is 0.
    n_sections, n_folds, left_out
        Sections tested, folds, and what a fold leaves out: ``donor`` or ``section``.
    r_sd
        Standard deviation over sections.
    n_features, n_draws, n_genes
        Columns of the features, draws of random sets averaged, and target genes.
    reason
        None, or why there is no figure, or that sections stood in for donors.
    """
    import pandas as pd

    if folds.n and len(np.unique(folds.fold[section])) < 2:
        # Of very many sections some have spots here, and these may be of donors that are left out together.
        folds = Folds(folds.fold, 0, None, "too few donors among the sections that there is room for")
    rows: list[dict[str, Any]] = []
    for target, genes in zip(TARGETS, (spots.log_cp10k, spots.log_raw), strict=True):
        ceiling = ceiling_of(genes, section)
        wanted = within_sections(genes[1], section, scale=True)
        for name, draws in _kinds(spots, section, genes, folds).items():
            figures = _figures(draws, wanted, section, folds)
            share = figures["r"] / ceiling if ceiling > 0 else float("nan")
            rows.append({"features": name, "target": target, "ceiling": ceiling, "share_of_ceiling": share, **figures})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _figures(
    draws: list[list[NDArray[np.float64]]], target: NDArray[np.float64], section: NDArray[np.int64], folds: Folds
) -> dict[str, Any]:
    """The figures of one kind of features for one target."""
    n_features = max((values.shape[1] for draw in draws for values in draw), default=0)
    reason = folds.reason
    if not target.shape[1]:
        reason = "no gene was measured in every section and counted in 10 % of its spots"
    elif folds.n and not n_features:
        reason = "no such feature in these sections"
    by_section = np.full(1, np.nan)
    if folds.n and n_features and target.shape[1]:
        by_section = np.mean([_left_out_r(draw, target, section, folds) for draw in draws], axis=0)
    known = by_section[~np.isnan(by_section)]
    if not len(known):
        reason = reason or "no gene varies in any section"
    return {
        "r": known.mean() if len(known) else float("nan"),
        "n_sections": len(known),
        "n_folds": folds.n,
        "left_out": folds.left_out,
        "r_sd": known.std() if len(known) else float("nan"),
        "n_features": n_features,
        "n_draws": len(draws),
        "n_genes": target.shape[1],
        "reason": reason,
    }


def ceiling_of(halves: NDArray[np.float32], section: NDArray[np.int64]) -> float:
    """Return the mean over genes of sqrt(r between the halves); r is the mean over sections, and at least 0.

    Parameters
    ----------
    halves
        (2, n, T).
    section
        (n,) the section of each spot.
    """
    r = correlations(halves[0], halves[1], section)
    if not r.size:
        return float("nan")
    known = ~np.isnan(r).all(axis=0)
    if not known.any():
        return float("nan")
    return float(np.sqrt(np.clip(np.nanmean(r[:, known], axis=0), 0.0, None)).mean())


def correlations(x: NDArray[Any], y: NDArray[Any], section: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the Pearson correlation of each column within each section.

    Parameters
    ----------
    x, y
        (n, T).
    section
        (n,) the section of each row.

    Returns
    -------
    (S, T) in the order of the sections' numbers; NaN where ``y`` does not vary, 0 where ``x`` alone does not.
    """
    zx, zy = (within_sections(values.astype(np.float64), section, scale=True) for values in (x, y))
    out = []
    for one in np.unique(section):
        here = section == one
        varies = (zy[here] != 0).any(axis=0)
        out.append(np.where(varies, (zx[here] * zy[here]).mean(axis=0), np.nan))
    return np.array(out).reshape(len(out), x.shape[1])


def _kinds(
    spots: SpotFeatures, section: NDArray[np.int64], genes: NDArray[np.float32], folds: Folds
) -> dict[str, list[list[NDArray[np.float64]]]]:
    """Kinds of features by name: a list of draws, each with its features for every fold."""

    def ready(values: NDArray[np.float32], *, scale: bool) -> NDArray[np.float64]:
        # What a section masks is its mean there, as a model gets it from the loaders.
        filled = np.nan_to_num(within_sections(values, section, scale=scale))
        return filled[:, filled.any(axis=0)]

    def same(values: NDArray[np.float32]) -> list[NDArray[np.float64]]:
        return [ready(values, scale=True)] * folds.n

    # Axes keep their scale: which of them carry much is what the components are about.
    axes = [ready(spots.axes[:, fold], scale=False) for fold in range(folds.n)]
    return {
        "library_size": [same(spots.library[0][:, np.newaxis])],
        "pathways": [same(spots.pathways[0])],
        "random_sets": [same(spots.random[:, draw]) for draw in range(spots.random.shape[1])],
        "pca": [axes],
        "same_genes": [same(genes[0])],
    }


def _left_out_r(
    features: list[NDArray[np.float64]], target: NDArray[np.float64], section: NDArray[np.int64], folds: Folds
) -> NDArray[np.float64]:
    """(S,) the mean r over genes of each section, each predicted by a fit on the other folds."""
    predicted = np.zeros_like(target)
    for fold, values in enumerate(features):
        test = folds.fold[section] == fold
        if values.shape[1] and test.any():
            predicted[test] = values[test] @ _ridge(values[~test], target[~test], section[~test], folds.fold)
    r = correlations(predicted, target, section)
    known = ~np.isnan(r).all(axis=1)
    out = np.full(len(r), np.nan)
    out[known] = np.nanmean(r[known], axis=1)
    return out


def _ridge(
    x: NDArray[np.float64], y: NDArray[np.float64], section: NDArray[np.int64], fold: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(P, T) coefficients; alpha is chosen on whole training folds, or sections where one fold is left to train on."""
    from sklearn.model_selection import GroupKFold

    groups = fold[section] if len(np.unique(fold[section])) > 1 else section
    n = min(len(np.unique(groups)), INNER_FOLDS)
    alpha = LONE_ALPHA
    if n > 1:
        errors = np.zeros(len(ALPHAS))
        for train, test in GroupKFold(n).split(x, groups=groups):
            for number, one in enumerate(ALPHAS):
                missed = y[test] - x[test] @ _fitted(x[train], y[train], one)
                errors[number] += (missed * missed).sum()
        alpha = ALPHAS[int(errors.argmin())]
    return _fitted(x, y, alpha)


def _fitted(x: NDArray[np.float64], y: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """(P, T) coefficients for one alpha, of one target too, whose axis the solver drops."""
    from sklearn.linear_model import ridge_regression

    return np.asarray(ridge_regression(x, y, alpha), dtype=np.float64).reshape(y.shape[1], x.shape[1]).T
