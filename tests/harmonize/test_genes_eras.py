"""A gene is one gene whatever it was called: names of several eras and Ensembl ids give one axis and one count."""

from __future__ import annotations

import csv
import gzip
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.sparse import csr_matrix

from humanst.builder.measured import measured_genes
from humanst.catalog import load_catalog
from humanst.findings import Findings
from humanst.harmonize.gene_table import load_gene_table
from humanst.harmonize.genes import MappedGenes, map_genes
from tests.helpers import ROOT, output_json, run_humanst
from tests.studies import ST_RECIPE

# Ensembl id with a version, a name of before 2019, that of HGNC in July 2020, that of GENCODE 43 (2023).
GENES = [
    ("ENSG00000122545.17", "SEPT7", "SEPTIN7", "SEPTIN7"),
    ("ENSG00000145416.13", "MARCH1", "MARCHF1", "MARCHF1"),
    ("ENSG00000163377.14", "FAM19A4", "TAFA4", "TAFA4"),
    ("ENSG00000064205.10", "WISP2", "CCN5", "CCN5"),
    ("ENSG00000164032.12", "H2AFZ", "H2AZ1", "H2AZ1"),
    ("ENSG00000152234.16", "ATP5A1", "ATP5F1A", "ATP5F1A"),
    ("ENSG00000107738.19", "C10orf54", "VSIR", "VSIR"),
    ("ENSG00000177628.15", "GLUC", "GBA", "GBA1"),
    ("ENSG00000160767.20", "C1orf2", "FAM189B", "ENTREP3"),
    ("ENSG00000143303.12", "C1orf66", "RRNAD1", "METTL25B"),
    ("ENSG00000157330.10", "C1orf158", "C1orf158", "CFAP107"),
    ("ENSG00000173436.15", "C1orf151", "MICOS10", "MICOS10"),
    ("ENSG00000141510.18", "TP53", "TP53", "TP53"),
    ("ENSG00000141736.14", "ERBB2", "ERBB2", "ERBB2"),
]
ERAS = ("ids", "old", "hgnc2020", "gencode43")


def mapped(names: list[str], counts: np.ndarray, **more: Any) -> tuple[MappedGenes, Findings]:
    findings = Findings()
    table = load_gene_table()
    how = {"gene_id_type": "symbol", "table": table, "findings": findings, **more}
    return map_genes(csr_matrix(counts), names, None, **how), findings


def test_columns_of_four_eras_are_one_axis() -> None:
    counts = np.random.default_rng(0).poisson(5.0, (6, len(GENES)))
    results = [mapped([gene[era] for gene in GENES], counts) for era in range(len(ERAS))]
    wanted = sorted(gene[0].split(".")[0] for gene in GENES)
    for genes, findings in results:
        assert genes.ensembl_ids.tolist() == wanted
        assert (genes.counts != results[0][0].counts).nnz == 0
        assert not genes.drops
        assert not findings.items


def write_lab(folder: Path) -> dict[str, np.ndarray]:
    """Five sections with one truth: a file each era, and one that has some genes under two names at once."""
    rng = np.random.default_rng(3)
    array = [(x, y) for y in range(8) for x in range(9)]
    ids = [f"{x}x{y}" for x, y in array]
    counts = rng.poisson(40.0, (len(array), len(GENES)))
    tables = {name: pd.DataFrame(counts, ids, [gene[era] for gene in GENES]) for era, name in enumerate(ERAS)}
    half = rng.binomial(counts, 0.5)
    twice = [pd.DataFrame(half, ids, [gene[1] for gene in GENES])]
    twice.append(pd.DataFrame(counts - half, ids, [gene[3] for gene in GENES]))
    tables["both"] = pd.concat(twice, axis=1)
    for part in ("counts", "spots"):
        (folder / part).mkdir(parents=True)
    for name, table in tables.items():
        table.to_csv(folder / "counts" / f"{name}.tsv", sep="\t")
        spots = pd.DataFrame(array, columns=["x", "y"])
        spots["pixel_x"], spots["pixel_y"] = 500 + spots["x"] * 290.0, 400 + spots["y"] * 290.0
        spots.to_csv(folder / "spots" / f"{name}.tsv", sep="\t", index=False)
    return {"counts": counts, "ids": np.array(ids)}


