"""Halves of counts: nothing is lost, and what a half got by chance says nothing of the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from scipy.sparse import csr_matrix

from humanst.pathways.audit.thinning import noise_ceiling, spearman_brown, thin

TYPES = (np.int64, np.int32, np.uint16, np.uint8, np.int8)


@given(
    hnp.arrays(st.sampled_from(TYPES), st.tuples(st.integers(0, 6), st.integers(1, 6)), elements=st.integers(0, 120)),
    st.integers(0, 2**40),
)
def test_halves_add_up_and_keep_type_and_shape(counts, seed):
    whole = csr_matrix(counts)
    one, other = thin(whole, seed)
    assert one.dtype == other.dtype == counts.dtype
    assert one.shape == other.shape == counts.shape
    np.testing.assert_array_equal(one.toarray() + other.toarray(), counts)
    assert (one.data > 0).all()
    assert (other.data > 0).all()
    np.testing.assert_array_equal(whole.toarray(), counts)


def some_counts(n_spots=200, n_genes=150, seed=0):
    rng = np.random.default_rng(seed)
    return csr_matrix(rng.poisson(rng.gamma(0.5, 4.0, (n_spots, n_genes))))


def test_a_seed_names_its_halves():
    counts = some_counts()
    first = thin(counts, 7)
    np.testing.assert_array_equal(first[0].toarray(), thin(counts.copy(), 7)[0].toarray())
    assert (first[0] != thin(counts, 8)[0]).nnz
    assert (thin(counts, (7, 0))[0] != thin(counts, (7, 1))[0]).nnz


def test_a_stored_zero_is_no_count():
    counts = csr_matrix(np.random.default_rng(4).poisson(1.0, (20, 30)))
    stored = counts.copy()
    stored.data[stored.data == 1] = 0
    wanted = csr_matrix(stored.toarray())
    assert wanted.nnz < stored.nnz
    for a, b in zip(thin(wanted, 3), thin(stored, 3), strict=True):
        assert (a != b).nnz == 0


def test_halves_do_not_depend_on_how_the_table_is_stored():
    counts = some_counts(20, 30)
    rows = np.repeat(np.arange(20), np.diff(counts.indptr))
    backwards = np.lexsort((-counts.indices, rows))
    stored = csr_matrix((counts.data[backwards], counts.indices[backwards], counts.indptr), shape=counts.shape)
    assert not stored.has_sorted_indices
    for a, b in zip(thin(counts, 3), thin(stored, 3), strict=True):
        np.testing.assert_array_equal(a.toarray(), b.toarray())
    assert not stored.has_sorted_indices


@pytest.mark.parametrize("n", [1, 2, 5, 8, 9, 30, 400])
def test_a_half_is_binomial(n):
    half = thin(csr_matrix(np.full((100, 200), n)), 0)[0].toarray().ravel()
    expected = stats.binom.pmf(np.arange(n + 1), n, 0.5) * half.size
    common = expected >= 5
    seen = np.bincount(half, minlength=n + 1)
    observed, wanted = (
        np.append(seen[common], seen[~common].sum()),
        np.append(expected[common], expected[~common].sum()),
    )
    kept = wanted > 0
    assert stats.chisquare(observed[kept], wanted[kept]).pvalue > 1e-3


def test_halves_of_poisson_counts_are_independent():
    rng = np.random.default_rng(1)
    one, other = thin(csr_matrix(rng.poisson(6.0, (400, 500))), 0)
    r = np.corrcoef(one.toarray().ravel(), other.toarray().ravel())[0, 1]
    assert abs(r) < 4 / np.sqrt(400 * 500)


def test_spearman_brown_tells_a_whole_from_its_halves():
    """Four measurements of one truth: the reliability of two together follows from that of one."""
    rng = np.random.default_rng(2)
    truth = rng.normal(size=200_000)
    one, other, third, fourth = truth + rng.normal(0.0, 1.5, (4, len(truth)))
    single = np.corrcoef(one, other)[0, 1]
    double = np.corrcoef(one + other, third + fourth)[0, 1]
    assert spearman_brown(np.array([single]))[0] == pytest.approx(double, abs=0.01)
    assert noise_ceiling(np.array([double]))[0] == pytest.approx(np.corrcoef(one + other, truth)[0, 1], abs=0.01)


def test_a_reliability_below_zero_has_a_ceiling_of_zero_and_none_has_none():
    reliability = spearman_brown(np.array([-0.2, 0.0, 1.0, np.nan, -1.0]))
    np.testing.assert_allclose(reliability, [-0.5, 0.0, 1.0, np.nan, np.nan])
    np.testing.assert_allclose(noise_ceiling(reliability), [0.0, 0.0, 1.0, np.nan, np.nan])
