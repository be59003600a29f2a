"""Library size: the log total beside the scores, with a z over the same spots."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from humanst.pathways import library_size


def test_library_size_is_log10_of_the_total() -> None:
    counts = csr_matrix(np.array([[1, 9], [60, 40], [0, 0], [500, 500]]))
    found = library_size(counts, in_fit=np.array([True, True, True, False]))
    assert np.allclose(found.log10_counts, [1, 2, np.nan, 3], equal_nan=True)
    assert (found.mean, found.sd) == (pytest.approx(1.5), pytest.approx(0.5))
    assert np.allclose(found.z, [-1, 1, np.nan, 3], equal_nan=True)


def test_library_size_without_spread_or_spots_has_no_z() -> None:
    counts = csr_matrix(np.array([[5], [5]]))
    assert np.isnan(library_size(counts, in_fit=np.array([True, True])).z).all()
    none = library_size(counts, in_fit=np.array([False, False]))
    assert np.isnan(none.z).all()
    assert math.isnan(none.mean)
