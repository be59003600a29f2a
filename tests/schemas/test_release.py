"""What humanst itself writes keeps the contracts of ``schemas/``."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pandas as pd

from humanst.findings import Findings
from humanst.schemas import check_document, check_table


def lines(findings: Findings) -> list[str]:
    return [finding.line() for finding in findings]


def test_manifest_cards_and_index_of_a_release(demo_release: Path) -> None:
    findings = Findings()
    check_document(json.loads((demo_release / "MANIFEST.json").read_bytes()), "manifest", findings)
    cards = sorted(demo_release.glob("data/*/*.card.json"))
    for card in cards:
        check_document(json.loads(card.read_bytes()), "shard_card", findings)
    indices = sorted(demo_release.glob("index/*.parquet"))
    for index in indices:
        check_table(pd.read_parquet(index), "pairs", findings)
    assert lines(findings) == []
    assert cards
    assert [index.stem for index in indices] == ["test", "train", "val"]


def test_json_member_of_every_pair_of_a_shard(demo_release: Path) -> None:
    findings = Findings()
    shard = min(demo_release.glob("data/*/*.tar"))
    with tarfile.open(shard) as members:
        names = [name for name in members.getnames() if name.endswith(".json")]
        for name in names:
            handle = members.extractfile(name)
            assert handle is not None
            check_document(json.loads(handle.read()), "pair", findings)
    assert names
    assert lines(findings) == []
