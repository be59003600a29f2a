"""A run that is stopped after any batch and resumed gives what the unbroken run gives."""

from __future__ import annotations

import json
from itertools import islice
from types import ModuleType
from typing import Any

import pytest

from humanst.errors import UsageError
from humanst.load import EpochSampler, PairDataset, PairStream, dataloader

WAYS: dict[str, dict[str, Any]] = {
    "rows": {"batch_size": 4},
    "stream": {"batch_size": 4, "stream": True},
    "balanced": {"batch_size": 4, "balance": "platform"},
    "slides": {"slides": {"slides": 2, "per_slide": 2, "single_slide": 0.5}},
}


def keys(batches: Any) -> list[list[str]]:
    return [batch["key"] for batch in batches]


def made(release: Any, way: str, workers: int = 0, **options: Any) -> Any:
    return dataloader(release.path, workers=workers, seed=5, **WAYS[way], **options)


def over_json(state: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(state))


@pytest.mark.parametrize("way", WAYS)
def test_stopped_anywhere_the_rest_is_that_of_the_unbroken_run(
    torch: ModuleType, uneven_release: Any, way: str
) -> None:
    loader = made(uneven_release, way)
    unbroken = [keys(loader) for _ in range(3)]
    assert unbroken[0] != unbroken[1]
    for stop in range(len(unbroken[1]) + 1):
        first = made(uneven_release, way)
        first.set_epoch(1)
        given = keys(islice(iter(first), stop))
        second = made(uneven_release, way)
        second.load_state_dict(over_json(first.state_dict()))
        rest = keys(second)
        if stop == len(unbroken[1]):
            assert rest == unbroken[2], "after a whole epoch comes the next"
        else:
            assert given + rest == unbroken[1]
            assert keys(second) == unbroken[2]


@pytest.mark.parametrize("way", ["rows", "stream", "slides"])
@pytest.mark.parametrize(("before", "after"), [(2, 1), (0, 2)])
def test_the_number_of_workers_may_change(
    torch: ModuleType, uneven_release: Any, way: str, before: int, after: int
) -> None:
    unbroken = keys(made(uneven_release, way))
    first = made(uneven_release, way, before)
    batches = iter(first)
    given = keys(islice(batches, 4))
    state = over_json(first.state_dict())
    second = made(uneven_release, way, after)
    second.load_state_dict(state)
    assert given + keys(second) == unbroken
    assert given + keys(batches) == unbroken, "asking for the state disturbs nothing"


def test_a_resumed_run_can_be_stopped_and_resumed_again(torch: ModuleType, uneven_release: Any) -> None:
    for way in WAYS:
        unbroken = keys(made(uneven_release, way))
        given: list[list[str]] = []
        state = made(uneven_release, way).state_dict()
        while len(given) < len(unbroken):
            loader = made(uneven_release, way)
            loader.load_state_dict(state)
            given += keys(islice(iter(loader), 2))
            state = over_json(loader.state_dict())
        assert given == unbroken


@pytest.mark.parametrize("rank", [0, 1])
def test_each_rank_resumes_its_own_part(torch: ModuleType, uneven_release: Any, rank: int) -> None:
    options = {"rank": rank, "world": 2, "tail": "drop"}
    for way in ("rows", "stream"):
        unbroken = keys(made(uneven_release, way, **options))
        first = made(uneven_release, way, **options)
        given = keys(islice(iter(first), 2))
        second = made(uneven_release, way, **options)
        second.load_state_dict(first.state_dict())
        assert given + keys(second) == unbroken
        with pytest.raises(UsageError, match="rank"):
            made(uneven_release, way, rank=1 - rank, world=2, tail="drop").load_state_dict(first.state_dict())


def test_a_state_of_another_order_is_refused_and_says_why(torch: ModuleType, uneven_release: Any) -> None:
    state = made(uneven_release, "rows").state_dict()
    for other, field in (
        (dataloader(uneven_release.path, 5, workers=0, seed=5), "batch_size"),
        (dataloader(uneven_release.path, 4, workers=0, seed=6), "seed"),
        (dataloader(uneven_release.path, 4, workers=0, seed=5, shuffle=False), "shuffle"),
        (dataloader(uneven_release.path, 4, workers=0, seed=5, where="row != 3"), "source"),
        (made(uneven_release, "stream"), "kind"),
    ):
        with pytest.raises(UsageError) as caught:
            other.load_state_dict(state)
        assert field in str(caught.value.facts.field)
    for broken in ({}, {**state, "pairs": -1}, {**state, "epoch": None}):
        with pytest.raises(UsageError):
            made(uneven_release, "rows").load_state_dict(broken)


@pytest.mark.parametrize("stop", [0, 1, 7, 23, 47])
def test_a_stream_without_a_loader_resumes_at_any_pair(uneven_release: Any, stop: int) -> None:
    def stream() -> Any:
        made = PairStream(uneven_release.path, "train", seed=3)
        made.set_epoch(2)
        return made

    unbroken = [pair["key"] for pair in stream()]
    first, second = stream(), PairStream(uneven_release.path, "train", seed=3)
    given = [pair["key"] for pair in islice(iter(first), stop)]
    second.load_state_dict(over_json(first.state_dict()))
    assert given + [pair["key"] for pair in second] == unbroken


def test_a_sampler_of_ones_own_loader_passes_over_what_was_given(torch: ModuleType, release: Any) -> None:
    dataset = PairDataset(release.path, "train")
    sampler = EpochSampler(len(dataset), seed=1)
    whole = list(sampler)
    sampler.set_epoch(0, start=20)
    assert list(sampler) == whole[20:]
    sampler.set_epoch(1)
    assert sorted(sampler) == list(range(len(dataset)))
