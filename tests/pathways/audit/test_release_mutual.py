"""Mutual information of halves: closed forms of the normal distribution, and nothing where spots are shuffled."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from humanst.pathways.audit.mutual import gaussian_bits, ksg_bits, mutual


def halves_of(rho: float, n: int, seed: int = 0, n_sets: int = 1) -> np.ndarray:
    """(2, n, n_sets) of normal pairs with correlation rho."""
    rng = np.random.default_rng(seed)
    first, noise = rng.normal(size=(2, n, n_sets))
    return np.stack([first, rho * first + math.sqrt(1 - rho**2) * noise]).astype(np.float32)


@pytest.mark.parametrize("rho", [0.3, 0.8])
def test_gaussian_bits_are_the_mean_log_ratio_of_the_densities(rho: float) -> None:
    """I(x; y) = E log2 p(x, y) / (p(x) p(y)), by drawing from the densities of scipy."""
    joint = multivariate_normal([0, 0], [[1, rho], [rho, 1]])
    xy = joint.rvs(200_000, random_state=1)
    ratio = joint.logpdf(xy) - norm.logpdf(xy).sum(axis=1)
    assert float(gaussian_bits(np.array(rho))) == pytest.approx(ratio.mean() / math.log(2), abs=0.01)


def test_halves_of_known_correlation_have_their_closed_form_within_sections() -> None:
    section = np.repeat([0, 1, 2], 2000)
    halves = np.concatenate([halves_of(rho, 2000, seed) for seed, rho in enumerate((0.2, 0.5, 0.8))], axis=1)
    # What tells sections apart would be shared as well; it must not count.
    halves += (10.0 * section)[np.newaxis, :, np.newaxis].astype(np.float32)
    row = mutual(halves, section, ("S",), seed=0).iloc[0]
    expected = np.mean([-0.5 * math.log2(1 - rho**2) for rho in (0.2, 0.5, 0.8)])
    assert row["gaussian_bits"] == pytest.approx(expected, abs=0.03)
    assert row["ksg_bits"] == pytest.approx(expected, abs=0.06)
    assert row["shuffled_median_bits"] < row["shuffled_p99_bits"] < 0.005
    assert row["ksg_shuffled_bits"] < 0.05
    assert row["above_shuffled"]


def test_independent_halves_are_above_their_shuffles_one_time_in_a_hundred() -> None:
    table = mutual(
        halves_of(0.0, 100, seed=5, n_sets=150), np.zeros(100, dtype=int), tuple(map(str, range(150))), seed=0
    )
    assert table["above_shuffled"].mean() == pytest.approx(0.01, abs=0.025)
    # Few spots bias the figure, and its shuffles alike: E r^2 = 1 / (n - 1).
    bias = 0.5 / math.log(2) / 99
    assert table["gaussian_bits"].mean() == pytest.approx(bias, rel=0.3)
    assert table["shuffled_median_bits"].mean() < bias < table["shuffled_p99_bits"].mean()


def test_ksg_sees_what_correlation_does_not() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=800)
    y = x**2 + 0.1 * rng.normal(size=800)
    assert float(gaussian_bits(np.array(np.corrcoef(x, y)[0, 1]))) < 0.05
    assert ksg_bits(x, y) > 0.8


def test_masked_pathways_say_so_and_a_pathway_counts_where_it_is_valid() -> None:
    halves = halves_of(0.7, 400, n_sets=3)
    section = np.repeat([0, 1], 200)
    halves[:, section == 1, 1] = np.nan
    halves[:, :, 2] = np.nan
    table = mutual(halves, section, ("A", "B", "C"), seed=0).set_index("pathway")
    alone = mutual(halves[:, :200, 1:2], section[:200], ("B",), seed=0).iloc[0]
    assert table.loc["B", "gaussian_bits"] == pytest.approx(alone["gaussian_bits"])
    assert table.loc["B", ["n_sections", "n_spots"]].tolist() == [1, 200]
    assert np.isnan(table.loc["C", "gaussian_bits"])
    assert not table.loc["C", "above_shuffled"]
    assert table.loc["C", "reason"] == "not valid in any section"
    assert table.loc["A", "reason"] is None
    nothing = mutual(np.zeros((2, 0, 1), dtype=np.float32), np.zeros(0, dtype=int), ("A",), seed=0)
    assert nothing["gaussian_bits"].isna().all()


def test_halves_that_are_equal_share_a_finite_amount() -> None:
    halves = np.repeat(halves_of(0.0, 100)[:1], 2, axis=0)
    row = mutual(halves, np.zeros(100, dtype=int), ("S",), seed=0).iloc[0]
    assert row["gaussian_bits"] == pytest.approx(10.0)
