"""The loss: each term against a plain reference, what is masked gets no gradient, two ranks are as one."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.nn import functional

from stamp_train.config import AlignConfig
from stamp_train.losses import (
    Outputs,
    Truth,
    align_loss,
    anchor,
    info_nce,
    masked_huber,
    masked_pcc,
    near_neighbours,
    reliability_weights,
    soft_targets,
)
from tests.stamp_train import two_ranks

B, P, D = 12, 5, 8


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def batch(rng: np.random.Generator, n: int = B) -> tuple[torch.Tensor, torch.Tensor]:
    scores = torch.from_numpy(rng.normal(size=(n, P)).astype(np.float32))
    return scores, torch.from_numpy(rng.random((n, P)) > 0.3)


def unit(rng: np.random.Generator, n: int = B) -> torch.Tensor:
    return functional.normalize(torch.from_numpy(rng.normal(size=(n, D)).astype(np.float32)), dim=1)


def neighbours(n: int = B) -> torch.Tensor:
    """Pairs (0, 1) and (4, 7) are not compared."""
    allowed = torch.ones(n, n, dtype=torch.bool)
    for i, j in ((0, 1), (4, 7)):
        allowed[i, j] = allowed[j, i] = False
    return allowed


def naive_info_nce(logits: np.ndarray, targets: np.ndarray, allowed: np.ndarray) -> float:
    total = 0.0
    for direction in (logits, logits.T):
        for i in range(len(logits)):
            norm = math.log(sum(math.exp(direction[i, j]) for j in range(len(logits)) if allowed[i, j]))
            total -= sum(targets[i, j] * (direction[i, j] - norm) for j in range(len(logits)) if allowed[i, j])
    return total / (2 * len(logits))


def test_info_nce_is_the_cross_entropy_of_both_directions(rng) -> None:
    scores, valid = batch(rng)
    logits = 14.0 * unit(rng) @ unit(rng).T
    allowed = neighbours()
    targets = soft_targets(scores, valid, allowed, 0.2, 0.1)
    expected = naive_info_nce(logits.double().numpy(), targets.double().numpy(), allowed.numpy())
    assert info_nce(logits, targets, allowed).item() == pytest.approx(expected, rel=1e-5)


def test_hard_targets_are_clips_loss(rng) -> None:
    logits, ok, own = 14.0 * unit(rng) @ unit(rng).T, torch.ones(B, B, dtype=torch.bool), torch.arange(B)
    expected = (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
    assert info_nce(logits, torch.eye(B), ok).item() == pytest.approx(expected.item(), rel=1e-5)


def test_soft_targets_are_a_softmax_of_cosines_over_shared_pathways(rng) -> None:
    scores, valid = batch(rng)
    valid[3] = False
    allowed = neighbours()
    found = soft_targets(scores, valid, allowed, 0.2, 0.1).numpy()
    expected = np.zeros((B, B))
    for i in range(B):
        alike = {}
        for j in range(B):
            both = (valid[i] & valid[j]).numpy()
            x, y = scores[i].numpy()[both], scores[j].numpy()[both]
            size = np.linalg.norm(x) * np.linalg.norm(y)
            if allowed[i, j]:
                alike[j] = x @ y / size if size > 0 else 0.0
        share = special.softmax([value / 0.1 for value in alike.values()])
        expected[i, list(alike)] = 0.2 * share
        expected[i, i] += 0.8
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_masked_neighbours_get_no_gradient_and_do_not_count(rng) -> None:
    scores, valid = batch(rng)
    allowed = neighbours()
    targets = soft_targets(scores, valid, allowed, 0.2, 0.1)
    logits = (14.0 * unit(rng) @ unit(rng).T).requires_grad_()
    loss = info_nce(logits, targets, allowed)
    loss.backward()
    assert torch.equal(logits.grad == 0, ~allowed)
    changed = logits.detach().clone()
    changed[~allowed] = 1e4
    assert info_nce(changed, targets, allowed).item() == loss.item()


def test_neighbours_are_other_spots_of_the_section_within_the_radius() -> None:
    section = torch.tensor([0, 0, 0, 1, 0, 1])
    xy_um = torch.tensor([[0, 0], [100, 100], [200, 0], [0, 0], [math.nan, 0], [0, 0]], dtype=torch.float64)
    found = near_neighbours(section, xy_um, 150.0)
    pairs = {(i, j) for i, j in found.nonzero().tolist()}
    assert pairs == {(0, 1), (1, 0), (1, 2), (2, 1), (3, 5), (5, 3)}
    assert not near_neighbours(section, xy_um, 0.0).any()


def test_huber_is_scipys_over_measured_pathways(rng) -> None:
    scores, valid = batch(rng)
    predicted = torch.from_numpy(rng.normal(size=(B, P)).astype(np.float32) * 2)
    valid[:, 2] = False
    weights = torch.tensor([0.5, 1.0, 9.0, 0.1, 0.7])
    means = [
        weights[p].item() * special.huber(1.0, (predicted - scores)[valid[:, p], p].numpy()).mean()
        for p in (0, 1, 3, 4)
    ]
    assert masked_huber(predicted, scores, valid, weights).item() == pytest.approx(np.mean(means), rel=1e-5)


def test_pcc_is_scipys_over_measured_pathways(rng) -> None:
    scores, valid = batch(rng, 30)
    predicted = torch.from_numpy(rng.normal(size=(30, P)).astype(np.float32)) + 3
    valid[2:, 2] = False  # two spots
    valid[:, 1] = True
    scores[:, 1] = 0.7  # constant
    means = [1 - stats.pearsonr(predicted[valid[:, p], p], scores[valid[:, p], p]).statistic for p in (0, 3, 4)]
    assert masked_pcc(predicted, scores, valid).item() == pytest.approx(np.mean(means), rel=1e-4)


@pytest.mark.parametrize("term", ["huber", "pcc"])
def test_masked_pathways_get_no_gradient(rng, term: str) -> None:
    scores, valid = batch(rng)
    valid[:, 2] = False
    predicted = torch.from_numpy(rng.normal(size=(B, P)).astype(np.float32)).requires_grad_()

    def loss(values: torch.Tensor) -> torch.Tensor:
        return (
            masked_huber(predicted, values, valid, torch.ones(P))
            if term == "huber"
            else masked_pcc(predicted, values, valid)
        )

    first = loss(scores)
    first.backward()
    assert torch.equal(predicted.grad == 0, ~valid)
    changed = scores.clone()
    changed[~valid] = torch.nan
    assert loss(changed).item() == first.item()


def test_without_any_pathway_the_regression_is_zero_and_has_a_gradient() -> None:
    predicted, none = torch.zeros(B, P, requires_grad=True), torch.zeros(B, P, dtype=torch.bool)
    total = masked_huber(predicted, torch.ones(B, P), none, torch.ones(P)) + masked_pcc(
        predicted, torch.ones(B, P), none
    )
    total.backward()
    assert total.item() == 0
    assert bool((predicted.grad == 0).all())


def test_a_constant_prediction_has_a_finite_gradient(rng) -> None:
    scores, valid = batch(rng)
    predicted = torch.zeros(B, P, requires_grad=True)
    masked_pcc(predicted, scores, valid).backward()
    assert bool(torch.isfinite(predicted.grad).all())


def test_the_anchor_is_zero_in_place_and_one_across(rng) -> None:
    x = unit(rng)
    assert anchor(x, 3 * x).item() == pytest.approx(0, abs=1e-6)
    assert anchor(torch.eye(4), torch.eye(4).roll(1, 0)).item() == pytest.approx(1)
    assert anchor(x, None).item() == 0


def test_unreliable_pathways_count_a_little() -> None:
    assert reliability_weights(torch.tensor([0.5, 0.01, -1.0, math.nan])).tolist() == pytest.approx(
        [0.5, 0.1, 0.1, 0.1]
    )


def test_the_total_is_the_weighted_sum_of_the_terms(rng) -> None:
    scores, valid = batch(rng)
    config = AlignConfig(weight_contrast=2, weight_huber=3, weight_pcc=5, weight_library=7, weight_anchor=11)
    outputs = Outputs(unit(rng), unit(rng), unit(rng), unit(rng), scores.flip(0), torch.zeros(B), torch.tensor(14.0))
    truth = Truth(scores, valid, torch.ones(B), torch.arange(B) // 4, torch.rand(B, 2, dtype=torch.float64) * 1e3)
    terms = {name: term.item() for name, term in align_loss(outputs, truth, config, torch.ones(P)).items()}
    expected = sum(getattr(config, f"weight_{name}") * term for name, term in terms.items() if name != "total")
    assert terms["total"] == pytest.approx(expected, rel=1e-6)
    assert terms["library"] == pytest.approx(0.5)
    assert all(value > 0 for value in terms.values())


def test_spots_side_by_side_are_no_negatives_in_the_whole_loss(rng) -> None:
    scores, valid = batch(rng)
    outputs = Outputs(unit(rng), unit(rng), unit(rng), None, scores, torch.zeros(B), torch.tensor(14.0))
    apart = torch.arange(B, dtype=torch.float64).view(B, 1) * torch.tensor([[200.0, 0.0]], dtype=torch.float64)
    truth = Truth(scores, valid, torch.ones(B), torch.zeros(B, dtype=torch.int64), apart)
    far = align_loss(outputs, truth, AlignConfig(), torch.ones(P))["contrast"].item()
    near = align_loss(outputs, truth._replace(xy_um=apart / 2), AlignConfig(), torch.ones(P))["contrast"].item()
    wide = align_loss(outputs, truth, AlignConfig(near_um=250.0), torch.ones(P))["contrast"].item()
    assert near == wide < far
    allowed = (torch.arange(B).view(B, 1) - torch.arange(B)).abs() != 1
    logits = 14.0 * outputs.image.double() @ outputs.pathway.double().T
    targets = soft_targets(scores, valid, allowed, 0.2, 0.1).double()
    assert near == pytest.approx(naive_info_nce(logits.numpy(), targets.numpy(), allowed.numpy()), rel=1e-5)


def test_two_ranks_are_as_one_with_the_whole_batch(tmp_path: Path) -> None:
    """Loss and gradients of two gloo ranks against one process, within 1e-5 of the largest: all is float32."""
    loss, gradients = two_ranks.step(two_ranks.model(), slice(None))
    store = tmp_path / "store"
    command = [sys.executable, "-m", "tests.stamp_train.two_ranks", str(store)]
    other = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        loss_of_two, gradients_of_two = two_ranks.as_rank(0, store)
    finally:
        assert other.wait(timeout=60) == 0
    assert loss_of_two == pytest.approx(loss, rel=1e-5)
    assert gradients.keys() == gradients_of_two.keys()
    for name, expected in gradients.items():
        assert torch.allclose(gradients_of_two[name], expected, atol=1e-5 * max(1.0, expected.abs().max().item())), name
    assert sum(bool((gradient != 0).any()) for gradient in gradients.values()) > 10
