"""What users of a loader do: stop early, keep batches, read twice at once, make mistakes. Nothing of it is silent."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from humanst.errors import UsageError
from humanst.load import PairDataset, PairStream, collate, dataloader
from humanst.load.decode import decode_jpg

DESCRIPTORS = Path("/proc/self/fd")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
BOTH = pytest.mark.parametrize("stream", [False, True])


def keys(batches: Any) -> list[list[str]]:
    return [batch["key"] for batch in batches]


def n_descriptors() -> int:
    return len(list(DESCRIPTORS.iterdir()))


def flat(batches: Any) -> list[str]:
    return sorted(key for batch in batches for key in batch["key"])


def are_right(release: Any, batches: list[Any]) -> bool:
    """Whether each image of these batches is the one of its key."""
    return all(
        np.array_equal(image.permute(1, 2, 0), decode_jpg(release.jpgs[key]))
        for batch in batches
        for key, image in zip(batch["key"], batch["image"], strict=True)
    )


@BOTH
def test_every_stop_resumes_with_every_number_of_workers(torch: ModuleType, uneven_release: Any, stream: bool) -> None:
    """States are taken after each batch of a whole epoch, and each is loaded by loaders with 0, 1 and 2 workers."""
    loaders = [dataloader(uneven_release.path, 5, stream=stream, seed=1, workers=workers) for workers in (0, 1, 2)]
    for before in loaders:
        given: list[list[str]] = []
        before.set_epoch(3)
        states = [before.state_dict()]
        for batch in before:
            given.append(batch["key"])
            states.append(before.state_dict())
        assert len(given) == 10
        for after in loaders:
            for k in (0, 1, 4, 9):
                after.load_state_dict(states[k])
                assert keys(after) == given[k:]
                assert after.state_dict() == states[-1]


@BOTH
def test_a_loop_that_chooses_every_epoch_resumes_where_it_was(
    torch: ModuleType, uneven_release: Any, stream: bool
) -> None:
    """The usual loop calls set_epoch for each epoch, also for the one that it resumes in."""
    whole = dataloader(uneven_release.path, 4, stream=stream, workers=0)
    epochs = [keys(whole) for _ in range(3)]
    first = dataloader(uneven_release.path, 4, stream=stream, workers=0)
    first.set_epoch(1)
    given = keys(islice(iter(first), 5))
    second = dataloader(uneven_release.path, 4, stream=stream, workers=0)
    second.load_state_dict(first.state_dict())
    rest = []
    for epoch in range(1, 3):
        second.set_epoch(epoch)
        rest.append(keys(second))
    assert [given + rest[0], rest[1]] == epochs[1:]
    second.load_state_dict(first.state_dict())
    second.set_epoch(2)
    assert keys(second) == epochs[2], "another epoch starts at its beginning"
    second.set_epoch(1)
    assert keys(second) == epochs[1], "and so does this one, once another was chosen"


def test_a_stream_that_is_set_to_the_epoch_of_its_state_goes_on_there(uneven_release: Any) -> None:
    first, second = (PairStream(uneven_release.path, "train") for _ in range(2))
    first.set_epoch(2)
    unbroken = [pair["key"] for pair in first]
    given = [pair["key"] for pair in islice(iter(first), 20)]
    second.load_state_dict(first.state_dict())
    second.set_epoch(2)
    assert given + [pair["key"] for pair in second] == unbroken
    second.set_epoch(2)
    assert [pair["key"] for pair in second] == unbroken


@BOTH
def test_the_state_of_another_world_is_refused(torch: ModuleType, uneven_release: Any, stream: bool) -> None:
    options: dict[str, Any] = {"stream": stream, "workers": 0, "tail": "drop"}
    state = dataloader(uneven_release.path, 4, rank=0, world=2, **options).state_dict()
    for world in (1, 3):
        with pytest.raises(UsageError, match="world"):
            dataloader(uneven_release.path, 4, rank=0, world=world, **options).load_state_dict(state)


def test_a_stream_does_not_tell_a_place_that_only_its_workers_know(torch: ModuleType, uneven_release: Any) -> None:
    """In torch's own loader the pairs are counted in the workers: the state in the main process would say none."""
    stream = PairStream(uneven_release.path, "train", batch_size=4)
    loader = torch.utils.data.DataLoader(stream, batch_size=4, num_workers=1, collate_fn=collate)
    assert len(keys(loader)) == 12
    with pytest.raises(UsageError) as caught:
        stream.state_dict()
    assert caught.value.facts.code == "state-in-workers"
    assert next(iter(stream))["key"] in uneven_release.keys["train"]
    assert stream.state_dict()["pairs"] == 1, "read in this process again, it is known again"


