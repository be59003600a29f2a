"""Moran's I on the two lattices, against loops over pairs of places."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from humanst.pathways.audit.moran import morans_i, neighbours_on

STEPS = {
    "hex": {(0, -2), (0, 2), (-1, -1), (-1, 1), (1, -1), (1, 1)},
    "square": {(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)},
}


def lattice(kind, shape=(9, 14), keep=0.7, seed=0):
    """Some places of a lattice in no order, with holes."""
    rng = np.random.default_rng(seed)
    row, col = (index.ravel() for index in np.indices(shape))
    on = (row + col) % 2 == 0 if kind == "hex" else np.ones(row.shape, bool)
    places = rng.permutation(np.flatnonzero(on & (rng.uniform(size=row.size) < keep)))
    return row[places] + 3, col[places] + 11


def by_pairs(kind, row, col, spots, values):
    """Moran's I and the number of islands, pair by pair."""
    asked = np.flatnonzero(spots).tolist()
    near = {i: [j for j in asked if (row[j] - row[i], col[j] - col[i]) in STEPS[kind]] for i in asked}
    used = [i for i in asked if near[i]]
    mean = sum(values[i] for i in used) / len(used)
    across = sum((values[i] - mean) * (values[j] - mean) / len(near[i]) for i in used for j in near[i])
    return across / sum((values[i] - mean) ** 2 for i in used), len(asked) - len(used)


@pytest.mark.parametrize("kind", ["hex", "square"])
@pytest.mark.parametrize("keep", [0.9, 0.35])
def test_it_is_the_sum_over_pairs_of_neighbours(kind, keep):
    row, col = lattice(kind, keep=keep)
    rng = np.random.default_rng(1)
    spots = rng.uniform(size=len(row)) < 0.85
    values = rng.normal(size=(len(row), 3)) + 0.2 * row[:, None]
    found = neighbours_on(row, col, kind, spots)
    wanted = [by_pairs(kind, row, col, spots, values[:, column]) for column in range(3)]
    np.testing.assert_allclose(morans_i(values, found), [one for one, _ in wanted], rtol=1e-10)
    assert found.n_islands == wanted[0][1]
    assert found.n_islands > 0 or keep > 0.5
    assert len(found.spots) + found.n_islands == spots.sum()


def test_the_residual_is_that_of_a_regression():
    row, col = lattice("square")
    rng = np.random.default_rng(3)
    spots = rng.uniform(size=len(row)) < 0.9
    library = 0.1 * row + rng.normal(size=len(row))
    values = rng.normal(size=(len(row), 3)) + 2.0 * library[:, None]
    found = neighbours_on(row, col, "square", spots)
    x, y = library[found.spots, None], values[found.spots]
    left = np.zeros_like(values)
    left[found.spots] = y - LinearRegression().fit(x, y).predict(x)
    np.testing.assert_allclose(morans_i(values, found, without=library), morans_i(left, found), rtol=1e-9)
    assert morans_i(values, found, without=library) != pytest.approx(morans_i(values, found), abs=0.02)


def test_it_tells_alike_from_unlike_neighbours():
    row, col = (index.ravel() for index in np.indices((12, 12)))
    found = neighbours_on(row, col, "square", np.ones(144, bool))
    smooth, striped = morans_i(np.stack([row + col, row % 2], axis=1).astype(float), found)
    assert smooth > 0.8
    assert striped < -0.2


def test_a_place_has_no_neighbour_across_the_edge_of_the_array():
    row, col = np.array([0, 1]), np.array([9, 0])
    assert neighbours_on(row, col, "square", np.ones(2, bool)).n_islands == 2


def test_spots_that_were_not_asked_for_do_not_matter():
    row, col = lattice("hex")
    values = np.random.default_rng(4).normal(size=(len(row), 2))
    spots = np.arange(len(row)) % 6 != 0
    before = morans_i(values, neighbours_on(row, col, "hex", spots))
    values[~spots] = np.nan
    np.testing.assert_array_equal(morans_i(values, neighbours_on(row, col, "hex", spots)), before)


def test_what_cannot_be_measured_is_nan():
    row, col = lattice("square")
    everywhere = neighbours_on(row, col, "square", np.ones(len(row), bool))
    values = np.random.default_rng(5).normal(size=(len(row), 4))
    values[:, 1], values[3, 2], values[:, 3] = 0.1, np.nan, 3.0 * values[:, 0] + 1.0
    plain, left = morans_i(values, everywhere), morans_i(values, everywhere, without=values[:, 0])
    assert np.isnan(plain).tolist() == [False, True, True, False]
    assert np.isnan(left).tolist() == [True, True, True, True]
    nowhere = neighbours_on(row, col, "square", np.zeros(len(row), bool))
    assert np.isnan(morans_i(values, nowhere)).all()
    assert nowhere.n_islands == 0


def test_a_column_does_not_depend_on_the_others():
    row, col = lattice("square")
    everywhere = neighbours_on(row, col, "square", np.ones(len(row), bool))
    values = np.random.default_rng(6).normal(size=(len(row), 37))
    together = morans_i(values, everywhere)
    assert all(morans_i(values[:, [one]], everywhere)[0] == together[one] for one in range(37))
