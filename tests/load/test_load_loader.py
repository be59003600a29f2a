"""Batches from torch DataLoaders, with and without worker processes."""

from __future__ import annotations

import inspect
from collections import Counter
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from humanst.load import PairDataset, collate, dataloader


def batches_of(loader: Any) -> list[list[str]]:
    return [batch["key"] for batch in loader]


def flat(batches: list[list[str]]) -> list[str]:
    return [key for batch in batches for key in batch]


@pytest.mark.parametrize("stream", [False, True])
def test_every_key_comes_once_and_workers_do_not_change_the_batches(
    torch: ModuleType, release: Any, stream: bool
) -> None:
    runs = {
        workers: [batches_of(loader) for _ in range(2)]
        for workers in (0, 2)
        for loader in [dataloader(release.path, 8, workers=workers, stream=stream, seed=4)]
    }
    for epochs in runs.values():
        for batches in epochs:
            assert Counter(flat(batches)) == Counter(release.keys["train"])
            assert [len(batch) for batch in batches] == [8] * 6 + [3]
        assert epochs[0] != epochs[1]
    assert runs[0] == runs[2]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_two_ranks_share_the_keys(torch: ModuleType, uneven_release: Any, stream: bool, workers: int) -> None:
    seen: Counter[str] = Counter()
    for rank in range(2):
        loader = dataloader(uneven_release.path, 4, workers=workers, stream=stream, rank=rank, world=2)
        batches = batches_of(loader)
        assert len(batches) == len(loader)
        seen.update(flat(batches))
    assert seen == Counter(uneven_release.keys["train"])


@pytest.mark.parametrize("stream", [False, True])
def test_drop_gives_both_ranks_the_same_number_of_whole_batches(
    torch: ModuleType, uneven_release: Any, stream: bool
) -> None:
    loaders = [
        dataloader(uneven_release.path, 4, stream=stream, rank=rank, world=2, tail="drop", workers=0)
        for rank in range(2)
    ]
    batches = [batches_of(loader) for loader in loaders]
    assert [[len(batch) for batch in of_rank] for of_rank in batches] == [[4] * 5] * 2
    assert len(set(flat(batches[0] + batches[1]))) == 40


@pytest.mark.parametrize("stream", [False, True])
def test_set_epoch_chooses_the_order(torch: ModuleType, uneven_release: Any, stream: bool) -> None:
    loader = dataloader(uneven_release.path, 4, stream=stream, workers=0)
    epochs = [batches_of(loader) for _ in range(3)]
    loader.set_epoch(1)
    assert batches_of(loader) == epochs[1]
    assert batches_of(loader) == epochs[2]


@pytest.mark.parametrize("stream", [False, True])
def test_other_splits_than_train_keep_the_order_of_the_release(torch: ModuleType, release: Any, stream: bool) -> None:
    assert flat(batches_of(dataloader(release.path, 2, split="val", stream=stream, workers=0))) == release.keys["val"]
    assert batches_of(dataloader(release.path, 2, split="test", stream=stream, workers=0)) == []


def test_a_batch_holds_tensors_of_the_promised_shape(torch: ModuleType, release: Any) -> None:
    (batch,) = dataloader(release.path, 8, split="val", workers=0)
    dataset = PairDataset(release.path, "val")
    assert (batch["image"].dtype, tuple(batch["image"].shape)) == (torch.uint8, (5, 3, 224, 224))
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)
    assert (batch["pathways"].dtype, tuple(batch["pathways"].shape)) == (torch.float32, (5, 5))
    assert (batch["mask"].dtype, tuple(batch["mask"].shape)) == (torch.bool, (5, 5))
    assert (batch["log10_counts_z"].dtype, batch["label"].dtype) == (torch.float32, torch.int64)
    for i, pair in enumerate(dataset):
        assert np.array_equal(batch["image"][i].numpy(), pair["image"].transpose(2, 0, 1))
        assert np.array_equal(batch["pathways"][i].numpy(), pair["pathways"])
        assert np.array_equal(batch["mask"][i].numpy(), pair["mask"])
        assert (batch["uid"][i], int(batch["label"][i])) == (pair["uid"], pair["label"])
        assert batch["metadata"]["sample_id"][i] == pair["metadata"]["sample_id"]
        assert float(batch["metadata"]["x_px"][i]) == pair["metadata"]["x_px"]
    assert batch["metadata"]["n_counts"].dtype == torch.int64
    assert batch["metadata"]["x_px"].dtype == torch.float64


