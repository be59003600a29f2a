"""Tier 1 by itself: the protocol of HEST-Bench, donors kept apart, planted signal found, noise and baselines told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from humanst.errors import DataError
from stamp_train.probe import probe_genes, probe_pathways, summarise
from stamp_train.protocol import COLUMNS, Spots, ceiling_of, thinned
from stamp_train.ridge import ALPHAS, Fit, fit_cv, fit_hest, hest_alpha, leave_donor_out, pearson, reduced

HEST, CV, NORM = COLUMNS


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Arrays are small here: threads would wait for each other longer than they work."""
    with threadpool_limits(1):
        yield


def planted(
    n_donors: int = 3, n_spots: int = 120, n_genes: int = 6, depth_only: bool = False, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, Spots, list[str]]:
    """Counts whose genes follow hidden programmes and the spot's depth; features that show the programmes."""
    rng = np.random.default_rng(seed)
    n = n_donors * n_spots
    hidden, depth = rng.normal(size=(n, 4)), rng.lognormal(8, 0.6, size=n)
    loadings = np.zeros((4, n_genes)) if depth_only else rng.normal(size=(4, n_genes)) * 0.7
    rate = np.exp(hidden @ loadings) * 0.004
    counts = rng.poisson(rate * depth[:, None])
    totals = counts.sum(axis=1) + rng.poisson(depth)
    features = hidden @ rng.normal(size=(4, 20)) + 0.3 * rng.normal(size=(n, 20))
    donors = np.repeat([f"d{number}" for number in range(n_donors)], n_spots)
    half = np.tile(np.repeat(["a", "b"], n_spots // 2), n_donors)
    spots = Spots.of(totals, donors.tolist(), np.char.add(donors, half).tolist())
    return features, counts, spots, [f"G{number}" for number in range(n_genes)]


def hest(train: np.ndarray, targets: np.ndarray, test: np.ndarray) -> Fit:
    first, second = reduced(train, test)
    return fit_hest(first, targets, second)


def cross_validated(train: np.ndarray, targets: np.ndarray, test: np.ndarray, **groups: np.ndarray) -> Fit:
    first, second = reduced(train, test)
    return fit_cv(first, targets, second, **groups)


def test_alpha_is_the_one_of_hest_bench() -> None:
    assert hest_alpha(256, 50) == 0.0078125


def test_hest_compat_is_scikit_learns_ridge_and_the_normal_equations() -> None:
    rng = np.random.default_rng(1)
    train, test = rng.normal(size=(600, 300)).astype("f4"), rng.normal(size=(100, 300)).astype("f4")
    y = np.log1p(rng.poisson(2.0 + 2 * (train[:, :1] > 0), size=(600, 50)).astype(float))
    scaler, pca = StandardScaler().fit(train), PCA(256, random_state=1)
    first = pca.fit_transform(scaler.transform(train)).astype("f4")
    second = pca.transform(scaler.transform(test)).astype("f4")
    direct = Ridge(alpha=100 / (256 * 50), solver="lsqr", fit_intercept=False, max_iter=1000).fit(first, y)
    fit = hest(train, y, test)
    assert (fit.alpha, fit.n_components, fit.inner) == (0.0078125, 256, "")
    np.testing.assert_array_equal(fit.predicted, direct.predict(second))
    a, b = first.astype(float), second.astype(float)
    exact = b @ np.linalg.solve(a.T @ a + 0.0078125 * np.eye(256), a.T @ y)
    np.testing.assert_allclose(fit.predicted, exact, atol=5e-3)  # lsqr stops at a tolerance
    assert np.abs(exact - (exact + y.mean(axis=0))).min() > 0.5  # an intercept would show


def test_the_table_of_hest_compat_holds_scipys_r_over_the_pooled_fold() -> None:
    features, counts, spots, genes = planted()
    table = probe_genes(features, counts, spots, genes, columns=[HEST])
    assert set(table["sample_id"]) == {""}
    y = np.log1p(counts)
    for donor, part in table.groupby("donor"):
        train, test = spots.donors != donor, spots.donors == donor
        predicted = hest(features[train], y[train], features[test]).predicted
        expected = [scipy.stats.pearsonr(predicted[:, g], y[test][:, g]).statistic for g in range(len(genes))]
        np.testing.assert_allclose(part.set_index("target").loc[genes, "pcc"], expected, atol=1e-9)
        alone = scipy.stats.pearsonr(np.log10(spots.totals[test]), y[test][:, 2]).statistic
        assert part.set_index("target").loc["G2", "pcc_library_size"] == pytest.approx(alone, abs=1e-6)


def test_cv_alpha_is_what_a_grouped_grid_search_by_hand_chooses() -> None:
    features, counts, spots, _ = planted(n_donors=4, n_spots=40)
    features = np.hstack([features, np.random.default_rng(5).normal(size=(160, 120))])
    y, train, test = np.log1p(counts), spots.donors != "d0", spots.donors == "d0"
    fit = cross_validated(
        features[train], y[train], features[test], donors=spots.donors[train], sections=spots.sections[train]
    )
    scaler, pca = StandardScaler().fit(features[train]), PCA(120, random_state=1)
    assert fit.n_components == 120  # as many as there are training spots
    first = pca.fit_transform(scaler.transform(features[train])).astype("f4").astype(float)
    second = pca.transform(scaler.transform(features[test])).astype("f4").astype(float)

    def predict(x: np.ndarray, target: np.ndarray, new: np.ndarray, alpha: float) -> np.ndarray:
        mean, bar = x.mean(axis=0), target.mean(axis=0)
        weights = np.linalg.solve((x - mean).T @ (x - mean) + alpha * np.eye(x.shape[1]), (x - mean).T @ (target - bar))
        return (new - mean) @ weights + bar

    reached = {}
    for alpha in ALPHAS:
        folds = GroupKFold(3).split(first, groups=spots.donors[train])
        parts = [(predict(first[a], y[train][a], first[b], alpha), y[train][b]) for a, b in folds]
        r = [[scipy.stats.pearsonr(p[:, g], t[:, g]).statistic for g in range(p.shape[1])] for p, t in parts]
        reached[alpha] = np.mean(r)
    best = max(reached, key=reached.get)
    assert sorted(ALPHAS) == pytest.approx([10.0**k for k in range(-2, 7)])
    assert (fit.alpha, fit.inner) == (best, "donors")
    np.testing.assert_allclose(fit.predicted, predict(first, y[train], second, best), atol=1e-3)


def test_what_is_held_out_to_choose_alpha_is_told() -> None:
    features, counts, spots, _ = planted(n_donors=1)
    y, one = np.log1p(counts), np.full(120, "x")
    inner = [
        cross_validated(features, y, features, donors=donors, sections=sections).inner
        for donors, sections in ((one, spots.sections), (one, one))
    ]
    assert inner == ["sections", "spots"]
    features, counts, spots, genes = planted(n_donors=2)  # one to train on
    table = probe_genes(features, counts, spots, genes)
    assert table.groupby("column")["inner"].unique().map(list).to_dict() == {
        "hest-compat": [""],
        "cv-alpha": ["sections"],
        "norm": ["sections"],
    }


def test_planted_signal_is_found_and_depth_is_not_mistaken_for_it() -> None:
    features, counts, spots, genes = planted(n_donors=8)
    lines = {line.column: line for line in summarise(probe_genes(features, counts, spots, genes))}
    assert set(lines) == {"hest-compat", "cv-alpha", "norm"}
    for line in lines.values():
        assert line.gain.excludes_zero
        assert line.gain.low > 0.1
        assert line.pcc.mean < line.ceiling
        assert line.n_targets == 6
    assert lines["norm"].n_sections == 16
    assert lines["norm"].library_size.mean < 0.1  # relative expression does not follow depth here
    assert lines["norm"].share_of_ceiling > 0.85


def test_genes_that_follow_depth_alone_are_predicted_by_depth_alone() -> None:
    features, counts, spots, genes = planted(depth_only=True, n_donors=8)
    lines = {line.column: line for line in summarise(probe_genes(features, counts, spots, genes))}
    assert lines["hest-compat"].library_size.mean > 0.5
    assert lines["hest-compat"].gain.high < 0
    assert abs(lines["norm"].pcc.mean) < 0.1


def test_no_target_of_a_left_out_donor_reaches_its_prediction() -> None:
    features, counts, spots, genes = planted()
    rng = np.random.default_rng(3)
    other = counts.copy()
    mine = spots.donors == "d1"
    other[mine] = rng.permutation(other[mine])
    totals = np.where(mine, 100_000, spots.totals)  # any row of counts fits into it
    spots = Spots.of(totals, spots.donors.tolist(), spots.sections.tolist())
    for donor, train, test in leave_donor_out(spots.donors.tolist(), spots.sections.tolist()):
        assert set(spots.donors[train]) == {"d0", "d1", "d2"} - {donor}
        assert set(spots.donors[test]) == {donor}
        assert not set(spots.sections[train]) & set(spots.sections[test])
    shuffled = probe_genes(features, other, spots, genes)
    of_mine = shuffled[shuffled["donor"] == "d1"]
    # Trained on others, it still predicts what was there before: the new targets never came in.
    assert of_mine["pcc"].abs().mean() < 0.2
    before = probe_genes(features, counts, spots, genes)
    assert before[before["donor"] == "d1"]["pcc"].mean() > 0.4
    for name in ("alpha", "n_components"):
        assert (before[before["donor"] == "d1"][name].to_numpy() == of_mine[name].to_numpy()).all()


def test_features_of_a_left_out_donor_change_nothing_of_what_is_fitted() -> None:
    features, counts, spots, _ = planted()
    _, train, test = leave_donor_out(spots.donors.tolist(), spots.sections.tolist(), ["d2"])[0]
    y, wild = np.log1p(counts), features.copy()
    wild[test[1:]] *= 1000
    same = [hest(x[train], y[train], x[test]).predicted[0] for x in (features, wild)]
    np.testing.assert_array_equal(*same)


@pytest.mark.parametrize(
    ("donors", "sections", "test_donors", "code"),
    [
        (["a", "a", "b"], ["s", "t", "t"], None, "leakage"),
        (["a", "a", ""], ["s", "s", "t"], None, "donor-unknown"),
        (["a", "a", "b"], ["s", "s", "t"], ["c"], "donor-unknown"),
        (["a", "a", "a"], ["s", "s", "t"], None, "too-few-donors"),
        (["a", "a", "b"], ["s", "t"], None, "shapes"),
    ],
)
def test_folds_that_would_leak_or_lose_are_refused(donors: Any, sections: Any, test_donors: Any, code: str) -> None:
    with pytest.raises(DataError) as raised:
        leave_donor_out(donors, sections, test_donors)
    assert raised.value.facts.code == code
    assert raised.value.exit_code == 5


def test_only_the_test_donors_asked_for_are_held_out() -> None:
    folds = leave_donor_out(["b", "a", "c", "c"], ["1", "2", "3", "3"], ["c", "a"])
    assert [(donor, train.tolist(), test.tolist()) for donor, train, test in folds] == [
        ("a", [0, 2, 3], [1]),
        ("c", [0, 1], [2, 3]),
    ]


def test_norm_is_the_mean_of_r_within_sections() -> None:
    features, counts, spots, genes = planted()
    table = probe_genes(features, counts, spots, genes, columns=[NORM], test_donors=["d1"])
    assert sorted(set(table["sample_id"])) == ["d1a", "d1b"]
    y = np.log1p(counts / spots.totals[:, None] * 1e4)
    train, test = spots.donors != "d1", spots.sections == "d1b"
    fit = cross_validated(
        features[train], y[train], features[test], donors=spots.donors[train], sections=spots.sections[train]
    )
    expected = [scipy.stats.pearsonr(fit.predicted[:, g], y[test][:, g]).statistic for g in range(6)]
    part = table[table["sample_id"] == "d1b"].set_index("target")
    np.testing.assert_allclose(part.loc[genes, "pcc"], expected, atol=1e-6)
    [line] = summarise(table)
    assert line.pcc.mean == pytest.approx(table["pcc"].mean())
    assert (line.pcc.low, line.pcc.note) == (None, "too few donors")


def test_genes_inside_and_outside_the_sets_are_told_apart() -> None:
    features, counts, spots, genes = planted()
    table = probe_genes(features, counts, spots, genes, columns=[HEST], gene_set={"G1", "G4", "ELSEWHERE"})
    lines = {line.genes: line for line in summarise(table)}
    assert {name: line.n_targets for name, line in lines.items()} == {"all": 6, "in sets": 2, "outside": 4}
    inside = table[table["target"].isin(["G1", "G4"])]
    assert lines["in sets"].pcc.mean == pytest.approx(inside.groupby("donor")["pcc"].mean().mean())
    mean = (2 * lines["in sets"].pcc.mean + 4 * lines["outside"].pcc.mean) / 6
    assert lines["all"].pcc.mean == pytest.approx(mean)
    by_fold = [part["pcc"].mean() for _, part in table.groupby("donor")]
    assert lines["all"].sd_of_folds == pytest.approx(np.std(by_fold))


def test_a_constant_gene_is_undefined_counted_and_left_out_of_both_sides() -> None:
    features, counts, spots, genes = planted()
    counts = counts.copy()
    counts[spots.donors == "d0", 3] = 0
    table = probe_genes(features, counts, spots, genes, columns=[HEST])
    assert table["pcc"].isna().sum() == 1
    [line] = summarise(table)
    assert line.pcc.n_undefined == line.gain.n_undefined == 1
    assert np.isfinite([line.pcc.mean, line.gain.mean, line.ceiling]).all()
    table.loc[(table["donor"] == "d1") & (table["target"] == "G0"), "pcc_library_size"] = np.nan
    [fewer] = summarise(table)
    assert fewer.pcc.n_undefined == fewer.library_size.n_undefined == 2
    assert fewer.gain.mean == pytest.approx(fewer.pcc.mean - fewer.library_size.mean)


def test_halves_add_up_and_their_ceiling_is_the_known_reliability() -> None:
    rng = np.random.default_rng(9)
    rate = rng.gamma(4, 5, size=20_000)
    counts = np.stack([rng.poisson(rate), rng.poisson(rate.mean(), size=20_000)], axis=1)
    totals = counts.sum(axis=1) + 500
    (first, first_total), (second, second_total) = thinned(counts, totals, 0)
    assert (first + second == counts).all()
    assert (first_total + second_total == totals).all()
    assert np.abs(first_total - totals / 2).mean() < np.sqrt(totals.mean())
    # Of the variance of Poisson counts with Gamma(4, 5) rates, var(rate) / (var(rate) + mean) is the rates'.
    real = scipy.stats.pearsonr(counts[:, 0], rate).statistic
    assert real == pytest.approx(np.sqrt(100 / 120), abs=0.01)
    found = ceiling_of(HEST, [((first, first_total), (second, second_total))])
    assert found[0] == pytest.approx(real, abs=0.04)  # the logarithm moves it a little
    assert found[1] < 0.15  # nothing but noise
    logs = [np.log1p(half[:, 0]) for half in (first, second)]
    r = scipy.stats.pearsonr(*logs).statistic
    assert found[0] == pytest.approx(np.sqrt(2 * r / (1 + r)))
    relative = [np.log1p(half[:, 0] / total * 1e4) for half, total in ((first, first_total), (second, second_total))]
    r = scipy.stats.pearsonr(*relative).statistic
    normalised = ceiling_of(NORM, [((first, first_total), (second, second_total))])
    assert normalised[0] == pytest.approx(np.sqrt(2 * r / (1 + r)))


def test_more_counts_of_genes_than_in_the_spot_are_refused() -> None:
    features, counts, spots, genes = planted()
    with pytest.raises(DataError, match="more counts than their spot"):
        probe_genes(features, counts * 1000, spots, genes)
    with pytest.raises(DataError, match="differ in length"):
        probe_genes(features[1:], counts, spots, genes)
    with pytest.raises(DataError, match="Spots have no count"):
        Spots.of([0, 1], ["a", "b"], ["s", "t"])


def test_pearson_is_scipys_and_nan_where_nothing_varies() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)) + 1e6, rng.normal(size=(50, 3))
    expected = [scipy.stats.pearsonr(x[:, g], y[:, g]).statistic for g in range(3)]
    np.testing.assert_allclose(pearson(x, y), expected, atol=1e-9)
    x[:, 1] = 0.1
    assert np.isnan(pearson(x, y)).tolist() == [False, True, False]
    assert np.isnan(pearson(x[:2], y[:2])).all()