@pytest.mark.parametrize("given", [0, 3, 9, 17])
def test_states_of_single_workers_fit_the_same_worker_alone(
    uneven_release: Any, monkeypatch: pytest.MonkeyPatch, given: int
) -> None:
    """As torchdata's StatefulDataLoader asks for them."""
    worker = [0, 2]
    monkeypatch.setattr("humanst.load.stream.find_worker", lambda: tuple(worker))
    for worker[0] in range(2):
        first, second = (PairStream(uneven_release.path, "train", batch_size=4, seed=8) for _ in range(2))
        unbroken = [pair["key"] for pair in first]
        first.set_epoch(0)
        begun = [pair["key"] for pair in islice(iter(first), given)]
        second.load_state_dict(first.state_dict())
        assert begun + [pair["key"] for pair in second] == unbroken
    if given:
        worker[:] = [0, 2]
        with pytest.raises(UsageError, match="one of several workers"):
            list(second)


@BOTH
def test_two_iterations_at_once_are_exact_without_workers_and_refused_with_them(
    torch: ModuleType, uneven_release: Any, stream: bool
) -> None:
    loader = dataloader(uneven_release.path, 4, stream=stream, workers=0)
    epochs = [keys(loader) for _ in range(2)]
    loader.set_epoch(0)
    pairs = list(zip(loader, loader, strict=True))
    assert [keys(batches) for batches in zip(*pairs, strict=True)] == epochs
    loader = dataloader(uneven_release.path, 4, stream=stream, workers=1)
    first = iter(loader)
    next(first)
    second = iter(loader)
    next(second)
    with pytest.raises(UsageError, match="iterated anew"):
        next(first)
    assert len(keys(second)) == 11


def test_two_loaders_at_once_over_one_release(torch: ModuleType, release: Any) -> None:
    train, val = (dataloader(release.path, 4, split=split, workers=1) for split in ("train", "val"))
    for _ in range(2):
        given = []
        for batch in train:
            given.append(batch)
            if len(given) in (3, 8):
                assert flat(val) == sorted(release.keys["val"])
        assert flat(given) == sorted(release.keys["train"])
        assert are_right(release, given)


@pytest.fixture
def file_system_sharing(torch: ModuleType) -> Iterator[None]:
    """Shared memory by name, as on macOS."""
    before = torch.multiprocessing.get_sharing_strategy()
    torch.multiprocessing.set_sharing_strategy("file_system")
    yield
    torch.multiprocessing.set_sharing_strategy(before)


@pytest.mark.usefixtures("file_system_sharing")
@BOTH
def test_batches_stay_right_where_memory_is_shared_by_name(torch: ModuleType, release: Any, stream: bool) -> None:
    loader = dataloader(release.path, 4, stream=stream, workers=1)
    kept = [*islice(loader, 3), *loader, *loader]
    assert are_right(release, kept)
    assert flat(kept[3:16]) == sorted(release.keys["train"])


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="counts open descriptors in /proc")
@BOTH
def test_batches_that_are_kept_cost_few_descriptors_and_leave_none(
    torch: ModuleType, release: Any, stream: bool
) -> None:
    """A list of all batches must not meet the usual limit of 1024: every tensor of a worker costs a descriptor."""
    loader = dataloader(release.path, 4, stream=stream, workers=1)
    next(iter(loader))
    gc.collect()
    before = n_descriptors()
    kept = [*loader, *loader]
    assert len(kept) == 26
    assert n_descriptors() - before <= 6 * len(kept)
    assert are_right(release, kept)
    assert kept[0]["metadata"]["x_px"].dtype == torch.float64
    assert kept[0]["metadata"]["n_counts"].dtype == torch.int64
    del kept
    for _ in range(5):
        next(iter(loader))
    gc.collect()
    assert n_descriptors() - before <= 40, "batches that are read ahead, and memory that is used again"
    mine = [f"_{pid}_" for pid in (os.getpid(), *(worker.pid for worker in loader._iterator._workers))]
    assert not [path for path in SHARED_MEMORY.iterdir() if any(pid in path.name for pid in mine)]


