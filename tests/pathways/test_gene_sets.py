"""Gene-set files: what is read, what is refused and where, and what resolves to genes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from humanst.errors import DataError
from humanst.harmonize.gene_table import load_gene_table
from humanst.pathways import read_gmt, resolve

HALLMARK = "gene_sets/msigdb_h.all.v2025.1.Hs.symbols.gmt"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "sets.gmt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_sets_keep_the_file_s_order_and_its_hash(tmp_path: Path) -> None:
    path = write(tmp_path, "B\turl\tTP53\tEGFR\nA\t\tACTB\n")
    sets = read_gmt(path, name="mine", license="CC0-1.0")
    assert sets.names == ("B", "A")
    assert sets.members == (("TP53", "EGFR"), ("ACTB",))
    assert sets.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (sets.name, sets.license, sets.repeated) == ("mine", "CC0-1.0", ())


def test_line_ends_trailing_tabs_blank_lines_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    plain = read_gmt(write(tmp_path, "A\tx\tTP53\tEGFR\nB\tx\tACTB\n"), name="n")
    odd = read_gmt(write(tmp_path, b"\xef\xbb\xbfA\tx\tTP53\tEGFR\t\t\r\n\r\nB\tx\t ACTB \r\n"), name="n")
    assert (odd.names, odd.members) == (plain.names, plain.members)


def test_a_gene_listed_twice_counts_once_and_is_named(tmp_path: Path) -> None:
    sets = read_gmt(write(tmp_path, "A\tx\tTP53\tEGFR\tTP53\n"), name="n")
    assert sets.members == (("TP53", "EGFR"),)
    assert sets.repeated == (("A", ("TP53",)),)


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("A\tx\tTP53\nB\tx\n", "gmt-malformed", "line 2"),
        ("A\tx\tTP53\n\nB TP53 EGFR\n", "gmt-malformed", "line 3"),
        ("A\tx\t\t\n", "gmt-malformed", "line 1"),
        ("\tx\tTP53\n", "gmt-malformed", "line 1"),
        ("A\tx\tTP53\t\tEGFR\n", "gmt-malformed", "line 1"),
        ("A\tx\tTP\x0053\n", "gmt-malformed", "line 1"),
        ("A\x9b31m\tx\tTP53\n", "gmt-malformed", "line 1"),
        ("A\tx\tTP53\nB\u202ecod\tx\tTP53\n", "gmt-malformed", "line 2"),
        ("A\u2066B\tx\tTP53\n", "gmt-malformed", "line 1"),
        ("A\u200eB\tx\tTP53\n", "gmt-malformed", "line 1"),
        ("A\tx\tTP53\nA\tx\tEGFR\n", "gmt-repeated-set", "line 2"),
        ("", "gmt-empty", None),
        ("\n \n", "gmt-empty", None),
        (b"A\tx\tTP53\xff\n", "gmt-unreadable", None),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(
    tmp_path: Path, text: str | bytes, code: str, line: str | None
) -> None:
    with pytest.raises(DataError) as caught:
        read_gmt(write(tmp_path, text), name="n")
    facts = caught.value.facts
    assert (facts.code, facts.file, facts.field) == (code, "sets.gmt", line)
    assert facts.expected
    assert facts.found


def test_a_missing_file_is_an_error_of_the_family(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_gmt(tmp_path / "none.gmt", name="n")
    assert caught.value.facts.code == "gmt-unreadable"


def test_symbols_become_genes_and_the_lost_are_listed(tmp_path: Path) -> None:
    table = load_gene_table()
    sets = read_gmt(write(tmp_path, "A\tx\tSEPT7\tSEPTIN7\tTP53\tFOO1\nB\tx\tFOO2\tSTRA13\tFOO1\n"), name="n")
    resolved = resolve(sets, table)
    assert resolved.ensembl_ids == (("ENSG00000122545", "ENSG00000141510"), ())
    assert resolved.unmapped == (("FOO1",), ("FOO1", "FOO2", "STRA13"))
    assert resolved.unmapped_symbols == ("FOO1", "FOO2", "STRA13")
    assert resolved.n_members == (3, 3)
    assert resolved.sha256 == sets.sha256


def test_hallmark_resolves(real_data: Path) -> None:
    sets = read_gmt(real_data / HALLMARK, name="hallmark", license="CC-BY-4.0")
    genes = {symbol for members in sets.members for symbol in members}
    assert (len(sets.names), len(genes)) == (50, 4_384)
    assert sum(len(members) for members in sets.members) == 7_322
    resolved = resolve(sets, load_gene_table())
    assert len(resolved.unmapped_symbols) <= 0.01 * len(genes)
    # Two releases of the same sets, five years apart in symbols, mean the same genes.
    older = resolve(read_gmt(real_data / "gene_sets/msigdb_h.all.v7.4.symbols.gmt", name="old"), load_gene_table())
    now = dict(zip(resolved.names, resolved.ensembl_ids, strict=True))
    for name, members in zip(older.names, older.ensembl_ids, strict=True):
        assert len(set(members) & set(now[name])) >= 0.95 * len(members)


def test_reactome_reads_whole(real_data: Path) -> None:
    sets = read_gmt(real_data / "gene_sets/reactome_ReactomePathways.gmt", name="reactome")
    resolved = resolve(sets, load_gene_table())
    assert len(sets.names) == 2_504
    assert len(resolved.unmapped_symbols) < 0.04 * len({s for members in sets.members for s in members})