def test_a_transform_decides_what_is_stacked(torch: ModuleType, release: Any) -> None:
    loader = dataloader(
        release.path,
        5,
        split="val",
        workers=0,
        transform=lambda image: torch.from_numpy(image[:2, :2] / np.float32(255)),
    )
    (batch,) = loader
    assert (batch["image"].dtype, tuple(batch["image"].shape)) == (torch.float32, (5, 2, 2, 3))


def test_the_own_dataloader_of_a_user_works_with_default_collate(torch: ModuleType, release: Any) -> None:
    loader = torch.utils.data.DataLoader(PairDataset(release.path, "train"), batch_size=6, num_workers=2)
    batches = list(loader)
    assert flat([batch["key"] for batch in batches]) == release.keys["train"]
    assert tuple(batches[0]["image"].shape) == (6, 224, 224, 3)
    assert batches[0]["log10_counts_z"].dtype == torch.float32


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_persistent_workers_of_a_stream_see_the_next_epoch(torch: ModuleType, uneven_release: Any, method: str) -> None:
    from humanst.load import PairStream

    stream = PairStream(uneven_release.path, "train", batch_size=4, seed=2)
    loader = torch.utils.data.DataLoader(
        stream, batch_size=4, num_workers=2, collate_fn=collate, persistent_workers=True, multiprocessing_context=method
    )
    alone = dataloader(uneven_release.path, 4, stream=True, seed=2, workers=0)
    for epoch in range(2):
        stream.set_epoch(epoch)
        assert batches_of(loader) == batches_of(alone)


def test_shards_are_hashed_before_workers_start_and_not_again_in_them(
    torch: ModuleType, own_release: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import humanst.load.release as module

    hashed = []
    original = module.sha256_file
    monkeypatch.setattr(module, "sha256_file", lambda path: hashed.append(path.name) or original(path))
    loader = dataloader(own_release.path, 8, workers=2)
    assert sorted(hashed) == [f"train-0000{i}.tar" for i in range(3)]

    def refuse(path: Any) -> str:
        raise RuntimeError(path)

    # Forked workers inherit this: a second hashing in one of them would end the run.
    monkeypatch.setattr(module, "sha256_file", refuse)
    assert Counter(flat(batches_of(loader))) == Counter(own_release.keys["train"])


def test_a_damaged_shard_ends_the_run_in_a_worker_by_name(torch: ModuleType, own_release: Any) -> None:
    from humanst.errors import IntegrityError

    loader = dataloader(own_release.path, 8, workers=2)
    shard = own_release.path / "data/train/train-00002.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    batches = iter(loader)
    with pytest.raises(IntegrityError, match=r"train-00002\.tar"):
        list(batches)
    # torch waits five seconds for each worker of a failed run; there is nothing left to wait for.
    for process in loader._iterator._workers:
        process.terminate()
    with pytest.raises(IntegrityError, match=r"train-00002\.tar"):
        dataloader(own_release.path, 8, workers=2)


def test_the_stream_is_an_iterable_dataset_with_the_documented_arguments(torch: ModuleType, release: Any) -> None:
    from humanst.load import PairStream
    from humanst.load.stream import PlainPairStream

    assert issubclass(PairStream, torch.utils.data.IterableDataset)
    assert inspect.getdoc(PairStream) == inspect.getdoc(PlainPairStream)
    assert flat([[pair["key"]] for pair in PairStream(release.path, "val", shuffle=False)]) == release.keys["val"]