def fails_on_dark(image: np.ndarray) -> np.ndarray:
    raise ValueError("the blue is odd")


@BOTH
@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_transform_names_the_pair(torch: ModuleType, release: Any, stream: bool, workers: int) -> None:
    loader = dataloader(release.path, 4, stream=stream, workers=workers, shuffle=False, transform=fails_on_dark)
    with pytest.raises(ValueError, match="the blue is odd") as caught:
        next(iter(loader))
    told = str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert f"in the transform of pair {release.keys['train'][0]} of train-00000.tar" in told
    if workers:
        for process in loader._iterator._workers:
            process.terminate()


@pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")
def test_asking_for_pinned_memory_without_a_device_gives_the_same(torch: ModuleType, release: Any) -> None:
    loader = dataloader(release.path, 4, workers=1, pin_memory=True, seed=6)
    batches = list(loader)
    assert keys(batches) == keys(dataloader(release.path, 4, workers=0, seed=6))
    assert are_right(release, batches)


def test_a_batch_larger_than_the_selection_is_one_short_batch(torch: ModuleType, release: Any) -> None:
    for stream in (False, True):
        loader = dataloader(release.path, 100, stream=stream, where="row < 7", workers=0)
        (batch,) = loader
        assert (len(batch["key"]), len(loader)) == (7, 1)
    with pytest.raises(UsageError, match="at least one pair"):
        dataloader(release.path, 0, workers=0)


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@BOTH
def test_more_workers_than_shards_and_batches(torch: ModuleType, release: Any, stream: bool) -> None:
    """One shard of five pairs; the fourth worker has nothing to do."""
    loader = dataloader(release.path, 2, split="val", stream=stream, workers=4)
    for _ in range(2):
        assert keys(loader) == [release.keys["val"][:2], release.keys["val"][2:4], release.keys["val"][4:]]


def test_samplers_of_torch_share_the_pairs_as_well(torch: ModuleType, release: Any) -> None:
    from torch.utils.data import DataLoader, DistributedSampler

    dataset = PairDataset(release.path, "train")
    seen = []
    for rank in range(3):
        sampler: Any = DistributedSampler(dataset, num_replicas=3, rank=rank, seed=1)
        sampler.set_epoch(2)
        seen += flat(DataLoader(dataset, batch_size=5, sampler=sampler, collate_fn=collate))
    assert sorted(seen) == sorted(release.keys["train"])


def test_default_workers_are_a_ranks_share_of_the_cores(
    torch: ModuleType, release: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(12), raising=False)
    for ranks_here, n_workers in (("", 8), ("1", 8), ("4", 2), ("12", 0), ("50", 0), ("no", 8)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks_here)
        assert dataloader(release.path, 2, split="val").num_workers == n_workers


SPAWNED = """
import signal, sys, os
import torch
from humanst.load import dataloader


def main(release):
    loader = dataloader(release, 8, workers=1, stream=True, seed=2)
    read = []
    try:
        for batch in loader:
            read.append(batch["key"])
            if len(read) == 3:
                os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        pass
    assert len(read) == 3, read
    loader.load_state_dict(loader.state_dict())
    read += [batch["key"] for batch in loader]
    expected = dataloader(release, 8, workers=0, stream=True, seed=2)
    assert read == [batch["key"] for batch in expected], read


if __name__ == "__main__":
    torch.multiprocessing.set_start_method("spawn")
    main(sys.argv[1])
    print("as without workers")
"""


def test_spawned_workers_and_an_interrupt_by_the_user(torch: ModuleType, release: Any, tmp_path: Path) -> None:
    """As on macOS: loader and memory are pickled. After Ctrl-C the run goes on with the next batch."""
    script = tmp_path / "train.py"
    script.write_text(SPAWNED)
    done = subprocess.run(
        [sys.executable, script, release.path], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "as without workers\n"
