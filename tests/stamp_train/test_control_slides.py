"""Arms by a slide-level task: AUCs are scikit-learn's, differences are paired over patients, few patients have none."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import roc_auc_score

from humanst.errors import DataError, UsageError
from stamp_train.cli import stamp_train
from stamp_train.config import AlignConfig
from stamp_train.control_slides import SlideTier, check_slides, predict, slide_rows, slides_in
from stamp_train.control_tiers import Tiers
from stamp_train.controls import run_controls
from stamp_train.embed_work import Settings as EmbedSettings
from stamp_train.frozen import Frozen
from stamp_train.slides.tasks import task_named
from tests.stamp_train.small import tiny_encoder

N_TRAINED, N_SEEDS = 8, 3


def tier(folder: Path, n_tested: int) -> tuple[SlideTier, np.ndarray, np.ndarray]:
    """A cohort of two classes, one slide a patient; which rows are tested, and their labels."""
    n = N_TRAINED + n_tested
    labels = np.arange(n) % 2
    names = [f"s{number:02d}" for number in range(n)]
    splits = ["train" if number < 4 else "val" if number < N_TRAINED else "test" for number in range(n)]
    rows = [f"{name},p{name},{'yes' if label else 'no'}" for name, label in zip(names, labels, strict=True)]
    (folder / "labels.csv").write_text("\n".join(["slide_id,patient_id,mutated", *rows]) + "\n")
    rows = [f"{name},{split}" for name, split in zip(names, splits, strict=True)]
    (folder / "splits.csv").write_text("\n".join(["slide_id,split", *rows]) + "\n")
    task = replace(task_named("classification"), column="mutated")
    made = SlideTier(task, (), folder / "labels.csv", folder / "splits.csv", N_SEEDS)
    return made, np.arange(N_TRAINED, n), labels


def drawn(labels: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """(seeds, n, 2) probabilities that know the label as well as ``strength`` says; some patients are hard for all."""
    rng, hard = np.random.default_rng(seed), np.random.default_rng(99).normal(size=len(labels))
    logit = strength * (labels - 0.5) + 0.3 * rng.normal(size=(N_SEEDS, len(labels))) + 1.5 * hard
    second = 1 / (1 + np.exp(-logit))
    return np.stack([1 - second, second], axis=2)


def test_aucs_and_their_paired_differences_are_those_of_a_slow_reference(tmp_path: Path) -> None:
    made, rows, labels = tier(tmp_path, 40)
    predictions = {
        "frozen": [drawn(labels, 0.5, 0)],
        "aligned": [drawn(labels, 2.5, 1), drawn(labels, 2.5, 2)],
        "shuffled": [drawn(labels, 0.5, 3)],
    }
    table = {row["arm"]: row for row in slide_rows(predictions, made)}
    assert set(table) == set(predictions)

    def auc(arm: str, chosen: np.ndarray) -> float:
        every = np.concatenate(predictions[arm])
        return float(np.mean([roc_auc_score(labels[chosen], one[chosen, 1]) for one in every]))

    for arm, row in table.items():
        assert row["mean"] == pytest.approx(auc(arm, rows))
        assert (row["part"], row["n_donors"], row["n_units"]) == ("test", 40, 40)

    def quick(arm: str, chosen: np.ndarray) -> float:
        second = np.concatenate(predictions[arm])[:, chosen, 1]
        yes, no = second[:, labels[chosen] == 1], second[:, labels[chosen] == 0]
        return float((yes[:, :, None] > no[:, None, :]).mean() + (yes[:, :, None] == no[:, None, :]).mean() / 2)

    assert quick("aligned", rows) == pytest.approx(auc("aligned", rows))
    rng, differences = np.random.default_rng(5), []
    while len(differences) < 1000:
        chosen = rng.choice(rows, len(rows))
        if len(set(labels[chosen])) == 2:
            differences.append(quick("aligned", chosen) - quick("frozen", chosen))
    low, high = np.quantile(differences, [0.025, 0.975])
    row = table["aligned"]
    assert row["minus_frozen_mean"] == pytest.approx(auc("aligned", rows) - auc("frozen", rows))
    assert [row["minus_frozen_low"], row["minus_frozen_high"]] == pytest.approx([low, high], abs=0.1 * (high - low))
    assert table["shuffled"]["aligned_minus_mean"] == pytest.approx(auc("aligned", rows) - auc("shuffled", rows))
    assert math.isnan(table["frozen"]["minus_frozen_mean"])
    assert table["aligned"]["n_seeds"] == 2


def test_few_patients_have_no_interval(tmp_path: Path) -> None:
    made, _, labels = tier(tmp_path, 6)
    found = list(slide_rows({"frozen": [drawn(labels, 1, 0)], "aligned": [drawn(labels, 1, 1)]}, made))
    assert {row["note"] for row in found} == {"too few patients"}
    assert all(math.isnan(row["low"]) for row in found)
    assert found[1]["minus_frozen_note"] == "too few patients"


def test_what_a_slide_task_needs_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.svs").touch()
    (tmp_path / "a.tif").touch()
    with pytest.raises(UsageError, match="no folder of slides"):
        slides_in(tmp_path)
    (tmp_path / "align.yaml").write_text("{}")
    arguments = ["controls", str(tmp_path / "align.yaml"), "-o", str(tmp_path / "out"), "--slides", str(tmp_path)]
    found = CliRunner().invoke(stamp_train, arguments, standalone_mode=False).exception
    assert isinstance(found, UsageError)
    assert found.facts.field == "--slide-task, --slide-labels, --slide-splits"


def test_features_of_slides_that_are_not_given_are_not_used(tmp_path: Path) -> None:
    made, _, labels = tier(tmp_path, 8)
    folder = tmp_path / "features"
    folder.mkdir()
    for number in range(len(labels)):
        with h5py.File(folder / f"s{number:02d}.h5", "w") as file:
            file["features"] = np.random.default_rng(number).normal(size=(3, 4)).astype(np.float32)
            file["coords"] = np.zeros((3, 2), dtype=np.int64)
    frozen = Frozen.of(tiny_encoder(), "base")
    # Whatever encoder made them: without the images nobody knows that they are these slides as this encoder sees them.
    with pytest.raises(DataError) as caught:
        predict(frozen, made, folder, EmbedSettings(), lambda step, done, total: None)
    assert caught.value.facts.code == "features-missing"
    assert list(folder.iterdir()) == []


def test_slides_are_looked_at_before_anything_is_trained(tmp_path: Path) -> None:
    made, _, labels = tier(tmp_path, 8)
    images = tmp_path / "slides"
    images.mkdir()
    for number in range(len(labels) - 1):
        (images / f"s{number:02d}.svs").touch()
    config = AlignConfig(release=str(tmp_path / "none"))
    with pytest.raises(DataError) as caught:
        run_controls(config, tmp_path / "out", Tiers(), slides=replace(made, images=slides_in(images)))
    assert (caught.value.facts.code, caught.value.facts.found) == ("slides-missing", f"s{len(labels) - 1}")
    (images / f"s{len(labels) - 1}.svs").touch()
    whole = replace(made, images=slides_in(images))
    check_slides(whole)
    whole.labels.write_text(whole.labels.read_text().replace(",no", ",yes"))
    with pytest.raises(DataError) as caught:
        run_controls(config, tmp_path / "out", Tiers(), slides=whole)
    assert caught.value.facts.code == "single-class"
    assert not (tmp_path / "out").exists()
