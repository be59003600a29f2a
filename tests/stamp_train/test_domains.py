"""Tier 2 by itself: planted domains are found, nothing else is, and metrics are those of their definitions."""

from __future__ import annotations

import json
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from humanst.errors import DataError, UsageError
from stamp_train.domains import agreement, cluster, cluster_sections, summarise


def planted(
    n_sections: int = 2, noise: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, list[str], list[str], list[str]]:
    """Features of three domains, whose units differ by section; labels, donors and sections."""
    rng = np.random.default_rng(seed)
    kinds = np.tile(np.repeat([0, 1, 2], [30, 20, 12]), n_sections)
    centres = rng.normal(size=(3, 8)) * 5
    sections = np.repeat(np.arange(n_sections), 62)
    features = (centres[kinds] + noise * rng.normal(size=(len(kinds), 8))) * (1 + 9 * sections[:, None])
    names = np.array(["tumour", "stroma", "fat"])[kinds].tolist()
    return features, names, [f"d{number}" for number in sections], [f"s{number}" for number in sections]


def by_pairs(labels: list[str], clusters: np.ndarray) -> float:
    """Adjusted Rand index by going through all pairs of spots."""
    same = [(labels[a] == labels[b], clusters[a] == clusters[b]) for a, b in combinations(range(len(labels)), 2)]
    both, one, other, n = sum(a and b for a, b in same), sum(a for a, _ in same), sum(b for _, b in same), len(same)
    expected = one * other / n
    return (both - expected) / ((one + other) / 2 - expected)


def entropy(values: Any) -> float:
    share = pd.Series(list(values)).value_counts(normalize=True)
    return float(-(share * np.log(share)).sum())


def test_metrics_are_those_of_their_definitions() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(["a", "b", "c"], size=60, p=[0.6, 0.3, 0.1])
    clusters = np.where(rng.random(60) < 0.6, np.searchsorted(["a", "b", "c"], labels), rng.integers(3, size=60))
    found = agreement(labels, clusters)
    joint = entropy(zip(labels.tolist(), clusters.tolist(), strict=True))
    shared = entropy(labels) + entropy(clusters) - joint
    assert found["ari"] == pytest.approx(by_pairs(labels.tolist(), clusters))
    assert found["nmi"] == pytest.approx(2 * shared / (entropy(labels) + entropy(clusters)))
    assert found["hom"] == pytest.approx(shared / entropy(labels))
    assert found["com"] == pytest.approx(shared / entropy(clusters))
    assert 0.02 < found["ari"] < 0.9


def test_planted_domains_are_found_in_each_section_and_noise_finds_none() -> None:
    features, labels, donors, sections = planted()
    rng = np.random.default_rng(1)
    sets = {"model": features, "noise": rng.normal(size=features.shape), "library size": rng.random((124, 1))}
    table = cluster_sections(sets, labels, donors, sections).table
    assert len(table) == 3 * 2 * (10 + 1)  # ten seeds of k-means, one of Ward
    mean = table.groupby(["features", "method"])["ari"].mean()
    assert mean["model", "kmeans"] > 0.95
    assert mean["model", "ward"] > 0.95
    assert mean.drop("model").abs().max() < 0.15
    assert (table["n_clusters"] == 3).all()
    assert (table["n_classes"] == 3).all()


def test_clusters_are_those_of_scikit_learn_on_scaled_components() -> None:
    features = np.random.default_rng(3).normal(size=(80, 70)) * np.arange(1, 71)
    points = PCA(50, random_state=0).fit_transform(StandardScaler().fit_transform(features))
    found = {(how["method"], how["seed"]): c for how, c in cluster(features, 4, ("kmeans", "ward"), n_seeds=3)}
    assert sorted(found) == [("kmeans", 0), ("kmeans", 1), ("kmeans", 2), ("ward", 0)]
    direct = KMeans(4, n_init=10, random_state=2).fit(points).labels_
    assert by_pairs(direct.tolist(), found["kmeans", 2]) == pytest.approx(1)
    assert by_pairs(AgglomerativeClustering(4).fit(points).labels_.tolist(), found["ward", 0]) == pytest.approx(1)


def test_small_classes_do_not_raise_k_and_spots_without_a_label_stay_out() -> None:
    features, labels, donors, sections = planted(noise=0.2)
    labels[:5] = ["Undetermined", "", "nan", "  unknown ", "undetermined"]
    labels[5:9] = ["vessel"] * 4
    labels[62:] = ["tumour"] * 62
    found = cluster_sections({"model": features}, labels, donors, sections, n_seeds=2)
    assert found.n_unlabelled == 5
    assert list(found.skipped) == ["s1"]
    assert "tumour 62" in found.skipped["s1"]
    [row] = found.table[found.table["method"] == "ward"].to_dict("records")
    assert (row["sample_id"], row["n_spots"], row["n_classes"]) == ("s0", 57, 3)
    ward = cluster(features[5:62], 3, ("ward",))[0][1]
    assert row["ari"] == pytest.approx(by_pairs(labels[5:62], ward))
    with pytest.raises(DataError, match="No section has domains") as raised:
        cluster_sections({"model": features}, ["tumour"] * 124, donors, sections)
    assert raised.value.facts.code == "no-domains"


