"""The alignment as a user runs it: it starts at chance and learns, stops and goes on exactly, and refuses by name."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import threading
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from humanst.errors import DataError, HostileError, IntegrityError, InterruptedRun, UsageError
from stamp_train.align import align
from stamp_train.cli import main
from stamp_train.config import AlignConfig
from stamp_train.lora import load_adapter, read_adapter_facts
from stamp_train.training import seed_of_step
from stamp_train.weights import read_safetensors
from tests.load.conftest import Written
from tests.stamp_train.small import noise_images, tiny_encoder
from tests.stamp_train.small_release import facts, settings, write_small_release, written

CLOCK = ("patches_per_second", "data_wait", "peak_memory_gb")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_small_release(tmp_path_factory.mktemp("align") / "humanst-1")


@pytest.fixture(scope="module")
def unbroken(release: Written, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps that nobody stopped."""
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("unbroken") / "run"
    align(settings(release.path, run))
    return run


def log_of(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def what_the_clock_did_not_say(run: Path) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name not in CLOCK} for row in log_of(run)]


def stopping_at(step: int) -> Any:
    """A progress bar that has SIGTERM come in while a step ends; its workers get what a group would."""
    before = psutil.Process().children()

    def tell(what: str, done: int, of: int) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGTERM)
            for worker in psutil.Process().children():
                if worker not in before:
                    assert os.getpgid(worker.pid) != os.getpgid(0)
                    worker.send_signal(signal.SIGUSR1)

    return tell


def test_the_contrast_starts_at_chance_and_falls(release: Written, tmp_path: Path) -> None:
    config = settings(
        release.path, tmp_path / "run", max_steps=100, log_every_steps=10, validate_every_steps=50,
        save_every_steps=1000, learning_rate_lora=3e-3, learning_rate_heads=6e-3, jitter=0.0,
        lora_dropout=0.0, pathway_dropout=0.0,
    )  # fmt: skip
    result = align(config)
    first, last = result.first, result.last
    assert (first["step"], first["ln_batch"]) == (0, pytest.approx(math.log(8)))
    assert first["contrast"] == pytest.approx(math.log(8), abs=0.1)
    end = [float(row["contrast"]) for row in log_of(tmp_path / "run")[-3:]]
    assert sum(end) / 3 < math.log(8) - 0.5
    assert last["pcc"] < first["pcc"] - 0.4
    assert last["retrieval"] > 1 / 8
    assert [row["step"] for row in result.validation] == [50, 100]
    assert result.validation[-1]["pcc"] > 0.5
    assert result.validation[-1]["n_donors"] == 4
    assert result.best_step in (50, 100)


def test_a_run_leaves_what_it_says(release: Written, unbroken: Path) -> None:
    assert {path.name for path in unbroken.iterdir()} == {
        "adapter", "checkpoints", "config.yaml", "heads.safetensors", "log.csv", "result.json", "run.json",
        "validation.csv",
    }  # fmt: skip
    assert sorted(path.name for path in (unbroken / "checkpoints").iterdir()) == ["step-00000004", "step-00000006"]
    assert AlignConfig.from_yaml(unbroken / "config.yaml") == settings(release.path, unbroken)
    assert [int(row["step"]) for row in log_of(unbroken)] == list(range(6))
    row = log_of(unbroken)[-1]
    assert all(math.isfinite(float(value)) for value in row.values())
    assert {"ln_batch", "chance", "retrieval", "temperature", "rate_lora", "gradient_norm", *CLOCK} <= set(row)
    heads, header = read_safetensors(unbroken / "heads.safetensors")
    assert json.loads(header["humanst"])["targets"] == facts(unbroken)["columns"]
    assert tuple(heads["score_head.weight"].shape) == (6, 64)
    told = read_adapter_facts(unbroken / "adapter/adapter.safetensors")
    assert told.base_sha256 == tiny_encoder().base_sha256 == facts(unbroken)["base"]["sha256"]
    assert told.gene_sets_sha256 == "c" * 64
    assert facts(unbroken)["leakage"] is None


