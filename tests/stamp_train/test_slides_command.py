"""``stamp-train slides`` from the command line to the files it leaves."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from stamp_train.cli import main
from stamp_train.slides.abmil import ABMIL
from stamp_train.slides.bags import read_features
from tests.stamp_train.slide_cohort import Made, make_cohort

QUICK = ["--seeds", "2", "--epochs", "2", "--bootstrap", "100", "--device", "cpu"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_cohort(tmp_path_factory.mktemp("cohort"), {"train": 24, "val": 12, "test": 20, "external_b": 6})


def arguments(made: Made, out: Path, task: str = "er") -> list[str]:
    tables = ["--labels", str(made.labels), "--splits", str(made.splits)]
    return ["slides", "--task", task, "--features", str(made.features), *tables, "--out", str(out), *QUICK]


def call(*given: str) -> int:
    torch.set_num_threads(1)
    with pytest.raises(SystemExit) as ended:
        main(list(given))
    return int(ended.value.code or 0)


def test_the_command_from_end_to_end(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "stamp_train", *arguments(made, out), "--json"]
    # Threads that wait for each other at so small a model take longer than one alone.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed.pop("out") == str(out)
    assert printed == json.loads((out / "slides.json").read_text())
    assert printed["schema"] == "stamp_train.slides/1"
    assert printed["model"]["n_parameters"] == 16 * 512 + 512 + 512 * 128 + 128 + 128 + 1 + 512 * 2 + 2
    assert printed["inputs"]["n_bags"] == {"external_b": 6, "test": 20, "train": 24, "val": 12}
    test, external = printed["cohorts"]
    assert test["interval"]["unit"] == "patient"
    assert external["interval"] is None
    assert any("share one split and one test set" in note for note in printed["notes"])
    assert any("external_b: too few patients (6)" in note for note in printed["notes"])
    _figures_follow_from_predictions(printed, out)
    _weights_give_the_predictions(made, out)


def _figures_follow_from_predictions(printed: dict, out: Path) -> None:
    with (out / "predictions.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    with (out / "slides.csv").open() as handle:
        lines = list(csv.DictReader(handle))
    for figures, line in zip(printed["cohorts"], lines, strict=True):
        for seed, value in enumerate(figures["by_seed"]):
            mine = [row for row in rows if row["split"] == figures["cohort"] and row["seed"] == str(seed)]
            assert len(mine) == figures["n_bags"]
            truth = [row["label"] == "positive" for row in mine]
            assert roc_auc_score(truth, [float(row["p_positive"]) for row in mine]) == pytest.approx(value)
            assert float(line[f"seed_{seed}"]) == value
        assert figures["mean"] == pytest.approx(np.mean(figures["by_seed"]))
        assert float(line["mean"]) == figures["mean"]
    assert {row["split"] for row in rows} == {"val", "test", "external_b"}


def _weights_give_the_predictions(made: Made, out: Path) -> None:
    with (out / "predictions.csv").open() as handle:
        row = next(row for row in csv.DictReader(handle) if row["seed"] == "1" and row["split"] == "external_b")
    path = out / "weights" / "seed-1.safetensors"
    model = ABMIL(16, 2).eval()
    model.load_state_dict(load_file(path))
    slide = row["bag"].removeprefix("p_")
    with torch.no_grad():
        outputs = model(torch.from_numpy(read_features(made.features / f"{slide}.h5")))
    assert float(torch.softmax(outputs, 0)[1]) == pytest.approx(float(row["p_positive"]), abs=1e-5)
    with safe_open(path, "pt") as handle:
        assert json.loads(handle.metadata()["task"])["classes"] == ["negative", "positive"]


def test_what_an_encoder_was_trained_on_is_told_and_two_encoders_are_not_mixed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_cohort(tmp_path / "cohort", {"train": 6, "val": 4, "test": 4})
    encoder = {"weights_sha256": "a" * 64, "adapter": {"leakage": "B4 was trained on.", "before": None}}
    files = sorted(made.features.iterdir())
    for path in files:
        with h5py.File(path, "a") as file:
            file.attrs["humanst"] = json.dumps({"encoder": encoder})
    assert call(*arguments(made, tmp_path / "out"), "--json") == 0
    assert "LEAKAGE at training: B4 was trained on." in json.loads(capsys.readouterr().out)["notes"]
    with (tmp_path / "out/slides.csv").open(newline="") as file:
        assert all("LEAKAGE at training: B4" in line["notes"] for line in csv.DictReader(file))
    with h5py.File(files[-1], "a") as file:
        file.attrs["humanst"] = json.dumps({"encoder": {**encoder, "weights_sha256": "b" * 64}})
    assert call(*arguments(made, tmp_path / "mixed"), "--json") == 5
    assert json.loads(capsys.readouterr().out)["code"] == "features-encoders"
    assert not (tmp_path / "mixed").exists()


def test_survival_as_a_table(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert call(*arguments(made, out, "survival"), "--model", "abmil-gated") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0].split()[:4] == ["cohort", "bags", "patients", "C-index"]
    assert "test set" in printed.err
    content = json.loads((out / "slides.json").read_text())
    assert content["model"]["name"] == "abmil-gated"
    assert content["model"]["n_outputs"] == 4
    assert content["training"]["patience"] is None
    assert (out / "predictions.csv").read_text().startswith("seed,bag,patient_id,split,label,time,risk\n")


@pytest.mark.parametrize(
    ("change", "exit_code", "code"),
    [
        (lambda made: made.edit_labels(lambda table: table.assign(er="positive")), 5, "single-class"),
        (lambda made: made.edit_splits(lambda table: table.iloc[1:]), 5, "slides-unknown"),
        (lambda made: made.edit_labels(lambda table: table.assign(patient_id="one")), 5, "leakage"),
        (lambda made: (made.features / "val_001.h5").write_bytes(b"no HDF5"), 6, "features-unreadable"),
    ],
)
def test_bad_input_ends_with_its_code_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change, exit_code: int, code: str
) -> None:
    made, out = make_cohort(tmp_path, {"train": 4, "val": 4, "test": 4}), tmp_path / "out"
    change(made)
    assert call(*arguments(made, out), "--json") == exit_code
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert (told["schema"], told["code"], told["exit_code"]) == ("humanst.error/1", code, exit_code)
    assert printed.err.startswith("error: ")
    assert not out.exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["slides"], "--task"),
        (["slides", "--task", "er", "--seeds", "0"], "--seeds"),
        (["slides", "--task", "er", "--features", "/nowhere"], "/nowhere"),
    ],
)
def test_usage_errors(given: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*given, "--json") == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert json.loads(printed.out)["exit_code"] == 2


def test_options_that_do_not_fit_are_usage_errors(made: Made, tmp_path: Path) -> None:
    given = arguments(made, tmp_path / "out")
    assert call(*given, "--task", "er2") == 2
    assert call(*given, "--time-column", "time") == 2
    assert call(*given, "--device", "abacus") == 2


def test_the_tasks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("slides", "--list-tasks", "--json") == 0
    tasks = json.loads(capsys.readouterr().out)["tasks"]
    assert next(task for task in tasks if task["name"] == "idh")["classes"]["mutant"]
    assert call("slides", "--list-tasks") == 0
    assert "napsin_a: Napsin A by IHC, lung (negative | positive)" in capsys.readouterr().out
