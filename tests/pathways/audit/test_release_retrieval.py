"""Self-retrieval: known answers on constructed vectors, and another route to the same figure."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from humanst.pathways.audit.features import SpotFeatures
from humanst.pathways.audit.retrieval import batches_of, recall, retrieval


def spots_of(pathways: np.ndarray, **other: np.ndarray) -> SpotFeatures:
    """Features of which the pathways alone are given, (2, n, P)."""
    n = pathways.shape[1]
    given = {
        "library": np.zeros((2, n)),
        "random": np.zeros((n, 1, 2)),
        "random_again": np.zeros((n, 2)),
        "log_cp10k": np.zeros((2, n, 1)),
        "log_raw": np.zeros((2, n, 1)),
        "axes": np.zeros((n, 0, 2)),
        "hvg_axes": np.zeros((2, n, 2)),
        **other,
    }
    return SpotFeatures(pathways=pathways.astype(np.float32), **{k: v.astype(np.float32) for k, v in given.items()})


def test_recall_is_that_of_an_exhaustive_search() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(size=(200, 8))
    second = first + rng.normal(size=(200, 8))
    order = NearestNeighbors(n_neighbors=5, algorithm="kd_tree").fit(second).kneighbors(first, return_distance=False)
    own = np.arange(200)[:, np.newaxis]
    assert 0.1 < recall(first, second, 1) < 0.9
    assert recall(first, second, 1) == pytest.approx((order[:, :1] == own).mean())
    assert recall(first, second, 5) == pytest.approx((order == own).any(axis=1).mean())


def test_halves_that_agree_are_always_found_and_a_shift_by_one_never_first() -> None:
    line = np.arange(30.0)[:, np.newaxis]
    assert recall(line, line, 1) == 1.0
    # The second half of each lies on the first of the next: own is at distance 1, as is the one two before.
    assert recall(line, line + 1.0, 1) == pytest.approx(1 / 30)
    # Three are as near or nearer; the first two rows lack some of them.
    assert recall(line, line + 1.0, 3) == 1.0


def test_features_that_tell_nothing_give_chance() -> None:
    constant = np.zeros((400, 3))
    assert recall(constant, constant, 1) == pytest.approx(1 / 400)
    assert recall(constant, constant, 5) == pytest.approx(5 / 400)
    rng = np.random.default_rng(2)
    table = retrieval(spots_of(rng.normal(size=(2, 5000, 6))), np.repeat([0, 1], 2500), k=2, seed=0)
    row = table.set_index("features").loc["pathways"]
    assert row[["batch", "n_batches", "n_features", "n_sections"]].tolist() == [512, 9, 6, 2]
    assert row["chance_at_1"] == pytest.approx(1 / 512)
    assert row["chance_at_5"] == pytest.approx(5 / 512)
    assert row["r_at_1"] == pytest.approx(1 / 512, abs=4 * np.sqrt(1 / 512 / 4608))
    assert row["r_at_5"] == pytest.approx(5 / 512, abs=4 * np.sqrt(5 / 512 / 4608))


def test_batches_mix_sections_and_what_tells_a_section_alone_does_not_help() -> None:
    batches = batches_of(3000, np.random.default_rng(0))
    assert [len(rows) for rows in batches] == [512] * 5
    assert len(np.unique(np.concatenate(batches))) == 5 * 512
    assert all(0.25 < (rows < 1500).mean() < 0.75 for rows in batches)
    rng = np.random.default_rng(3)
    section = np.repeat([0, 1], 300)
    offset = np.where(section == 0, 0.0, 100.0)[:, np.newaxis]
    noise = rng.normal(size=(2, 600, 3))
    plain = retrieval(spots_of(noise), section, k=2, seed=0).set_index("features")
    shifted = retrieval(spots_of(noise + offset), section, k=2, seed=0).set_index("features")
    assert shifted.loc["pathways", "r_at_5"] == pytest.approx(plain.loc["pathways", "r_at_5"], abs=0.005)


def test_a_mask_of_one_section_takes_the_pathway_out_and_nothing_left_is_said() -> None:
    halves = np.random.default_rng(4).normal(size=(2, 100, 3))
    section = np.repeat([0, 1], 50)
    halves[:, section == 1, 2] = np.nan
    row = retrieval(spots_of(halves), section, k=2, seed=0).set_index("features").loc["pathways"]
    assert row[["batch", "n_batches", "n_features"]].tolist() == [100, 1, 2]
    halves[:, section == 0, :2] = np.nan
    row = retrieval(spots_of(halves), section, k=2, seed=0).set_index("features").loc["pathways"]
    assert np.isnan(row["r_at_1"])
    assert "valid in every section" in row["reason"]
    nothing = retrieval(spots_of(np.zeros((2, 0, 3))), np.zeros(0, dtype=int), k=2, seed=0)
    assert nothing["r_at_1"].isna().all()
    assert nothing["reason"].str.contains("enough spots").all()
