"""Correlations of many columns, against numpy on one pair at a time."""

from __future__ import annotations

import numpy as np
import pytest

from humanst.pathways.audit.correlation import pearson


@pytest.fixture
def columns():
    rng = np.random.default_rng(0)
    one = rng.normal(5.0, 2.0, (60, 5))
    return one, one * [1.0, -0.5, 0.0, 0.2, 3.0] + rng.normal(size=(60, 5))


def test_each_pair_of_columns_is_correlated(columns):
    one, other = columns
    wanted = [np.corrcoef(a, b)[0, 1] for a, b in zip(one.T, other.T, strict=True)]
    np.testing.assert_allclose(pearson(one, other), wanted, rtol=1e-12)


def test_one_column_is_correlated_with_each(columns):
    one, other = columns
    wanted = [np.corrcoef(a, other[:, 1])[0, 1] for a in one.T]
    np.testing.assert_allclose(pearson(one, other[:, 1]), wanted, rtol=1e-12)


def test_a_spot_without_a_score_is_left_out_of_its_pair_alone(columns):
    one, other = (side.copy() for side in columns)
    whole = pearson(one, other)
    one[:7, 1], other[50:, 1] = np.nan, np.nan
    found = pearson(one, other)
    assert found[1] == pytest.approx(np.corrcoef(one[7:50, 1], other[7:50, 1])[0, 1], rel=1e-12)
    np.testing.assert_array_equal(np.delete(found, 1), np.delete(whole, 1))


def test_what_does_not_vary_or_has_too_few_spots_has_no_correlation(columns):
    one, other = (side.copy() for side in columns)
    one[:, 0] = 0.1
    other[2:, 2] = np.nan
    one[:, 4] = np.nan
    assert np.isnan(pearson(one, other)).tolist() == [True, False, True, False, True]
    assert np.isnan(pearson(one[:0], other[:0])).all()
