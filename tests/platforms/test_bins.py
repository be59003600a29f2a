"""Pooling of bins conserves every transcript, per gene and in total, against a dense grid of numpy.add.at."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from humanst.platforms.bins import REASONS, BinPool, PooledBins, SquarePlan, fit_bins, plan_squares, pooling_drops


@dataclass(frozen=True)
class Array:
    """A rectangle of bins in any order, some in tissue, some in the count table."""

    row_col: np.ndarray
    in_tissue: np.ndarray
    bins_a_side: int
    listed: np.ndarray
    counts: np.ndarray


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    first = rng.integers(0, 9, 2)
    size = (draw(st.integers(1, 24)), draw(st.integers(1, 24)))
    row_col = rng.permutation(np.stack([axis.ravel() for axis in np.indices(size)], axis=1) + first)
    in_tissue = rng.random(len(row_col)) < draw(st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]))
    listed = np.flatnonzero(rng.random(len(row_col)) < draw(st.sampled_from([0.1, 0.9, 1.0])))
    rng.shuffle(listed)
    most = draw(st.sampled_from([1, 5, 70_000, 2**40]))
    counts = rng.integers(0, most, (len(listed), draw(st.integers(1, 5))), endpoint=True)
    counts[rng.random(len(listed)) < draw(st.sampled_from([0.0, 0.5, 1.0]))] = 0
    return Array(row_col, in_tissue, draw(st.integers(1, 8)), listed, counts)


def pool(array: Array, block: int) -> tuple[SquarePlan, PooledBins]:
    plan = plan_squares(array.row_col, array.in_tissue, bins_a_side=array.bins_a_side)
    pooling = BinPool(plan, array.counts.shape[1])
    for first in range(0, len(array.listed), block):
        rows = slice(first, first + block)
        pooling.add(array.listed[rows], csr_matrix(array.counts[rows]))
    return plan, pooling.result()


def dense(array: Array) -> tuple[dict[tuple[int, int], np.ndarray], dict[str, np.ndarray]]:
    """The same on a dense grid: counts of the squares kept, and of each reason."""
    side = array.bins_a_side
    squares = array.row_col // side
    shape = tuple(squares.max(axis=0) + 1)
    n_tissue, n_on_array = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    np.add.at(n_on_array, tuple(squares.T), 1)
    np.add.at(n_tissue, tuple(squares[array.in_tissue].T), 1)
    inside = array.in_tissue[array.listed]
    grid = np.zeros((*shape, array.counts.shape[1]), np.int64)
    np.add.at(grid, tuple(squares[array.listed][inside].T), array.counts[inside])
    whole = n_on_array == side * side
    half = n_tissue >= side * side / 2
    kept = {(int(r), int(c)): grid[r, c] for r, c in np.argwhere(whole & half)}
    lost = {
        "out-of-tissue-bin": array.counts[~inside].sum(axis=0),
        "edge-square": grid[~whole].sum(axis=0),
        "out-of-tissue": grid[whole & ~half].sum(axis=0),
    }
    return kept, lost


@settings(max_examples=300, deadline=None)
@given(array=arrays(), block=st.sampled_from([1, 7, 10_000]))
def test_counts_in_are_counts_out_and_named_drops(array: Array, block: int) -> None:
    plan, pooled = pool(array, block)
    kept, lost = dense(array)
    assert pooled.counts.dtype == np.int64
    found = dict(zip(map(tuple, plan.row_col.tolist()), pooled.counts.toarray(), strict=True))
    assert set(found) == set(kept)
    assert all(np.array_equal(found[square], kept[square]) for square in kept)
    assert {reason: pooled.lost[reason].tolist() for reason in REASONS} == {r: v.tolist() for r, v in lost.items()}
    per_gene = pooled.counts.toarray().sum(axis=0) + sum(pooled.lost.values())
    assert per_gene.tolist() == array.counts.sum(axis=0).tolist()
    drops = pooling_drops(plan, pooled)
    assert int(pooled.counts.sum()) + sum(drop.counts for drop in drops) == int(array.counts.sum())


@settings(max_examples=100, deadline=None)
@given(array=arrays())
def test_squares_are_named_for_their_place_and_nothing_is_named_twice(array: Array) -> None:
    plan, pooled = pool(array, 10_000)
    assert plan.spot_ids.tolist() == sorted(f"r{row}c{column}" for row, column in plan.row_col.tolist())
    assert [f"r{row}c{column}" for row, column in plan.row_col.tolist()] == plan.spot_ids.tolist()
    names = [*plan.spot_ids.tolist(), *(name for names in plan.dropped.values() for name in names.tolist())]
    touched = {f"r{row}c{column}" for row, column in (array.row_col[array.in_tissue] // array.bins_a_side).tolist()}
    assert len(names) == len(set(names))
    assert set(names) == touched, "every square with a bin in tissue is kept or a named drop"
    spots = [drop for drop in pooling_drops(plan, pooled) if drop.what == "spots"]
    assert sum(drop.n for drop in spots) == len(names) - len(plan.spot_ids)


@settings(max_examples=100, deadline=None)
@given(array=arrays())
def test_a_raw_and_a_filtered_table_give_the_same_squares(array: Array) -> None:
    """A filtered table lists bins in tissue only."""
    inside = array.in_tissue[array.listed]
    filtered = replace(array, listed=array.listed[inside], counts=array.counts[inside])
    (plan, raw), (_, same) = pool(array, 100), pool(filtered, 100)
    assert (raw.counts != same.counts).nnz == 0
    assert raw.counts.shape == (len(plan.spot_ids), array.counts.shape[1])
    assert not same.lost["out-of-tissue-bin"].any()


def test_more_than_sixteen_bits_a_bin_and_thirty_two_a_square_do_not_wrap() -> None:
    row_col = np.stack([axis.ravel() for axis in np.indices((14, 14))], axis=1)
    counts = np.full((196, 1), 2**31 - 1)
    array = Array(row_col, np.ones(196, bool), 14, np.arange(196), counts.astype(np.int64))
    _, pooled = pool(array, 50)
    assert int(pooled.counts[0, 0]) == 196 * (2**31 - 1) > 2**38


def test_indices_are_those_of_the_whole_array() -> None:
    """An array of which the first rows are not listed keeps the numbers of its squares; a cut square is no square."""
    row_col = np.stack([axis.ravel() for axis in np.indices((21, 14))], axis=1)
    tissue = np.ones(len(row_col), bool)
    later = row_col[:, 0] >= 6
    whole = plan_squares(row_col, tissue, bins_a_side=7)
    cut = plan_squares(row_col[later], tissue[later], bins_a_side=7)
    assert whole.spot_ids.tolist() == ["r0c0", "r0c1", "r1c0", "r1c1", "r2c0", "r2c1"]
    assert cut.spot_ids.tolist() == ["r1c0", "r1c1", "r2c0", "r2c1"]
    assert cut.dropped["edge-square"].tolist() == ["r0c0", "r0c1"]


@pytest.mark.parametrize(("n_tissue", "kept"), [(7, False), (8, True), (9, True)])
def test_half_of_the_bins_make_a_square_in_tissue(n_tissue: int, kept: bool) -> None:
    row_col = np.stack([axis.ravel() for axis in np.indices((4, 4))], axis=1)
    plan = plan_squares(row_col, np.arange(16) < n_tissue, bins_a_side=4)
    assert (plan.spot_ids.tolist() == ["r0c0"]) is kept
    assert (plan.dropped["out-of-tissue"].tolist() == ["r0c0"]) is not kept


@given(
    turn=st.floats(0, 2 * np.pi),
    mirrored=st.booleans(),
    pitch_px=st.floats(4.0, 120.0),
    listed=st.floats(0.05, 1.0),
    seed=st.integers(0, 1000),
)
def test_a_centre_is_that_of_the_square_whatever_bins_are_listed(
    turn: float, mirrored: bool, pitch_px: float, listed: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    indices = np.stack([axis.ravel() for axis in np.indices((40, 30))], axis=1)
    along = pitch_px * np.array([np.cos(turn), np.sin(turn)])
    across = pitch_px * np.array([-np.sin(turn), np.cos(turn)]) * (-1 if mirrored else 1)
    place = np.array([5000.0, 3000.0])

    def at(row_col: np.ndarray) -> np.ndarray:
        return place + row_col[:, 1:] * along + row_col[:, :1] * across

    some = rng.random(len(indices)) < listed
    some[[0, 29, 1170, 1199]] = True
    lattice = fit_bins(indices[some], at(indices[some]))
    plan = plan_squares(indices[some], np.ones(int(some.sum()), bool), bins_a_side=10)
    assert lattice is not None
    corners = np.array([[0, 0], [9, 9], [0, 9], [9, 0]])
    wanted = np.array([at(square * 10 + corners).mean(axis=0) for square in plan.row_col])
    assert np.allclose(lattice.centres(plan), wanted.reshape(-1, 2), rtol=0, atol=1e-6)


def test_bins_on_one_line_carry_no_lattice() -> None:
    indices = np.stack([np.zeros(9, np.int64), np.arange(9)], axis=1)
    assert fit_bins(indices, indices.astype(float)) is None