def test_pathways_are_predicted_within_sections_and_masks_cost_no_row() -> None:
    features, _, spots, _ = planted(n_donors=4)
    rng = np.random.default_rng(8)
    hidden = np.linalg.lstsq(features, rng.normal(size=(480, 1)), rcond=None)[0]
    scores = np.hstack([features @ hidden * 9, features[:, :1], rng.normal(size=(480, 1))]).astype("f4")
    scores[:, 0] += 5 * np.repeat([0, 3, 1, 2], 120)  # sections differ in level: r within them must not see it
    scores[np.isin(spots.sections, ["d1a", "d2b"]), 1] = np.nan
    scores[np.char.startswith(spots.donors, "d") & (spots.donors != "d3"), 2] = np.nan
    table = probe_pathways(features, scores, spots, ["a", "b", "c"])
    r = table.pivot(index="sample_id", columns="target", values="pcc")
    assert (r["a"] > 0.6).all()
    assert r["b"].isna().tolist() == [name in ("d1a", "d2b") for name in r.index]
    assert (r["b"].dropna() > 0.8).all()
    assert r["c"].isna().all()  # measured by one donor: nobody to learn it from
    assert table["pcc_library_size"].abs().max() < 0.5
    [line] = summarise(table)
    assert (line.column, line.n_sections, line.pcc.n_undefined) == ("pathways", 8, 10)
    assert np.isnan(line.ceiling)
    whole = np.flatnonzero((spots.donors != "d0") & ~np.isin(spots.sections, ["d1a", "d2b"]))
    test = np.flatnonzero(spots.sections == "d0a")
    fit = cross_validated(
        features[whole],
        scores[whole][:, 1:2].astype(float),
        features[test],
        donors=spots.donors[whole],
        sections=spots.sections[whole],
    )
    alone = scipy.stats.pearsonr(fit.predicted.ravel(), scores[test, 1]).statistic
    assert r.loc["d0a", "b"] == pytest.approx(alone, abs=1e-6)