def test_the_adapter_changes_the_base_it_was_trained_on(unbroken: Path) -> None:
    encoder, images = tiny_encoder(), noise_images(2, side_px=160)
    before = encoder(images).detach()
    load_adapter(unbroken / "adapter/adapter.safetensors", encoder)
    assert not torch.equal(encoder(images).detach(), before)


def test_without_a_rate_the_base_stays_bit_for_bit(release: Written, tmp_path: Path) -> None:
    rates = dict.fromkeys(("learning_rate_lora", "learning_rate_heads", "learning_rate_end"), 0.0)
    result = align(settings(release.path, tmp_path / "run", max_steps=2, **rates))
    encoder, images = tiny_encoder(), noise_images(2, side_px=160)
    before = encoder(images).detach()
    load_adapter(result.adapter, encoder)
    assert torch.equal(encoder(images).detach(), before)
    assert result.first["anchor"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("step", "workers"), [(1, 0), (4, 0), (5, 0), (3, 2)])
def test_stopped_and_taken_up_it_is_the_unbroken_run(
    release: Written, unbroken: Path, tmp_path: Path, step: int, workers: int
) -> None:
    # The number of workers, and how often is saved, are free to change.
    config = settings(release.path, tmp_path / "run", workers=workers, save_every_steps=4)
    with pytest.raises(InterruptedRun) as stopped:
        align(config, progress=stopping_at(step))
    assert stopped.value.exit_code == 75
    assert "SIGTERM" in str(stopped.value)
    assert not (tmp_path / "run/adapter").exists()
    said: list[str] = []
    result = align(config.with_settings(["workers=0"]), say=said.append)
    assert f"Going on from step {step} of 6" in said
    for name in ("adapter/adapter.safetensors", "heads.safetensors", "validation.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (unbroken / name).read_bytes(), name
    assert what_the_clock_did_not_say(tmp_path / "run") == what_the_clock_did_not_say(unbroken)
    assert result.to_dict()["validation"] == facts(unbroken, "result.json")["validation"]


def test_a_signal_that_ends_the_workers_too_costs_the_steps_since_the_last_checkpoint(
    release: Written, unbroken: Path, tmp_path: Path
) -> None:
    config = settings(release.path, tmp_path / "run", workers=1)
    before = psutil.Process().children()

    def tell(what: str, done: int, of: int) -> None:
        if done == 5:
            os.kill(os.getpid(), signal.SIGTERM)
            for worker in psutil.Process().children():
                if worker not in before:
                    worker.terminate()
                    worker.wait(10)

    with pytest.raises(InterruptedRun):
        align(config, progress=tell)
    align(config.with_settings(["workers=0"]))
    for name in ("adapter/adapter.safetensors", "heads.safetensors", "validation.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (unbroken / name).read_bytes(), name


def test_killed_without_a_word_it_goes_on_from_its_last_checkpoint(
    release: Written, unbroken: Path, tmp_path: Path
) -> None:
    config = settings(release.path, tmp_path / "run")

    def dying(what: str, done: int, of: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        align(config, progress=dying)
    align(config)
    for name in ("adapter/adapter.safetensors", "heads.safetensors", "validation.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (unbroken / name).read_bytes(), name
    assert what_the_clock_did_not_say(tmp_path / "run") == what_the_clock_did_not_say(unbroken)


def test_a_finished_run_says_so_and_changes_nothing(release: Written, unbroken: Path) -> None:
    before = {path: path.read_bytes() for path in unbroken.rglob("*") if path.is_file()}
    said: list[str] = []
    result = align(settings(release.path, unbroken, workers=1), say=said.append)
    assert result.already_done
    assert result.adapter == unbroken / "adapter/adapter.safetensors"
    assert said == [f"This run is finished: {unbroken}"]
    assert {path: path.read_bytes() for path in unbroken.rglob("*") if path.is_file()} == before


def test_the_largest_seed_is_one() -> None:
    drawn = []
    with torch.random.fork_rng(devices=[]):
        for step, rank in ((0, 0), (1, 0), (0, 1), (0, 0)):
            seed_of_step(2**63 - 1, step, rank)
            drawn.append(float(torch.rand(())))
    assert drawn[0] == drawn[3]
    assert len(set(drawn)) == 3


def test_other_settings_in_the_same_folder_are_named(release: Written, unbroken: Path) -> None:
    with pytest.raises(UsageError) as refused:
        align(settings(release.path, unbroken, lora_rank=4, seed=1))
    assert refused.value.facts.field == "lora_rank, seed"
    assert refused.value.exit_code == 2


def test_a_finished_run_without_its_adapter_is_not_called_done(
    release: Written, unbroken: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(unbroken, tmp_path / "run"))
    adapter = run / "adapter/adapter.safetensors"
    whole = adapter.read_bytes()
    adapter.unlink()
    config = settings(release.path, run)
    with pytest.raises(IntegrityError) as refused:
        align(config)
    assert refused.value.facts.code == "adapter-gone"
    (run / "result.json").write_text("{}")
    with pytest.raises(IntegrityError) as refused:
        align(config)
    assert refused.value.facts.code == "run-torn"
    (run / "result.json").unlink()
    assert not align(config).already_done
    assert adapter.read_bytes() == whole


def test_a_record_of_the_run_that_is_none_is_refused(release: Written, tmp_path: Path) -> None:
    for content in ({}, {"schema": "stamp_train.run/1"}, {"schema": "stamp_train.run/1", "base": "x", "targets": []}):
        (tmp_path / "run.json").write_text(json.dumps(content))
        with pytest.raises(IntegrityError) as refused:
            align(settings(release.path, tmp_path))
        assert (refused.value.facts.code, refused.value.exit_code) == ("run-torn", 6)


def test_a_release_of_other_gene_sets_is_refused(release: Written, unbroken: Path, tmp_path: Path) -> None:
    other = write_small_release(tmp_path / "other")
    manifest = other.manifest
    manifest["pathways"]["sha256"] = "d" * 64
    other.set_manifest(manifest)
    with pytest.raises(DataError) as refused:
        align(settings(other.path, unbroken))
    assert (refused.value.facts.code, refused.value.exit_code) == ("other-release", 5)
    with pytest.raises(DataError) as refused:
        align(settings(release.path, tmp_path / "run", evaluation_release=str(other.path)))
    assert (refused.value.facts.code, refused.value.exit_code) == ("other-gene-sets", 5)
    assert not (tmp_path / "run").exists()


def test_another_base_in_the_same_folder_is_refused(release: Written, tmp_path: Path) -> None:
    config = settings(release.path, tmp_path / "run")
    with pytest.raises(InterruptedRun):
        align(config, progress=stopping_at(1))
    content = facts(tmp_path / "run")
    content["base"]["sha256"] = "0" * 64
    (tmp_path / "run/run.json").write_text(json.dumps(content))
    with pytest.raises(IntegrityError) as refused:
        align(config)
    assert (refused.value.facts.code, refused.value.exit_code) == ("other-base", 6)


def test_a_pickled_checkpoint_is_refused(release: Written, tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "state.pt")
    place = tmp_path / "run/checkpoints/step-00000002"
    place.mkdir(parents=True)
    (tmp_path / "state.pt").rename(place / "state.pt")
    with pytest.raises(HostileError) as refused:
        align(settings(release.path, tmp_path / "run"))
    assert refused.value.exit_code == 8


def test_tissue_of_the_evaluation_stops_it_before_anything_is_built(release: Written, tmp_path: Path) -> None:
    leaky = write_small_release(tmp_path / "leaky", test_donors="train")
    run = tmp_path / "run"
    with pytest.raises(DataError) as refused:
        align(settings(leaky.path, run, encoder="no_such_encoder"))
    assert (refused.value.facts.code, refused.value.exit_code) == ("leakage", 5)
    assert not run.exists()
    with pytest.raises(DataError):
        align(settings(release.path, run, evaluation_groups=["kept_apart"]))
    with pytest.raises(UsageError, match="kept_apart"):
        align(settings(release.path, run, evaluation_groups=["kept_part"]))
    said: list[str] = []
    result = align(settings(leaky.path, run, allow_leakage=True, max_steps=1), say=said.append)
    assert result.leakage is not None
    assert result.leakage in said
    assert facts(run)["leakage"] == result.leakage == facts(run, "result.json")["leakage"]
    assert facts(run / "adapter", "adapter.json")["leakage"] == result.leakage


def test_a_loss_that_is_no_number_ends_the_run(release: Written, tmp_path: Path) -> None:
    config = settings(
        release.path, tmp_path / "run", learning_rate_heads=10.0, learning_rate_lora=10.0, clip_norm=1e30,
        weight_huber=1e6, warmup_share=0.0, max_steps=40,
    )  # fmt: skip
    with pytest.raises(DataError) as refused:
        align(config)
    assert (refused.value.facts.code, refused.value.exit_code) == ("training-diverged", 5)
    assert not (tmp_path / "run/adapter").exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sections_per_batch": 3}, "batch_size"),
        ({"release": ""}, "release"),
        ({"target_set": "plantet"}, "target_set"),
        ({"device": "cuda:99"}, "device"),
        ({"pathway_encoder": "token"}, "gene_sets"),
    ],
)
def test_settings_that_do_not_go_together_are_named(
    release: Written, tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    if field == "gene_sets":
        changes = {**changes, "target_set": None}
    with pytest.raises(UsageError) as refused:
        align(replace(settings(release.path, tmp_path / "run"), **changes))
    assert refused.value.facts.field == field
    assert not (tmp_path / "run").exists()


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["align", *arguments])
    return int(ended.value.code or 0)


def test_the_command_stops_at_sigterm_with_75_and_goes_on(
    release: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    config = written(tmp_path, settings(release.path, run, max_steps=100_000, epochs=100_000, save_every_steps=1000))

    def send() -> None:
        while not (run / "log.csv").exists() or len((run / "log.csv").read_bytes()) < 1000:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    code = command(str(config), "--set", "log_every_steps=1")
    sender.join()
    assert code == 75
    (saved,) = (run / "checkpoints").iterdir()
    assert "Run the same command again" in capsys.readouterr().err
    # Gone on with, it is stopped again at once: the first step of it follows the last.
    steps = [int(row["step"]) for row in log_of(run)]
    assert steps == list(range(int(saved.name.removeprefix("step-"))))


def test_the_command_tells_in_text_and_json(
    release: Written, unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path, settings(release.path, unbroken))
    assert command(str(config)) == 0
    assert "was finished before, 6 steps" in capsys.readouterr().out
    assert command(str(config), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["already_done"], told["steps"]) == ("stamp_train.align/1", True, 6)
    assert command(str(config), "--set", "lora_rank=2", "--json") == 2
    assert json.loads(capsys.readouterr().out)["code"] == "other-run"
    assert command(str(config), "--gpus", "2") == 2
    capsys.readouterr()
    assert command(str(config), "--print-sbatch", "--gpus", "4", "--set", "seed=3") == 0
    script = capsys.readouterr().out
    assert script.startswith("#!/bin/bash")
    assert f"align {config} --set seed=3" in script
    assert "--gpus-per-node=4" in script
    assert command(str(config), "--print-sbatch", "--gpus", "1", "--allow-leakage") == 0
    assert f"align {config} --set allow_leakage=true" in capsys.readouterr().out


def test_the_page_tells_every_setting_and_every_column_of_the_log(unbroken: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/align.md").read_text(encoding="utf-8")
    names = [field.name for field in fields(AlignConfig)] + list(log_of(unbroken)[0])
    assert [name for name in names if f"`{name}`" not in page and f"`{name}:" not in page] == []