def test_seeds_first_then_sections_then_donors() -> None:
    features, labels, donors, sections = planted(n_sections=9, noise=6.0)
    sets = {"model": features, "noise": np.random.default_rng(2).normal(size=features.shape)}
    domains = cluster_sections(sets, labels, donors, sections, n_seeds=3)
    lines = {(line.features, line.method, line.metric): line for line in summarise(domains)}
    assert len(lines) == 2 * 2 * 4
    line, table = lines["model", "kmeans", "nmi"], domains.table
    part = table[(table["features"] == "model") & (table["method"] == "kmeans")]
    sections_means = [part[part["sample_id"] == name]["nmi"].mean() for name in sorted(set(sections))]
    assert line.mean == pytest.approx(np.mean(sections_means))
    assert line.sd_of_sections == pytest.approx(np.std(sections_means, ddof=1))
    spreads = [np.std(part[part["sample_id"] == name]["nmi"], ddof=1) for name in sorted(set(sections))]
    assert line.sd_of_seeds == pytest.approx(np.mean(spreads))
    assert (line.n_sections, line.over_donors.n_donors, line.over_donors.note) == (9, 9, "")
    assert line.gains["noise"].excludes_zero
    assert lines["noise", "kmeans", "nmi"].gains["model"].high < 0
    assert np.isnan(lines["model", "ward", "nmi"].sd_of_seeds)
    few = summarise(cluster_sections(sets, labels, ["one"] * len(donors), sections, n_seeds=1))
    assert {line.over_donors.note for line in few} == {"too few donors"}


def test_what_cannot_be_clustered_is_refused() -> None:
    features, labels, donors, sections = planted()
    with pytest.raises(UsageError, match="no such method"):
        cluster_sections({"model": features}, labels, donors, sections, methods=["mclust"])
    with pytest.raises(DataError, match="differs in length"):
        cluster_sections({"model": features[1:]}, labels, donors, sections)
    with pytest.raises(DataError, match="two donors"):
        cluster_sections({"model": features}, labels, donors, ["s0"] * 124)


def test_leiden_without_igraph_says_so_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "igraph", None)
    features, labels, donors, sections = planted()
    with pytest.raises(UsageError, match="Leiden needs igraph") as raised:
        cluster_sections({"model": features}, labels, donors, sections, methods=["leiden"])
    assert raised.value.exit_code == 2


def test_leiden_takes_the_resolution_that_gives_as_many_clusters() -> None:
    rng = np.random.default_rng(0)
    kinds = np.repeat([0, 1, 2], [90, 60, 36])  # each has more spots than a spot has neighbours
    features, labels = rng.normal(size=(3, 8))[kinds] * 5 + rng.normal(size=(186, 8)), [f"k{kind}" for kind in kinds]
    donors = sections = ["s"] * 186
    table = cluster_sections({"model": features}, labels, donors, sections, methods=["leiden"], n_seeds=2).table
    again = cluster_sections({"model": features}, labels, donors, sections, methods=["leiden"], n_seeds=2).table
    assert (table["n_clusters"] == 3).all()
    assert (table["ari"] > 0.95).all()
    pd.testing.assert_frame_equal(table, again)


@pytest.mark.real
def test_the_labelled_section_of_a_tumour_goes_through(real_data: Path) -> None:
    folder = real_data / "her2st"
    spots = pd.read_csv(folder / "data/ST-spotfiles/A1_selection.tsv", sep="\t")
    labels = pd.read_csv(folder / "data/ST-pat/lbl/A1_labeled_coordinates.tsv", sep="\t").dropna(subset=["x"])
    counts = pd.read_csv(folder / "data/ST-cnts/A1.tsv.gz", sep="\t", index_col=0)
    called = {f"{x:.0f}x{y:.0f}": label for x, y, label in labels[["x", "y", "label"]].to_numpy()}
    spots.index = [f"{x}x{y}" for x, y in spots[["x", "y"]].to_numpy()]
    spots = spots.loc[[name for name in counts.index if name in spots.index and name in called]]
    scale = json.loads((folder / "extra/A1_scale.json").read_text())["scale"]
    picture = np.asarray(Image.open(folder / "extra/A1_HE_2000px_masked.png").convert("RGB"))
    centres = (spots[["pixel_x", "pixel_y"]].to_numpy() * scale).astype(int)
    colour = np.array([picture[y - 23 : y + 24, x - 23 : x + 24].mean(axis=(0, 1)) for x, y in centres])
    depth = np.log10(counts.loc[spots.index].sum(axis=1).to_numpy())[:, None]
    names = [called[name] for name in spots.index]
    shuffled = np.random.default_rng(0).permutation(colour)
    sets = {"mean RGB": colour, "library size": depth, "shuffled": shuffled}
    found = cluster_sections(sets, names, ["A"] * len(names), ["A1"] * len(names))
    assert found.n_unlabelled == names.count("undetermined")
    assert set(found.table["n_classes"]) == {4}  # two spots of immune infiltrate are no fifth
    nmi = {line.features: line.mean for line in summarise(found) if (line.method, line.metric) == ("kmeans", "nmi")}
    assert nmi["mean RGB"] > nmi["shuffled"] + 0.05
    assert nmi["shuffled"] < 0.05
