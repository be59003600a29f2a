"""The audit of a release of real sections."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from humanst.findings import Findings
from humanst.harmonize.gene_table import load_gene_table
from humanst.harmonize.genes import map_genes
from humanst.pathways import read_gmt, resolve
from humanst.pathways.audit import mutual
from humanst.pathways.audit.inputs import AuditOptions, AuditSection
from humanst.pathways.audit.release import audit_release
from tests.pathways.audit.test_release_audit import r_at, share

pytestmark = pytest.mark.real


def her2st(real_data: Path, name: str) -> AuditSection:
    """A real section from its count table: spots with 200 counts and 100 genes, on the lattice its spot names give."""
    with gzip.open(real_data / f"her2st/data/ST-cnts/{name}.tsv.gz", "rt", newline="") as handle:
        rows = csv.reader(handle, delimiter="\t")
        names = next(rows)[1:]
        table = {row[0]: np.array(row[1:], dtype=np.int64) for row in rows}
    raw = csr_matrix(np.vstack(list(table.values())))
    mapped = map_genes(raw, names, None, table=load_gene_table(), gene_id_type="symbol", findings=Findings())
    counts = mapped.counts
    col, row = np.array([spot.split("x") for spot in table], dtype=np.int64).T
    return AuditSection(
        sample_id=name, donor_group=name[0], split=None, platform="st", targeted=False, counts=counts,
        ensembl_ids=np.asarray(mapped.ensembl_ids, dtype=np.str_), measured=np.ones(counts.shape[1], dtype=bool),
        in_fit=(np.asarray(counts.sum(axis=1)).ravel() >= 200) & (np.diff(counts.indptr) >= 100),
        row=row, col=col, lattice="square", target_shape="circle", target_side_um=100.0,
    )  # fmt: skip


def test_real_sections_of_three_donors(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hallmark keeps more than matched-random sets of other donors' genes, and less than as many components."""
    gmt = real_data / "gene_sets/msigdb_h.all.v2025.1.Hs.symbols.gmt"
    sets = resolve(read_gmt(gmt, name="hallmark"), load_gene_table())
    # The slow estimator and the shuffles have tests of their own.
    for name, few in (("KSG_SECTIONS", 1), ("KSG_SHUFFLES", 1), ("KSG_SPOTS", 50), ("N_SHUFFLES", 3)):
        monkeypatch.setattr(mutual, name, few)
    tables = audit_release([her2st(real_data, name) for name in ("A1", "B4", "C1")], sets, AuditOptions(n_draws=1))
    for target in ("log1p(CP10k)", "log1p(raw)"):
        kept = share(tables, target)
        assert 1.5 * kept["random_sets"] < kept["pathways"] < kept["pca"] < 1.0
    assert tables["information"]["n_folds"].eq(3).all()
    bits = tables["mutual"].set_index("pathway")["gaussian_bits"]
    assert bits["HALLMARK_INTERFERON_GAMMA_RESPONSE"] > 10 * bits["HALLMARK_HEDGEHOG_SIGNALING"]
    assert r_at(tables)["hvg_pca_50"] > r_at(tables)["pathways"] > 2 * r_at(tables)["random_sets"]
