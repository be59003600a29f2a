"""Intervals over donors: honest when there are few, absent when there are too few."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from humanst.errors import DataError
from stamp_train.bootstrap import donor_means, interval, paired_interval


def test_donors_count_alike_however_many_spots_they_have() -> None:
    names, means = donor_means([1.0, 3.0, 10.0, np.nan], ["b", "b", "a", "c"])
    assert (names, means.tolist()) == (["a", "b"], [10.0, 2.0])
    found = interval([1.0, 3.0, 10.0, np.nan], ["b", "b", "a", "c"])
    assert (found.mean, found.n_donors, found.n_undefined) == (6.0, 2, 1)


@pytest.mark.parametrize(("n_donors", "note"), [(0, "too few donors"), (7, "too few donors"), (8, "")])
def test_below_eight_donors_there_is_no_interval(n_donors: int, note: str) -> None:
    donors = [f"d{number}" for number in range(n_donors) for _ in range(5)]
    found = interval(5 + np.random.default_rng(0).normal(size=len(donors)), donors)
    assert found.note == note
    assert (found.low is None) == (found.high is None) == (note != "")
    assert found.excludes_zero == (n_donors >= 8)


@pytest.mark.parametrize("n_donors", [8, 20])
def test_as_many_intervals_hold_the_truth_as_they_claim(n_donors: int) -> None:
    rng = np.random.default_rng(n_donors)
    donors = [str(number) for number in range(n_donors)]
    held, plain, trials = 0, 0, 1200
    for trial in range(trials):
        values = rng.normal(1.0, 2.0, size=n_donors)
        found = interval(values, donors, n_resamples=1000, seed=trial)
        held += found.low <= 1 <= found.high
        draws = values[rng.integers(n_donors, size=(1000, n_donors))].mean(axis=1)
        plain += np.quantile(draws, 0.025) <= 1 <= np.quantile(draws, 0.975)
    # Three standard errors of a share of 0.95 among 1,200 are 0.019.
    assert abs(held / trials - 0.95) < 0.02
    if n_donors == 8:
        assert plain / trials < 0.92


def test_of_normal_values_it_is_near_students_interval() -> None:
    values = np.random.default_rng(2).normal(size=40)
    found = interval(values, [str(number) for number in range(40)])
    low, high = scipy.stats.t.interval(0.95, 39, values.mean(), scipy.stats.sem(values))
    assert (found.low, found.high) == (pytest.approx(low, abs=0.03), pytest.approx(high, abs=0.03))
    narrow = interval(values, [str(number) for number in range(40)], level=0.5)
    assert found.low < narrow.low < narrow.high < found.high


def test_pairs_cancel_what_donors_have_in_common() -> None:
    rng = np.random.default_rng(4)
    donors = np.repeat([f"d{number}" for number in range(10)], 6).tolist()
    common = np.repeat(rng.normal(0, 5, size=10), 6)
    base = common + rng.normal(0, 0.1, size=60)
    better = common + 0.3 + rng.normal(0, 0.1, size=60)
    assert interval(better, donors).low < interval(base, donors).mean
    gain = paired_interval(better, base, donors)
    assert gain.excludes_zero
    assert gain.low < 0.3 < gain.high < 0.5
    assert paired_interval(base, better, donors).mean == pytest.approx(-gain.mean)
    base[:6] = np.nan
    better[10] = np.nan
    left = paired_interval(better, base, donors)
    assert (left.n_donors, left.n_undefined) == (9, 7)


def test_same_seed_same_interval() -> None:
    values, donors = np.random.default_rng(0).normal(size=9), [str(number) for number in range(9)]
    assert interval(values, donors, seed=3) == interval(values, donors, seed=3)
    assert interval(values, donors, seed=3) != interval(values, donors, seed=4)


def test_a_value_without_a_donor_is_refused() -> None:
    with pytest.raises(DataError, match="needs its donor"):
        interval([1.0, 2.0], ["a"])
    with pytest.raises(DataError, match="both sides"):
        paired_interval([1.0, 2.0], [1.0], ["a", "b"])
