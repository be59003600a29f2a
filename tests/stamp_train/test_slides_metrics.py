"""AUC, C-index and their patient bootstrap against naive loops and scikit-learn; the survival likelihood by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score

from humanst.errors import DataError
from stamp_train.slides.objectives import Classification
from stamp_train.slides.pairs import (
    Pairs,
    _shares,
    concordance_index,
    pairs_in_order,
    patient_interval,
    survival_pairs,
)
from stamp_train.slides.survival import Survival


def naive_concordance(times, seen, risks) -> float:
    """Harrell's C one unordered pair at a time: who is known to have died first, and was that one's risk higher?"""
    right = known = 0.0
    for a in range(len(times)):
        for b in range(a + 1, len(times)):
            first = None
            if times[a] == times[b]:
                if seen[a] != seen[b]:
                    first, last = (a, b) if seen[a] else (b, a)
            else:
                first, last = (a, b) if times[a] < times[b] else (b, a)
                if not seen[first]:
                    first = None
            if first is not None:
                known += 1
                right += 0.5 if risks[first] == risks[last] else float(risks[first] > risks[last])
    return right / known


@pytest.mark.parametrize("seed", range(8))
def test_concordance_equals_a_naive_count_with_ties_in_times_and_risks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 50
    times, seen = rng.integers(1, 15, n).astype(float), rng.random(n) < 0.6
    risks = rng.integers(0, 8, n).astype(float)
    assert concordance_index(times, seen, risks) == pytest.approx(naive_concordance(times, seen, risks), abs=1e-12)


def test_concordance_knows_right_from_wrong_and_nothing_from_none() -> None:
    times, seen = np.array([1.0, 2.0, 3.0]), np.array([True, True, False])
    assert concordance_index(times, seen, -times) == 1.0
    assert concordance_index(times, seen, times) == 0.0
    assert concordance_index(times, seen, np.zeros(3)) == 0.5
    assert np.isnan(concordance_index(times, np.zeros(3, bool), times))


@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_pairs_give_scikit_learns_auc_averaged_over_seeds(n_classes: int) -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, n_classes, 60)
    objective = Classification(labels, n_classes)
    scores = np.round(rng.dirichlet(np.ones(n_classes), size=(3, 60)), 1)  # rounded: ties
    scores /= scores.sum(axis=-1, keepdims=True)
    if n_classes == 2:
        expected = [roc_auc_score(labels, one[:, 1]) for one in scores]
    else:
        expected = [roc_auc_score(labels, one, multi_class="ovr", average="macro") for one in scores]
    rows = np.arange(60)
    assert [objective.measure(one, rows) for one in scores] == pytest.approx(expected)
    shares = [part.share for part in objective.pairs(scores, rows)]
    assert np.mean(shares) == pytest.approx(np.mean(expected))


def test_a_resample_weighs_pairs_as_repeated_rows_do() -> None:
    rng = np.random.default_rng(2)
    labels, scores = rng.integers(0, 2, 40), rng.normal(size=40)
    patients = rng.permutation(np.repeat(np.arange(20), 2))
    part = Classification(labels, 2).pairs(np.stack([-scores, scores], axis=1)[None], np.arange(40))
    for _ in range(5):
        drawn = rng.integers(0, 20, 20)
        counts = np.bincount(drawn, minlength=20)[patients]
        rows = np.concatenate([np.flatnonzero(patients == patient) for patient in drawn])
        assert _shares(part, counts[None])[0] == pytest.approx(roc_auc_score(labels[rows], scores[rows]))


def test_the_interval_is_that_of_scipys_bootstrap() -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], 60)
    scores = rng.normal(size=120) + labels
    part = Classification(labels, 2).pairs(np.stack([-scores, scores], axis=1)[None], np.arange(120))
    ours = patient_interval(part, np.arange(120), seed=0, resamples=3000)

    def naive(drawn) -> float:
        positive, negative = scores[drawn][labels[drawn] == 1], scores[drawn][labels[drawn] == 0]
        return np.mean(positive[:, None] > negative)

    theirs = bootstrap(
        (np.arange(120),), naive, vectorized=False, n_resamples=3000, method="percentile", rng=np.random.default_rng(4)
    )
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.015)
    assert ours.low < roc_auc_score(labels, scores) < ours.high
    assert ours.resamples == 3000


def test_slides_of_one_patient_count_as_one_draw() -> None:
    """Each patient ten times over: the interval stays as wide as that of the patients."""
    rng = np.random.default_rng(5)
    labels, scores = np.repeat([0, 1], 15), rng.normal(size=30) + np.repeat([0, 1], 15)
    few = _interval(labels, scores, np.arange(30))
    many = _interval(np.repeat(labels, 10), np.repeat(scores, 10), np.repeat(np.arange(30), 10))
    alone = _interval(np.repeat(labels, 10), np.repeat(scores, 10), np.arange(300))
    assert (many.low, many.high) == pytest.approx((few.low, few.high))
    assert alone.high - alone.low < 0.5 * (few.high - few.low)


def _interval(labels, scores, patients):
    part = Classification(labels, 2).pairs(np.stack([-scores, scores], axis=1)[None], np.arange(len(labels)))
    return patient_interval(part, patients, seed=0, resamples=500)


def test_too_few_patients_have_no_interval() -> None:
    labels, scores = np.array([0, 1] * 5), np.arange(10.0)
    assert _interval(labels, scores, np.array([0, 1, 2, 3, 4, 5, 6, 0, 1, 2])) is None
    assert _interval(labels, scores, np.array([0, 1, 2, 3, 4, 5, 6, 7, 1, 2])) is not None


def test_a_class_too_rare_to_draw_has_no_interval() -> None:
    comparable = np.zeros((8, 8), bool)
    comparable[0, 1] = True  # drawn together in about 40 % of resamples
    part = Pairs(comparable, comparable.astype(float))
    assert patient_interval([part], np.arange(8), seed=0, resamples=500) is None


def survival(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return Survival(rng.exponential(10, n), rng.random(n) < 0.7, np.arange(n))


def test_the_likelihood_is_that_of_the_hazards_and_sums_to_one() -> None:
    objective = survival()
    outputs = torch.tensor([0.3, -1.0, 0.5, 0.1], dtype=torch.float64)
    hazards = 1 / (1 + np.exp(-outputs.numpy()))
    for bag in range(40):
        y = int(objective.bins[bag])
        lived = np.prod(1 - hazards[:y])
        expected = lived * hazards[y] if objective.seen[bag] else lived * (1 - hazards[y])
        assert float(objective.loss(outputs, bag)) == pytest.approx(-np.log(expected))
    lived = np.concatenate([[1.0], np.cumprod(1 - hazards)])
    assert float(objective.predict(outputs[None])[0, 0]) == pytest.approx(-lived[1:].sum())
    assert {int(y) for y in objective.bins} == {0, 1, 2, 3}


def test_the_likelihood_stays_finite_where_probabilities_do_not() -> None:
    objective = survival()
    for size in (-300.0, 300.0):
        outputs = torch.full((4,), size, requires_grad=True)
        losses = torch.stack([objective.loss(outputs, bag) for bag in range(40)])
        losses.sum().backward()
        assert torch.isfinite(losses).all()
        assert torch.isfinite(outputs.grad).all()


def test_the_bins_come_from_training_alone() -> None:
    rng = np.random.default_rng(6)
    times, seen = rng.exponential(10, 60), np.ones(60, bool)
    before = Survival(times, seen, np.arange(40)).edges
    times[40:] *= 1000
    assert np.array_equal(Survival(times, seen, np.arange(40)).edges, before)
    assert before == pytest.approx(np.quantile(times[:40], [0.25, 0.5, 0.75]))


def test_too_few_events_are_refused() -> None:
    seen = np.zeros(20, bool)
    seen[:3] = True
    with pytest.raises(DataError) as caught:
        Survival(np.arange(20.0), seen, np.arange(20))
    assert caught.value.facts.code == "too-few-events"


def test_pairs_can_be_compared_one_way_only() -> None:
    rng = np.random.default_rng(7)
    comparable = survival_pairs(rng.integers(1, 6, 30).astype(float), rng.random(30) < 0.5)
    assert not (comparable & comparable.T).any()
    assert not np.diag(comparable).any()
    assert pairs_in_order(comparable, np.zeros(30)).share == 0.5
