"""Columns of a count table to genes: what is mapped, what leaves under which name, and that no transcript is lost."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from humanst.errors import DataError
from humanst.findings import Findings
from humanst.harmonize.gene_names import is_spreadsheet_date
from humanst.harmonize.gene_table import load_gene_table
from humanst.harmonize.genes import MappedGenes, map_genes


def one_spot(values: list[int]) -> csr_matrix:
    return csr_matrix(np.array([values], dtype=np.int64))


def do_map(names: list[str], ids: list[str] | None = None, **options: object) -> tuple[MappedGenes, Findings]:
    findings = Findings()
    counts = options.pop("counts", None)
    matrix = one_spot([10**k for k in range(len(names))]) if counts is None else counts
    given_options = {"gene_id_type": "symbol", **options}
    mapped = map_genes(matrix, names, ids, table=load_gene_table(), findings=findings, **given_options)  # type: ignore[arg-type]
    return mapped, findings


def reasons(mapped: MappedGenes) -> dict[str, tuple[int, int]]:
    return {drop.reason: (drop.n, drop.counts) for drop in mapped.drops}


@pytest.mark.parametrize(
    "name",
    ["BLANK_0067", "Blank-12", "NegControlProbe_00042", "NegControlCodeword_0500", "antisense_PROKR2", "NegPrb3",
     "UnassignedCodeword_0296", "DeprecatedCodeword_0302", "Intergenic_Region_1234", "ERCC-00002"],
)  # fmt: skip
def test_control_probes_leave_by_name(name: str) -> None:
    mapped, _ = do_map(["TP53", name], gene_id_type="symbol")
    assert reasons(mapped) == {"control-probe": (1, 10)}
    assert mapped.unmapped == ()


def test_genes_that_sound_like_controls_stay() -> None:
    names = ["ERCC1", "ERCC2", "ANTXR1", "BLNK", "NEGR1", "SYS1"]
    mapped, _ = do_map(names)
    assert mapped.counts.shape == (1, len(names))


def test_columns_become_sorted_genes_with_current_symbols() -> None:
    mapped, findings = do_map(["WISP2", "TP53", "MT-CO1"])
    assert mapped.ensembl_ids.tolist() == sorted(mapped.ensembl_ids.tolist())
    got = dict(zip(mapped.symbols.tolist(), mapped.counts.toarray()[0].tolist(), strict=True))
    assert got == {"CCN5": 1, "TP53": 10, "MT-CO1": 100}
    assert dict(zip(mapped.symbols.tolist(), mapped.is_mitochondrial.tolist(), strict=True)) == {
        "CCN5": False,
        "TP53": False,
        "MT-CO1": True,
    }
    assert set(mapped.biotypes.tolist()) == {"protein_coding"}
    assert mapped.counts.dtype == np.int64
    assert len(findings) == 0


def test_two_columns_of_one_gene_are_added_and_noted() -> None:
    counts = csr_matrix(np.array([[1, 2, 4], [8, 16, 32]], dtype=np.int64))
    mapped, findings = do_map(["SEPT7", "TP53", "SEPTIN7"], counts=counts)
    by_symbol = dict(zip(mapped.symbols.tolist(), mapped.counts.toarray().T.tolist(), strict=True))
    assert by_symbol == {"SEPTIN7": [5, 40], "TP53": [2, 16]}
    assert mapped.collisions == (("ENSG00000122545", ("SEPT7", "SEPTIN7")),)
    assert mapped.drops == ()
    assert findings.codes() == {"gene-collision"}
    assert "SEPT7 + SEPTIN7" in findings.items[0].line()


def test_mangled_names_are_dropped_and_counted_without_an_id() -> None:
    mapped, findings = do_map(["TP53", "1-Mar", "Sep-07"], counts=one_spot([1000, 10, 1]))
    assert reasons(mapped) == {"excel-mangled": (2, 11)}
    assert mapped.unmapped == (("1-Mar", 10), ("Sep-07", 1))
    assert findings.codes() == {"excel-mangled"}
    assert not findings.refused


def test_an_ensembl_id_tells_what_a_mangled_name_was() -> None:
    mapped, findings = do_map(["1-Mar", "1-Mar"], ["ENSG00000145416.5", "ENSG00000186205"])
    assert mapped.symbols.tolist() == ["MARCHF1", "MTARC1"]
    assert mapped.drops == ()
    assert len(findings) == 0


def test_an_alias_that_looks_like_a_date_is_the_table_s_business() -> None:
    assert is_spreadsheet_date("Oct-2")
    assert is_spreadsheet_date("DEC-205")
    mapped, _ = do_map(["Oct-2", "DEC-205"])
    assert mapped.symbols.tolist() == ["POU2F2"]
    assert reasons(mapped) == {"ambiguous-symbol": (1, 10)}


def test_the_id_goes_before_the_name() -> None:
    for name in ("TP53", "ENSG00000141510"):
        mapped, _ = do_map([name], ["ENSG00000146648"])
        assert mapped.symbols.tolist() == ["EGFR"]


def test_unknown_ids_are_dropped_under_their_own_name_even_with_a_good_symbol() -> None:
    mapped, _ = do_map(["EGFR", "TP53"], ["ENSG00000146648", "ENSG00000999999"], counts=one_spot([50, 7]))
    assert reasons(mapped) == {"unknown-ensembl-id": (1, 7)}
    assert mapped.unmapped == (("ENSG00000999999", 7),)


def test_a_row_without_id_falls_back_on_its_name_only_when_names_were_promised() -> None:
    names, ids = ["TP53", "EGFR"], ["", "ENSG00000146648"]
    by_symbol, _ = do_map(names, ids)
    assert by_symbol.symbols.tolist() == ["TP53", "EGFR"]
    by_id, _ = do_map(names, ids, gene_id_type="ensembl")
    assert by_id.symbols.tolist() == ["EGFR"]
    assert reasons(by_id) == {"unknown-ensembl-id": (1, 1)}


def test_ids_may_stand_in_the_name_column() -> None:
    mapped, _ = do_map(["ENSG00000141510.18", "ENSG00000146648"], gene_id_type="ensembl")
    assert mapped.symbols.tolist() == ["TP53", "EGFR"]


def test_every_kind_of_loss_has_its_name_and_size() -> None:
    names = ["TP53", "STRA13", "NOT_A_GENE", "BLANK_0001", "2-Sep", "ENSG00000999999"]
    mapped, _ = do_map(names, counts=one_spot([1000, 1, 2, 4, 8, 16]))
    assert reasons(mapped) == {
        "ambiguous-symbol": (1, 1),
        "unmapped-symbol": (1, 2),
        "control-probe": (1, 4),
        "excel-mangled": (1, 8),
        "unknown-ensembl-id": (1, 16),
    }
    assert mapped.unmapped == (("ENSG00000999999", 16), ("2-Sep", 8), ("NOT_A_GENE", 2), ("STRA13", 1))
    assert [drop.reason for drop in mapped.drops] == sorted(drop.reason for drop in mapped.drops)


def test_other_feature_types_leave() -> None:
    mapped, _ = do_map(["TP53", "CD3E"], feature_types=["Gene Expression", "Antibody Capture"])
    assert reasons(mapped) == {"control-probe": (1, 10)}


def test_human_prefixes_are_taken_off() -> None:
    mapped, findings = do_map(["GRCh38_TP53", "hg38_EGFR"], ["GRCh38_ENSG00000141510", ""])
    assert mapped.symbols.tolist() == ["TP53", "EGFR"]
    assert not findings.refused


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["Xkr4", "Rp1", "Sox17"], ["ENSMUSG00000051951", "ENSMUSG00000025900", "ENSMUSG00000025902"]),
        (["GRCh38_TP53", "mm10___Xkr4"], None),
        (["GRCh38_TP53", "mm10___Xkr4"], ["GRCh38_ENSG00000141510", "mm10___ENSMUSG00000051951"]),
        (["Xkr4", "Rp1", "TP53"], None),
        (["TP53", "Actb"], ["ENSG00000141510", "ENSRNOG00000034254"]),
    ],
)
def test_other_species_are_refused(names: list[str], ids: list[str] | None) -> None:
    _, findings = do_map(names, ids)
    assert [finding.facts.code for finding in findings.of("refuse")] == ["not-human"]
    facts = findings.of("refuse")[0].facts
    assert "human genes" in (facts.expected or "")
    assert re.search(r"\d of \d", facts.found or "")


def test_the_shares_that_are_refused_are_those_promised() -> None:
    human = ["TP53"] * 99
    _, at_one_percent = do_map([*human, "mm10_Actb"], counts=one_spot([1] * 100))
    assert not at_one_percent.refused
    _, above = do_map([*human[:98], "mm10_Actb", "mm10_Gapdh"], counts=one_spot([1] * 100))
    assert above.codes() >= {"not-human"}
    _, half = do_map(["TP53", "Xkr4"], counts=one_spot([5, 1]))
    assert not half.refused


def test_a_few_foreign_features_are_dropped_by_name() -> None:
    mapped, _ = do_map([*["TP53"] * 150, "mm10_Actb"], counts=one_spot([1] * 150 + [3]))
    assert reasons(mapped) == {"not-human": (1, 3)}


def test_mouse_symbols_are_never_upper_cased_to_fit() -> None:
    mapped, _ = do_map(["TP53", "EGFR", "Actb"], counts=one_spot([5, 5, 1]))
    assert "ACTB" not in mapped.symbols.tolist()
    assert mapped.unmapped == (("Actb", 1),)


def test_a_table_of_unknown_names_is_refused() -> None:
    _, findings = do_map(["TP53", "FOO1", "FOO2"], counts=one_spot([49, 26, 25]))
    assert findings.codes() == {"genes-unrecognised"}
    with pytest.raises(DataError, match=r"FOO1") as caught:
        findings.raise_if_refused()
    assert caught.value.exit_code == 5
    _, enough = do_map(["TP53", "FOO1"], counts=one_spot([50, 50]))
    assert not enough.refused


def test_controls_do_not_count_against_the_table() -> None:
    _, findings = do_map(["TP53", "BLANK_0001"], counts=one_spot([1, 1000]))
    assert not findings.refused


def test_a_table_without_counts_is_judged_by_its_columns() -> None:
    _, known = do_map(["TP53", "EGFR", "FOO1"], counts=one_spot([0, 0, 0]))
    assert not known.refused
    _, unknown = do_map(["TP53", "FOO1", "FOO2"], counts=one_spot([0, 0, 0]))
    assert unknown.codes() == {"genes-unrecognised"}
    _, nothing = do_map([], counts=csr_matrix((3, 0), dtype=np.int64))
    assert nothing.codes() == {"genes-unrecognised"}


def test_names_that_do_not_fit_the_columns_are_an_error() -> None:
    with pytest.raises(DataError, match="gene names") as caught:
        do_map(["TP53"], counts=one_spot([1, 2]))
    assert caught.value.facts.code == "gene-columns"


def test_the_input_is_left_alone() -> None:
    counts = one_spot([1, 2])
    before = counts.copy()
    do_map(["TP53", "FOO1"], counts=counts)
    assert (counts != before).nnz == 0


POOL = ["TP53", "EGFR", "SEPT7", "SEPTIN7", "STRA13", "1-Mar", "FOO1", "BLANK_0001", "ENSG00000141510", "mm10_Actb",
        "ENSG00000999999", "SOD2", "ENSG00000112096.3", "Actb", "", "nan"]  # fmt: skip


@given(data=st.data(), names=st.lists(st.sampled_from(POOL), max_size=12), n_spots=st.integers(0, 4))
def test_no_transcript_is_lost(data: st.DataObject, names: list[str], n_spots: int) -> None:
    size = n_spots * len(names)
    cells = data.draw(st.lists(st.integers(0, 2**40), min_size=size, max_size=size))
    dense = np.array(cells, dtype=np.int64).reshape(n_spots, len(names))
    mapped, _ = do_map(names, counts=csr_matrix(dense))
    assert int(dense.sum()) == int(mapped.counts.sum()) + sum(drop.counts for drop in mapped.drops)
    assert len(names) == sum(drop.n for drop in mapped.drops) + sum(
        1 for name in names if load_gene_table().resolve(name)
    )
    # The same by hand, gene by gene.
    expected: dict[str, np.ndarray] = {}
    for index, name in enumerate(names):
        gene = load_gene_table().resolve(name)
        if gene:
            expected[gene] = expected.get(gene, np.zeros(n_spots, dtype=np.int64)) + dense[:, index]
    assert mapped.ensembl_ids.tolist() == sorted(expected)
    for column, gene in enumerate(mapped.ensembl_ids.tolist()):
        assert mapped.counts.toarray()[:, column].tolist() == expected[gene].tolist()
