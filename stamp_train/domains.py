"""Tier 2: whether the embeddings of a section fall into the domains that a pathologist drew on it.

Each section by itself: standardise, project on 50 principal components, cluster into as many clusters as there are
domains, compare. No neighbours are smoothed over and no label is seen. Mean colour and library size go the same way:
give them as further features.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError, UsageError
from stamp_train.bootstrap import Interval, interval, paired_interval
from stamp_train.ridge import Floats, check_donors

if TYPE_CHECKING:
    import pandas as pd

N_COMPONENTS = 50
N_SEEDS = 10
N_NEIGHBOURS = 15
MIN_SPOTS = 10
NOT_LABELS = ("", "undetermined", "unknown", "nan")
METRICS = ("ari", "nmi", "hom", "com")
METHODS = ("kmeans", "ward", "leiden")


@dataclass(frozen=True, slots=True)
class Domains:
    """What :func:`cluster_sections` found.

    Attributes
    ----------
    table
        A row a feature set, method, section and seed: ``features``, ``method``, ``sample_id``, ``donor``, ``seed``,
        ``n_spots``, ``n_classes`` (those of at least 10 spots: what k is), ``n_clusters`` (found) and the metrics
        ``ari``, ``nmi``, ``hom``, ``com``. Homogeneity rises with the number of clusters: compare it at the same one.
    skipped
        Section -> why it has no row.
    n_unlabelled
        Spots that were left out because nobody called them anything.
    """

    table: pd.DataFrame
    skipped: dict[str, str]
    n_unlabelled: int


def cluster_sections(
    features: Mapping[str, Floats],
    labels: Sequence[str],
    donors: Sequence[str],
    sections: Sequence[str],
    *,
    methods: Sequence[str] = ("kmeans", "ward"),
    n_seeds: int = N_SEEDS,
    not_labels: Iterable[str] = NOT_LABELS,
) -> Domains:
    """Cluster each section and compare with its labels.

    Parameters
    ----------
    features
        Name -> (n, d) features, all of the same spots: a model's embeddings, mean colours, library sizes (n, 1).
    labels, donors, sections
        (n,) what a pathologist called each spot, whose it is, and its section.
    methods
        ``"kmeans"`` (the primary one), ``"ward"``, ``"leiden"`` (needs igraph).
    n_seeds
        Seeds of k-means and Leiden; Ward has no chance in it.
    not_labels
        What stands for no label, whatever its case. Spots of classes with fewer than 10 spots stay.

    Raises
    ------
    UsageError
        For an unknown method, or Leiden without igraph.
    DataError
        When lengths differ, a section belongs to two donors, or no section has two classes of at least 10 spots.
    """
    import pandas as pd

    called, owners, of_row = (np.asarray(values, dtype=str) for values in (labels, donors, sections))
    _check(features, called, owners, of_row, methods)
    labelled = ~np.isin(np.char.lower(np.char.strip(called)), [name.lower() for name in not_labels])
    rows: list[dict[str, Any]] = []
    skipped = {}
    for section in np.unique(of_row).tolist():
        spots = np.flatnonzero((of_row == section) & labelled)
        classes, n_spots = np.unique(called[spots], return_counts=True)
        if (k := int((n_spots >= MIN_SPOTS).sum())) < 2:
            told = ", ".join(f"{name} {n}" for name, n in zip(classes, n_spots, strict=True)) or "no label"
            skipped[section] = f"fewer than two classes of {MIN_SPOTS} spots ({told})"
            continue
        where = {"sample_id": section, "donor": str(owners[spots[0]]), "n_spots": len(spots), "n_classes": k}
        for name, values in features.items():
            found = cluster(np.asarray(values)[spots], k, methods, n_seeds)
            rows += [{"features": name, **where, **how, **agreement(called[spots], c)} for how, c in found]
    if not rows:
        found_text = "; ".join(f"{section}: {why}" for section, why in skipped.items()) or "no spot"
        expected = f"a section with two classes of {MIN_SPOTS} spots"
        raise DataError("No section has domains to find", code="no-domains", expected=expected, found=found_text)
    return Domains(pd.DataFrame(rows), skipped, int((~labelled).sum()))


def cluster(
    features: Floats, k: int, methods: Sequence[str] = ("kmeans",), n_seeds: int = N_SEEDS
) -> list[tuple[dict[str, Any], NDArray[np.int64]]]:
    """Cluster the spots of one section into k.

    Parameters
    ----------
    features
        (n, d).
    k
        Clusters wanted. Leiden takes the resolution that gives as many, or as near as it gets.

    Returns
    -------
    list of (how, clusters)
        ``method``, ``seed`` and ``n_clusters``; and (n,) numbers of clusters.
    """
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    pca = PCA(min(N_COMPONENTS, *features.shape), random_state=0)
    found = []
    # A section is small: threads would wait for each other a thousand times over.
    with threadpool_limits(1):
        points = make_pipeline(StandardScaler(), pca).fit_transform(features)
        for method in methods:
            for seed in range(1 if method == "ward" else n_seeds):
                clusters = _WAYS[method](points, k, seed)
                how = {"method": method, "seed": seed, "n_clusters": len(np.unique(clusters))}
                found.append((how, np.asarray(clusters, dtype=np.int64)))
    return found


def agreement(labels: NDArray[np.str_], clusters: NDArray[np.int64]) -> dict[str, float]:
    """Adjusted Rand index, normalised mutual information, homogeneity and completeness of (n,) labels and clusters."""
    from sklearn import metrics

    return {
        "ari": float(metrics.adjusted_rand_score(labels, clusters)),
        "nmi": float(metrics.normalized_mutual_info_score(labels, clusters)),
        "hom": float(metrics.homogeneity_score(labels, clusters)),
        "com": float(metrics.completeness_score(labels, clusters)),
    }


@dataclass(frozen=True, slots=True)
class Summary:
    """One line of the report: a feature set, a method and a metric.

    Attributes
    ----------
    features, method, metric
        What is summed up.
    mean, sd_of_sections
        Over sections, of the means over seeds; sd with ddof 1, NaN for one section.
    sd_of_seeds
        Mean over sections of the sd over seeds (ddof 1); NaN where there is one seed.
    n_sections
        How many sections.
    over_donors
        Mean over donors with its interval.
    gains
        Name of another feature set -> paired difference over donors (this one minus the other).
    """

    features: str
    method: str
    metric: str
    mean: float
    sd_of_sections: float
    sd_of_seeds: float
    n_sections: int
    over_donors: Interval
    gains: dict[str, Interval]


def summarise(domains: Domains, *, seed: int = 0) -> list[Summary]:
    """Mean and sd over seeds, then over sections, then a bootstrap over donors."""
    grouped = domains.table.groupby(["features", "method", "sample_id", "donor"], sort=False)[list(METRICS)]
    means, spread = grouped.mean().sort_index(), grouped.std(ddof=1).sort_index()
    lines = []
    names = list(dict.fromkeys(domains.table["features"]))
    for name in names:
        for method in dict.fromkeys(domains.table["method"]):
            for metric in METRICS:
                here = means.loc[(name, method), metric]
                donors = here.index.get_level_values("donor").tolist()
                gains = {
                    other: paired_interval(here, means.loc[(other, method), metric], donors, seed=seed)
                    for other in names
                    if other != name
                }
                sd, over_donors = float(spread.loc[(name, method), metric].mean()), interval(here, donors, seed=seed)
                spread_of = float(here.std(ddof=1))
                line = (name, method, metric, float(here.mean()), spread_of, sd, len(here), over_donors, gains)
                lines.append(Summary(*line))
    return lines


def _check(features: Mapping[str, Floats], labels: Any, donors: Any, sections: Any, methods: Sequence[str]) -> None:
    if unknown := [method for method in methods if method not in METHODS]:
        expected, found = ", ".join(METHODS), ", ".join(unknown)
        raise UsageError("There is no such method", code="unknown-method", expected=expected, found=found)
    for name, values in {"labels": labels, "sections": sections, **features}.items():
        if len(values) != len(donors):
            expected, found = f"{len(donors)} rows", str(len(values))
            raise DataError("What belongs together differs in length", field=name, expected=expected, found=found)
    check_donors(donors, sections)
    if "leiden" in methods:
        _igraph()


def _kmeans(points: Floats, k: int, seed: int) -> Any:
    from sklearn.cluster import KMeans

    return KMeans(k, n_init=10, random_state=seed).fit_predict(points)


def _ward(points: Floats, k: int, _seed: int) -> Any:
    from sklearn.cluster import AgglomerativeClustering

    return AgglomerativeClustering(k, linkage="ward").fit_predict(points)


def _leiden(points: Floats, k: int, seed: int) -> Any:
    """Leiden on the graph of 15 nearest neighbours, at the resolution that bisection finds for k clusters."""
    from sklearn.neighbors import kneighbors_graph

    igraph = _igraph()
    near = kneighbors_graph(points, min(N_NEIGHBOURS, len(points) - 1)).tocoo()
    edges = {(min(a, b), max(a, b)) for a, b in zip(near.row.tolist(), near.col.tolist(), strict=True)}
    graph = igraph.Graph(n=len(points), edges=sorted(edges))
    low, high, best = 0.0, 8.0, None
    for _ in range(24):
        resolution = (low + high) / 2
        igraph.set_random_number_generator(random.Random(seed))  # noqa: S311
        found = graph.community_leiden("modularity", resolution=resolution, n_iterations=-1).membership
        n_found = max(found) + 1
        if best is None or abs(n_found - k) < abs(max(best) + 1 - k):
            best = found
        if n_found == k:
            break
        low, high = (resolution, high) if n_found < k else (low, resolution)
    igraph.set_random_number_generator(random)
    return best


_WAYS: dict[str, Callable[[Floats, int, int], Any]] = {"kmeans": _kmeans, "ward": _ward, "leiden": _leiden}


def _igraph() -> Any:
    try:
        return importlib.import_module("igraph")
    except ImportError as error:
        raise UsageError(
            "Leiden needs igraph",
            code="no-igraph",
            expected="igraph",
            found=str(error),
            todo="pip install 'humanst[leiden]', or take kmeans and ward",
        ) from error
