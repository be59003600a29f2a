"""Pairs that cannot be decoded: by name, counted, and no more than were allowed. What is hostile ends the run."""

from __future__ import annotations

import io
import json
import logging
import pickle
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from humanst.errors import DataError, HumanstError, IntegrityError, UsageError
from humanst.load import PairDataset, PairStream, dataloader
from tests.load.conftest import Written, write_release


def spoil(release: Written, keys: list[str], member: str, data: bytes | None = None) -> None:
    """Overwrite the members of these keys in their shards; the manifest and the index keep the old hashes."""
    for shard in sorted((release.path / "data/train").glob("*.tar")):
        content = bytearray(shard.read_bytes())
        with tarfile.open(shard) as tar:
            places = {info.name: (info.offset_data, info.size) for info in tar}
        for key in keys:
            if f"{key}.{member}" in places:
                offset, size = places[f"{key}.{member}"]
                content[offset : offset + size] = (data or b"").ljust(size, b"\0")[:size]
        shard.write_bytes(content)


@pytest.fixture
def many(tmp_path: Path) -> Written:
    return write_release(tmp_path / "many", {"train": [40, 40, 20]})


@pytest.mark.parametrize("member", ["jpg", "json", "pathway.npy"])
@pytest.mark.parametrize("stream", [False, True])
def test_few_are_left_out_by_name(
    torch: ModuleType, many: Written, member: str, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [many.keys["train"][n] for n in (3, 57)]
    spoil(many, bad, member)
    loader = dataloader(many.path, 8, workers=0, stream=stream, verify=False, max_corrupt=0.02)
    with caplog.at_level(logging.WARNING, "humanst.load"):
        batches = [batch["key"] for batch in loader]
    assert [len(batch) for batch in batches].count(8) >= 10
    assert len(batches) == 13, "a batch that lacks a pair is a batch"
    assert sorted(key for batch in batches for key in batch) == sorted(set(many.keys["train"]) - set(bad))
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 2
    for key, shard in zip(bad, ("train-00000.tar", "train-00001.tar"), strict=True):
        assert any(key in text and shard in text for text in told)
    with caplog.at_level(logging.WARNING, "humanst.load"):
        assert len([1 for _ in loader]) == 13, "and they are not counted twice"


@pytest.mark.parametrize("stream", [False, True])
def test_one_too_many_ends_the_run(torch: ModuleType, many: Written, stream: bool) -> None:
    bad = many.keys["train"][10:13]
    spoil(many, bad, "jpg")
    loader = dataloader(many.path, 8, workers=0, stream=stream, verify=False, max_corrupt=0.02)
    with pytest.raises(IntegrityError) as caught:
        list(loader)
    assert caught.value.facts.code == "too-many-corrupt"
    assert caught.value.facts.field in bad
    assert caught.value.facts.file == "train-00000.tar"
    # By default one in a thousand: none of a hundred.
    with pytest.raises(IntegrityError, match="at most 0 of 100"):
        list(dataloader(many.path, 8, workers=0, stream=stream, verify=False))


def test_resuming_counts_the_places_of_pairs_that_were_left_out(torch: ModuleType, many: Written) -> None:
    spoil(many, [many.keys["train"][n] for n in (3, 57)], "jpg")

    def stream() -> PairStream:
        return PairStream(many.path, "train", seed=1, verify=False, max_corrupt=0.05)

    unbroken = [pair["key"] for pair in stream()]
    assert len(unbroken) == 98
    for stop in (1, 40, 70, 97):
        first, second = stream(), stream()
        pairs = iter(first)
        given = [next(pairs)["key"] for _ in range(stop)]
        second.load_state_dict(first.state_dict())
        assert given + [pair["key"] for pair in second] == unbroken


def test_one_pair_by_number_is_never_left_out(many: Written) -> None:
    spoil(many, many.keys["train"][:1], "jpg")
    dataset = PairDataset(many.path, "train", verify=False, max_corrupt=1)
    with pytest.raises(DataError, match=r"train-00000\.tar"):
        dataset[0]
    assert dataset[1]["key"] == many.keys["train"][1]
    with pytest.raises(UsageError):
        PairDataset(many.path, "train", max_corrupt=2)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_vector_of_objects_is_not_merely_corrupt(many: Written, tmp_path: Path) -> None:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    out.write(pickle.dumps(Bomb(tmp_path / "boom")))
    spoil(many, many.keys["train"][:1], "pathway.npy", out.getvalue())
    for pairs in (
        PairStream(many.path, "train", verify=False, max_corrupt=1),
        PairDataset(many.path, "train", verify=False, max_corrupt=1),
    ):
        with pytest.raises(HumanstError) as caught:
            list(pairs) if isinstance(pairs, PairStream) else pairs.__getitems__(range(100))
        assert caught.value.exit_code == 8
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize(
    "path",
    ["pipe:touch boom", "data/train/../../../x.tar", "file:///etc/passwd", "http://127.0.0.1/x.tar", "-x.tar"],
)
def test_a_manifest_cannot_name_a_command_or_another_place(many: Written, path: str) -> None:
    manifest = many.manifest
    manifest["splits"]["train"]["shards"][0]["path"] = path
    many.set_manifest(manifest)
    with pytest.raises(HumanstError):
        list(PairStream(many.path, "train"))
    assert not (many.path / "boom").exists()
    assert not Path("boom").exists()


@pytest.mark.parametrize("name", ["../up.jpg", "a.b.c.jpg", "/abs.jpg", "pickle.pkl", "x.pyd"])
def test_names_inside_a_shard_mean_nothing(many: Written, name: str, tmp_path: Path) -> None:
    """Only bytes that the index places are read; a name in the tar is never a path, a suffix never a decoder."""
    shard = many.path / "data/train/train-00000.tar"
    before = shard.read_bytes()
    with tarfile.open(shard, "a") as tar:
        info = tarfile.TarInfo(name)
        data = pickle.dumps(Bomb(tmp_path / "boom"))
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    with pytest.raises(IntegrityError, match=r"train-00000\.tar"):
        list(PairStream(many.path, "train"))
    manifest = many.manifest
    import hashlib

    content = shard.read_bytes()
    assert content.startswith(before[:1024])
    entry = manifest["splits"]["train"]["shards"][0]
    entry |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    many.set_manifest(json.loads(json.dumps(manifest)))
    assert sorted(pair["key"] for pair in PairStream(many.path, "train")) == sorted(many.keys["train"])
    assert not (tmp_path / "boom").exists()
    assert not (many.path.parent / "up.jpg").exists()


def test_workers_and_mixtures_leave_out_a_corrupt_pair_too(torch: ModuleType, many: Written) -> None:
    bad = many.keys["train"][3]
    spoil(many, [bad], "jpg")
    for release in (many.path, {many.path: 1.0}):
        loader = dataloader(release, 10, workers=1, stream=True, verify=False, max_corrupt=0.02, seed=1)
        batches = [batch["key"] for batch in loader]
        assert sorted(len(batch) for batch in batches) == [9] + [10] * 9
        assert sorted(key for batch in batches for key in batch) == sorted(set(many.keys["train"]) - {bad})
