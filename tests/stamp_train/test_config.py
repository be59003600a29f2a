"""Settings of an alignment as a user gives them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from humanst.errors import HostileError, UsageError
from stamp_train.config import AlignConfig
from stamp_train.plain_yaml import MAX_BYTES


def written(folder: Path, text: str) -> Path:
    path = folder / "align.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_echoed_reads_back_equal(tmp_path: Path) -> None:
    config = AlignConfig(
        release="releases/a", mean=(0.1, 0.2, 0.3), max_steps=7, learning_rate_lora=1e-05, evaluation_groups=("her2",)
    )
    assert AlignConfig.from_yaml(written(tmp_path, config.to_yaml())) == config
    assert list(yaml.safe_load(config.to_yaml())) == [field.name for field in dataclasses.fields(AlignConfig)]


def test_a_file_changes_what_it_names_and_set_changes_that_again(tmp_path: Path) -> None:
    config = AlignConfig.from_yaml(written(tmp_path, "encoder: uni\nlora_rank: 4\nlearning_rate_lora: 1e-3\n"))
    assert (config.encoder, config.lora_rank, config.learning_rate_lora) == ("uni", 4, 0.001)
    changed = config.with_settings(
        ["lora_rank=2", "std=[0.1, 0.2, 0.3]", "max_steps=null", "near_um=99", "weights=a=b", "shuffle_pairs=true"]
    )
    assert (changed.lora_rank, changed.std, changed.max_steps, changed.weights) == (2, (0.1, 0.2, 0.3), None, "a=b")
    assert changed.near_um == 99.0
    assert isinstance(changed.near_um, float)
    assert changed.shuffle_pairs is True
    assert config.lora_rank == 4
    assert AlignConfig.from_yaml(written(tmp_path, "")) == AlignConfig()


def test_a_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        AlignConfig().seed = 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("lora_rnak=8", "lora_rnak"),
        ("lora_rank=8.5", "lora_rank"),
        ("lora_rank=true", "lora_rank"),
        ("lora_rank=0", "lora_rank"),
        ("lora_dropout=1", "lora_dropout"),
        ("lora_dropout=.nan", "lora_dropout"),
        ("lora_dropout=yes", "lora_dropout"),
        ("shuffle_pairs=1", "shuffle_pairs"),
        ("encoder=3", "encoder"),
        ("seed=null", "seed"),
        ("pathway_encoder=sum", "pathway_encoder"),
        ("evaluation_groups=her2", "evaluation_groups"),
        ("mean=[0.1, 0.2]", "mean"),
        ("std=[0.1, 0.2, 0]", "std"),
        ("max_steps=0", "max_steps"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(change: str, field: str) -> None:
    with pytest.raises(UsageError) as caught:
        AlignConfig().with_settings([change])
    assert caught.value.facts.field == field
    assert field in str(caught.value)


def test_an_unknown_name_in_a_file_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="learning_rate_lora") as caught:
        AlignConfig.from_yaml(written(tmp_path, "learning_rate: 0.1\n"))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["seed: 1\nseed: 2\n", "- seed\n", "seed: [1\n", "seed: 2020-13-45\n"])
def test_what_is_no_file_of_settings_is_a_usage_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        AlignConfig.from_yaml(written(tmp_path, text))


def test_a_file_that_is_missing_or_no_text_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        AlignConfig.from_yaml(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError):
        AlignConfig.from_yaml(tmp_path / "binary.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "run: !!python/object/apply:os.system ['touch made']\n",
        "a: &a [x, x]\nb: [*a, *a]\n",
        "mean: [[[[1]]]]\n",
        "run: " + "x" * MAX_BYTES,
    ],
)
def test_hostile_yaml_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HostileError):
        AlignConfig.from_yaml(written(tmp_path, text))
    assert not (tmp_path / "made").exists()


def test_set_gives_no_objects_either() -> None:
    with pytest.raises(HostileError):
        AlignConfig().with_settings(["run=!!python/object/apply:os.getcwd []"])
