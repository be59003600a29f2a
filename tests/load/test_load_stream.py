"""PairStream: every key once over ranks and workers, another order each epoch, no half pairs."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from humanst.errors import IntegrityError
from humanst.load import PairDataset
from humanst.load.stream import PlainPairStream


def keys(stream: Any) -> list[str]:
    return [pair["key"] for pair in stream]


def as_worker(monkeypatch: pytest.MonkeyPatch, worker: int, workers: int) -> None:
    monkeypatch.setattr("humanst.load.stream.find_worker", lambda: (worker, workers))


@pytest.mark.parametrize("workers", [1, 2, 3, 20])
@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [None, 4])
def test_every_key_comes_once_over_ranks_and_workers(
    uneven_release: Any, monkeypatch: pytest.MonkeyPatch, workers: int, world: int, batch_size: int | None
) -> None:
    streams = [
        PlainPairStream(uneven_release.path, "train", rank=rank, world=world, batch_size=batch_size)
        for rank in range(world)
    ]
    for epoch in range(2):
        seen: Counter[str] = Counter()
        for stream in streams:
            stream.set_epoch(epoch)
            before = sum(seen.values())
            for worker in range(workers):
                as_worker(monkeypatch, worker, workers)
                seen.update(keys(stream))
            assert sum(seen.values()) - before == len(stream)
        assert seen == Counter(uneven_release.keys["train"])


def test_pairs_are_those_of_the_dataset(release: Any) -> None:
    dataset = PairDataset(release.path, "train")
    by_key = {pair["key"]: pair for pair in dataset}
    for pair in PlainPairStream(release.path, "train", seed=3):
        other = by_key.pop(pair["key"])
        assert np.array_equal(pair["image"], other["image"])
        assert np.array_equal(pair["pathways"], other["pathways"])
        assert np.array_equal(pair["mask"], other["mask"])
        assert pair["metadata"] == other["metadata"]
    assert by_key == {}


def test_orders_differ_between_epochs_and_seeds_and_are_equal_for_one(uneven_release: Any) -> None:
    stream = PlainPairStream(uneven_release.path, "train", seed=1)
    first = keys(stream)
    assert keys(stream) == first
    stream.set_epoch(1)
    second = keys(stream)
    assert keys(PlainPairStream(uneven_release.path, "train", seed=2)) != first
    assert second != first
    again = PlainPairStream(uneven_release.path, "train", seed=1)
    assert keys(again) == first
    again.set_epoch(1)
    assert keys(again) == second


def _shards(written: Any, order: list[str]) -> list[str]:
    index = pd.read_parquet(written.path / "index" / "train.parquet").set_index("key")
    return index.loc[order, "shard"].tolist()


def test_each_shard_is_read_in_one_go_and_shards_and_pairs_are_shuffled(uneven_release: Any) -> None:
    stream = PlainPairStream(uneven_release.path, "train")
    orders, insides = [], []
    for epoch in range(3):
        stream.set_epoch(epoch)
        order = keys(stream)
        shards = _shards(uneven_release, order)
        visits = [shard for i, shard in enumerate(shards) if i == 0 or shards[i - 1] != shard]
        assert len(visits) == len(set(visits)) == 7
        orders.append(visits)
        inside = [key for key, shard in zip(order, shards, strict=True) if shard == "train-00000.tar"]
        assert inside != [key for key in uneven_release.keys["train"] if key in inside]
        insides.append(inside)
    assert insides[0] != insides[1] != insides[2]
    assert orders[0] != orders[1] != orders[2]


def test_without_shuffle_the_order_is_the_one_of_the_release(uneven_release: Any) -> None:
    stream = PlainPairStream(uneven_release.path, "train", shuffle=False)
    stream.set_epoch(4)
    assert keys(stream) == uneven_release.keys["train"]


def test_drop_gives_equal_steps_and_leaves_out_others_each_epoch(uneven_release: Any) -> None:
    streams = [
        PlainPairStream(uneven_release.path, "train", rank=rank, world=2, tail="drop", batch_size=5)
        for rank in range(2)
    ]
    left_out = []
    for epoch in range(3):
        seen = []
        for stream in streams:
            stream.set_epoch(epoch)
            got = keys(stream)
            assert len(got) == len(stream) == 20
            seen += got
        assert len(set(seen)) == 40
        left_out.append(set(uneven_release.keys["train"]) - set(seen))
    assert {len(out) for out in left_out} == {7} == {stream.n_left_out for stream in streams}
    assert left_out[0] != left_out[1] != left_out[2]


def test_large_shards_are_read_in_blocks(release: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("humanst.load.blocks.BLOCK_PAIRS", 5)
    stream = PlainPairStream(release.path, "train", batch_size=2)
    seen = []
    for worker in range(2):
        as_worker(monkeypatch, worker, 2)
        seen += keys(stream)
    assert sorted(seen) == sorted(release.keys["train"])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Shard, first byte and end of what the system is asked to read ahead."""
    found: list[tuple[str, int, int]] = []
    original = os.posix_fadvise

    def advise(descriptor: int, begin: int, size: int, advice: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").resolve().name
        assert advice == os.POSIX_FADV_WILLNEED
        found.append((name, begin, begin + size))
        original(descriptor, begin, size, advice)

    monkeypatch.setattr(os, "posix_fadvise", advise)
    return found


def test_wide_gaps_are_not_read(
    release: Any, asked: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("humanst.load.blocks.GAP_BYTES", 2000)
    stream = PlainPairStream(release.path, "train", batch_size=1, shuffle=False)
    as_worker(monkeypatch, 0, 16)
    mine = [0, 16, 32, 48]
    assert keys(stream) == [release.keys["train"][row] for row in mine]
    index = pd.read_parquet(release.path / "index" / "train.parquet").iloc[mine]
    stops = index["npy_offset"] + index["npy_length"]
    assert asked == list(zip(index["shard"], index["jpg_offset"], stops, strict=True))


@pytest.mark.parametrize("at_once", [1 << 20, 10_000])
def test_neighbours_are_read_in_one_run_a_shard_ahead(
    release: Any, asked: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("humanst.load.shardfile.READ_AHEAD_BYTES", at_once)
    stream = PlainPairStream(release.path, "train", batch_size=4)
    assert next(iter(stream))["key"]
    assert len({shard for shard, _, _ in asked}) == 2, "the shard that is read and the next"
    asked.clear()
    assert sorted(keys(stream)) == sorted(release.keys["train"])
    index = pd.read_parquet(release.path / "index" / "train.parquet")
    for shard, rows in index.groupby("shard"):
        runs = [(begin, end) for name, begin, end in asked if name == shard]
        borders = [rows["jpg_offset"].min(), *(end for _, end in runs)]
        assert [begin for begin, _ in runs] == borders[:-1], "one after the other, without gap, once"
        assert borders[-1] == (rows["npy_offset"] + rows["npy_length"]).max()
        assert all(end - begin <= at_once for begin, end in runs)


def test_workers_read_nothing_of_each_others_pairs(release: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    n_bytes = 0
    original = os.pread

    def pread(descriptor: int, size: int, begin: int) -> bytes:
        nonlocal n_bytes
        n_bytes += size
        return original(descriptor, size, begin)

    monkeypatch.setattr(os, "pread", pread)
    seen = []
    for worker in range(3):
        stream = PlainPairStream(release.path, "train", batch_size=4)
        as_worker(monkeypatch, worker, 3)
        seen += keys(stream)
    assert sorted(seen) == sorted(release.keys["train"])
    index = pd.read_parquet(release.path / "index" / "train.parquet")
    assert n_bytes == (index["npy_offset"] + index["npy_length"] - index["jpg_offset"]).sum()


def test_an_empty_split_ends_at_once(release: Any) -> None:
    stream = PlainPairStream(release.path, "test")
    assert (len(stream), keys(stream)) == (0, [])


def test_a_filter_selects_what_pandas_selects(release: Any) -> None:
    where = "platform == 'st' and n_counts < 1040"
    expected = pd.read_parquet(release.path / "index" / "train.parquet").query(where)["key"]
    stream = PlainPairStream(release.path, "train", where=where)
    assert len(stream) == len(expected)
    assert sorted(keys(stream)) == sorted(expected)
    assert keys(PlainPairStream(release.path, "train", where=where, shuffle=False)) == expected.tolist()


def test_a_damaged_shard_stops_the_stream_by_name(own_release: Any) -> None:
    os.truncate(own_release.path / "data/train/train-00001.tar", 20_480)
    seen = []
    with pytest.raises(IntegrityError) as caught:
        seen.extend(pair["key"] for pair in PlainPairStream(own_release.path, "train", shuffle=False))
    assert caught.value.facts.file == "data/train/train-00001.tar"
    with pytest.raises(IntegrityError, match="ends before the pair does"):
        keys(PlainPairStream(own_release.path, "train", verify=False))


def test_a_pickled_copy_gives_the_same_order(uneven_release: Any) -> None:
    stream = PlainPairStream(uneven_release.path, "train", seed=9, rank=1, world=2)
    stream.set_epoch(3)
    copy = pickle.loads(pickle.dumps(stream))  # noqa: S301
    assert keys(copy) == keys(stream)
