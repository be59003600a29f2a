"""Who reads what: every position once, whatever the numbers of ranks and workers."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from humanst.errors import UsageError
from humanst.load.order import EpochSampler, find_rank, keyed_permutation, of_worker, rank_slice

sizes = st.integers(0, 300)
few = st.integers(1, 5)


@given(st.integers(0, 500), st.integers(-3, 3), st.integers(0, 3))
def test_a_permutation_has_each_number_once_and_depends_on_its_key(n: int, seed: int, epoch: int) -> None:
    order = keyed_permutation(n, "rows", seed, epoch)
    assert sorted(order.tolist()) == list(range(n))
    assert np.array_equal(order, keyed_permutation(n, "rows", seed, epoch))
    if n > 20:
        assert not np.array_equal(order, keyed_permutation(n, "rows", seed, epoch + 1))
        assert not np.array_equal(order, np.arange(n))


def _splitmix64(state: int) -> int:
    mask = (1 << 64) - 1
    z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
    return z ^ (z >> 31)


def test_the_order_is_the_one_of_splitmix64() -> None:
    from hashlib import blake2b

    start = int.from_bytes(blake2b(b"block|7|2|train-00000.tar|0", digest_size=8).digest(), "little")
    # The published first output of SplitMix64 for seed 0 ties the reference to the paper.
    assert _splitmix64(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF
    mixed = [_splitmix64((start + (i + 1) * 0x9E3779B97F4A7C15) % 2**64) for i in range(100)]
    expected = sorted(range(100), key=mixed.__getitem__)
    assert keyed_permutation(100, "block", 7, 2, "train-00000.tar", 0).tolist() == expected


def test_all_places_are_about_equally_likely() -> None:
    places = np.stack([np.argsort(keyed_permutation(10, seed)) for seed in range(4000)])
    counts = np.apply_along_axis(np.bincount, 0, places, minlength=10)
    assert abs(counts - 400).max() < 100


@given(sizes, few, few, st.integers(1, 9))
def test_exact_gives_each_position_to_one_worker_of_one_rank(n: int, world: int, workers: int, batch: int) -> None:
    seen = []
    lengths = []
    for rank in range(world):
        mine = rank_slice(n, rank, world, tail="exact", batch_size=batch)
        lengths.append(len(mine))
        positions = np.arange(mine.start, mine.stop)
        for worker in range(workers):
            seen += positions[of_worker(positions, mine.start, worker, workers, chunk=batch)].tolist()
    assert sorted(seen) == list(range(n))
    assert max(lengths) - min(lengths) <= 1


@given(sizes, few, st.integers(1, 9))
def test_drop_gives_every_rank_the_same_whole_batches(n: int, world: int, batch: int) -> None:
    slices = [rank_slice(n, rank, world, tail="drop", batch_size=batch) for rank in range(world)]
    assert len({len(mine) for mine in slices}) == 1
    assert len(slices[0]) % batch == 0
    seen = [position for mine in slices for position in mine]
    assert seen == list(range(len(seen)))
    assert 0 <= n - len(seen) < world * batch


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_sampler_covers_all_rows_over_ranks(shuffle: bool) -> None:
    samplers = [EpochSampler(23, shuffle=shuffle, seed=5, rank=rank, world=3) for rank in range(3)]
    first = [row for sampler in samplers for row in sampler]
    assert sorted(first) == list(range(23))
    assert sum(len(sampler) for sampler in samplers) == 23
    for sampler in samplers:
        sampler.set_epoch(1)
    second = [row for sampler in samplers for row in sampler]
    assert sorted(second) == list(range(23))
    assert (second != first) is shuffle


def test_rank_comes_from_the_call_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert find_rank() == (0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert find_rank() == (2, 4)
    assert find_rank(1, 3) == (1, 3)


def test_an_initialised_process_group_wins_over_the_environment(torch: ModuleType) -> None:
    script = """
import os, torch.distributed as dist
from humanst.load.order import find_rank
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
os.environ.update(RANK="5", WORLD_SIZE="8")
print(find_rank())
dist.destroy_process_group()
print(find_rank())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split("\n")[:2] == ["(0, 1)", "(5, 8)"]


@pytest.mark.parametrize(
    ("rank", "world", "environment"),
    [
        (3, 3, {}),
        (-1, 2, {}),
        (0, None, {}),
        (None, 2, {}),
        (None, None, {"RANK": "1"}),
        (None, None, {"WORLD_SIZE": "2"}),
        (None, None, {"RANK": "one", "WORLD_SIZE": "2"}),
    ],
)
def test_half_known_or_unfit_ranks_are_refused(
    rank: int | None, world: int | None, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
        if name in environment:
            monkeypatch.setenv(name, environment[name])
    with pytest.raises(UsageError, match="Rank and world size"):
        find_rank(rank, world)


@pytest.mark.parametrize("options", [{"tail": "drop"}, {"tail": "some"}, {"batch_size": 0}])
def test_options_that_do_not_fit_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        EpochSampler(5, **options)  # type: ignore[arg-type]
