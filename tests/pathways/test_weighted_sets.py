"""Tables of weights and limits of size: what is read, what is refused and where, and what stays of it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from humanst.errors import DataError, HumanstError, UsageError
from humanst.harmonize.gene_table import load_gene_table
from humanst.pathways import PathwayChoice, read_gmt, read_weights, resolve
from humanst.pathways.options import Scoring

PROGENY = "gene_sets/progeny_human_top100_14pathways.csv"


def write(folder: Path, text: str, name: str = "weights.tsv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_long_and_wide_tables_of_the_same_weights_are_the_same_sets(tmp_path: Path) -> None:
    long = write(tmp_path, "source\ttarget\tweight\nB\tTP53\t-3\nB\tEGFR\t1.5\nA\tACTB\t2\nA\tGAPDH\t0\n")
    other = write(tmp_path, "weight,gene,pathway\n1.5,EGFR,B\n2,ACTB,A\n-3,TP53,B\n", "other.csv")
    wide = write(tmp_path, "gene,B,A\nEGFR,1.5,0.0\nACTB,,2\nTP53,-3,\n", "wide.csv")
    read = [read_weights(path, name="mine") for path in (long, other, wide)]
    assert {(sets.names, sets.members, sets.weights) for sets in read} == {
        (("A", "B"), (("ACTB",), ("TP53", "EGFR")), ((2.0,), (-3.0, 1.5)))
    }
    assert read[0].sha256 != read[1].sha256, "frozen by the bytes of the file"


def test_the_heaviest_are_kept_and_weights_follow_their_genes(tmp_path: Path) -> None:
    text = "source\ttarget\tweight\n" + "".join(
        f"A\t{gene}\t{weight}\n" for gene, weight in (("EGFR", 1), ("TP53", -5), ("FOO1", 4), ("ACTB", 1), ("MYC", 0.5))
    )
    sets = read_weights(write(tmp_path, text), name="n", top=4)
    assert sets.members == (("TP53", "FOO1", "ACTB", "EGFR"),), "equal weights by symbol"
    resolved = resolve(sets, load_gene_table())
    assert resolved.unmapped == (("FOO1",),)
    assert resolved.n_members == (4,)
    table = load_gene_table()
    assert resolved.weights is not None
    found = dict(zip(resolved.ensembl_ids[0], resolved.weights[0], strict=True))
    assert found == {table.resolve("TP53"): -5.0, table.resolve("ACTB"): 1.0, table.resolve("EGFR"): 1.0}


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("source\ttarget\nA\tTP53\n", "weights-malformed", "line 1"),
        ("source\tweight\nA\t2\n", "weights-malformed", "line 1"),
        ("gene\tA\tA\nTP53\t1\t2\n", "weights-malformed", "line 1"),
        ("source\ttarget\tweight\nA\tTP53\n", "weights-malformed", "line 2"),
        ("source\ttarget\tweight\nA\tTP53\tnan\n", "weights-malformed", "line 2"),
        ("source\ttarget\tweight\nA\tTP53\t1e999\n", "weights-malformed", "line 2"),
        ("source\ttarget\tweight\nA\tTP53\thigh\n", "weights-malformed", "line 2"),
        ("source\ttarget\tweight\nA\t\t1\n", "weights-malformed", "line 2"),
        ("source\ttarget\tweight\nA\tTP\x0753\t1\n", "weights-malformed", "line 2"),
        ("source\ttarget\tweight\nA\tTP53\t1\nA\tTP53\t2\n", "weights-repeated", "line 3"),
        ("source\ttarget\tweight\nA\tTP53\t0\n", "gmt-empty", None),
        ("", "weights-malformed", "line 1"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_line(tmp_path: Path, text: str, code: str, line: str | None) -> None:
    with pytest.raises(DataError) as caught:
        read_weights(write(tmp_path, text), name="n")
    facts = caught.value.facts
    assert (facts.code, facts.file, facts.field) == (code, "weights.tsv", line)


@pytest.mark.real
def test_progeny_is_read_as_pandas_has_it(real_data: Path) -> None:
    table = pd.read_csv(real_data / PROGENY, index_col="gene")
    sets = read_weights(real_data / PROGENY, name="progeny", top=50)
    assert sets.names == tuple(sorted(table.columns))
    assert sets.weights is not None
    for name, members, weights in zip(sets.names, sets.members, sets.weights, strict=True):
        column = table[name][table[name] != 0]
        assert (column[list(members)].to_numpy() == np.array(weights)).all()
        left = column.drop(list(members)).abs().max() if len(column) > 50 else 0
        assert len(members) == min(50, len(column))
        assert left <= min(map(abs, weights))


def test_sets_outside_the_limits_are_left_out_by_name(tmp_path: Path) -> None:
    genes = ["TP53", "EGFR", "ACTB", "GAPDH", "FOO1"]
    text = "".join(f"S{n}\tx\t" + "\t".join(genes[:n]) + "\n" for n in range(1, 6))
    path = write(tmp_path, text, "sets.gmt")
    sets = PathwayChoice(min_members=2, max_members=4).resolved(path, load_gene_table(), name="n")
    assert sets.names == ("S2", "S3", "S4")
    assert sets.left_out == (("S1", 1), ("S5", 5)), "an unmapped symbol is a member"
    assert sets.n_members == (2, 3, 4)
    plain = PathwayChoice().resolved(path, load_gene_table(), name="n")
    assert plain == resolve(read_gmt(path, name="n"), load_gene_table())
    with pytest.raises(DataError) as caught:
        PathwayChoice(min_members=6).resolved(path, load_gene_table(), name="n")
    assert caught.value.facts.code == "no-sets-left"


def test_only_what_is_not_the_default_is_on_record_and_it_is_read_back() -> None:
    assert PathwayChoice().record() == {}
    choice = PathwayChoice(Scoring("ulm", 0.5, z=False), min_members=10, top=100, shuffle_seed=0)
    record = choice.record()
    assert record == {
        "scorer": "ulm", "smooth": 0.5, "z": False, "min_members": 10, "top": 100, "shuffle_seed": 0
    }  # fmt: skip
    assert PathwayChoice.of_record(record) == choice
    clipped = PathwayChoice(Scoring(clip=3.0))
    assert clipped.record() == {"clip": 3.0}
    assert PathwayChoice.of_record(clipped.record()) == clipped
    assert PathwayChoice.of_record({}) == PathwayChoice()
    with pytest.raises(DataError, match="option"):
        PathwayChoice.of_record({"weather": "fine"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"scoring": Scoring(smooth=1.0)},
        {"scoring": Scoring(smooth=float("nan"))},
        {"scoring": Scoring(clip=0.0)},
        {"scoring": Scoring(clip=float("inf"))},
        {"scoring": Scoring(z=False, clip=3.0)},
        {"scoring": Scoring("gsva")},  # type: ignore[arg-type]
        {"min_members": 0},
        {"min_members": 5, "max_members": 4},
        {"top": 0},
        {"shuffle_seed": -1},
    ],
)
def test_an_option_out_of_its_range_is_a_usage_error(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        PathwayChoice(**wrong)  # type: ignore[arg-type]
    assert isinstance(caught.value, HumanstError)
    assert caught.value.facts.code == "pathway-options"


def test_csv_quotes_and_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "quoted.csv"
    with path.open("w", newline="") as handle:
        csv.writer(handle, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(
            [("source", "target", "weight"), ("A, or B", "TP53", "1")]
        )
    assert read_weights(path, name="n").names == ("A, or B",)
