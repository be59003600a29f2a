"""The logarithm of shares against the formula written out, to the last bit."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from humanst.pathways.bincontrol import log_cp10k


def test_small_and_large_counts_have_the_logarithm_of_their_share() -> None:
    counts = np.random.default_rng(0).integers(0, 60, size=(40, 90))
    counts[3] = 0
    counts[5, 7] = 100_000
    found = log_cp10k(csr_matrix(counts)).toarray()
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.testing.assert_array_equal(found, np.log1p(1e4 * (counts / totals)))
    assert not found[3].any()


def test_a_written_zero_in_a_spot_without_counts_stays_zero() -> None:
    table = csr_matrix((np.array([0, 5]), np.array([1, 2]), np.array([0, 1, 2])), shape=(2, 4))
    np.testing.assert_array_equal(log_cp10k(table).toarray(), [[0, 0, 0, 0], [0, 0, np.log1p(1e4), 0]])
