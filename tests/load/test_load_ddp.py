"""Real process groups over eleven uneven shards: every key once, or the same number of steps; never a hang."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.load.conftest import write_release
from tests.load.forked import Rank, run_ranks

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("ddp")

SIZES = [13, 1, 9, 4, 11, 2, 7, 3, 5, 1, 6]
BATCH = 4


@pytest.fixture(scope="module")
def eleven(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write_release(tmp_path_factory.mktemp("eleven") / "r", {"train": SIZES})


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the ranks write."""
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def told(torch: ModuleType, eleven: Any, out: Path) -> dict[int, list[Any]]:
    """World size -> what each of its ranks read."""
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    places = [(world, rank) for world in (1, 2) for rank in range(world)]
    ranks = [
        Rank(
            ["tests.load.ddp_rank", str(eleven.path), str(out), str(rank), str(world), str(BATCH)],
            {},
            str(out / f"stdout-{world}-{rank}"),
            str(out / f"stderr-{world}-{rank}"),
        )
        for world, rank in places
    ]
    assert run_ranks(ranks, environment | {"GLOO_SOCKET_IFNAME": "lo"}) == [0, 0, 0]
    found: dict[int, list[Any]] = {1: [], 2: []}
    for world, rank in places:
        found[world].append(json.loads((out / f"keys-{world}-{rank}.json").read_text()))
    return found


@pytest.mark.parametrize("world", [1, 2])
def test_exact_gives_every_key_once(told: dict[int, list[Any]], eleven: Any, world: int) -> None:
    for runs in zip(*told[world], strict=True):
        if runs[0]["tail"] == "exact":
            for epoch in range(2):
                keys = Counter(key for run in runs for batch in run["epochs"][epoch] for key in batch)
                assert keys == Counter(eleven.keys["train"])


@pytest.mark.parametrize("world", [1, 2])
def test_drop_gives_all_ranks_the_same_steps_and_leaves_out_others_each_epoch(
    told: dict[int, list[Any]], eleven: Any, world: int
) -> None:
    n_left_out = sum(SIZES) % (world * BATCH)
    assert n_left_out == {1: 2, 2: 6}[world]
    for runs in zip(*told[world], strict=True):
        if runs[0]["tail"] == "drop":
            left_out = []
            for epoch in range(2):
                steps = {len(run["epochs"][epoch]) for run in runs}
                assert steps == {sum(SIZES) // (world * BATCH)}
                keys = Counter(key for run in runs for batch in run["epochs"][epoch] for key in batch)
                assert set(keys.values()) == {1}
                left_out.append(set(eleven.keys["train"]) - set(keys))
            assert [len(out) for out in left_out] == [n_left_out] * 2
            assert left_out[0] != left_out[1]


@pytest.mark.parametrize("world", [1, 2])
def test_orders_differ_between_epochs_and_not_between_numbers_of_workers(
    told: dict[int, list[Any]], world: int
) -> None:
    for of_rank in told[world]:
        ways: dict[tuple[bool, str], list[Any]] = {}
        for run in of_rank:
            assert run["epochs"][0] != run["epochs"][1]
            ways.setdefault((run["stream"], run["tail"]), []).append(run["epochs"])
        assert len(ways) == 4
        for runs in ways.values():
            assert len(runs) == 4
            assert all(epochs == runs[0] for epochs in runs)


@pytest.mark.parametrize("world", [1, 2])
def test_a_process_says_its_rank_once_and_the_first_what_is_left_out(
    told: dict[int, list[Any]], out: Path, world: int
) -> None:
    """Of 16 loaders, 24 workers and 2 epochs, in a script that sets up no logging."""
    for rank in range(world):
        lines = (out / f"stderr-{world}-{rank}").read_text().splitlines()
        said = [line for line in lines if line.startswith("humanst: ")]
        assert [line for line in said if "rank" in line] == [
            f"humanst: rank {rank} of {world} (from torch.distributed)"
        ]
        numbers = [int(line.split()[1]) for line in said if "are left out" in line]
        assert numbers == ([sum(SIZES) % (world * BATCH)] if rank == 0 else [])
