"""What must not change a score, whatever the scorer, and what scores of counts without biology look like."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from humanst.pathways import SCORERS, PathwayScores, ResolvedSets, Scoring, expression, score_section, sparse
from tests.pathways.test_score import gene_names, sets_of, simulate

SHARE_SCORERS = tuple(name for name in SCORERS if name != "nbres")


def score(scorer: str, counts: np.ndarray, ids: np.ndarray, sets: ResolvedSets, **options: object) -> PathwayScores:
    given = {"measured": np.ones(len(ids), dtype=bool), "in_fit": np.ones(len(counts), dtype=bool), **options}
    return score_section(
        csr_matrix(counts),
        ids,
        given.pop("measured"),
        sets,
        **{"targeted": False, "scoring": Scoring(scorer=scorer), **given},
    )


def same(one: PathwayScores, other: PathwayScores) -> bool:
    pairs = [(one.scores, other.scores), (one.raw_mean, other.raw_mean), (one.raw_sd, other.raw_sd)]
    return all(a.tobytes() == b.tobytes() for a, b in pairs) and one.reasons == other.reasons


@pytest.mark.parametrize("scorer", SCORERS)
@settings(max_examples=5)
@given(seed=st.integers(0, 10_000), chunk=st.integers(1, 50))
def test_gene_order_and_chunk_size_do_not_change_a_bit(scorer: str, seed: int, chunk: int) -> None:
    counts, ids, sets = simulate(n_spots=24, n_genes=300, n_sets=3, seed=seed)
    fit = np.random.default_rng(seed).random(24) < 0.7
    fit[:3] = True
    order = np.random.default_rng(seed).permutation(len(ids))
    whole = score(scorer, counts, ids, sets, in_fit=fit)
    assert same(whole, score(scorer, counts[:, order], ids[order], sets, in_fit=fit, chunk_spots=chunk))


@pytest.mark.parametrize("scorer", SHARE_SCORERS)
@settings(max_examples=5)
@given(seed=st.integers(0, 10_000), times=st.sampled_from([2, 4, 64]))
def test_deeper_sequencing_alone_changes_nothing(scorer: str, seed: int, times: int) -> None:
    counts, ids, sets = simulate(n_spots=20, n_genes=300, n_sets=3, seed=seed)
    assert same(score(scorer, counts * times, ids, sets), score(scorer, counts, ids, sets))


def test_residuals_grow_with_the_evidence() -> None:
    counts, ids, sets = simulate()
    one, two = (score("nbres", times * counts, ids, sets, scoring=Scoring("nbres", z=False)).raw_sd for times in (1, 2))
    assert (two > 1.1 * one).all()


@pytest.mark.parametrize("scorer", SCORERS)
@settings(max_examples=5)
@given(seed=st.integers(0, 10_000), n_extra=st.integers(1, 60))
def test_unmeasured_genes_never_change_a_score(scorer: str, seed: int, n_extra: int) -> None:
    counts, ids, sets = simulate(n_spots=20, n_genes=300, n_sets=3, seed=seed)
    rng = np.random.default_rng(seed)
    extra = np.array([f"ENSG0{index:010d}x" for index in range(n_extra)])
    wide_sets = sets_of([[*genes, *extra[:4]] for genes in sets.ensembl_ids])
    order = rng.permutation(len(ids) + n_extra)
    measured = np.concatenate([np.ones(len(ids), dtype=bool), np.zeros(n_extra, dtype=bool)])
    filled = np.hstack([counts, rng.poisson(9, (len(counts), n_extra))])
    wide = score(
        scorer, filled[:, order], np.concatenate([ids, extra])[order], wide_sets, measured=measured[order]
    )  # fmt: skip
    assert same(wide, score(scorer, counts, ids, sets))


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_set_s_score_does_not_depend_on_the_other_sets(scorer: str) -> None:
    counts, ids, sets = simulate(n_sets=70)
    alone = score(scorer, counts, ids, sets_of([list(sets.ensembl_ids[66])]))
    assert alone.scores.tobytes() == score(scorer, counts, ids, sets).scores[:, [66]].tobytes()


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_spot_outside_the_fit_has_no_say_in_the_others_scores(scorer: str) -> None:
    counts, ids, sets = simulate()
    in_fit = np.arange(len(counts)) < 25
    changed = counts.copy()
    changed[30] = changed[30][::-1]
    one, other = (score(scorer, given, ids, sets, in_fit=in_fit).scores for given in (counts, changed))
    assert np.delete(one, 30, axis=0).tobytes() == np.delete(other, 30, axis=0).tobytes()
    assert one[30].tobytes() != other[30].tobytes()


@pytest.mark.parametrize("scorer", SCORERS)
def test_masks_and_empty_spots_are_the_same_for_every_scorer(scorer: str) -> None:
    counts, ids, sets = simulate()
    counts[5] = 0
    mixed = sets_of([list(ids[:9]), *map(list, sets.ensembl_ids), list(ids[:10]), []], [9, *[30] * 5, 60, 40])
    found = score(scorer, counts, ids, mixed)
    assert found.reasons == ("too-few-genes", *[None] * 5, "too-small-share", "too-few-genes")
    assert np.isnan(found.scores[5]).all()
    assert np.isnan(found.scores[:, [0, 6, 7]]).all()
    assert np.isfinite(np.delete(found.scores, 5, axis=0)[:, 1:6]).all()
    assert found.n_fit == len(counts) - 1
    same_spots = np.repeat(counts[:1], 6, axis=0)
    assert set(score(scorer, same_spots, ids, sets).reasons) == {"no-variation"}
    assert set(score(scorer, counts, ids, sets, in_fit=np.zeros(40, dtype=bool)).reasons) == {"no-fit-spots"}


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_set_of_every_gene_or_of_unseen_genes_is_finite_or_masked(scorer: str) -> None:
    counts, ids, _ = simulate(n_genes=60)
    counts[:, :12] = 0
    found = score(scorer, counts, ids, sets_of([list(ids), list(ids[:12])]), targeted=True)
    for column, reason in enumerate(found.reasons):
        assert (np.isnan if reason else np.isfinite)(found.scores[:, column]).all()
    # All genes: no contrast to others is left. Unseen ones: a score would be that of the genes they are compared with.
    assert (found.reasons[0] == "no-variation") == (scorer in {"bincontrol", "score_genes", "aucell", "ulm", "sum"})
    assert found.reasons[1] == "no-counts"


@pytest.mark.parametrize("scorer", ["mean", "sum", "aucell"])
def test_looking_for_counts_keeps_no_blocks_that_the_scorer_sees_once(
    scorer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, ids, _ = simulate(n_spots=40, n_genes=60)
    counts[:, :12] = 0
    alive: weakref.WeakSet[expression.Block] = weakref.WeakSet()
    most = []

    class Watched(expression.Block):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)  # type: ignore[arg-type]
            alive.add(self)
            most.append(len(alive))

    monkeypatch.setattr(expression, "Block", Watched)
    found = score(scorer, counts, ids, sets_of([list(ids[:12]), list(ids[20:40])]), targeted=True, chunk_spots=2)
    assert found.reasons == ("no-counts", None)
    assert len(most) == 40, "every block for the set without a count, and once more for the other"
    assert max(most) <= 3


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_set_is_masked_until_one_of_its_genes_has_a_count_in_a_spot_that_fits(scorer: str) -> None:
    counts, ids, _ = simulate(n_genes=60)
    counts[:, :12] = 0
    counts[3, 5] = 40
    in_fit = np.ones(len(counts), dtype=bool)
    in_fit[3] = False
    sets = sets_of([list(ids[:12]), list(ids[20:40])])
    outside = score(scorer, counts, ids, sets, targeted=True, in_fit=in_fit)
    assert outside.reasons == ("no-counts", None)
    assert np.isnan(outside.scores[:, 0]).all()
    assert np.isnan([outside.raw_mean[0], outside.raw_sd[0]]).all()
    assert score(scorer, counts, ids, sets, targeted=True).reasons == (None, None)


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_section_too_large_to_keep_is_scored_alike(scorer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, ids, sets = simulate()
    whole = score(scorer, counts, ids, sets)
    for room in (0, int((counts[:25] > 0).sum())):
        monkeypatch.setattr(expression, "KEPT_ENTRIES", room)
        assert same(score(scorer, counts, ids, sets, chunk_spots=10), whole)


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_scipy_without_its_nameless_kernels_gives_the_same_bits(scorer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, ids, sets = simulate()
    whole = score(scorer, counts, ids, sets)
    monkeypatch.setattr(sparse, "_kernel", lambda name: None)
    assert same(score(scorer, counts, ids, sets), whole)


@pytest.mark.parametrize("scorer", SCORERS)
def test_no_block_is_made_dense_over_all_genes(scorer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, ids, sets = simulate(n_spots=30, n_genes=2_000)
    made: list[tuple[int, ...]] = []
    to_array = csr_matrix.toarray
    monkeypatch.setattr(csr_matrix, "toarray", lambda self: made.append(self.shape) or to_array(self))
    monkeypatch.setattr(csr_matrix, "todense", None)
    score(scorer, counts, ids, sets)
    assert made
    assert all(columns == len(sets.names) for _, columns in made)


def digest_of_all() -> str:
    """Of the scores of every scorer, for another process to compare with."""
    made = [score(name, *simulate()) for name in SCORERS]
    return hashlib.sha256(b"".join(found.scores.tobytes() + found.raw_mean.tobytes() for found in made)).hexdigest()


def test_neither_the_hash_seed_nor_a_random_state_matters() -> None:
    code = "import numpy; numpy.random.seed(9); from tests.pathways import test_scorers_properties as t"
    told = subprocess.run(
        [sys.executable, "-c", f"{code}; print(t.digest_of_all())"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert told == digest_of_all()


@pytest.fixture(scope="module")
def null_halves() -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, ResolvedSets]:
    """Poisson counts of spots that differ in depth alone, thinned into two halves; 50 sets of 30 to 150 genes."""
    rng = np.random.default_rng(70)
    n_spots, n_genes = 500, 3_000
    shares = np.exp(rng.normal(0, 2, n_genes))
    depth = np.exp(rng.normal(np.log(3_000), 0.6, n_spots))
    counts = rng.poisson(depth[:, None] * (shares / shares.sum())[None, :])
    half = rng.binomial(counts, 0.5)
    ids = gene_names(n_genes)
    members = [rng.choice(ids, rng.integers(30, 151), replace=False).tolist() for _ in range(50)]
    return (half, counts - half), ids, sets_of(members)


def median_half_r(scorer: str, null_halves: tuple) -> float:
    halves, ids, sets = null_halves
    one, two = (score(scorer, half, ids, sets).scores.astype(float) for half in halves)
    return float(np.median([np.corrcoef(one[:, p], two[:, p])[0, 1] for p in range(50)]))


def test_the_default_finds_nothing_where_there_is_no_biology(null_halves: tuple) -> None:
    assert abs(median_half_r(Scoring().scorer, null_halves)) <= 0.05


@pytest.mark.parametrize("scorer", ["mean", "zmean"])
def test_a_plain_mean_finds_depth_where_there_is_no_biology(scorer: str, null_halves: tuple) -> None:
    assert median_half_r(scorer, null_halves) > 0.3
