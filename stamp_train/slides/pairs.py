"""AUC and C-index as shares of pairs in the right order, and their patient bootstrap.

Both ask the same: of the pairs that can be compared, in how many does the one that should score higher do so, a tie
counting half? As a matrix over bags a resample of patients is then a weighting of its rows and columns, so that a
thousand resamples are one product, for the mean over seeds as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# As scikit-survival takes two risks for tied.
TIED = 1e-8
# With fewer patients a percentile interval says nothing; none is given.
FEWEST_PATIENTS = 8
BLOCK = 200


@dataclass(frozen=True, slots=True)
class Pairs:
    """Which pairs can be compared and how many are in order.

    Attributes
    ----------
    comparable
        (n, n) bool: row i should score higher than column j.
    in_order
        (n, n) float64 in [0, 1]: 1 in order, 0.5 tied, 0 out of order, or the mean of that over seeds; 0 where the
        pair is not comparable.
    """

    comparable: NDArray[np.bool_]
    in_order: NDArray[np.float64]

    @property
    def share(self) -> float:
        """Share of comparable pairs in order; NaN without any."""
        n_comparable = int(self.comparable.sum())
        return float(self.in_order.sum() / n_comparable) if n_comparable else float("nan")


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile interval of a bootstrap over patients."""

    low: float
    high: float
    level: float
    resamples: int


def pairs_in_order(comparable: NDArray[np.bool_], scores: NDArray[np.float64], tied: float = 0.0) -> Pairs:
    """Compare scores.

    Parameters
    ----------
    comparable
        (n, n) bool: row i should score higher than column j.
    scores
        (n,) or, for the mean over seeds, (seeds, n) float64.
    tied
        Scores that differ by no more than this are tied.
    """
    total = np.zeros(comparable.shape)
    seeds = np.atleast_2d(scores)
    for one in seeds:
        difference = one[:, None] - one[None, :]
        total += np.where(np.abs(difference) <= tied, 0.5, difference > 0)
    return Pairs(comparable, np.where(comparable, total / len(seeds), 0.0))


def class_pairs(labels: NDArray[np.int64], label: int) -> NDArray[np.bool_]:
    """(n, n) comparable pairs of one class against the rest: the share in order is the AUC (Mann and Whitney 1947)."""
    return np.asarray((labels == label)[:, None] & (labels != label)[None, :])


def survival_pairs(times: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n, n) comparable pairs of Harrell's C-index (JAMA 1982): row i had its event before column j.

    At the same time, a patient censored outlived one whose event was seen; two events at one time are not compared.
    """
    sooner = times[:, None] < times[None, :]
    together = (times[:, None] == times[None, :]) & ~seen[None, :]
    return np.asarray(seen[:, None] & (sooner | together))


def concordance_index(times: NDArray[np.float64], seen: NDArray[np.bool_], risks: NDArray[np.float64]) -> float:
    """Harrell's C-index of risks (n,): 1 when who dies sooner has the higher risk; NaN without comparable pairs."""
    return pairs_in_order(survival_pairs(times, seen), risks, TIED).share


def patient_interval(
    parts: list[Pairs], patients: NDArray[np.int64], *, seed: int, resamples: int, level: float = 0.95
) -> Interval | None:
    """Percentile interval of the mean share of ``parts`` when patients are drawn with replacement.

    Parameters
    ----------
    parts
        One matrix of pairs, or one a class for a macro average.
    patients
        (n,) the patient of each bag, numbered from 0.
    seed
        Of the draws.
    resamples
        How many draws. Those in which a class is missing are left out; ``Interval.resamples`` counts the rest.

    Returns
    -------
    Interval | None
        None with fewer than 8 patients, or when half of the draws lack a class.
    """
    return interval_of(patient_draws(parts, patients, seed=seed, resamples=resamples), level=level)


def patient_draws(
    parts: list[Pairs], patients: NDArray[np.int64], *, seed: int, resamples: int
) -> NDArray[np.float64] | None:
    """Mean share of ``parts`` in each draw of patients, (resamples,); NaN where a class is missing in all.

    The same patients, seed and resamples are the same draws, so that two models are paired draw by draw. None with
    fewer than 8 patients. See :func:`patient_interval`.
    """
    n_patients = int(patients.max()) + 1
    if n_patients < FEWEST_PATIENTS or resamples < 1:
        return None
    draws = np.random.default_rng(seed).multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=resamples)
    blocks = [_shares(parts, draws[start : start + BLOCK][:, patients]) for start in range(0, resamples, BLOCK)]
    return np.concatenate(blocks)


def interval_of(draws: NDArray[np.float64] | None, *, level: float = 0.95) -> Interval | None:
    """Percentile interval of what draws gave, or of their difference; None when half of them are no numbers."""
    if draws is None:
        return None
    values = draws[np.isfinite(draws)]
    if len(values) < len(draws) / 2:
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, len(values))


def _shares(parts: list[Pairs], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean share over parts, (resamples,), when bag b is there ``counts[:, b]`` times."""
    weights = counts.astype(np.float64)
    shares = []
    for part in parts:
        in_order = ((weights @ part.in_order) * weights).sum(axis=1)
        comparable = ((weights @ part.comparable.astype(np.float64)) * weights).sum(axis=1)
        shares.append(np.divide(in_order, comparable, out=np.full(len(weights), np.nan), where=comparable > 0))
    return np.asarray(np.mean(shares, axis=0))
