"""Linear probes: standardise, reduce, ridge. What is fitted is fitted on training rows alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError

N_COMPONENTS = 256
PCA_SEED = 1
ALPHAS = tuple(10.0**power for power in range(6, -3, -1))  # descending: of equal ones, the stronger shrinkage is taken
N_INNER_FOLDS = 5
MIN_SPOTS = 10

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Fit:
    """Predictions for test rows, and how the ridge was set.

    Attributes
    ----------
    predicted
        (n_test, g).
    alpha
        Strength of the ridge.
    inner
        What was held out to choose alpha: ``"donors"``, ``"sections"``, ``"spots"`` (optimistic, for neighbours are
        alike), or ``""`` when it is a formula.
    n_components
        Components the features were reduced to.
    """

    predicted: Floats
    alpha: float
    inner: str
    n_components: int


def hest_alpha(n_features: int, n_targets: int) -> float:
    """Strength of the ridge of HEST-Bench, ``100 / (n_features * n_targets)``: 0.0078125 for 256 and 50."""
    return 100 / (n_features * n_targets)


def reduced(train: Floats, test: Floats) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Standardise and project on the first 256 principal components of the training rows.

    Parameters
    ----------
    train, test
        (n, d) and (m, d).

    Returns
    -------
    train, test
        (n, c) and (m, c) float32, as HEST-Bench hands them to its ridge; c = min(256, n, d): HEST-Bench itself cannot
        take fewer features than 256.

    Raises
    ------
    DataError
        ``too-few-spots`` below 10 training rows.
    """
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(train) < MIN_SPOTS:
        expected, found = f"{MIN_SPOTS} training spots", str(len(train))
        raise DataError("There is too little to fit a probe on", code="too-few-spots", expected=expected, found=found)
    pipe = make_pipeline(StandardScaler(), PCA(min(N_COMPONENTS, *train.shape), random_state=PCA_SEED))
    first = pipe.fit_transform(train)
    return first.astype(np.float32), pipe.transform(test).astype(np.float32)


def fit_hest(train: Floats, targets: Floats, test: Floats) -> Fit:
    """Predict as HEST-Bench does after its PCA: ``Ridge(lsqr)``, alpha by formula, no intercept.

    Parameters
    ----------
    train, targets, test
        (n, c), (n, g) and (m, c); the features as :func:`reduced` gives them.
    """
    from sklearn.linear_model import Ridge

    alpha = hest_alpha(train.shape[1], targets.shape[1])
    ridge = Ridge(alpha=alpha, solver="lsqr", fit_intercept=False, max_iter=1000, random_state=PCA_SEED)
    return Fit(ridge.fit(train, targets).predict(test).reshape(len(test), -1), alpha, "", train.shape[1])


def fit_cv(
    train: Floats,
    targets: Floats,
    test: Floats,
    *,
    donors: NDArray[np.str_],
    sections: NDArray[np.str_],
) -> Fit:
    """Predict with an intercept and the alpha of 10^-2 ... 10^6 that predicts held-out training donors best.

    Best is the highest mean over targets of Pearson's r, since that is what probes report. Scaling and PCA were fitted
    once on all training rows: they saw no target and no test row.

    Parameters
    ----------
    train, targets, test
        (n, c), (n, g) and (m, c); the features as :func:`reduced` gives them.
    donors, sections
        (n,) names: donors are held out whole; of a single donor, sections; of a single section, spots.
    """
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GroupKFold, KFold

    inner, groups = "donors", donors
    if len(np.unique(groups)) < 2:
        inner, groups = "sections", sections
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        inner, folds = "spots", KFold(N_INNER_FOLDS, shuffle=True, random_state=PCA_SEED).split(train)
    else:
        folds = GroupKFold(min(N_INNER_FOLDS, n_groups)).split(train, groups=groups)
    reached = np.array([[_mean_pearson(p, targets[b]) for p in _path(train, targets, a, b)] for a, b in folds])
    alpha = ALPHAS[int(reached.mean(axis=0).argmax())]
    return Fit(
        Ridge(alpha=alpha).fit(train, targets).predict(test).reshape(len(test), -1), alpha, inner, train.shape[1]
    )


