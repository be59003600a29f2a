"""Matched-random sets: as many genes, as well expressed, and the same draw for the same name."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from humanst.errors import DataError
from humanst.pathways import ResolvedSets
from humanst.pathways.audit.random_sets import joined, matched_random, some_sets

N_GENES = 620
GENES = np.array([f"ENSG{index:011d}" for index in range(N_GENES)])


@dataclasses.dataclass(frozen=True, slots=True)
class WeightedSets(ResolvedSets):
    weights: tuple[tuple[float, ...], ...] | None = None


def collection(sizes=(30, 12, 55), seed=0, weighted=False):
    rng = np.random.default_rng(seed)
    members = tuple(tuple(sorted(rng.choice(GENES, size, replace=False).tolist())) for size in sizes)
    fields = {
        "name": "test",
        "names": tuple(f"S{index}" for index in range(len(sizes))),
        "ensembl_ids": members,
        "unmapped": (("LOST",),) + ((),) * (len(sizes) - 1),
        "n_members": tuple(size + (place == 0) for place, size in enumerate(sizes)),
        "sha256": "0" * 64,
    }
    if not weighted:
        return ResolvedSets(**fields)
    return WeightedSets(**fields, weights=tuple(tuple(rng.normal(size=len(genes)).tolist()) for genes in members))


def expression(seed=1):
    return np.random.default_rng(seed).gamma(0.7, 1.0, N_GENES)


def bins_by_hand(mean_log):
    """Bin of each gene: sixths of the genes in the order of expression, 620 genes giving 6 bins."""
    order = sorted(range(N_GENES), key=lambda gene: (mean_log[gene], GENES[gene]))
    return {GENES[gene]: place * 6 // N_GENES for place, gene in enumerate(order)}


def test_a_draw_has_the_sizes_and_the_expression_of_its_sets():
    sets, mean_log = collection(), expression()
    bin_of = bins_by_hand(mean_log)
    drawn = matched_random(sets, GENES, mean_log, seed=4, draw=2)
    assert drawn.names == ("random:4:2:S0", "random:4:2:S1", "random:4:2:S2")
    assert drawn.n_members == sets.n_members
    for own, new in zip(sets.ensembl_ids, drawn.ensembl_ids, strict=True):
        assert len(set(new)) == len(own)
        assert list(new) == sorted(new)
        assert Counter(bin_of[gene] for gene in new) == Counter(bin_of[gene] for gene in own)


def test_a_draw_depends_on_seed_number_and_name_and_on_no_other_set_or_order():
    sets, mean_log = collection(), expression()
    drawn = matched_random(sets, GENES, mean_log, seed=0, draw=0).ensembl_ids
    alone = matched_random(some_sets(sets, 1, 2), GENES, mean_log, seed=0, draw=0).ensembl_ids
    assert alone == drawn[1:2]
    turned = matched_random(sets, GENES[::-1], mean_log[::-1], seed=0, draw=0).ensembl_ids
    assert turned == drawn
    assert matched_random(sets, GENES, mean_log, seed=1, draw=0).ensembl_ids != drawn
    assert matched_random(sets, GENES, mean_log, seed=0, draw=1).ensembl_ids != drawn


def test_every_gene_of_a_bin_is_drawn_as_often_as_another():
    sets, mean_log = collection(sizes=(60,)), expression()
    bin_of = bins_by_hand(mean_log)
    times = Counter()
    for draw in range(400):
        times.update(matched_random(sets, GENES, mean_log, seed=0, draw=draw).ensembl_ids[0])
    of_bin = Counter(bin_of.values())
    wanted = Counter(bin_of[gene] for gene in sets.ensembl_ids[0])
    seen = np.array([times[gene] for gene in GENES], dtype=float)
    expected = np.array([400 * wanted[bin_of[gene]] / of_bin[bin_of[gene]] for gene in GENES])
    spread = (seen - expected) / np.sqrt(expected * (1 - expected / 400))
    assert abs(spread).max() < 4.5
    own = np.isin(GENES, sets.ensembl_ids[0])
    assert seen[own].sum() == pytest.approx(expected[own].sum(), rel=0.1)


def test_genes_without_expression_are_left_out_and_coverage_stays():
    sets, mean_log = collection(), expression()
    kept = np.arange(N_GENES) % 3 != 0
    drawn = matched_random(sets, GENES[kept], mean_log[kept], seed=0, draw=0)
    for own, new in zip(sets.ensembl_ids, drawn.ensembl_ids, strict=True):
        assert len(new) == len(set(own) & set(GENES[kept]))
        assert set(new) <= set(GENES[kept])
    assert drawn.n_members == sets.n_members


def test_a_weight_goes_to_a_gene_of_the_bin_of_its_own():
    sets, mean_log = collection(weighted=True), expression()
    bin_of = bins_by_hand(mean_log)
    drawn = matched_random(sets, GENES, mean_log, seed=0, draw=0)
    for own, new, of_own, of_new in zip(sets.ensembl_ids, drawn.ensembl_ids, sets.weights, drawn.weights, strict=True):
        pairs = [Counter((bin_of[g], w) for g, w in zip(*one, strict=True)) for one in ((own, of_own), (new, of_new))]
        assert pairs[0] == pairs[1]
    assert joined([sets, drawn]).weights == sets.weights + drawn.weights
    assert some_sets(drawn, 1, 3).weights == drawn.weights[1:3]


def test_collections_are_joined_in_order_and_cut_again():
    sets = collection()
    drawn = matched_random(sets, GENES, expression(), seed=0, draw=0)
    both = joined([sets, drawn])
    assert both.names == sets.names + drawn.names
    assert some_sets(both, 3, 6) == drawn
    assert some_sets(both, 0, 3) == sets


def test_genes_that_do_not_fit_are_refused():
    for genes, code in ((GENES[:-1], "random-sets-shape"), (np.append(GENES[:-1], GENES[0]), "gene-repeated")):
        with pytest.raises(DataError) as caught:
            matched_random(collection(), genes, expression(), seed=0, draw=0)
        assert caught.value.facts.code == code
