"""Real count tables and feature lists: counts are kept, symbols agree with the vendor's ids, mouse is refused."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from humanst.findings import Findings
from humanst.harmonize.gene_table import load_gene_table
from humanst.harmonize.genes import MappedGenes, map_genes


def one_each(ids: list[str]) -> csr_matrix:
    return csr_matrix(np.ones((1, len(ids)), dtype=np.int64))


def map_real(
    names: list[str], ids: list[str] | None, counts: csr_matrix, types: list[str] | None = None
) -> tuple[MappedGenes, Findings]:
    findings = Findings()
    kind = "symbol" if ids is None else "ensembl"
    table = load_gene_table()
    mapped = map_genes(counts, names, ids, feature_types=types, table=table, gene_id_type=kind, findings=findings)
    return mapped, findings


def read_table(path: Path, delimiter: str) -> tuple[list[str], csr_matrix]:
    with gzip.open(path, "rt", newline="") as handle:
        rows = csv.reader(handle, delimiter=delimiter)
        names = next(rows)[1:]
        values = np.array([row[1:] for row in rows]).astype(np.float64).astype(np.int64)
    return names, csr_matrix(values)


@pytest.mark.parametrize(
    ("file", "delimiter"),
    [
        ("her2st/data/ST-cnts/B4.tsv.gz", "\t"),
        ("her2st/data/ST-cnts/C3.tsv.gz", "\t"),
        ("st_stahl2016_breast_counts_only/slice1.csv.gz", ","),
    ],
)
def test_real_legacy_tables_keep_their_counts(real_data: Path, file: str, delimiter: str) -> None:
    names, counts = read_table(real_data / file, delimiter)
    mapped, findings = map_real(names, None, counts)
    assert not findings.refused
    lost = sum(drop.counts for drop in mapped.drops)
    assert int(counts.sum()) == int(mapped.counts.sum()) + lost
    assert lost < 0.005 * counts.sum()
    assert len(mapped.unmapped) < 0.005 * len(names)
    assert sum(total for _, total in mapped.unmapped) == lost


def read_features(path: Path) -> tuple[list[str], list[str], list[str]]:
    with gzip.open(path, "rt") as handle:
        rows = [line.rstrip("\n").split("\t") for line in handle]
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def test_a_real_feature_list_maps_whole_by_id_and_agrees_by_name(real_data: Path) -> None:
    ids, names, types = read_features(real_data / "gene_ids" / "10x_GRCh38-3.0.0_features.tsv.gz")
    mapped, findings = map_real(names, ids, one_each(ids), types)
    assert mapped.drops == ()
    assert not findings.refused
    assert int(mapped.counts.sum()) == len(ids) == 33_538
    # The vendor's id is an independent witness of what a symbol means.
    table = load_gene_table()
    agree = sum(table.resolve(name) == table.resolve(ident) for name, ident in zip(names, ids, strict=True))
    assert agree >= 0.998 * len(ids)


def test_real_mouse_features_are_refused_with_and_without_ids(real_data: Path) -> None:
    matrix = real_data / "visium_mouse_cytassist_v2" / "outs" / "filtered_feature_bc_matrix"
    ids, names, types = read_features(matrix / "features.tsv.gz")
    counts = one_each(ids)
    _, with_ids = map_real(names, ids, counts, types)
    assert with_ids.of("refuse")[0].facts.found == "19,465 of 19,465 features are ENSMUSG"
    _, by_name = map_real(names, None, counts)
    assert by_name.codes() == {"not-human"}