def _path(features: Floats, targets: Floats, train: NDArray[np.int64], test: NDArray[np.int64]) -> Iterator[Floats]:
    """Predictions of ridge with an intercept at every alpha; one decomposition serves them all."""
    x, y = features[train].astype(np.float64), targets[train].astype(np.float64)
    centre, level = x.mean(axis=0), y.mean(axis=0)
    x -= centre
    values, vectors = np.linalg.eigh(x.T @ x)
    turned, new = vectors.T @ (x.T @ (y - level)), (features[test] - centre) @ vectors
    for alpha in ALPHAS:
        yield new @ (turned / (np.maximum(values, 0) + alpha)[:, None]) + level


def pearson(first: Floats, second: Floats) -> NDArray[np.float64]:
    """Pearson's r of each column of two (n, g) arrays: (g,), NaN where either is constant or n < 3."""
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if len(x) < 3:
        return np.full(x.shape[1], np.nan)
    flat = (np.ptp(x, axis=0) == 0) | (np.ptp(y, axis=0) == 0)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (x * y).sum(axis=0) / np.sqrt((x * x).sum(axis=0) * (y * y).sum(axis=0))
    return np.where(flat, np.nan, np.clip(r, -1, 1))


def leave_donor_out(
    donors: Sequence[str], sections: Sequence[str], test_donors: Sequence[str] | None = None
) -> list[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
    """Folds that each hold out one donor whole.

    Parameters
    ----------
    donors, sections
        (n,) names: whose a row is, and of which section.
    test_donors
        Donors to hold out in turn; all by default. Others are trained on in every fold.

    Returns
    -------
    list of (donor, train, test)
        Sorted by donor; rows of the training and of the test part.

    Raises
    ------
    DataError
        ``leakage`` when a section belongs to two donors; ``donor-unknown`` when a row has no donor or a test donor no
        row; ``too-few-donors`` below two.
    """
    of_row = np.asarray(donors, dtype=str)
    check_donors(of_row, np.asarray(sections, dtype=str))
    known = np.unique(of_row).tolist()
    if len(known) < 2:
        found = ", ".join(known) or "no row"
        raise DataError("There is no donor to train on", code="too-few-donors", expected="2 donors", found=found)
    held_out = sorted(set(known if test_donors is None else test_donors))
    if strange := [donor for donor in held_out if donor not in known]:
        expected, found = f"some of {', '.join(known)}", ", ".join(strange)
        raise DataError("A test donor has no row", code="donor-unknown", expected=expected, found=found)
    return [(donor, np.flatnonzero(of_row != donor), np.flatnonzero(of_row == donor)) for donor in held_out]


def check_donors(donors: NDArray[np.str_], sections: NDArray[np.str_]) -> None:
    """See that every row has a donor and every section one.

    Raises
    ------
    DataError
        ``shapes``, ``donor-unknown`` or ``leakage``.
    """
    if donors.shape != sections.shape:
        raise DataError("Every row needs a section", code="shapes", expected=donors.shape, found=sections.shape)
    if n_without := int(np.isin(donors, ("", "None", "nan")).sum()):
        raise DataError(
            "Rows have no donor", code="donor-unknown", expected="a donor a row", found=f"{n_without} without"
        )
    for section in np.unique(sections):
        if len(owners := np.unique(donors[sections == section])) > 1:
            raise DataError(
                "A section belongs to two donors: leaving one out would train on the other's spots of it",
                code="leakage",
                section=str(section),
                expected="one donor a section",
                found=", ".join(owners.tolist()),
            )


def _mean_pearson(predicted: Floats, targets: Floats) -> float:
    r = pearson(predicted, targets)
    # A target that is constant in a fold says nothing there; when all are, no alpha is better than another.
    return float(np.nanmean(r)) if np.isfinite(r).any() else 0.0