def test_sections_of_four_eras_build_to_one_axis_and_the_same_counts(tmp_path: Path) -> None:
    truth = write_lab(tmp_path / "lab")
    files = {"counts": "counts/{section}.tsv", "spots": "spots/{section}.tsv"}
    recipe = {key: value for key, value in ST_RECIPE.items() if key != "labels"} | {"files": files}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    result = run_humanst(
        *("build", str(tmp_path / "lab"), "--recipe", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "store")),
        *("--min-genes", "1", "--workers", "1", "--json"),
    )
    assert result.returncode == 0, result.stderr
    rows = {row["sample_id"]: row for row in output_json(result)["sections"]}
    assert set(rows) == {f"lab_{name}" for name in (*ERAS, "both")}
    wanted = pd.DataFrame(truth["counts"], truth["ids"], [gene[0].split(".")[0] for gene in GENES]).sort_index(axis=1)
    for name in (*ERAS, "both"):
        table = anndata.io.read_zarr(tmp_path / "store" / "sections" / f"lab_{name}.zarr" / "tables" / "table")
        assert table.var_names.tolist() == wanted.columns.tolist()
        assert table.var["measured"].all()
        assert table.var["symbol"].tolist() == [current(gene) for gene in table.var_names]
        assert (table.X.toarray() == wanted.loc[table.obs_names].to_numpy()).all()
        attrs = (tmp_path / "store" / "sections" / f"lab_{name}.zarr" / "zarr.json").read_text()
        assert ("SEPT7 + SEPTIN7" in attrs) == (name == "both"), "what was added up is noted"


def current(ensembl_id: str) -> str:
    return next(gene[3] for gene in GENES if gene[0].startswith(ensembl_id))


def rows_of(path: Path, delimiter: str) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as handle:
        yield from csv.DictReader(handle, delimiter=delimiter)


@pytest.mark.real
def test_the_renamed_symbols_of_the_data_s_own_list_resolve(real_data: Path) -> None:
    folder = real_data / "gene_ids"
    pairs = re.findall(r"([A-Za-z0-9-]+)->([A-Za-z0-9-]+)", (folder / "README.txt").read_text())
    assert len(pairs) >= 7
    gencode = rows_of(folder / "gencode_v43_basic_genes.tsv.gz", "\t")
    id_of = {row["gene_name"]: row["gene_id"].split(".")[0] for row in gencode}
    table = load_gene_table()
    for old, new in pairs:
        assert table.resolve(old) == table.resolve(new) == id_of[new], (old, new)
        assert table.symbol_of(id_of[new]) == new


def lists_that_agree(folder: Path) -> list[tuple[str, str, str, str]]:
    """Ensembl id, oldest name, name in 2020, name in 2023 of the genes of which all lists say the same.

    HGNC of 2020 and GENCODE 43 give one Ensembl id to the record; and a name is taken when no list has ever given it to
    another record or another id.
    """
    records: dict[str, set[str]] = defaultdict(set)
    ids: dict[str, set[str]] = defaultdict(set)
    now: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in rows_of(folder / "gencode_v43_basic_genes.tsv.gz", "\t"):
        ids[row["gene_name"]].add(row["gene_id"].split(".")[0])
        now[row["hgnc_id"]].add((row["gene_id"].split(".")[0], row["gene_name"]))
    with gzip.open(folder / "cellxgene_genes_homo_sapiens.csv.gz", "rt", newline="") as handle:
        for ensembl_id, name, *_ in csv.reader(handle):
            ids[name].add(ensembl_id)
    in_2020: dict[str, tuple[str, str]] = {}
    previous: dict[str, set[str]] = defaultdict(set)
    for row in rows_of(folder / "hgnc_exploded_omicverse.csv.gz", ","):
        if row["Status"] == "Approved":
            in_2020[row["HGNC ID"]] = (row["Ensembl gene ID"], row["Approved symbol"])
            previous[row["HGNC ID"]].add(row["Previous symbol"] or row["Approved symbol"])
            for name in (row["Approved symbol"], row["Previous symbol"]):
                records[name].add(row["HGNC ID"])
    found = []
    for record, (ensembl_id, name_2020) in in_2020.items():
        (id_43, name_43), *more = now.get(record, {("", "")})
        # A bare number is what a spreadsheet left of a name (the list was through one).
        names = [name_43, name_2020, *sorted(name for name in previous[record] if not name.isdigit())]
        sure = [name for name in names if records[name] <= {record} and ids[name] <= {ensembl_id}]
        if id_43 == ensembl_id and not more and sure[:2] == [name_43, name_2020]:
            found.append((ensembl_id, sure[-1], name_2020, name_43))
    return found


