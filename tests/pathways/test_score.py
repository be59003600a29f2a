"""The score of a section: equal to its definition computed in plain loops, and blind to what must not matter."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_matrix, csr_matrix, issparse

from humanst.errors import DataError
from humanst.pathways import PathwayScores, ResolvedSets, score_section
from humanst.pathways.bincontrol import BinControl, bins_for, expression_bins, log_cp10k


def gene_names(n: int) -> np.ndarray:
    return np.array([f"ENSG{index:011d}" for index in range(n)])


def sets_of(members: list[list[str]], n_members: list[int] | None = None) -> ResolvedSets:
    return ResolvedSets(
        name="test",
        names=tuple(f"S{index}" for index in range(len(members))),
        ensembl_ids=tuple(tuple(sorted(genes)) for genes in members),
        unmapped=tuple(() for _ in members),
        n_members=tuple(n_members or [len(genes) for genes in members]),
        sha256="0" * 64,
    )


def simulate(
    n_spots: int = 40, n_genes: int = 450, n_sets: int = 5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, ResolvedSets]:
    rng = np.random.default_rng(seed)
    rates = np.exp(rng.normal(-1.0, 1.5, n_genes))
    depth = np.exp(rng.normal(0.0, 0.6, n_spots))
    counts = rng.poisson(depth[:, None] * rates[None, :]).astype(np.int64)
    ids = gene_names(n_genes)
    return counts, ids, sets_of([sorted(rng.choice(ids, 30, replace=False)) for _ in range(n_sets)])


def by_definition(counts: np.ndarray, ids: np.ndarray, members: tuple[str, ...], in_fit: np.ndarray) -> np.ndarray:
    """The raw score in loops over spots and genes, straight from its definition; no matrix products."""
    n_spots, n_genes = counts.shape
    logs = [[math.log1p(1e4 * int(c) / int(row.sum())) if row.sum() else 0.0 for c in row] for row in counts]
    means = [math.fsum(logs[i][g] for i in range(n_spots) if in_fit[i]) / int(in_fit.sum()) for g in range(n_genes)]
    n_bins = min(max(n_genes // 100, 3), 25)
    order = sorted(range(n_genes), key=lambda g: (means[g], ids[g]))
    bin_of = {g: position * n_bins // n_genes for position, g in enumerate(order)}
    of_bin = {b: [g for g in range(n_genes) if bin_of[g] == b] for b in range(n_bins)}
    wanted = [g for g in range(n_genes) if ids[g] in set(members)]
    scores = []
    for log in logs:
        level = {b: math.fsum(log[g] for g in genes) / len(genes) for b, genes in of_bin.items()}
        scores.append(math.fsum(log[g] - level[bin_of[g]] for g in wanted) / len(wanted))
    return np.array(scores)


def score(
    counts: np.ndarray, ids: np.ndarray, sets: ResolvedSets, in_fit: np.ndarray | None = None, **options: object
) -> PathwayScores:
    fit = np.ones(len(counts), dtype=bool) if in_fit is None else in_fit
    given = {"measured": np.ones(len(ids), dtype=bool), "targeted": False, **options}
    measured = given.pop("measured")
    return score_section(csr_matrix(counts), ids, measured, sets, in_fit=fit, **given)  # type: ignore[arg-type]


def raw_of(found: PathwayScores) -> np.ndarray:
    return found.scores.astype(np.float64) * found.raw_sd + found.raw_mean


def test_the_score_is_its_definition() -> None:
    counts, ids, sets = simulate()
    in_fit = np.arange(len(counts)) % 4 != 0
    found = score(counts, ids, sets, in_fit)
    for index, members in enumerate(sets.ensembl_ids):
        raw = by_definition(counts, ids, members, in_fit)
        assert found.raw_mean[index] == pytest.approx(raw[in_fit].mean(), abs=1e-12)
        assert found.raw_sd[index] == pytest.approx(raw[in_fit].std(), abs=1e-12)
        z = (raw - raw[in_fit].mean()) / raw[in_fit].std()
        assert np.abs(found.scores[:, index] - z).max() < 1e-5
    assert found.scores.dtype == np.float32
    assert (found.n_bins, found.n_fit) == (4, int(in_fit.sum()))


def test_the_raw_score_is_exact_to_float64() -> None:
    counts, ids, sets = simulate()
    log = log_cp10k(csr_matrix(counts))
    bins = expression_bins(np.asarray(log.mean(axis=0)).ravel(), bins_for(len(ids)))
    membership = csr_matrix(np.array([[gene in genes for genes in sets.ensembl_ids] for gene in ids], dtype=float))
    raw = BinControl.of(membership, bins).score(log)
    everyone = np.ones(len(counts), dtype=bool)
    expected = np.column_stack([by_definition(counts, ids, genes, everyone) for genes in sets.ensembl_ids])
    assert np.abs(raw - expected).max() < 1e-9


@pytest.mark.parametrize(
    ("n_genes", "n_bins"), [(1, 1), (2, 2), (50, 3), (399, 3), (400, 4), (2_400, 24), (2_500, 25), (36_000, 25)]
)
def test_the_number_of_bins(n_genes: int, n_bins: int) -> None:
    assert bins_for(n_genes) == n_bins
    sizes = np.bincount(expression_bins(np.zeros(n_genes), n_bins))
    assert len(sizes) == n_bins
    assert sizes.max() - sizes.min() <= 1


def test_ties_go_by_gene_id() -> None:
    assert expression_bins(np.array([1.0, 0.0, 1.0, 1.0]), 2).tolist() == [0, 0, 1, 1]


def test_gene_order_and_chunk_size_do_not_change_a_bit() -> None:
    counts, ids, sets = simulate()
    in_fit = np.arange(len(counts)) % 3 != 0
    whole = score(counts, ids, sets, in_fit)
    order = np.random.default_rng(1).permutation(len(ids))
    for chunk in (256, 1, 7):
        other = score(counts[:, order], ids[order], sets, in_fit, chunk_spots=chunk)
        assert other.scores.tobytes() == whole.scores.tobytes()
        assert other.raw_mean.tobytes() == whole.raw_mean.tobytes()
        assert other.raw_sd.tobytes() == whole.raw_sd.tobytes()


def test_a_set_s_score_does_not_depend_on_the_other_sets() -> None:
    counts, ids, sets = simulate()
    alone = score(counts, ids, sets_of([list(sets.ensembl_ids[2])]))
    assert alone.scores.tobytes() == score(counts, ids, sets).scores[:, [2]].tobytes()


def test_deeper_sequencing_alone_changes_nothing() -> None:
    counts, ids, sets = simulate()
    assert score(counts * 2, ids, sets).scores.tobytes() == score(counts, ids, sets).scores.tobytes()


def test_unmeasured_genes_never_change_a_score() -> None:
    counts, ids, sets = simulate()
    rng = np.random.default_rng(2)
    extra = np.array([f"ENSG9{index:010d}" for index in range(60)])
    measured = np.concatenate([np.ones(len(ids), dtype=bool), np.zeros(len(extra), dtype=bool)])
    wide_sets = sets_of([[*genes, *extra[:5]] for genes in sets.ensembl_ids])
    for filler in (np.zeros((len(counts), len(extra)), dtype=np.int64), rng.poisson(9, (len(counts), len(extra)))):
        wide = score(np.hstack([counts, filler]), np.concatenate([ids, extra]), wide_sets, measured=measured)
        assert wide.scores.tobytes() == score(counts, ids, sets).scores.tobytes()
        assert wide.n_measured.tolist() == [30] * 5
        assert wide.n_members.tolist() == [35] * 5


def test_z_is_over_the_fitting_spots_only_and_can_be_undone() -> None:
    counts, ids, sets = simulate()
    in_fit = np.arange(len(counts)) < 25
    found = score(counts, ids, sets, in_fit)
    fitted = found.scores[in_fit].astype(np.float64)
    assert np.abs(fitted.mean(axis=0)).max() < 1e-6
    assert np.abs(fitted.std(axis=0) - 1).max() < 1e-6
    expected = by_definition(counts, ids, sets.ensembl_ids[0], in_fit)
    assert np.abs(raw_of(found)[:, 0] - expected).max() < 1e-6
    # A spot outside the fit has no say in the others' scores.
    changed = counts.copy()
    changed[30] = changed[30][::-1]
    again = score(changed, ids, sets, in_fit)
    assert again.scores[:30].tobytes() == found.scores[:30].tobytes()
    assert again.scores[30].tobytes() != found.scores[30].tobytes()


@pytest.mark.parametrize(
    ("n_measured", "n_members", "targeted", "reason"),
    [
        (9, 9, True, "too-few-genes"),
        (10, 200, True, None),
        (10, 201, True, "too-small-share"),
        (10, 50, False, None),
        (10, 51, False, "too-small-share"),
        (40, 200, False, None),
        (39, 200, False, "too-small-share"),
    ],
)
def test_the_coverage_rule(n_measured: int, n_members: int, targeted: bool, reason: str | None) -> None:
    counts, ids, _ = simulate()
    found = score(counts, ids, sets_of([list(ids[:n_measured])], [n_members]), targeted=targeted)
    assert found.reasons == (reason,)
    assert found.is_valid.tolist() == [reason is None]
    assert (int(found.n_measured[0]), int(found.n_members[0])) == (n_measured, n_members)
    assert np.isnan(found.scores).all() == (reason is not None)
    assert np.isnan(found.raw_mean[0]) == (reason is not None)


def test_a_masked_set_does_not_disturb_its_neighbours() -> None:
    counts, ids, sets = simulate()
    mixed = sets_of([list(ids[:3]), *map(list, sets.ensembl_ids), []], [3, *[30] * 5, 40])
    found = score(counts, ids, mixed)
    assert found.reasons == ("too-few-genes", *[None] * 5, "too-few-genes")
    assert found.scores[:, 1:6].tobytes() == score(counts, ids, sets).scores.tobytes()


def test_a_set_that_does_not_vary_is_masked_and_keeps_its_figures() -> None:
    counts, ids, sets = simulate()
    same = np.repeat(counts[:1], 6, axis=0)
    found = score(same, ids, sets)
    assert set(found.reasons) == {"no-variation"}
    assert np.isnan(found.scores).all()
    assert np.isfinite(found.raw_mean).all()
    assert np.abs(found.raw_sd).max() < 1e-12


def test_without_fitting_spots_everything_is_masked() -> None:
    counts, ids, sets = simulate()
    found = score(counts, ids, sets, np.zeros(len(counts), dtype=bool))
    assert set(found.reasons) == {"no-fit-spots"}
    assert (found.n_fit, bool(np.isnan(found.scores).all())) == (0, True)


def test_a_spot_without_counts_is_nan_and_never_part_of_the_fit() -> None:
    counts, ids, sets = simulate()
    with_empty = np.vstack([counts, np.zeros((1, len(ids)), dtype=np.int64)])
    found = score(with_empty, ids, sets)
    assert np.isnan(found.scores[-1]).all()
    assert found.n_fit == len(counts)
    assert found.scores[:-1].tobytes() == score(counts, ids, sets).scores.tobytes()


def test_counts_on_unmeasured_genes_do_not_make_a_spot_scorable() -> None:
    counts, ids, sets = simulate()
    measured = np.arange(len(ids)) != 0
    counts[:, 0] = 0
    odd = np.vstack([counts, np.eye(1, len(ids), dtype=np.int64) * 50])
    found = score(odd, ids, sets, measured=measured)
    assert np.isnan(found.scores[-1]).all()
    assert found.n_fit == len(counts)
    assert found.scores[:-1].tobytes() == score(counts, ids, sets, measured=measured).scores.tobytes()


def test_no_genes_no_spots_no_sets() -> None:
    counts, ids, sets = simulate()
    assert score(counts[:0], ids, sets).scores.shape == (0, 5)
    assert score(counts[:, :0], ids[:0], sets).scores.shape == (40, 5)
    assert score(counts, ids, sets_of([])).scores.shape == (40, 0)


def test_arrays_that_do_not_fit_and_repeated_genes_are_errors() -> None:
    counts, ids, sets = simulate()
    with pytest.raises(DataError) as caught:
        score(counts, ids[:-1], sets)
    assert caught.value.facts.code == "scores-shape"
    with pytest.raises(DataError, match="ENSG00000000000") as caught:
        score(counts, np.concatenate([ids[:1], ids[:-1]]), sets)
    assert caught.value.facts.code == "gene-repeated"


def test_only_counts_are_scored() -> None:
    counts, ids, sets = simulate()
    every, fit = np.ones(len(ids), dtype=bool), np.ones(len(counts), dtype=bool)
    below = counts.copy()
    below[3, 3] = -1
    for wrong in (counts, csc_matrix(counts), csr_matrix(counts / 2), csr_matrix(below)):
        with pytest.raises(DataError) as caught:
            score_section(wrong, ids, every, sets, in_fit=fit, targeted=False)
        assert caught.value.facts.code == "scores-counts"


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "uint64"])
def test_the_type_of_counts_does_not_matter(dtype: str) -> None:
    counts, ids, sets = simulate()
    counts = np.minimum(counts, 255)
    assert score(counts.astype(dtype), ids, sets).scores.tobytes() == score(counts, ids, sets).scores.tobytes()


def test_the_input_is_not_touched_and_nothing_is_made_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, ids, sets = simulate(n_spots=30, n_genes=2_000)
    matrix = csr_matrix(counts)
    data, indices = matrix.data.copy(), matrix.indices.copy()
    made_dense: list[tuple[int, ...]] = []
    to_array = csr_matrix.toarray
    monkeypatch.setattr(csr_matrix, "toarray", lambda self: made_dense.append(self.shape) or to_array(self))
    monkeypatch.setattr(csr_matrix, "todense", None)
    score_section(matrix, ids, np.ones(2_000, dtype=bool), sets, in_fit=np.ones(30, dtype=bool), targeted=False)
    assert made_dense
    assert all(columns == len(sets.names) for _, columns in made_dense)
    assert issparse(matrix)
    assert np.array_equal(matrix.data, data)
    assert np.array_equal(matrix.indices, indices)


def test_the_hash_seed_does_not_matter() -> None:
    code = (
        "import hashlib, test_score as t; found = t.score(*t.simulate());"
        "print(hashlib.sha256(found.scores.tobytes() + found.raw_mean.tobytes()).hexdigest())"
    )
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n_spots=st.integers(2, 12), n_genes=st.integers(30, 130), chunk=st.integers(1, 5))
def test_any_section_agrees_with_the_definition(seed: int, n_spots: int, n_genes: int, chunk: int) -> None:
    counts, ids, sets = simulate(n_spots, n_genes, 2, seed)
    in_fit = counts.sum(axis=1) > 0
    found = score(counts, ids, sets, chunk_spots=chunk)
    for index, members in enumerate(sets.ensembl_ids):
        if found.reasons[index] is None:
            raw = by_definition(counts, ids, members, in_fit)
            z = (raw - raw[in_fit].mean()) / raw[in_fit].std()
            assert np.allclose(found.scores[in_fit, index], z[in_fit], rtol=1e-5, atol=1e-5)
