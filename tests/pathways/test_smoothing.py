"""Smoothing over lattice neighbours, z, clip, and options that cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.spatial.distance import cdist

from humanst.errors import DataError, UsageError
from humanst.pathways import PathwayScores, Scoring, score_section
from humanst.pathways.smoothing import neighbour_means, smoothed
from tests.pathways.test_score import simulate


def visium(n_rows: int, n_columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column indices as Visium numbers them: columns of even rows are even, of odd rows odd."""
    row, place = np.divmod(np.arange(n_rows * n_columns), n_columns)
    return row, 2 * place + row % 2


def by_distance(row: np.ndarray, col: np.ndarray, kind: str) -> np.ndarray:
    """(n, n) who is a neighbour, from where spots lie: on a hex lattice those one pitch away, on a square the ring."""
    if kind == "hex":
        return np.isclose(cdist(*[np.column_stack([col / 2, row * math.sqrt(3) / 2])] * 2), 1.0)
    return np.isclose(cdist(*[np.column_stack([row, col])] * 2, metric="chebyshev"), 1.0)


def score(
    scoring: Scoring, lattice: tuple | None, in_fit: np.ndarray | None = None, counts: np.ndarray | None = None
) -> PathwayScores:
    made, ids, sets = simulate(n_spots=30)
    counts = made if counts is None else counts
    fit = np.ones(30, dtype=bool) if in_fit is None else in_fit
    every = np.ones(len(ids), dtype=bool)
    return score_section(
        csr_matrix(counts), ids, every, sets, in_fit=fit, targeted=False, scoring=scoring, lattice=lattice
    )


@pytest.mark.parametrize(("kind", "most"), [("hex", 6), ("square", 8)])
@given(seed=st.integers(0, 10_000), n_left=st.integers(1, 63))
def test_neighbours_are_those_next_to_a_spot(kind: str, most: int, seed: int, n_left: int) -> None:
    rng = np.random.default_rng(seed)
    row, col = visium(9, 7) if kind == "hex" else np.divmod(np.arange(63), 7)
    left = rng.permutation(63)[:n_left]  # with holes, in any order, begun anywhere
    row, col = row[left] + rng.integers(-50, 50), col[left] + 2 * rng.integers(-50, 50)
    counted = rng.random(n_left) < 0.8
    is_neighbour = by_distance(row, col, kind) & counted
    share = is_neighbour / np.maximum(is_neighbour.sum(axis=1, keepdims=True), 1)
    assert np.allclose(neighbour_means((row, col, kind), counted).toarray(), share)
    assert is_neighbour.sum(axis=1).max() <= most


@pytest.mark.parametrize("kind", ["hex", "square"])
def test_scores_are_mixed_with_those_of_fitting_neighbours(kind: str) -> None:
    counts, _, _ = simulate(n_spots=30)
    counts[11] = 0
    row, col = visium(5, 6) if kind == "hex" else np.divmod(np.arange(30), 6)
    row, col = row.copy(), col.copy()
    row[29] += 40  # alone
    fit = np.arange(30) % 7 != 3
    own = score(Scoring(z=False), None, fit, counts).scores.astype(float)
    near = by_distance(row, col, kind)
    expected = own.copy()
    for spot in range(30):
        around = [other for other in range(30) if near[spot, other] and fit[other] and other != 11]
        if around:
            expected[spot] = 0.7 * own[spot] + 0.3 * own[around].mean(axis=0)
    found = score(Scoring(smooth=0.3, z=False), (row, col, kind), fit, counts).scores
    assert np.isnan(found[11]).all()
    assert np.allclose(np.delete(found, 11, axis=0), np.delete(expected, 11, axis=0), atol=1e-6)
    assert np.allclose(found[29], own[29])
    assert np.abs(np.delete(found - own, 11, axis=0)).max() > 0.01
    # z comes after smoothing, over the fitting spots.
    z = score(Scoring(smooth=0.3), (row, col, kind), fit, counts).scores
    fitting = fit & (np.arange(30) != 11)
    assert np.allclose(z[fitting].mean(axis=0), 0, atol=1e-6)
    assert np.allclose(z[fitting].std(axis=0), 1, atol=1e-5)


def test_a_mean_over_neighbours_does_not_depend_on_the_order_of_spots() -> None:
    rng = np.random.default_rng(3)
    row, col = visium(6, 6)
    order, everyone = rng.permutation(36), np.ones(36, dtype=bool)
    rows = rng.normal(size=(3, 36))
    whole = smoothed(rows, neighbour_means((row, col, "hex"), everyone), 0.5, everyone)
    turned = smoothed(rows[:, order], neighbour_means((row[order], col[order], "hex"), everyone), 0.5, everyone)
    assert turned.tobytes() == whole[:, order].tobytes()


def test_without_smoothing_the_lattice_is_not_looked_at() -> None:
    row, col = visium(5, 6)
    assert score(Scoring(), (row, col, "hex")).scores.tobytes() == score(Scoring(), None).scores.tobytes()


def test_z_can_be_left_off_and_clipped() -> None:
    z, plain, cut = (score(scoring, None) for scoring in (Scoring(), Scoring(z=False), Scoring(clip=0.8)))
    assert np.allclose(plain.scores, z.scores * z.raw_sd + z.raw_mean, atol=1e-6)
    assert (plain.raw_mean.tobytes(), plain.raw_sd.tobytes()) == (z.raw_mean.tobytes(), z.raw_sd.tobytes())
    assert np.array_equal(cut.scores, np.clip(z.scores, np.float32(-0.8), np.float32(0.8)))
    assert np.abs(z.scores).max() > 0.8


@pytest.mark.parametrize(
    ("scoring", "field"),
    [
        (Scoring(scorer="gsva"), "scorer"),
        (Scoring(smooth=1.0), "smooth"),
        (Scoring(smooth=-0.1), "smooth"),
        (Scoring(smooth=math.nan), "smooth"),
        (Scoring(smooth=0.5), "smooth"),
        (Scoring(clip=0.0), "clip"),
        (Scoring(clip=math.nan), "clip"),
        (Scoring(clip=math.inf), "clip"),
        (Scoring(clip=5.0, z=False), "clip"),
    ],
)
def test_options_that_cannot_be_are_refused(scoring: Scoring, field: str) -> None:
    # All but one could be done on a lattice, were they allowed.
    lattice = None if scoring.smooth == 0.5 else (*np.divmod(np.arange(30), 6), "square")
    with pytest.raises(UsageError) as caught:
        score(scoring, lattice)
    assert (caught.value.facts.code, caught.value.facts.field) == ("scoring-option", field)


def test_lattices_that_cannot_be_are_refused() -> None:
    row, col = visium(5, 6)
    with pytest.raises(UsageError, match="hex or square"):
        score(Scoring(smooth=0.5), (row, col, "round"))
    for wrong in ((row[1:], col, "hex"), (row, col + 0.5, "hex")):
        with pytest.raises(DataError) as caught:
            score(Scoring(smooth=0.5), wrong)
        assert caught.value.facts.code == "scores-shape"
    col[7], row[7] = col[8], row[8]
    with pytest.raises(DataError, match="twice") as caught:
        score(Scoring(smooth=0.5), (row, col, "hex"))
    assert caught.value.facts.code == "lattice-repeated"
