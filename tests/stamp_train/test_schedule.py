"""Learning rates: up in a line, down along a cosine, each group along its own curve, resumed or not."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from humanst.errors import UsageError
from stamp_train.config import AlignConfig
from stamp_train.schedule import rate_factor, set_rates


def test_it_rises_in_a_line_and_falls_along_torchs_cosine() -> None:
    steps, end = 200, 0.01
    found = [rate_factor(step, steps, 0.1, end) for step in range(steps + 1)]
    np.testing.assert_allclose(found[:20], np.arange(1, 21) / 20)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=180, eta_min=end)
    expected = []
    for _ in range(181):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()
    np.testing.assert_allclose(found[20:], expected, atol=1e-9)


@given(st.integers(1, 500), st.floats(0, 1), st.floats(0, 1))
def test_it_never_leaves_its_bounds_and_never_turns_back(steps: int, share: float, end: float) -> None:
    found = [rate_factor(step, steps, share, end) for step in range(steps + 5)]
    assert all(0 <= factor <= 1 + 1e-12 for factor in found)
    warm = round(steps * share)
    assert all(a < b for a, b in pairwise(found[:warm]))
    assert all(a >= b - 1e-12 for a, b in pairwise(found[warm:]))
    assert found[steps:] == [end] * 5
    assert all(factor > 0 for factor in found[: max(warm, 1)])
    assert not warm or found[warm - 1] == 1


@pytest.mark.parametrize("wrong", [(-1, 10, 0.1, 0), (0, 0, 0.1, 0), (0, 10, 1.5, 0), (0, 10, 0.1, -1), (0, 1, 0, 2)])
def test_what_is_no_schedule_is_refused(wrong: tuple) -> None:
    with pytest.raises(UsageError):
        rate_factor(*wrong)


def adam(*rates: float) -> torch.optim.AdamW:
    return torch.optim.AdamW([{"params": [torch.nn.Parameter(torch.zeros(2))], "lr": rate} for rate in rates])


def test_groups_reach_their_own_height_and_the_same_end() -> None:
    config = AlignConfig(warmup_share=0.2, learning_rate_end=1e-6)
    optimizer = adam(1e-4, 3e-4, 0.0, 1e-7)
    seen = np.array([set_rates(optimizer, step, 50, config) for step in range(51)])
    assert [group["lr"] for group in optimizer.param_groups] == seen[-1].tolist()
    np.testing.assert_allclose(seen[9:11], [[1e-4, 3e-4, 0, 1e-7]] * 2)
    np.testing.assert_allclose(seen[-1], [1e-6, 1e-6, 0, 1e-7])
    np.testing.assert_allclose(seen[30, :2], [(1e-4 + 1e-6) / 2, (3e-4 + 1e-6) / 2])
    np.testing.assert_allclose(seen[0], [1e-5, 3e-5, 0, 1e-8])
    assert math.isclose(seen[5, 1] / seen[5, 0], 3)


def test_a_resumed_optimiser_goes_on_along_the_same_curve() -> None:
    config = AlignConfig(warmup_share=0.1)
    unbroken, broken = adam(1e-4, 3e-4), adam(1e-4, 3e-4)
    for step in range(30):
        set_rates(unbroken, step, 60, config)
    for step in range(17):
        set_rates(broken, step, 60, config)
    fresh = adam(1e-4, 3e-4)
    fresh.load_state_dict(broken.state_dict())
    for step in range(17, 30):
        set_rates(fresh, step, 60, config)
    assert [group["lr"] for group in fresh.param_groups] == [group["lr"] for group in unbroken.param_groups]
