"""Information kept: the same figure by another route, whole donors left out, and a ceiling that is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import pearsonr

from humanst.pathways.audit import information as module
from humanst.pathways.audit.features import SpotFeatures
from humanst.pathways.audit.information import ceiling_of, correlations, folds_of, information


def spots_of(pathways: np.ndarray, genes: np.ndarray, raw: np.ndarray | None = None, n_folds: int = 2) -> SpotFeatures:
    """Features of given pathways (n, P) in the first half and genes (2, n, T) in both; the others tell nothing."""
    rng = np.random.default_rng(0)
    n = len(pathways)
    given = {
        "library": rng.normal(size=(2, n)),
        "pathways": np.stack([pathways, pathways]),
        "random": rng.normal(size=(n, 2, pathways.shape[1])),
        "random_again": np.zeros((n, pathways.shape[1])),
        "log_cp10k": genes,
        "log_raw": genes if raw is None else raw,
        "axes": rng.normal(size=(n, n_folds, 3)),
        "hvg_axes": np.zeros((2, n, 3)),
    }
    return SpotFeatures(**{name: values.astype(np.float32) for name, values in given.items()})


def row_of(spots: SpotFeatures, section: np.ndarray, donors: list[str], features: str = "pathways"):
    table = information(spots, section, folds_of(donors))
    return table[(table["features"] == features) & (table["target"] == "log1p(CP10k)")].iloc[0]


def linear(section: np.ndarray, weights: Callable[[int], np.ndarray], noise: float, seed: int = 1):
    """Pathways (n, 3), and genes (2, n, 4) of each section that are linear in them, plus noise of each half."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(len(section), 3))
    mean = np.stack([x[i] @ weights(one) for i, one in enumerate(section)])
    return x, mean + noise * rng.normal(size=(2, *mean.shape))


SECTION = np.repeat([0, 1, 2, 3], [80, 60, 90, 70])
ROWS = [np.flatnonzero(np.equal(SECTION, one)) for one in range(4)]
WEIGHTS = np.random.default_rng(2).normal(size=(3, 4))


def test_r_is_that_of_normal_equations_donor_by_donor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALPHAS", (7.0,))
    x, genes = linear(SECTION, lambda _: WEIGHTS, noise=2.0)
    genes += 3.0 * SECTION[np.newaxis, :, np.newaxis]
    donors = ["a", "b", "a", "c"]
    row = row_of(spots_of(x, genes, n_folds=3), SECTION, donors)

    def z(values: np.ndarray) -> np.ndarray:
        parts = [values[rows] for rows in ROWS]
        return np.vstack([(part - part.mean(axis=0)) / part.std(axis=0) for part in parts])

    a, b = z(x.astype(np.float32).astype(float)), z(genes[1].astype(np.float32).astype(float))
    by_section = []
    for one in range(4):
        train = np.array([donors[s] != donors[one] for s in SECTION])
        beta = np.linalg.solve(a[train].T @ a[train] + 7.0 * np.eye(3), a[train].T @ b[train])
        here = ROWS[one]
        by_section.append(np.mean([pearsonr(a[here] @ beta[:, t], genes[1][here, t])[0] for t in range(4)]))
    assert row["r"] == pytest.approx(np.mean(by_section), abs=1e-6)
    assert row["r_sd"] == pytest.approx(np.std(by_section), abs=1e-6)
    assert row[["n_sections", "n_folds", "left_out", "n_features", "n_genes"]].tolist() == [4, 3, "donor", 3, 4]
    assert row["reason"] is None


def test_what_is_true_of_one_donor_only_does_not_help_another() -> None:
    """Two sections of donor a obey one law and two of donor b its opposite: any peek at the own donor would show."""
    x, genes = linear(SECTION, lambda one: WEIGHTS if one < 2 else -WEIGHTS, noise=0.1)
    row = row_of(spots_of(x, genes), SECTION, ["a", "a", "b", "b"])
    assert row["r"] < -0.95
    same = row_of(spots_of(*linear(SECTION, lambda _: WEIGHTS, noise=0.1)), SECTION, ["a", "a", "b", "b"])
    assert same["r"] > 0.95
    assert same["share_of_ceiling"] == pytest.approx(1.0, abs=0.02)


