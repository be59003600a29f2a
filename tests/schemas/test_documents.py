"""Each document schema is valid JSON Schema, takes a good document, and names the path of each fault."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from humanst.findings import Findings
from humanst.schemas import DOCUMENTS, check_document, document_schema

SHA = "0" * 64
SHARD = {"path": "data/train/train-00000.tar", "bytes": 10240, "sha256": SHA, "n_pairs": 2, "card_sha256": SHA}
EMPTY = {"n_pairs": 0, "index": "index/val.parquet", "index_sha256": SHA, "shards": []}
DROP = {"what": "spots", "reason": "low-counts", "n": 1, "counts": 5, "examples": ["1x1"]}
SECTION = {
    "sample_id": "tiny_S1",
    "study_id": "tiny",
    "split": "train",
    "group": "tiny_D1",
    "spots_in": 3,
    "pairs": 2,
    "drops": [DROP],
    "counts_in": 30,
    "counts_out": 25,
}
STUDY = {
    "study_id": "tiny",
    "title": "A tiny study",
    "doi": None,
    "accessions": {"zenodo": "1"},
    "url": "https://doi.org/10.5281/zenodo.1",
    "license": "CC0-1.0",
    "license_url": None,
    "license_source": "Zenodo",
    "citation": "Nobody et al., A tiny study. Zenodo (2020). https://doi.org/10.5281/zenodo.1",
}
GOOD: dict[str, dict[str, Any]] = {
    "manifest": {
        "schema": "humanst.release/1",
        "version": "0.1.0",
        "humanst_version": "0.1.0",
        "patch": {
            "side_px": 224,
            "um_per_pixel": 0.5,
            "quality": 90,
            "subsampling": "444",
            "min_tissue_fraction": 0.15,
        },
        "pathways": {"set": "hallmark", "names": ["A"], "sha256": SHA, "scorer": "bincontrol", "n_members": [3]},
        "organs": {"breast": 0},
        "seed": 0,
        "shard_pairs": 4096,
        "splits": {
            "train": {**EMPTY, "n_pairs": 2, "index": "index/train.parquet", "shards": [SHARD]},
            "val": {**EMPTY},
            "test": {**EMPTY},
        },
        "studies": [STUDY],
        "sections": [SECTION],
        "changes": [{"version": "1", "notes": ["Made for tests"]}],
        "sha256sums": SHA,
    },
    "shard_card": {
        "schema": "humanst.shard-card/1",
        "path": "data/train/train-00000.tar",
        "sha256": SHA,
        "bytes": 10240,
        "n_pairs": 2,
        "split": "train",
        "inputs": ["a"],
        "codecs": {"simplejpeg": "1.8.0"},
    },
    "pair": {
        **dict.fromkeys(("blur", "log10_counts", "log10_counts_z", "mt_fraction", "tissue_fraction"), 0.5),
        **dict.fromkeys(("x_px", "x_um", "y_px", "y_um", "target_side_um"), 100.0),
        **dict.fromkeys(("col", "row", "label", "n_counts", "n_genes"), 1),
        **dict.fromkeys(("donor_group", "key", "organ", "sample_id", "spot_id", "study_id"), "a1"),
        "platform": "st",
        "qc_flags": "low-counts,high-mt",
        "split": "train",
        "target_shape": "circle",
        "uid": "0" * 32,
    },
}


def faults(document: Any, name: str) -> list[tuple[str, str | None]]:
    findings = Findings()
    check_document(document, name, findings)
    assert all(finding.facts.expected and finding.facts.found for finding in findings)
    return [(finding.facts.code, finding.facts.field) for finding in findings]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_schema_is_itself_valid(name: str) -> None:
    Draft202012Validator.check_schema(document_schema(name))


@pytest.mark.parametrize("name", sorted(GOOD))
def test_good_document_passes(name: str) -> None:
    assert faults(GOOD[name], name) == []


@pytest.mark.parametrize("name", sorted(GOOD))
def test_each_field_is_needed_and_typed(name: str) -> None:
    for field in GOOD[name]:
        without = {key: value for key, value in GOOD[name].items() if key != field}
        assert faults(without, name) == [("missing-field", field)]
        code, path = faults({**GOOD[name], field: None}, name)[0]
        assert path == field
        assert code in ("wrong-type", "bad-value")


def test_fault_deep_inside_has_its_path() -> None:
    document = copy.deepcopy(GOOD["manifest"])
    document["splits"]["train"]["shards"][0]["bytes"] = 1
    document["sections"][0]["drops"][0]["reason"] = "Low Counts"
    del document["sections"][0]["group"]
    document["splits"]["val"]["shard"] = []
    assert faults(document, "manifest") == [
        ("missing-field", "sections[0].group"),
        ("bad-value", "sections[0].drops[0].reason"),
        ("bad-value", "splits.train.shards[0].bytes"),
        ("unknown-field", "splits.val.shard"),
    ]


def test_every_field_of_a_finding_is_text_or_nothing() -> None:
    document = copy.deepcopy(GOOD["manifest"])
    told = Findings(study="tiny", section="S1")
    told.warn("told", "Told", found=3, todo="Look")
    told.note("bare", "Nothing more")
    document["findings"] = document["sections"][0]["findings"] = [finding.to_dict() for finding in told]
    assert faults(document, "manifest") == []
    document["findings"] = [{**told.items[0].to_dict(), "found": 3, "todo": ["Look"], "section": {}}]
    assert sorted(faults(document, "manifest")) == [
        ("wrong-type", "findings[0].found"),
        ("wrong-type", "findings[0].section"),
        ("wrong-type", "findings[0].todo"),
    ]


def test_unknown_field_of_a_pair_is_refused() -> None:
    assert faults({**GOOD["pair"], "extra": 1}, "pair") == [("unknown-field", "extra")]


def test_document_of_the_wrong_kind() -> None:
    assert faults([], "pair") == [("wrong-type", "(document)")]


def test_unknown_schema_is_named() -> None:
    with pytest.raises(ValueError, match="manifest"):
        document_schema("manifests")
