"""What a score of fewer genes, or of a smaller field, still says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from humanst.errors import DataError
from humanst.pathways import score_section
from humanst.pathways.audit import agreement as agreement_module
from humanst.pathways.audit.agreement import agreement_by_geometry, agreement_by_panel
from humanst.pathways.audit.inputs import AuditOptions
from tests.pathways.audit.sections import patterned, random_members, sets_of, square_section

SHAPE = (14, 15)
PANEL_COLUMNS = ["sample_id", "panel", "pathway", "n_panel_genes", "n_measured", "r", "weak"]
GEOMETRY_COLUMNS = [
    "sample_id",
    "target_side_um",
    "block_side_um",
    "covered_share",
    "n_blocks",
    "pathway",
    "r",
    "weak",
]


@pytest.fixture(scope="module")
def section():
    in_fit = np.ones(SHAPE[0] * SHAPE[1], bool)
    in_fit[[20, 100]] = False
    return square_section(patterned(SHAPE), SHAPE, in_fit=in_fit)


@pytest.fixture(scope="module")
def sets(section):
    ids = section.ensembl_ids
    return sets_of([ids[:60].tolist(), *random_members(ids[60:], (80, 40))], names=("TOGETHER", "RANDOM", "SMALL"))


def panel_of(section, n_own, n_other, seed=0):
    """A panel with some genes of the first set and some others."""
    on = np.zeros(len(section.ensembl_ids), bool)
    on[:n_own] = True
    on[np.random.default_rng(seed).choice(np.arange(60, len(on)), n_other, replace=False)] = True
    return on


def scores(counts, ids, sets, in_fit, targeted):
    return score_section(counts, ids, np.ones(len(ids), bool), sets, in_fit=in_fit, targeted=targeted).scores


def test_a_panel_is_the_section_with_its_other_genes_taken_away(section, sets):
    on = panel_of(section, 25, 120)
    table = agreement_by_panel(section, sets, {"mine": on}, AuditOptions())
    assert list(table.columns) == PANEL_COLUMNS
    fit = section.in_fit
    part = scores(section.counts[:, np.flatnonzero(on)], section.ensembl_ids[on], sets, fit, targeted=True)[fit]
    whole = scores(section.counts, section.ensembl_ids, sets, fit, targeted=False)[fit]
    for place, row in table.iterrows():
        assert row["n_panel_genes"] == 145
        assert row["n_measured"] == len(set(section.ensembl_ids[on]) & set(sets.ensembl_ids[place]))
        if row["n_measured"] >= 10:
            wanted = np.corrcoef(part[:, place].astype(float), whole[:, place].astype(float))[0, 1]
            assert row["r"] == pytest.approx(wanted, rel=1e-9)
    assert (table["n_measured"] >= 10).sum() >= 2


def test_more_genes_agree_more_and_all_agree_wholly(section, sets):
    panels = {
        "few": panel_of(section, 10, 60),
        "more": panel_of(section, 40, 200),
        "all": np.ones(len(section.ensembl_ids), bool),
    }
    table = agreement_by_panel(section, sets, panels, AuditOptions()).set_index(["panel", "pathway"])
    r = [table.loc[(name, "TOGETHER"), "r"] for name in panels]
    assert r[0] < r[1] < r[2]
    assert r[2] == pytest.approx(1.0, abs=1e-12)


def test_below_one_half_is_weak_and_masked_is_neither(section, sets):
    panels = {"few": panel_of(section, 10, 60), "more": panel_of(section, 4, 250)}
    table = agreement_by_panel(section, sets, panels, AuditOptions())
    assert (table["weak"] == (table["r"] < 0.5)).all()
    assert table["weak"].any()
    assert (~table["weak"] & table["r"].notna()).any()
    masked = table.set_index(["panel", "pathway"]).loc[("more", "TOGETHER")]
    assert masked["n_measured"] == 4
    assert np.isnan(masked["r"])
    assert not masked["weak"]


def test_a_gene_the_section_did_not_measure_is_on_no_panel(section, sets):
    measured = np.arange(len(section.ensembl_ids)) >= 15
    on = panel_of(section, 40, 100)
    table = agreement_by_panel(dataclasses.replace(section, measured=measured), sets, {"mine": on}, AuditOptions())
    assert table["n_measured"][0] == 25
    assert set(table["n_panel_genes"]) == {125}


def test_no_panel_gives_no_row_and_a_panel_of_other_genes_is_refused(section, sets):
    empty = agreement_by_panel(section, sets, {}, AuditOptions())
    assert list(empty.columns) == PANEL_COLUMNS
    assert empty.empty
    with pytest.raises(DataError) as caught:
        agreement_by_panel(section, sets, {"short": np.ones(3, bool)}, AuditOptions())
    assert caught.value.facts.code == "audit-shape"
    assert caught.value.facts.field == "short"


def pooled_by_hand(section, side, inner, shift):
    """Counts of each whole block, and of the inner squares of it, in loops."""
    at = {(r, c): i for i, (r, c) in enumerate(zip(section.row.tolist(), section.col.tolist(), strict=True))}
    counts, fit = section.counts.toarray(), section.in_fit
    blocks, centres = [], []
    for r in range(section.row.min(), section.row.max() + 1):
        for c in range(section.col.min(), section.col.max() + 1):
            places = {(r + i, c + j) for i in range(side) for j in range(side)}
            if all(place in at and fit[at[place]] for place in places):
                within = {(r + i, c + j) for i in range(shift, shift + inner) for j in range(shift, shift + inner)}
                blocks.append(sum(counts[at[place]] for place in places))
                centres.append(sum(counts[at[place]] for place in within))
    return np.array(centres), np.array(blocks)


@pytest.mark.parametrize(("inner", "side", "shift"), [(1, 3, 1), (1, 2, 0), (2, 3, 0)])
def test_a_target_is_compared_with_the_counts_of_its_block(section, sets, inner, side, shift):
    from scipy.sparse import csr_matrix

    table = agreement_by_geometry(section, sets, AuditOptions())
    assert list(table.columns) == GEOMETRY_COLUMNS
    rows = table[table["covered_share"] == (inner / side) ** 2]
    assert rows["pathway"].tolist() == list(sets.names)
    assert set(rows["target_side_um"]) == {inner * 112.0}
    assert set(rows["block_side_um"]) == {side * 112.0}
    centres, blocks = pooled_by_hand(section, side, inner, shift)
    assert set(rows["n_blocks"]) == {len(blocks)}
    everywhere = np.ones(len(blocks), bool)
    sides = [
        scores(csr_matrix(counts), section.ensembl_ids, sets, everywhere, targeted=False)
        for counts in (centres, blocks)
    ]
    for place, r in enumerate(rows["r"]):
        wanted = np.corrcoef(sides[0][:, place].astype(float), sides[1][:, place].astype(float))[0, 1]
        assert r == pytest.approx(wanted, rel=1e-9)


def test_the_less_a_target_covers_the_less_it_agrees(section, sets):
    table = agreement_by_geometry(section, sets, AuditOptions()).sort_values("covered_share")
    for name in ("TOGETHER", "RANDOM"):
        r = table[table["pathway"] == name]["r"].tolist()
        assert r == sorted(r)
    assert (table["weak"] == (table["r"] < 0.5)).all()


@pytest.mark.parametrize("changes", [{"target_shape": "circle"}, {"lattice": "hex"}])
def test_targets_with_gaps_give_an_empty_table_that_says_why(section, sets, changes):
    col = section.col * 2 + section.row % 2 if "lattice" in changes else section.col
    table = agreement_by_geometry(dataclasses.replace(section, col=col, **changes), sets, AuditOptions())
    assert list(table.columns) == GEOMETRY_COLUMNS
    assert table.empty
    assert table.attrs["reason"] == "not-contiguous"


def test_squares_without_a_whole_block_give_an_empty_table_that_says_why(section, sets):
    for fit in ((section.row + section.col) % 2 == 0, np.zeros(len(section.in_fit), bool)):
        table = agreement_by_geometry(dataclasses.replace(section, in_fit=fit), sets, AuditOptions())
        assert table.empty
        assert table.attrs["reason"] == "no-blocks"


def test_of_very_many_blocks_some_are_taken_evenly(section, sets, monkeypatch):
    every = agreement_by_geometry(section, sets, AuditOptions())
    monkeypatch.setattr(agreement_module, "MOST_BLOCKS", 60)
    some = agreement_by_geometry(section, sets, AuditOptions())
    assert every["n_blocks"].min() > 100
    assert some["n_blocks"].between(30, 60).all()
    assert some["r"].corr(every["r"]) > 0.8
