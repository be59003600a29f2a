"""Each table schema: a good table passes, one bad field gives one finding with its column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from humanst.findings import Findings
from humanst.schemas import TABLES, check_table, table_schema
from humanst.settings import data_path

N = 4


def spots() -> pd.DataFrame:
    numbers = {name: np.linspace(1, 2, N) for name in ("x_px", "y_px", "x_um", "y_um")}
    shares = np.array([0.0, 0.5, 0.9, 1.0], dtype=np.float32)
    return pd.DataFrame(
        {
            "row": np.arange(N),
            "col": np.arange(N),
            **numbers,
            "in_tissue": [True, False, True, True],
            "tissue_fraction": shares,
            "n_counts": np.arange(N),
            "n_genes": np.arange(N, dtype=np.int32),
            "mt_fraction": shares,
            "log10_counts": shares,
            "qc_flags": ["", "low-counts", "low-counts,high-mt", ""],
            "label_layer": ["L1", "", "WM", "L1"],
        },
        index=pd.Index([f"{i}x1" for i in range(N)], name="spot_id"),
    )


def genes() -> pd.DataFrame:
    ids = pd.Index([f"ENSG{i:011d}" for i in range(N)], name="ensembl_id")
    return pd.DataFrame({"symbol": list("ABCD"), "biotype": "protein_coding", "measured": True}, index=ids)


def samples() -> pd.DataFrame:
    return pd.read_csv(data_path("curation", "her2st", "samples.csv"), dtype=str, keep_default_na=False).head(N)


def pairs() -> pd.DataFrame:
    keys = [f"S_{i}" for i in range(N)]
    members: dict[str, Any] = {}
    for member in ("jpg", "json", "npy"):
        members[f"{member}_offset"] = np.arange(1, N + 1) * 512
        members[f"{member}_length"] = np.full(N, 9, dtype=np.int32)
        members[f"{member}_hash"] = [f"{i:016x}" for i in range(N)]
    share = np.full(N, 0.5, dtype=np.float32)
    small = np.arange(N, dtype=np.int32)
    return pd.DataFrame(
        {
            "uid": [f"{i:032x}" for i in range(N)],
            "key": keys,
            "shard": "train-00000.tar",
            **members,
            **dict.fromkeys(("sample_id", "spot_id", "donor_group", "platform"), "S1"),
            **{name: np.ones(N) for name in ("x_px", "y_px", "x_um", "y_um")},
            "row": small,
            "col": small,
            "native_um_per_pixel": np.full(N, 0.5),
            "target_shape": "circle",
            "target_side_um": np.full(N, 100.0),
            "tissue_fraction": share,
            "blur": share,
            "n_counts": np.arange(N),
            "n_genes": small,
            "mt_fraction": share,
            "log10_counts": share,
            "log10_counts_z": -share,
            "qc_flags": "",
        }
    ).assign(platform="st")


GOOD = {"spots": spots, "genes": genes, "samples": samples, "pairs": pairs}


def found(table: pd.DataFrame, name: str) -> list[tuple[str, str | None]]:
    findings = Findings(file="here")
    check_table(table, name, findings)
    assert all(finding.severity == "refuse" for finding in findings)
    assert all(finding.facts.file == "here" and finding.facts.expected and finding.facts.found for finding in findings)
    return [(finding.facts.code, finding.facts.field) for finding in findings]


@pytest.mark.parametrize("name", TABLES)
def test_good_table_passes_full_and_empty(name: str) -> None:
    table = GOOD[name]()
    assert found(table, name) == []
    assert found(table.iloc[:0], name) == []


@pytest.mark.parametrize("name", TABLES)
def test_each_column_is_needed_and_no_other_allowed(name: str) -> None:
    table = GOOD[name]()
    for column in table.columns.drop("label_layer", errors="ignore"):
        assert found(table.drop(columns=column), name) == [("missing-column", column)]
    assert ("unknown-column", "surprise") in found(table.assign(surprise=1), name)


@pytest.mark.parametrize("name", TABLES)
def test_each_column_has_its_type(name: str) -> None:
    table = GOOD[name]()
    for column in table.columns:
        wrong = table.assign(**{column: pd.array([1 + 2j] * N)})
        assert found(wrong, name) == [("wrong-dtype", column)]


def put(column: str, *values: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.copy()
        for row, value in enumerate(values):
            table.iloc[row, table.columns.get_loc(column)] = value
        return table

    return change


@pytest.mark.parametrize(
    ("name", "change", "code", "field"),
    [
        ("spots", put("tissue_fraction", 1.5, -0.1), "bad-value", "tissue_fraction"),
        ("spots", put("mt_fraction", np.nan), "missing-value", "mt_fraction"),
        ("spots", put("n_counts", -1), "bad-value", "n_counts"),
        ("spots", put("x_px", np.nan), "missing-value", "x_px"),
        ("spots", put("qc_flags", "Low counts"), "bad-value", "qc_flags"),
        ("spots", put("qc_flags", "a,a"), "bad-value", "qc_flags"),
        ("spots", put("label_layer", None), "missing-value", "label_layer"),
        ("spots", lambda t: t.set_axis(["a", "a", "b", "c"]), "duplicate-value", "spot_id"),
        ("spots", lambda t: t.set_axis(["", "a", "b", "c"]), "bad-value", "spot_id"),
        ("genes", lambda t: t.set_axis(["ENSMUSG00000000001", *t.index[1:]]), "bad-value", "ensembl_id"),
        ("genes", lambda t: t.set_axis([f"{t.index[0]}.2", *t.index[1:]]), "bad-value", "ensembl_id"),
        ("genes", lambda t: t.set_axis([t.index[1], *t.index[1:]]), "duplicate-value", "ensembl_id"),
        ("samples", put("sample_id", "a.b"), "bad-value", "sample_id"),
        ("samples", put("sample_id", "her2st_A2"), "duplicate-value", "sample_id"),
        ("samples", put("donor_id", ""), "bad-value", "donor_id"),
        ("samples", put("tissue", " "), "bad-value", "tissue"),
        ("samples", put("block_id", ""), "bad-value", "block_id"),
        ("samples", put("disease_ontology_term_id", "MONDO:1"), "bad-value", "disease_ontology_term_id"),
        ("samples", put("preservation", "FF"), "bad-value", "preservation"),
        ("samples", put("exclusion_groups", "a;;b"), "bad-value", "exclusion_groups"),
        ("samples", put("known_duplicates", "SPA93"), "bad-value", "known_duplicates"),
        ("pairs", put("uid", "0" * 31), "bad-value", "uid"),
        ("pairs", put("key", "a.b"), "bad-value", "key"),
        ("pairs", put("key", "S_1"), "duplicate-value", "key"),
        ("pairs", put("jpg_length", 0), "bad-value", "jpg_length"),
        ("pairs", put("target_shape", "hex"), "bad-value", "target_shape"),
        ("pairs", put("log10_counts_z", np.nan), "missing-value", "log10_counts_z"),
    ],
)
def test_one_bad_field_gives_one_finding(
    name: str, change: Callable[[pd.DataFrame], pd.DataFrame], code: str, field: str
) -> None:
    assert found(change(GOOD[name]()), name) == [(code, field)]


def test_finding_counts_rows_and_shows_the_first() -> None:
    findings = Findings()
    check_table(put("tissue_fraction", 1.5, -0.25)(spots()), "spots", findings)
    assert findings.items[0].facts.found is not None
    assert findings.items[0].facts.found.startswith("2: 1.5 in row 0x1, -0.25 in row 1x1")


def test_two_bad_columns_give_two_findings() -> None:
    table = put("n_counts", -1)(put("mt_fraction", 2.0)(spots()))
    assert sorted(found(table, "spots")) == [("bad-value", "mt_fraction"), ("bad-value", "n_counts")]


def test_index_may_be_a_column_or_unnamed() -> None:
    assert found(spots().reset_index(), "spots") == []
    assert found(spots().rename_axis(index=None), "spots") == []


def test_check_leaves_the_table_as_it_was() -> None:
    table = spots().rename_axis(index=None)
    before = table.copy()
    check_table(table, "spots", Findings())
    pd.testing.assert_frame_equal(table, before)


def test_unknown_schema_is_named() -> None:
    with pytest.raises(ValueError, match="spots"):
        table_schema("spot")