@pytest.mark.real
def test_whole_transcriptomes_of_four_eras_are_one_axis(real_data: Path) -> None:
    """Of 38,000 genes on which HGNC and GENCODE agree, each column of each era finds its gene and no other."""
    genes = lists_that_agree(real_data / "gene_ids")
    assert len(genes) > 38_000
    assert sum(old != name for _, old, _, name in genes) > 7_000, "most of the work is in the old names"
    assert sum(name_2020 != name for _, _, name_2020, name in genes) > 140
    counts = np.random.default_rng(1).integers(1, 1000, (1, len(genes)))
    results = [mapped([gene[era] for gene in genes], counts)[0] for era in range(len(ERAS))]
    for result in results:
        assert result.ensembl_ids.tolist() == results[0].ensembl_ids.tolist()
        assert (result.counts != results[0].counts).nnz == 0
        assert int(result.counts.sum()) == int(counts.sum())
    by_id = dict(zip((gene[0] for gene in genes), counts[0].tolist(), strict=True))
    kept = dict(zip(results[0].ensembl_ids.tolist(), results[0].counts.toarray()[0].tolist(), strict=True))
    renumbered = set(by_id) - set(kept)
    assert len(renumbered) < 30, "Ensembl has since given these genes new ids"
    assert {gene: by_id[gene] for gene in by_id.keys() - renumbered} == {
        gene: kept[gene] for gene in by_id if gene in kept
    }


@pytest.mark.real
def test_a_gene_that_got_a_new_id_is_one_gene(real_data: Path) -> None:
    """HGNC still gives PAXX its old id; sections by symbol and by id must not stand apart."""
    table = load_gene_table()
    old = {row["Approved symbol"]: row["Ensembl gene ID"] for row in
           rows_of(real_data / "gene_ids" / "mapping_HUGO_2_Ensemble.txt", "\t")}["PAXX"]  # fmt: skip
    assert table.resolve(old) == table.resolve("PAXX") == table.resolve("C9orf142")
    assert table.resolve("CCL3L1") != table.resolve("CCL3L3"), "two genes to HGNC, whatever their ids were"


@pytest.mark.real
def test_sections_of_15289_and_15821_columns_share_one_axis(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUMANST_MIRROR", str(real_data))
    study = load_catalog(ROOT / "catalog.yaml").study("her2st")
    headers = {}
    for path in sorted((real_data / "her2st/data/ST-cnts").glob("*.tsv.gz")):
        with gzip.open(path, "rt") as handle:
            headers[path.name.split(".")[0]] = handle.readline().rstrip("\n").split("\t")[1:]
    assert {15_289, 15_821} <= {len(names) for names in headers.values()}
    axes = [measured_genes(study, [study.section(name)], pin=False) for name in ("B4", "C3")]
    first, second = axes
    assert first is not None
    assert second is not None
    assert first.ensembl_ids == second.ensembl_ids
    assert first.to_dict() == second.to_dict()
    assert not first.missing
    assert set(first.sections) == {f"her2st_{name}" for name in headers}
    table = load_gene_table()
    union = {gene for names in headers.values() for name in names if (gene := table.resolve(name))}
    assert first.ensembl_ids == union
    assert len(union) > max(map(len, headers.values()))
