"""Memory of batches is used again, and never while somebody still sees it."""

from __future__ import annotations

import gc
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from humanst.load import PairDataset, dataloader
from humanst.load.decode import decode_jpg
from humanst.load.memory import Memory


def test_memory_is_given_again_only_when_no_view_is_left() -> None:
    memory = Memory()
    first, _ = memory((2, 3))
    place, part = first.ctypes.data, first[1:]
    del first
    second, _ = memory((2, 3))
    assert second.ctypes.data != place
    part[:] = 7
    second[:] = 1
    assert (part == 7).all()
    del part
    gc.collect()
    third, _ = memory((3, 2))
    assert third.ctypes.data == place


@pytest.mark.parametrize(
    ("kept", "stream", "workers"),
    [
        *(("batch", False, 1), ("batch", True, 2)),
        *(("view", False, 0), ("view", False, 1), ("view", True, 1)),
        *(("numpy", True, 0), ("numpy", False, 2)),
    ],
)
def test_what_is_kept_stays_as_it_was(torch: ModuleType, release: Any, stream: bool, workers: int, kept: str) -> None:
    """All images of three epochs are kept in one way or another, and compared when all have been read."""
    loader = dataloader(release.path, 4, workers=workers, stream=stream)
    take = {"batch": lambda image: image, "view": lambda image: image[1:], "numpy": lambda image: image[1:].numpy()}
    held = []
    for _ in range(3 if kept == "batch" else 1):
        for batch in loader:
            skip = len(batch["key"]) - len(take[kept](batch["image"]))
            held.append((batch["key"][skip:], take[kept](batch["image"])))
            del batch
    for keys, images in held:
        for key, image in zip(keys, images, strict=True):
            expected = decode_jpg(release.jpgs[key])
            assert np.array_equal(np.asarray(image).transpose(1, 2, 0), expected)


def test_workers_use_their_memory_again(torch: ModuleType, release: Any) -> None:
    loader = dataloader(release.path, 4, workers=1)
    places = set()
    for _ in range(4):
        for batch in loader:
            places.add(batch["image"].data_ptr())
    assert len(places) <= 6, "mapped once, not for every batch"
    used = int((loader._slots.states != 0).sum())
    assert used <= 6, "two batches read ahead, one here, and what the end of an epoch leaves"


def test_epochs_that_are_broken_off_cost_no_memory_and_mix_nothing(torch: ModuleType, release: Any) -> None:
    loader = dataloader(release.path, 4, workers=1, seed=3)
    expected = [batch["key"] for batch in dataloader(release.path, 4, workers=0, seed=3)]
    for _ in range(20):
        loader.set_epoch(0)
        for batch, keys in zip(loader, expected[:3], strict=False):
            assert batch["key"] == keys
            assert np.array_equal(batch["image"][0].permute(1, 2, 0), decode_jpg(release.jpgs[keys[0]]))
    assert int((loader._slots.states != 0).sum()) <= 8


def test_a_transform_may_keep_its_image(torch: ModuleType, release: Any) -> None:
    """The identity hands out the very memory that was decoded into."""
    dataset = PairDataset(release.path, "train", transform=lambda image: image)
    batches = [dataset.__getitems__(range(start, start + 10)) for start in (0, 10, 20)]
    for batch in batches:
        for pair in batch:
            assert np.array_equal(pair["image"], decode_jpg(release.jpgs[pair["key"]]))


def test_a_batch_survives_the_way_between_processes(
    torch: ModuleType, release: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into larger memory when a batch grows, page-locked or not, and never once its iteration was broken off."""
    from humanst.load.handing import Handed
    from humanst.load.shared_memory import HELD, Slots, WorkerMemory

    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone())
    slots = Slots(1)
    dataset = PairDataset(release.path, "train")
    expected = dataset.__getitems__(range(30))
    dataset.use_memory(WorkerMemory(slots, 0))
    begin, kept = 0, []
    for size, pin in ((3, False), (5, False), (4, True), (5, False), (2, True)):
        handed = over_a_pipe(Handed(dataset.__getitems__(range(begin, begin + size))))
        batch = (handed.pin_memory() if pin else handed).open()
        assert batch is not None
        assert batch["key"] == [pair["key"] for pair in expected[begin : begin + size]]
        assert batch["metadata"]["row"].tolist() == expected.columns["row"][begin : begin + size].tolist()
        kept.append((begin, batch["image"]))
        begin += size
    for start, images in kept:
        found = images.permute(0, 2, 3, 1).numpy()
        assert np.array_equal(found, expected.images[start : start + len(images)])
    assert int((slots.states == HELD).sum()) == 3, "what was copied to page-locked memory holds no slot"
    late = over_a_pipe(Handed(dataset.__getitems__([0])))
    slots.next_iteration()
    again = over_a_pipe(Handed(dataset.__getitems__([1])))
    assert late.open() is None
    batch = again.open()
    assert np.array_equal(batch["image"][0].permute(1, 2, 0), expected.images[1])
    del kept, batch, images, found
    gc.collect()
    assert not int((slots.states == HELD).sum())


def over_a_pipe(value: Any) -> Any:
    """As a worker's queue sends it."""
    from torch import multiprocessing

    receiver, sender = multiprocessing.Pipe(duplex=False)
    sender.send(value)
    return receiver.recv()
