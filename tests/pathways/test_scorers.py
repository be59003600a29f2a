"""Every scorer against the same score written out over dense arrays or taken from the library it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from humanst.errors import UsageError
from humanst.harmonize.gene_table import load_gene_table
from humanst.pathways import SCORERS, PathwayScores, ResolvedSets, Scoring, read_gmt, resolve, score_section
from tests.pathways import references
from tests.pathways.test_bincontrol import read_section
from tests.pathways.test_score import sets_of, simulate

LOG_SCORERS = ("bincontrol", "mean", "zmean", "score_genes", "ulm")
WEIGHING = tuple(name for name in SCORERS if name != "aucell")


@dataclass(frozen=True)
class Weighted(ResolvedSets):
    """Sets whose genes have weights, row by row beside the ids."""

    weights: tuple[tuple[float, ...], ...] | None = None


def weighted(sets: ResolvedSets, weight_of=None) -> Weighted:
    rng = np.random.default_rng(5)
    drawn = [rng.normal(0.3, 2.0, len(genes)).tolist() for genes in sets.ensembl_ids]
    weights = tuple(tuple(w if weight_of is None else weight_of(w) for w in ws) for ws in drawn)
    return Weighted(
        sets.name, sets.names, sets.ensembl_ids, sets.unmapped, sets.n_members, sets.sha256, weights=weights
    )


def raw(
    scorer: str, counts: np.ndarray, ids: np.ndarray, sets: ResolvedSets, fit: np.ndarray, **options: object
) -> PathwayScores:
    every_gene = np.ones(len(ids), dtype=bool)
    scoring = Scoring(scorer=scorer, z=False)
    return score_section(
        csr_matrix(counts), ids, every_gene, sets, in_fit=fit, targeted=False, scoring=scoring, **options
    )


def reference(scorer: str, counts: np.ndarray, ids: np.ndarray, sets: ResolvedSets, fit: np.ndarray) -> np.ndarray:
    place = {gene: column for column, gene in enumerate(sorted(ids))}
    in_order = counts[:, np.argsort(ids)]
    given = getattr(sets, "weights", None) or [[1.0] * len(genes) for genes in sets.ensembl_ids]
    kept = [
        [(place[gene], weight) for gene, weight in zip(genes, ws, strict=True) if gene in place]
        for genes, ws in zip(sets.ensembl_ids, given, strict=True)
    ]
    columns, weights = ([np.array([pair[part] for pair in pairs]) for pairs in kept] for part in (0, 1))
    return references.REFERENCES[scorer](in_order, columns, fit, weights)


def agree(found: PathwayScores, expected: np.ndarray, fit: np.ndarray) -> None:
    assert found.is_valid.all()
    assert np.abs(found.scores - expected).max() < 1e-5 * max(1.0, np.abs(expected).max())
    assert np.abs(found.raw_mean - expected[fit].mean(axis=0)).max() < 1e-9
    assert np.abs(found.raw_sd - expected[fit].std(axis=0)).max() < 1e-9


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_scorer_is_its_definition(scorer: str) -> None:
    counts, ids, sets = simulate(n_spots=40, n_genes=900, n_sets=4, seed=3)
    everyone = np.ones(len(counts), dtype=bool)
    agree(raw(scorer, counts, ids, sets, everyone), reference(scorer, counts, ids, sets, everyone), everyone)


@pytest.mark.parametrize("scorer", [name for name in SCORERS if name != "score_genes"])
def test_statistics_of_genes_come_from_the_fitting_spots(scorer: str) -> None:
    counts, ids, sets = simulate(n_spots=40, n_genes=500, n_sets=3, seed=4)
    counts[:20, 7] = 0  # a gene that no fitting spot has
    counts[20:, 7] = 3
    fit = np.arange(40) < 20
    sets = sets_of([[*sets.ensembl_ids[0][:20], ids[7]], list(sets.ensembl_ids[1])])
    agree(raw(scorer, counts, ids, sets, fit), reference(scorer, counts, ids, sets, fit), fit)


def test_score_genes_draws_its_controls_by_the_fitting_spots() -> None:
    counts, ids, sets = simulate(n_spots=40, n_genes=900, n_sets=3, seed=4)
    fit = np.arange(40) < 20
    alone = reference("score_genes", counts[fit], ids, sets, fit[fit])
    assert np.abs(raw("score_genes", counts, ids, sets, fit).scores[fit] - alone).max() < 1e-5


@pytest.mark.parametrize("scorer", [name for name in WEIGHING if name != "score_genes"])
def test_genes_may_have_weights(scorer: str) -> None:
    counts, ids, sets = simulate(n_spots=30, n_genes=500, n_sets=3, seed=6)
    everyone = np.ones(len(counts), dtype=bool)
    sets = weighted(sets)
    agree(raw(scorer, counts, ids, sets, everyone), reference(scorer, counts, ids, sets, everyone), everyone)


@pytest.mark.parametrize("scorer", WEIGHING)
def test_weights_of_one_are_no_weights(scorer: str) -> None:
    counts, ids, sets = simulate(n_spots=30, n_genes=500, n_sets=3, seed=6)
    ones = weighted(sets, lambda _: 1.0)
    everyone = np.ones(len(counts), dtype=bool)
    plain = raw(scorer, counts, ids, sets, everyone)
    assert raw(scorer, counts, ids, ones, everyone).scores.tobytes() == plain.scores.tobytes()


@pytest.mark.parametrize("scorer", WEIGHING)
def test_opposite_weights_give_the_opposite_score(scorer: str) -> None:
    counts, ids, sets = simulate(n_spots=30, n_genes=500, n_sets=3, seed=6)
    pair_of_sets = weighted(sets), weighted(sets, lambda w: -w)
    everyone = np.ones(len(counts), dtype=bool)
    pair = [raw(scorer, counts, ids, given, everyone).scores for given in pair_of_sets]
    assert np.abs(pair[0] + pair[1]).max() < 1e-5
    assert np.abs(pair[0]).max() > 0.01


def test_ranks_have_no_use_for_weights() -> None:
    counts, ids, sets = simulate(n_spots=5)
    with pytest.raises(UsageError) as caught:
        raw("aucell", counts, ids, weighted(sets), np.ones(5, dtype=bool))
    assert caught.value.facts.code == "scorer-weights"


def test_aucell_is_the_mean_over_random_ways_to_break_ties() -> None:
    counts, ids, sets = simulate(n_spots=4, n_genes=300, n_sets=2, seed=8)
    found = raw("aucell", counts, ids, sets, np.ones(4, dtype=bool)).scores
    rng = np.random.default_rng(9)
    orders = [rng.permutation(len(ids)) for _ in range(200)]
    for place, genes in enumerate(sets.ensembl_ids):
        columns = np.flatnonzero(np.isin(ids, genes))
        for spot, row in enumerate(counts):
            drawn = np.array([references.aucell_by_order(row, columns, order) for order in orders])
            assert abs(drawn.mean() - found[spot, place]) < 4 * drawn.std() / np.sqrt(len(drawn)) + 1e-6


def test_aucell_of_counts_without_ties_is_aucell() -> None:
    rng = np.random.default_rng(10)
    counts = np.array([rng.permutation(400) for _ in range(10)]) ** 2 * 30  # up to 4.8 million in one gene
    counts[3, counts[3].argmax()] = 1 << 50  # no table has a place for every such count
    _, ids, sets = simulate(n_spots=2, n_genes=400, n_sets=3)
    found = raw("aucell", counts, ids, sets, np.ones(10, dtype=bool)).scores
    for place, genes in enumerate(sets.ensembl_ids):
        columns = np.flatnonzero(np.isin(ids, genes))
        expected = [references.aucell_by_order(row, columns, np.arange(400)) for row in counts]
        assert np.abs(found[:, place] - expected).max() < 1e-6


@pytest.mark.parametrize("scorer", ["ulm", "aucell"])
def test_decoupler_agrees_where_it_is_installed(scorer: str) -> None:
    decoupler = pytest.importorskip("decoupler", reason="an independent reference is above")
    import pandas as pd

    counts, ids, sets = simulate(n_spots=12, n_genes=400, n_sets=3)
    if scorer == "aucell":
        counts = np.array([np.random.default_rng(spot).permutation(400) for spot in range(12)])
    found = raw(scorer, counts, ids, sets, np.ones(12, dtype=bool)).scores
    net = pd.DataFrame(
        [(name, gene, 1.0) for name, genes in zip(sets.names, sets.ensembl_ids, strict=True) for gene in genes],
        columns=["source", "target", "weight"],
    )
    logs = pd.DataFrame(references.logs_of(counts), index=[f"spot{spot}" for spot in range(12)], columns=ids)
    theirs = getattr(decoupler.mt, scorer)(logs, net, tmin=1, empty=False)
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    assert np.abs(theirs[list(sets.names)].to_numpy() - found).max() < 1e-5


@lru_cache(maxsize=1)
def real_world(real_data: Path) -> tuple[np.ndarray, np.ndarray, ResolvedSets]:
    counts, ids = read_section(real_data, "B4")
    hallmark = resolve(
        read_gmt(real_data / "gene_sets/msigdb_h.all.v2025.1.Hs.symbols.gmt", name="h"), load_gene_table()
    )
    dense = counts.toarray()
    return dense[dense.sum(axis=1) >= 200][:60], np.asarray(ids), hallmark


@pytest.mark.real
@pytest.mark.parametrize("scorer", SCORERS)
def test_a_scorer_is_its_definition_on_a_real_section(scorer: str, real_data: Path) -> None:
    counts, ids, hallmark = real_world(real_data)
    few = ResolvedSets(
        "few",
        hallmark.names[::9],
        hallmark.ensembl_ids[::9],
        hallmark.unmapped[::9],
        hallmark.n_members[::9],
        hallmark.sha256,
    )
    everyone = np.ones(len(counts), dtype=bool)
    agree(raw(scorer, counts, ids, few, everyone), reference(scorer, counts, ids, few, everyone), everyone)
