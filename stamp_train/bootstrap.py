"""Intervals over donors: spots and sections of one donor are no independent witnesses, donors are.

Values are averaged within each donor, donors are drawn with replacement, and the interval is the expanded percentile
interval (Hesterberg 2015, The American Statistician 69:371): plain percentiles are too narrow by sqrt((n - 1) / n) and
by the normal in place of Student's t, which for 8 donors turns 95 % into 89 %. With fewer donors no interval is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from humanst.errors import DataError

MIN_DONORS = 8
N_RESAMPLES = 10_000
TOO_FEW = "too few donors"


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over donors and how sure it is.

    Attributes
    ----------
    mean
        Mean over donors of the mean within each; NaN without a donor.
    low, high
        Ends of the interval; None when there are too few donors.
    n_donors
        Donors that have a value.
    n_undefined
        Values left out because they are NaN.
    note
        ``"too few donors"``, or empty.
    """

    mean: float
    low: float | None
    high: float | None
    n_donors: int
    n_undefined: int = 0
    note: str = ""

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and 0 lies outside."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def donor_means(values: ArrayLike, donors: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
    """Average within donors, NaN left out.

    Parameters
    ----------
    values
        (n,) numbers.
    donors
        (n,) names.

    Returns
    -------
    names, means
        Sorted names of the D donors that have a value, and (D,) float64.

    Raises
    ------
    DataError
        When the two differ in length.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != (len(donors),):
        raise DataError("Every value needs its donor", code="shapes", expected=f"({len(donors)},)", found=numbers.shape)
    defined = ~np.isnan(numbers)
    names, donor_of = np.unique(np.asarray(donors, dtype=str)[defined], return_inverse=True)
    sums = np.bincount(donor_of, weights=numbers[defined], minlength=len(names))
    return names.tolist(), sums / np.maximum(np.bincount(donor_of, minlength=len(names)), 1)


def interval(
    values: ArrayLike,
    donors: Sequence[str],
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Bootstrap the mean over donors.

    Parameters
    ----------
    values, donors
        (n,) numbers, NaN = undefined, and whose each is.
    level
        Coverage asked for.
    n_resamples, seed
        Draws of donors, and where they begin.

    Raises
    ------
    DataError
        When the two differ in length.
    """
    names, means = donor_means(values, donors)
    n_donors, n_undefined = len(names), int(np.isnan(np.asarray(values, dtype=np.float64)).sum())
    mean = float(means.mean()) if n_donors else float("nan")
    if n_donors < MIN_DONORS:
        return Interval(mean, None, None, n_donors, n_undefined, TOO_FEW)
    draws = np.random.default_rng(seed).integers(n_donors, size=(n_resamples, n_donors))
    low, high = np.quantile(means[draws].mean(axis=1), _tails(n_donors, level))
    return Interval(mean, float(low), float(high), n_donors, n_undefined)


def paired_interval(
    values: ArrayLike,
    others: ArrayLike,
    donors: Sequence[str],
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Bootstrap the mean difference ``values - others`` over donors; row i of both is the same unit.

    A unit that either side lacks (NaN) is left out of both and counted.

    Raises
    ------
    DataError
        When the three differ in length.
    """
    first, second = np.asarray(values, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if first.shape != second.shape:
        raise DataError("Pairs need both sides", code="shapes", expected=first.shape, found=second.shape)
    return interval(first - second, donors, level=level, n_resamples=n_resamples, seed=seed)


def _tails(n_donors: int, level: float) -> tuple[float, float]:
    """The two quantiles whose normal distance is Student's, for a spread that lacks sqrt((n - 1) / n)."""
    from scipy.stats import norm, t

    reach = np.sqrt(n_donors / (n_donors - 1)) * t.ppf((1 + level) / 2, n_donors - 1)
    low = float(norm.cdf(-reach))
    return low, 1 - low
