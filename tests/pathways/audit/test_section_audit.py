"""The table of a section: every figure is its definition, and stands beside that of matched-random sets."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from humanst.pathways import SCORERS, Scoring, expression, score_section
from humanst.pathways.audit import section as section_module
from humanst.pathways.audit.inputs import AuditOptions
from humanst.pathways.audit.random_sets import matched_random
from humanst.pathways.audit.section import audit_section
from humanst.pathways.audit.thinning import thin
from tests.pathways.audit.sections import gene_ids, patterned, random_members, sets_of, square_section
from tests.pathways.audit.test_section_moran import by_pairs

COLUMNS = (
    "sample_id pathway n_measured n_members share reason half_r half_r_sd reliability ceiling moran moran_residual"
    " r_library half_r_null_median half_r_null_p95 half_r_rank moran_null_median moran_null_p95 moran_rank"
    " moran_residual_null_median moran_residual_null_p95 moran_residual_rank r_library_null_median r_library_null_p95"
    " r_library_rank n_draws passes"
).split()
FIGURES = ("half_r", "moran", "moran_residual", "r_library")
OPTIONS = AuditOptions(n_seeds=2, n_draws=4, seed=5)


@pytest.fixture(scope="module")
def section():
    """A section with spots out of the fit, one of them alone, a spot without counts, and genes not measured."""
    counts = patterned()
    counts[[3, 50]] = 0
    ids = gene_ids(counts.shape[1])
    in_fit = np.arange(len(counts)) % 11 != 4
    in_fit[[1, 2, 15, 16, 17]] = False
    in_fit[0] = True
    return square_section(counts, (14, 15), in_fit=in_fit, measured=~np.isin(ids, ids[390:]))


@pytest.fixture(scope="module")
def sets(section):
    """Genes that rise together, genes that do not, too few genes, and genes that were not measured."""
    ids = section.ensembl_ids
    members = [ids[:40].tolist(), ids[100:130].tolist(), ids[200:209].tolist(), ids[378:].tolist()]
    return sets_of(members, names=("TOGETHER", "APART", "FEW", "HALF_SEEN"))


@pytest.fixture(scope="module")
def table(section, sets):
    return audit_section(section, sets, OPTIONS)


def scores(section, sets, counts=None):
    return score_section(
        section.counts if counts is None else counts,
        section.ensembl_ids,
        section.measured,
        sets,
        in_fit=section.in_fit,
        targeted=section.targeted,
    ).scores


def figures_by_hand(section, sets):
    """Figures of each set one by one, from scores of these sets alone; spot 0 is the one without neighbours."""
    found = {name: [] for name in FIGURES}
    kept = kept_spots(section)
    library = np.log10(np.maximum(np.asarray(section.counts.sum(axis=1)).ravel(), 1))
    whole = scores(section, sets)
    halves = [[scores(section, sets, half) for half in thin(section.counts, (5, seed))] for seed in range(2)]
    for place in range(len(sets.names)):
        if np.isnan(whole[:, place]).all():
            for values in found.values():
                values.append(np.nan)
            continue
        pairs = [np.stack([one[kept, place], other[kept, place]]) for one, other in halves]
        pairs = [pair[:, np.isfinite(pair).all(axis=0)].astype(float) for pair in pairs]
        found["half_r"].append(np.mean([np.corrcoef(pair)[0, 1] for pair in pairs]))
        found["r_library"].append(np.corrcoef(whole[kept, place].astype(float), library[kept])[0, 1])
        lattice = ("square", section.row, section.col)
        found["moran"].append(by_pairs(*lattice, kept, whole[:, place].astype(float))[0])
        with_neighbours = kept.copy()
        with_neighbours[0] = False
        line = np.polyfit(library[with_neighbours], whole[with_neighbours, place].astype(float), 1)
        found["moran_residual"].append(by_pairs(*lattice, kept, whole[:, place] - np.polyval(line, library))[0])
    return {name: np.array(values) for name, values in found.items()}


def kept_spots(section):
    return section.in_fit & (np.asarray(section.counts.sum(axis=1)).ravel() > 0)


def test_the_table_has_its_columns_and_a_row_a_pathway(table, sets):
    assert list(table.columns) == COLUMNS
    assert table["pathway"].tolist() == list(sets.names)
    assert set(table["sample_id"]) == {"s1"}
    assert table["n_measured"].tolist() == [40, 30, 9, 12]
    assert table["n_members"].tolist() == [40, 30, 9, 22]
    np.testing.assert_allclose(table["share"], [1, 1, 1, 12 / 22])
    assert table["reason"].tolist() == [None, None, "too-few-genes", None]


def test_a_masked_pathway_has_no_figures_and_does_not_pass(table):
    masked = table.set_index("pathway").loc["FEW"]
    figures = [name for name in COLUMNS[6:] if name not in ("n_draws", "passes")]
    assert masked[figures].isna().all()
    assert masked["n_draws"] == 0
    assert table["passes"].dtype == bool
    assert not masked["passes"]
    assert table.set_index("pathway").drop(index="FEW")[figures].notna().all(axis=None)


def test_figures_are_their_definitions(table, section, sets):
    wanted = figures_by_hand(section, sets)
    valid = table["reason"].isna().to_numpy()
    for name in FIGURES:
        np.testing.assert_allclose(table[name][valid], wanted[name][valid], rtol=1e-9, err_msg=name)
    half_r = table["half_r"]
    np.testing.assert_allclose(table["reliability"][valid], (2 * half_r / (1 + half_r))[valid], rtol=1e-12)
    np.testing.assert_allclose(table["ceiling"][valid] ** 2, np.maximum(table["reliability"], 0)[valid], atol=1e-12)


def test_the_null_is_that_of_draws_scored_on_their_own(table, section, sets):
    genes = section.ensembl_ids[section.measured]
    counts = section.counts.toarray()[np.ix_(kept_spots(section), section.measured)]
    mean_log = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)).mean(axis=0)
    draws = [matched_random(sets, genes, mean_log, seed=5, draw=draw) for draw in range(4)]
    by_draw = [figures_by_hand(section, draw) for draw in draws]
    for name in FIGURES:
        null = np.array([one[name] for one in by_draw])
        own = table[name].to_numpy()
        if name == "r_library":
            null, own = np.abs(null), np.abs(own)
        for place in (0, 1, 3):
            row = table.iloc[place]
            assert row[f"{name}_null_median"] == pytest.approx(np.median(null[:, place]), rel=1e-9)
            assert row[f"{name}_null_p95"] == pytest.approx(np.percentile(null[:, place], 95), rel=1e-9)
            above = null[:, place] > own[place] if name == "r_library" else null[:, place] < own[place]
            assert row[f"{name}_rank"] == above.mean()
    assert table["n_draws"].tolist() == [4, 4, 0, 4]


def test_genes_that_rise_together_pass_and_others_do_not(table):
    rows = table.set_index("pathway")
    assert rows.loc["TOGETHER", "passes"]
    assert rows.loc["TOGETHER", ["half_r_rank", "moran_rank", "moran_residual_rank"]].tolist() == [1, 1, 1]
    assert rows.loc["TOGETHER", "moran"] > 0.3
    assert not rows.loc["APART", "passes"]
    assert rows.loc["APART", "moran"] < rows.loc["TOGETHER", "moran"] / 2


def test_islands_are_left_out_and_counted(table, section):
    # The spot in the corner is in the fit and all around it are not.
    assert table.attrs["n_islands"] == 1


def _two(section):
    return sets_of([section.ensembl_ids[:40].tolist()]), AuditOptions(n_seeds=1, n_draws=1)


def test_one_thinning_has_no_spread(section):
    one = audit_section(section, *_two(section))
    assert one["half_r_sd"].isna().all()


def test_the_spread_is_over_thinnings(section):
    sets, options = _two(section)
    spread = audit_section(section, sets, dataclasses.replace(options, n_seeds=4))["half_r_sd"][0]
    single = []
    for seed in range(4):
        one, other = (scores(section, sets, half)[kept_spots(section), 0] for half in thin(section.counts, (0, seed)))
        both = np.isfinite(one) & np.isfinite(other)
        single.append(np.corrcoef(one[both].astype(float), other[both].astype(float))[0, 1])
    assert spread == pytest.approx(np.std(single, ddof=1), rel=1e-6)


def test_spots_out_of_the_fit_do_not_matter(section, sets, table):
    counts = section.counts.toarray()
    counts[~section.in_fit] = counts[~section.in_fit][:, ::-1] // 2
    again = audit_section(dataclasses.replace(section, counts=csr_matrix(counts)), sets, OPTIONS)
    # Thinning draws for all spots of a section; the other figures see the fit alone.
    names = [name for name in COLUMNS if not name.startswith(("half_r", "reliability", "ceiling", "passes"))]
    pd.testing.assert_frame_equal(again[names], table[names])


def test_the_table_does_not_depend_on_how_many_sets_are_scored_at_a_time(section, sets, table, monkeypatch):
    monkeypatch.setattr(section_module, "_SCORES_AT_A_TIME", 3 * len(section.in_fit))
    pd.testing.assert_frame_equal(audit_section(section, sets, OPTIONS), table)


def test_a_section_without_fitting_spots_is_masked_whole(section, sets):
    empty = dataclasses.replace(section, in_fit=np.zeros(len(section.in_fit), bool))
    found = audit_section(empty, sets, OPTIONS)
    assert found["reason"].tolist() == ["no-fit-spots", "no-fit-spots", "too-few-genes", "no-fit-spots"]
    assert found["half_r"].isna().all()
    assert not found["passes"].any()


def test_no_sets_make_an_empty_table(section):
    found = audit_section(section, sets_of([]), OPTIONS)
    assert list(found.columns) == COLUMNS
    assert len(found) == 0


def test_a_pathway_that_does_not_vary_has_no_figures_though_its_halves_do(section, sets):
    alike = np.tile(section.counts.toarray()[7], (len(section.in_fit), 1))
    found = audit_section(dataclasses.replace(section, counts=csr_matrix(alike)), sets, OPTIONS)
    assert found["reason"].tolist() == ["no-variation", "no-variation", "too-few-genes", "no-variation"]
    assert found[[*FIGURES, "ceiling", "half_r_null_median"]].isna().all(axis=None)


@pytest.mark.parametrize("scorer", SCORERS)
def test_every_scorer_can_be_audited(section, sets, scorer):
    found = audit_section(section, sets, AuditOptions(scoring=Scoring(scorer=scorer), n_seeds=1, n_draws=2))
    valid = found[found["reason"].isna()]
    assert valid["pathway"].tolist() == ["TOGETHER", "APART", "HALF_SEEN"]
    assert valid[[*FIGURES, "half_r_rank", "moran_rank"]].notna().all(axis=None)
    together = found.set_index("pathway").loc["TOGETHER"]
    assert together["half_r"] > together["half_r_null_median"]


def test_smoothed_targets_are_audited_smoothed(section, sets, table):
    smooth = Scoring(smooth=0.5)
    found = audit_section(section, sets, dataclasses.replace(OPTIONS, scoring=smooth))
    lattice = (section.row, section.col, section.lattice)
    sides = []
    for half in thin(section.counts, (5, 0)):
        scored = score_section(
            half, section.ensembl_ids, section.measured, sets, in_fit=section.in_fit, targeted=False,
            scoring=smooth, lattice=lattice,
        ).scores[kept_spots(section), 0]  # fmt: skip
        sides.append(scored.astype(float))
    one = audit_section(section, sets, AuditOptions(scoring=smooth, n_seeds=1, n_draws=1, seed=5))
    assert one["half_r"][0] == pytest.approx(np.corrcoef(*sides)[0, 1], rel=1e-9)
    assert found["moran"][1] > table["moran"][1] + 0.2, "by construction"


def without_biology(depths, shares, seed=0):
    """Counts that differ by depth and chance alone."""
    return np.random.default_rng(seed).poisson(np.outer(depths, shares / shares.sum()))


def test_without_biology_the_default_has_no_reliability_and_the_plain_mean_has():
    rng = np.random.default_rng(8)
    depths, shares = 1500.0 * np.exp(rng.normal(0.0, 0.7, 300)), np.exp(rng.normal(0.0, 2.0, 3000))
    section = square_section(without_biology(depths, shares), (15, 20))
    sets = sets_of(random_members(section.ensembl_ids, rng.integers(30, 200, 50)))
    found = audit_section(section, sets, AuditOptions(n_seeds=3, n_draws=1))
    assert abs(found["half_r"].median()) < 0.05
    assert abs(found["moran"].median()) < 0.05
    plain = audit_section(section, sets, AuditOptions(scoring=Scoring(scorer="mean"), n_seeds=1, n_draws=1))
    assert plain["half_r"].median() > 0.3
    assert plain["r_library"].abs().median() > 0.5 > 0.1 > found["r_library"].abs().median()


def test_logarithms_are_made_once_however_many_parts_the_sets_are_measured_in(section, sets, monkeypatch):
    """A very large section is measured some sets at a time, with the same figures."""
    options = dataclasses.replace(OPTIONS, n_seeds=1)
    made = []
    log_cp10k = expression.log_cp10k

    def counted(counts, totals=None):
        made.append(len(totals))
        return log_cp10k(counts, totals)

    monkeypatch.setattr(expression, "log_cp10k", counted)
    whole = audit_section(section, sets, options)
    at_once = sum(made)
    made.clear()
    monkeypatch.setattr(section_module, "_SCORES_AT_A_TIME", 8 * len(section.in_fit))
    pd.testing.assert_frame_equal(audit_section(section, sets, options), whole)
    assert sum(made) <= at_once


def test_a_set_that_a_half_has_no_count_of_agrees_with_nothing(section, sets):
    """It is valid, so it has a figure: with none it would be told as masked, though its targets are numbers."""
    counts = section.counts.toarray()
    counts[:, 100:130] = 0
    counts[20, 105] = 1
    found = audit_section(dataclasses.replace(section, counts=csr_matrix(counts)), sets, OPTIONS)
    apart = found.set_index("pathway").loc["APART"]
    assert apart["reason"] is None
    assert apart[["half_r", "reliability", "ceiling"]].tolist() == [0.0, 0.0, 0.0]
    assert not apart["passes"]
