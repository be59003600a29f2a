"""The audit of a real section: Hallmarks carry more than chance, and noise put in their place does not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from humanst.harmonize.gene_table import load_gene_table
from humanst.pathways import Scoring, read_gmt, resolve
from humanst.pathways.audit.inputs import AuditOptions, AuditSection
from humanst.pathways.audit.section import audit_section
from tests.pathways.audit.test_section_audit import without_biology

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def hallmarks(real_data):
    return resolve(
        read_gmt(real_data / "gene_sets" / "msigdb_h.all.v2025.1.Hs.symbols.gmt", name="hallmark"), load_gene_table()
    )


@pytest.fixture(scope="module")
def b1(real_data):
    """Section B1 of her2st as its table is, genes of one id added up."""
    path = next((real_data / "her2st" / "data" / "ST-cnts").rglob("B1.tsv.gz"))
    table = pd.read_csv(path, sep="\t", index_col=0)
    genes = load_gene_table()
    ids = np.array([genes.resolve(symbol) or "" for symbol in table.columns])
    counts = table.T.groupby(ids).sum().drop(index="", errors="ignore").T
    x, y = np.array([np.rint(np.array(name.split("x"), float)) for name in counts.index]).astype(np.int64).T
    return AuditSection(
        sample_id="her2st_B1",
        donor_group="B",
        split=None,
        platform="st",
        targeted=False,
        counts=csr_matrix(counts.to_numpy(np.int64)),
        ensembl_ids=counts.columns.to_numpy(str),
        measured=np.ones(counts.shape[1], bool),
        in_fit=counts.sum(axis=1).to_numpy() >= 200,
        row=y,
        col=x,
        lattice="square",
        target_shape="circle",
        target_side_um=100.0,
    )


def test_hallmarks_beat_their_random_sets(b1, hallmarks):
    found = audit_section(b1, hallmarks, AuditOptions())
    assert found["reason"].isna().all()
    for figure in ("half_r", "moran"):
        assert found[figure].median() > 2 * found[f"{figure}_null_median"].median()
        assert found[f"{figure}_rank"].median() >= 0.9
    assert found["passes"].mean() > 0.4
    assert found["r_library"].abs().median() < 0.3


def test_with_real_depths_and_no_biology_the_default_has_no_reliability_and_the_plain_mean_has(b1, hallmarks):
    kept = b1.counts[b1.in_fit]
    depths, shares = (np.asarray(kept.sum(axis=axis), float).ravel() for axis in (1, 0))
    noise = np.zeros(b1.counts.shape, np.int64)
    noise[b1.in_fit] = without_biology(depths, shares)
    section = dataclasses.replace(b1, counts=csr_matrix(noise))
    found = audit_section(section, hallmarks, AuditOptions(n_draws=1))
    assert abs(found["half_r"].median()) < 0.05
    plain = audit_section(section, hallmarks, AuditOptions(scoring=Scoring(scorer="mean"), n_seeds=1, n_draws=1))
    assert plain["half_r"].median() > 0.3
    assert not found["passes"].any()
