"""What a run stands on: told in full, and what of it a resumed run must share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from humanst.errors import UsageError
from humanst.files import sha256_file
from humanst.load import Release
from stamp_train.config import AlignConfig
from stamp_train.run_facts import config_sha256, differing_facts, facts_of_run
from tests.stamp_train.named_release import section, write_release

SCORED = {"set": "hallmark", "sha256": "a" * 64, "names": ["p"], "scorer": "rank", "normalisation": "log1p(CP10k)"}
TARGETS = {
    "reactome": {"kind": "gmt", "parameters": {"gene_sets_sha256": "c" * 64, "scorer": "mean", "normalisation": "n"}},
    "hvg-50": {"kind": "hvg", "parameters": {"n": 50, "normalisation": "log1p(CP10k)"}},
}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp("facts")
    return write_release(folder, [section("a", "train")], pathways=SCORED, targets=TARGETS)


def told(release_of_it: Release, base: str = "d" * 64, leakage: str | None = None, **settings) -> dict:
    return facts_of_run(AlignConfig(**settings), release_of_it, base, leakage=leakage)


def test_a_run_tells_what_it_stands_on(release: Release) -> None:
    facts = told(release, leakage="LEAKAGE: some", encoder="test_vit", weights="random", seed=4, mean=(0.1, 0.2, 0.3))
    assert facts["release"] == {"version": "1", "sha256": sha256_file(release.path / "MANIFEST.json")}
    assert facts["base"] == {"encoder": "test_vit", "weights": "random", "sha256": "d" * 64}
    targets = facts["targets"]
    assert (targets["set"], targets["gene_sets_sha256"], targets["scorer"]) == ("hallmark", "a" * 64, "rank")
    assert facts["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert facts["leakage"] == "LEAKAGE: some"
    # All of it is JSON, and the settings make the same run again.
    again = json.loads(json.dumps(facts))
    assert again == facts
    assert AlignConfig.from_mapping(again["config"]) == AlignConfig(
        encoder="test_vit", weights="random", seed=4, mean=(0.1, 0.2, 0.3)
    )


def test_a_target_set_tells_its_own_gene_sets(release: Release) -> None:
    assert told(release, target_set="reactome")["targets"]["gene_sets_sha256"] == "c" * 64
    assert told(release, target_set="hvg-50")["targets"]["gene_sets_sha256"] == ""
    with pytest.raises(UsageError, match="hvg-50, reactome"):
        told(release, target_set="nosuch")
    given = {"set": "library", "gene_sets_sha256": ""}
    assert facts_of_run(AlignConfig(target_set="library"), release, "d", targets=given)["targets"] == given


def test_where_and_how_a_run_is_made_may_change(release: Release) -> None:
    saved = told(release)
    moved = told(release, release="/elsewhere", run="/there", workers=7, save_every_steps=3, log_every_steps=1)
    assert saved["config_sha256"] == moved["config_sha256"] == config_sha256(AlignConfig())
    assert differing_facts(saved, moved) == []


@pytest.mark.parametrize("name", ["seed", "epochs", "batch_size", "lora_rank", "learning_rate_heads"])
def test_a_setting_that_numbers_depend_on_may_not(release: Release, name: str) -> None:
    changed = told(release, **{name: getattr(AlignConfig(), name) * 2 + 1}, workers=5)
    assert differing_facts(told(release), changed) == [name]


def test_another_release_base_or_gene_sets_is_another_run(release: Release, tmp_path: Path) -> None:
    saved = told(release)
    assert differing_facts(saved, told(release, base="e" * 64)) == ["base.sha256"]
    other = write_release(tmp_path, [section("a", "train"), section("b", "train")], pathways=SCORED | {"sha256": "f"})
    assert differing_facts(saved, told(other)) == ["release.sha256", "targets.gene_sets_sha256"]
    assert differing_facts({}, saved) != []
    assert differing_facts({**saved, "config": None, "config_sha256": "x"}, saved) != []
