"""Images of a batch are decoded by several threads; what comes is what one thread would give, pair by pair."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from humanst.errors import HostileError, HumanstError
from humanst.load import PairDataset, building, dataloader, decoding
from humanst.load.batch import Pair
from humanst.load.decode import decode_jpg
from tests.load.conftest import Written, write_release

N_PAIRS = 300


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """One shard of so many pairs that a batch of them is read in several turns."""
    return write_release(tmp_path_factory.mktemp("large") / "r", {"train": [N_PAIRS]})


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "available_cpus", lambda: 4)


def spoil(release: Written, tmp_path: Path, members: dict[int, str], data: bytes) -> Path:
    """A copy of a release in which some members begin with other bytes; the shard's hash is not looked at later."""
    shutil.copytree(release.path, tmp_path / "r")
    dataset = PairDataset(tmp_path / "r", "train")
    (shard,) = (tmp_path / "r" / "data" / "train").glob("*.tar")
    with shard.open("r+b") as file:
        for row, member in members.items():
            file.seek(dataset.table[f"{member}_offset"][row].as_py())
            file.write(data)
    return tmp_path / "r"


def assert_whole(batch: Sequence[Pair], keys: list[str], release: Written) -> None:
    """The pairs of some keys, each with what was written for it."""
    assert [pair["key"] for pair in batch] == keys
    for pair in batch:
        key = pair["key"]
        assert np.array_equal(pair["image"], decode_jpg(release.jpgs[key]))
        assert np.array_equal(pair["pathways"], np.nan_to_num(release.vectors[key]))
        assert pair["label"] == release.documents[key]["label"]


def test_a_batch_of_many_turns_holds_every_pair_in_its_place(large: Written, four_cores: None) -> None:
    dataset = PairDataset(large.path, "train")
    rows = np.random.default_rng(0).permutation(N_PAIRS).tolist()
    assert len(list(decoding.in_turns(len(rows)))) > 4
    batch = dataset.__getitems__(rows)
    assert_whole(batch, [dataset.table["key"][row].as_py() for row in rows], large)


def test_corrupt_pairs_of_several_turns_leave_no_gap(large: Written, tmp_path: Path, four_cores: None) -> None:
    bad = {3: "jpg", 40: "npy", 41: "jpg", 150: "json", 299: "jpg"}
    path = spoil(large, tmp_path, bad, b"\x00" * 16)
    dataset = PairDataset(path, "train", verify=False, max_corrupt=0.05)
    batch = dataset.__getitems__(range(N_PAIRS))
    kept = [row for row in range(N_PAIRS) if row not in bad]
    assert_whole(batch, [dataset.table["key"][row].as_py() for row in kept], large)


def test_nothing_is_decoded_any_more_once_a_batch_is_refused(
    large: Written, tmp_path: Path, four_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory of a batch that failed is given to the next one; no thread may still write there."""
    running = threading.Semaphore(0)
    at_work: set[int] = set()
    real = building.decode_jpg

    def slow(*args: object, **options: object) -> object:
        at_work.add(threading.get_ident())
        running.release()
        try:
            threading.Event().wait(0.01)
            return real(*args, **options)  # type: ignore[arg-type]
        finally:
            at_work.discard(threading.get_ident())

    monkeypatch.setattr(building, "decode_jpg", slow)
    hostile = b"\x93NUMPY\x01\x00\x76\x00{'descr': '|O', 'fortran_order': False, 'shape': (50,), }"
    path = spoil(large, tmp_path, {200: "npy"}, hostile)
    dataset = PairDataset(path, "train", verify=False)
    with pytest.raises(HostileError):
        dataset.__getitems__(range(N_PAIRS))
    assert running.acquire(timeout=0), "nothing was being decoded"
    assert not at_work


def test_an_unreadable_image_is_named(large: Written, tmp_path: Path, four_cores: None) -> None:
    dataset = PairDataset(spoil(large, tmp_path, {77: "jpg"}, b"\x00" * 16), "train", verify=False, max_corrupt=0)
    with pytest.raises(HumanstError) as caught:
        dataset.__getitems__(range(N_PAIRS))
    assert caught.value.facts.field == dataset.table["key"][77].as_py()


def test_threads_share_the_cores_among_workers(four_cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for workers in (1, 2, 3, 8):
        monkeypatch.setattr(decoding, "find_worker", lambda n=workers: (0, n))
        found[workers] = decoding.n_threads()
    assert found == {1: 4, 2: 2, 3: 1, 8: 1}


def test_a_process_that_was_forked_has_threads_of_its_own(large: Written, torch: ModuleType, four_cores: None) -> None:
    """The threads of this process are not there in workers, which would wait for them for ever."""
    loader = dataloader(large.path, N_PAIRS, workers=0, shuffle=False)
    (here,) = list(loader)
    assert any(thread.name.startswith("humanst-decode") for thread in threading.enumerate())
    (there,) = list(dataloader(large.path, N_PAIRS, workers=1, shuffle=False))
    assert torch.equal(here["image"], there["image"])
    assert here["key"] == there["key"]


def test_one_pair_is_not_worth_a_thread(large: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "start", lambda task: pytest.fail("a thread was asked for"))
    assert PairDataset(large.path, "train")[5]["key"] in large.jpgs