def test_the_ceiling_is_the_root_of_the_reliability_and_perfect_features_reach_it() -> None:
    n, noise = 12_000, 1.5
    section = np.repeat([0, 1, 2, 3], n // 4)
    x, genes = linear(section, lambda _: WEIGHTS, noise=noise, seed=3)
    signal = (WEIGHTS**2).sum(axis=0)
    known = np.sqrt(signal / (signal + noise**2)).mean()
    row = row_of(spots_of(x, genes), section, ["a", "a", "b", "b"])
    assert row["ceiling"] == pytest.approx(known, abs=0.01)
    assert row["share_of_ceiling"] == pytest.approx(1.0, abs=0.02)
    assert row_of(spots_of(x, genes), section, ["a", "a", "b", "b"], "random_sets")["share_of_ceiling"] < 0.03


def test_each_target_has_its_own_genes_and_ceiling() -> None:
    x, genes = linear(SECTION, lambda _: WEIGHTS, noise=0.5)
    raw = np.random.default_rng(5).normal(size=genes.shape)
    table = information(spots_of(x, genes, raw), SECTION, folds_of(list("aabb"))).set_index(["features", "target"])
    assert list(table.index.get_level_values(0)[:5]) == [
        "library_size", "pathways", "random_sets", "pca", "same_genes",
    ]  # fmt: skip
    for features in ("pathways", "same_genes"):
        assert table.loc[(features, "log1p(CP10k)"), "r"] > 0.6
        assert abs(table.loc[(features, "log1p(raw)"), "r"]) < 0.15
    assert table.loc[("pathways", "log1p(CP10k)"), "ceiling"] > 0.8
    assert table["n_draws"].groupby("features").first()["random_sets"] == 2


def test_one_donor_leaves_sections_out_and_says_so_and_one_section_gives_none() -> None:
    x, genes = linear(SECTION, lambda _: WEIGHTS, noise=0.5)
    spots = spots_of(x, genes, n_folds=4)
    row = row_of(spots, SECTION, ["a"] * 4)
    assert row["r"] > 0.6
    assert row[["n_folds", "left_out", "reason"]].tolist() == [4, "section", "too few donors"]
    lone = row_of(spots_of(x, genes, n_folds=0), np.zeros(len(x), dtype=int), ["a"])
    assert np.isnan(lone["r"])
    assert lone["ceiling"] > 0.8
    assert "too few sections" in lone["reason"]


def test_a_masked_pathway_is_the_mean_of_its_section_and_none_at_all_is_said() -> None:
    x, genes = linear(SECTION, lambda _: WEIGHTS, noise=0.5)
    x[SECTION == 3, 0] = np.nan
    with_mask = row_of(spots_of(x, genes), SECTION, list("aabb"))
    filled = np.where(np.isnan(x), 0.0, x)
    assert with_mask["r"] == pytest.approx(row_of(spots_of(filled, genes), SECTION, list("aabb"))["r"])
    nothing = row_of(spots_of(np.full_like(x, np.nan), genes), SECTION, list("aabb"))
    assert np.isnan(nothing["r"])
    assert nothing["reason"] == "no such feature in these sections"
    assert nothing["n_features"] == 0


def test_many_donors_share_eight_folds_and_never_two_folds_one_donor() -> None:
    donors = [f"d{number % 20}" for number in range(50)]
    folds = folds_of(donors)
    assert folds.n == 8
    assert sorted(np.unique(folds.fold)) == list(range(8))
    assert all(len({int(folds.fold[i]) for i in range(50) if donors[i] == one}) == 1 for one in set(donors))


def test_correlations_are_within_sections_and_those_of_scipy() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(300, 3)) + 5.0 * SECTION[:, np.newaxis]
    y = 0.5 * x - 9.0 * SECTION[:, np.newaxis] + rng.normal(size=(300, 3))
    y[SECTION == 1, 2] = 4.0
    x[SECTION == 2, 1] = 7.0
    r = correlations(x, y, SECTION)
    for one in range(4):
        for t in range(3):
            if (one, t) not in ((1, 2), (2, 1)):
                assert r[one, t] == pytest.approx(pearsonr(x[ROWS[one], t], y[ROWS[one], t])[0])
    assert np.isnan(r[1, 2])
    assert r[2, 1] == 0.0
    assert np.isnan(ceiling_of(np.zeros((2, 300, 3), dtype=np.float32), SECTION))
