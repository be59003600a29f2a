"""The audit of tissue whose programmes and noise are known.

The sections are those of the mini atlas, drawn without their images. What a ceiling should be is found by measuring
the same spots again: counts drawn anew around the very same intensities.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import roc_auc_score

from humanst.demo.expression import draw_again, draw_counts
from humanst.demo.genes import load_genes
from humanst.demo.layout import atlas_layout
from humanst.demo.tissue import PROGRAMME_NAMES, make_tissue
from humanst.demo.visium import COVERED_UM, TYPICAL_SIZE, visium_lattice
from humanst.pathways import score_section
from humanst.pathways.audit.inputs import AuditOptions, AuditSection
from humanst.pathways.audit.random_sets import joined, matched_random
from humanst.pathways.audit.section import audit_section, expression_of
from tests.pathways.audit.sections import sets_of

SECTIONS = ("demo_visium_V1", "demo_visium_V2", "demo_visium_v1_P3", "demo_visium_v1_P4")
COPIES = 3
GENES = load_genes()
IDS = np.array(GENES.ensembl_ids)
UNPAINTED = [name for name in GENES.set_names if name not in PROGRAMME_NAMES]


def demo_sets():
    return sets_of([IDS[GENES.members(name)].tolist() for name in GENES.set_names], names=GENES.set_names)


def as_section(plan, counts, row_col):
    return AuditSection(
        sample_id=plan.sample_id,
        donor_group=plan.donor_id,
        split=None,
        platform="visium",
        targeted=False,
        counts=csr_matrix(counts),
        ensembl_ids=IDS,
        measured=np.ones(len(IDS), bool),
        in_fit=counts.sum(axis=1) >= 0.04 * np.median(counts.sum(axis=1)),
        row=row_col[:, 0],
        col=row_col[:, 1],
        lattice="hex",
        target_shape="circle",
        target_side_um=55.0,
    )


@cache
def tissue_of(sample_id):
    plan = next(plan for study in atlas_layout() for plan in study.sections if plan.sample_id == sample_id)
    return plan, make_tissue(plan, seed=0)


def drawn(sample_id, depth):
    """The section, the activity of its programmes, and its counts measured again."""
    plan, tissue = tissue_of(sample_id)
    row_col, xy_px = visium_lattice(plan, seed=0)
    xy_um = xy_px * plan.um_per_pixel
    kept = tissue.covered(xy_um, COVERED_UM)
    asked = {"genes": GENES, "seed": 0, "typical_size": depth}
    made = draw_counts(tissue, plan, xy_um, **asked)
    again = [counts[kept] for counts in draw_again(tissue, plan, xy_um, **asked, copies=COPIES)]
    return as_section(plan, made.counts[kept], row_col[kept]), made.activity[kept], again


def scores(section, counts):
    return score_section(
        csr_matrix(counts), IDS, section.measured, demo_sets(), in_fit=section.in_fit, targeted=False
    ).scores[section.in_fit]


def correlations(one, other):
    columns = zip(one.T.astype(float), other.T.astype(float), strict=True)
    return np.array([np.corrcoef(a, b)[0, 1] for a, b in columns])


def audited(depth, n_draws):
    """Audit of each section, beside the ceiling that measuring again shows and how far scores follow the paint."""
    tables = []
    for sample_id in SECTIONS:
        section, activity, again = drawn(sample_id, depth)
        table = audit_section(section, demo_sets(), AuditOptions(n_draws=n_draws))
        measured = [scores(section, counts) for counts in (section.counts.toarray(), *again)]
        pairs = [correlations(measured[i], measured[j]) for i in range(COPIES + 1) for j in range(i)]
        table["known"] = np.sqrt(np.maximum(np.mean(pairs, axis=0), 0.0))
        painted = np.stack([activity[section.in_fit, PROGRAMME_NAMES.index(n)] for n in PROGRAMME_NAMES], axis=1)
        own = measured[0][:, [GENES.set_names.index(name) for name in PROGRAMME_NAMES]]
        with_truth = dict(zip(PROGRAMME_NAMES, correlations(own, painted), strict=True))
        table["r_painted"] = table["pathway"].map(with_truth)
        tables.append((section, table))
    return tables


@pytest.fixture(scope="module")
def atlas():
    return audited(TYPICAL_SIZE, 10)


@pytest.fixture(scope="module")
def painted(atlas):
    table = pd.concat([table for _, table in atlas])
    return table[table["pathway"].isin(PROGRAMME_NAMES)]


def test_measuring_again_differs_by_counting_alone():
    """Of two Poisson counts around one intensity, the squared difference is on average their sum."""
    section, _, again = drawn(SECTIONS[0], TYPICAL_SIZE)
    for one, other in ((section.counts.toarray(), again[0]), (again[1], again[2])):
        a, b = one.astype(float), other.astype(float)
        assert (a != b).mean() > 0.1
        assert ((a - b) ** 2).sum() / (a + b).sum() == pytest.approx(1.0, abs=0.03)


def test_painted_programmes_rank_above_unpainted_and_random_sets(atlas):
    tables = [table for _, table in atlas]
    for section, _ in atlas:
        drawn_from = expression_of(section)
        pool = (drawn_from.genes, drawn_from.mean_log)
        draws = [matched_random(demo_sets(), *pool, seed=99, draw=draw) for draw in range(3)]
        tables.append(audit_section(section, joined(draws), AuditOptions(n_seeds=1, n_draws=1)))
    table = pd.concat(tables)
    is_painted = table["pathway"].isin(PROGRAMME_NAMES)
    assert is_painted.sum() == 10 * len(SECTIONS)
    assert (~is_painted).sum() == (len(UNPAINTED) + 36) * len(SECTIONS)
    for figure in ("half_r", "moran", "moran_residual"):
        assert roc_auc_score(is_painted, table[figure]) >= 0.95, figure


def test_painted_programmes_pass_and_unpainted_sets_do_not(atlas, painted):
    assert painted["passes"].all()
    table = pd.concat([table for _, table in atlas])
    assert table[table["pathway"].isin(UNPAINTED)]["passes"].mean() <= 0.25


def test_the_ceiling_is_what_measuring_again_shows(painted):
    assert (painted["ceiling"] - painted["known"]).abs().max() < 0.03


def test_the_ceiling_holds_for_shallow_counts_too():
    table = pd.concat([table for _, table in audited(TYPICAL_SIZE / 24, 1)])
    by_programme = table[table["pathway"].isin(PROGRAMME_NAMES)].groupby("pathway")[["ceiling", "known"]].mean()
    assert by_programme["known"].min() < 0.75, "far enough from 1 for the formula to matter"
    error = by_programme["ceiling"] - by_programme["known"]
    assert error.abs().median() < 0.03
    assert error.abs().max() < 0.08


def test_over_dispersion_and_dropout_are_below_the_ceiling_where_thinning_does_not_see_them(painted):
    """A prediction that knows the tissue alone ends below the ceiling, for spots have noise beyond counting."""
    short = painted["ceiling"] - painted["r_painted"]
    assert (short > 0).all()
    assert short.mean() > 0.015
