"""ABMIL itself, and that training finds a planted signal and nothing in permuted labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stamp_train.slides.abmil import ABMIL, n_parameters
from stamp_train.slides.evaluate import evaluate
from stamp_train.slides.tasks import task_named
from stamp_train.slides.training import Settings
from tests.stamp_train.slide_cohort import Made, make_cohort

SHORT = Settings(epochs=6, patience=2)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    sizes = {"train": 32, "val": 32, "test": 100, "external_far": 20}
    return make_cohort(tmp_path_factory.mktemp("cohort"), sizes)


def run(made: Made, task: str = "er", *, settings: Settings | None = None, **options):
    given = {"seeds": [0, 1], "resamples": 200, **options}
    return evaluate(
        task_named(task),
        [made.features],
        made.labels,
        made.splits,
        settings or SHORT,
        **given,
    )


@pytest.mark.parametrize(("d", "c"), [(1280, 2), (2560, 4), (16, 5)])
def test_the_parameters_are_those_of_the_protocol(d: int, c: int) -> None:
    expected = d * 512 + 512 + 512 * 128 + 128 + 128 + 1 + 512 * c + c
    assert n_parameters(ABMIL(d, c)) == expected
    assert n_parameters(ABMIL(d, c, gated=True)) == expected + 512 * 128 + 128


@pytest.mark.parametrize("gated", [False, True])
def test_the_output_is_the_formula(gated: bool) -> None:
    torch.manual_seed(0)
    model = ABMIL(8, 3, gated=gated).eval()
    state = {name: values.double().numpy() for name, values in model.state_dict().items()}
    features = torch.randn(11, 8)
    hidden = np.maximum(features.double().numpy() @ state["embed.0.weight"].T + state["embed.0.bias"], 0)
    branch = np.tanh(hidden @ state["attend.0.weight"].T + state["attend.0.bias"])
    if gated:
        branch = branch / (1 + np.exp(-(hidden @ state["gate.0.weight"].T + state["gate.0.bias"])))
    scores = np.exp(branch @ state["weigh.weight"][0] + state["weigh.bias"])
    expected = (scores / scores.sum()) @ hidden @ state["head.weight"].T + state["head.bias"]
    with torch.no_grad():
        assert model(features).numpy() == pytest.approx(expected, abs=1e-5)
        assert model(features.flip(0)).numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("gated", [False, True])
def test_a_planted_signal_is_found_and_holds_in_another_cohort(made: Made, gated: bool) -> None:
    result = run(made, settings=replace(SHORT, gated=gated), seeds=[0])
    test, external = result.figures
    assert (test.cohort, external.cohort) == ("test", "external_far")
    assert min(test.by_seed) > 0.9
    assert min(external.by_seed) > 0.9
    assert test.interval.low <= test.mean <= test.interval.high
    assert abs(test.patches_alone - 0.5) < 0.15


def test_permuted_labels_are_chance(made: Made, tmp_path: Path) -> None:
    means = []
    for seed in range(3):
        labels = tmp_path / f"labels_{seed}.csv"
        permuted = Made(made.features, labels, made.splits)
        labels.write_bytes(made.labels.read_bytes())
        rng = np.random.default_rng(seed)
        permuted.edit_labels(lambda table, rng=rng: table.assign(er=rng.permutation(table["er"])))
        means.append(run(permuted, seeds=[seed]).figures[0].mean)
    assert abs(np.mean(means) - 0.5) < 0.1


def test_survival_finds_the_signal(made: Made) -> None:
    result = run(made, "survival", settings=Settings(epochs=3, patience=None, learning_rate=1e-3), seeds=[0])
    assert result.metric == "C-index"
    assert result.runs[0].weights["head.weight"].shape[0] == 4
    assert min(result.figures[0].by_seed) > 0.65  # mean times 3 and 100: knowing which gives about .73


def test_the_same_seed_gives_the_same_result_and_another_one_does_not(made: Made, tmp_path: Path) -> None:
    short = Settings(epochs=1)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = run(made, settings=short)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    turned = Made(made.features, tmp_path / "labels.csv", made.splits)
    turned.labels.write_bytes(made.labels.read_bytes())
    turned.edit_labels(lambda table: table.iloc[::-1])  # the order of rows means nothing
    again = run(turned, settings=short, memory_bytes=0)
    for one, other in zip(first.runs, again.runs, strict=True):
        assert np.array_equal(one.predictions, other.predictions, equal_nan=True)
    assert not np.array_equal(first.runs[0].predictions, first.runs[1].predictions, equal_nan=True)
    assert first.bags.sha256 == again.bags.sha256


def test_the_weights_of_the_best_epoch_are_kept_and_no_gain_stops(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """A validation metric that is best at the second epoch: its weights are kept, and three epochs later it ends."""
    from stamp_train.slides import objectives, training

    values = iter([0.6, 0.8, 0.8, 0.7, 0.1, 0.9, 0.9])
    seen: list[float] = []
    states: list[np.ndarray] = []
    predict = training.predict

    def spy(model, *rest):
        states.append(model.head.weight.detach().numpy().copy())
        return predict(model, *rest)

    def measured(self, predictions, bags):
        seen.append(next(values))
        return seen[-1]

    monkeypatch.setattr(training, "predict", spy)
    monkeypatch.setattr(objectives.Classification, "measure", measured)
    from stamp_train.slides.bags import open_bags
    from stamp_train.slides.data import read_cohort

    cohort = read_cohort(made.labels, made.splits, task_named("er"))
    labels = np.array([label == "positive" for label in cohort.labels], np.int64)
    rows = tuple(cohort.rows(name) for name in ("train", "val", "test"))
    trained = training.train_seed(
        open_bags([made.features], cohort), objectives.Classification(labels, 2), rows,
        Settings(epochs=50, patience=3), seed=0,
    )  # fmt: skip
    assert seen == [0.6, 0.8, 0.8, 0.7, 0.1]
    assert (trained.best_epoch, trained.epochs, trained.validation) == (2, 5, 0.8)
    assert np.array_equal(trained.weights["head.weight"].numpy(), states[1])
    assert np.array_equal(states[5], states[1])
    assert not np.array_equal(states[4], states[1])
    assert np.isnan(trained.predictions[rows[0]]).all()
    assert np.isfinite(trained.predictions[rows[2]]).all()