@pytest.mark.real
def test_in_real_tumours_library_size_alone_reaches_most_of_what_raw_counts_allow(real_data: Path) -> None:
    tables = {}
    for name in ("B4", "C2"):
        table = pd.read_csv(real_data / f"her2st/data/ST-cnts/{name}.tsv.gz", sep="\t", index_col=0)
        tables[name] = table[table.sum(axis=1) >= 200]
    seen = [set(table.columns[(table > 0).mean().between(0.1, 0.5)]) for table in tables.values()]
    common = sorted(set.intersection(*seen))
    counts = np.concatenate([table[common].to_numpy() for table in tables.values()])
    chosen = np.argsort(-np.log1p(counts).var(axis=0))[:50]
    sections = np.repeat(list(tables), [len(table) for table in tables.values()]).tolist()
    totals = np.concatenate([table.sum(axis=1).to_numpy() for table in tables.values()])
    spots = Spots.of(totals, [name[0] for name in sections], sections)
    noise = np.random.default_rng(0).normal(size=(len(sections), 16))
    table = probe_genes(noise, counts[:, chosen], spots, [common[g] for g in chosen], columns=[HEST, NORM])
    lines = {line.column: line for line in summarise(table)}
    for line in lines.values():
        assert abs(line.pcc.mean) < 0.05
        assert 0.3 < line.ceiling < 0.8
        assert line.gain.note == "too few donors"
    raw, norm = lines["hest-compat"], lines["norm"]
    assert raw.library_size.mean > raw.ceiling / 2
    assert norm.library_size.mean < raw.library_size.mean / 2
