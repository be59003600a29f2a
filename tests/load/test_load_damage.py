"""Shards that were cut, changed or put together otherwise: refused by name; what is given is always a whole pair."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from humanst.errors import DataError, HumanstError, IntegrityError
from humanst.load import PairDataset, PairStream, dataloader
from humanst.load.decode import decode_jpg
from tests.load.conftest import MEMBERS, Written, write_release

BLOCK_BYTES = 512
SHARD = "data/train/train-00001.tar"
FRONT_ENDS: dict[str, Callable[..., Any]] = {
    "by number": lambda path, **options: PairDataset(path, "train", **options),
    "stream": lambda path, **options: PairStream(path, "train", shuffle=False, batch_size=1, **options),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Two shards of two pairs."""
    return write_release(tmp_path_factory.mktemp("whole") / "r", {"train": [2, 2]})


@pytest.fixture
def copy(whole: Written, tmp_path: Path) -> Written:
    shutil.copytree(whole.path, tmp_path / "r")
    return Written(tmp_path / "r", whole.jpgs, whole.vectors, whole.documents, whole.keys)


def read(pairs: Any, release: Written) -> tuple[list[str], HumanstError | None]:
    """Keys of the pairs up to an error, and the error; each pair must be the one that was written."""
    keys = []
    try:
        for pair in pairs:
            key = pair["key"]
            assert np.array_equal(pair["image"], decode_jpg(release.jpgs[key]))
            assert np.array_equal(pair["pathways"], np.nan_to_num(release.vectors[key]))
            assert np.array_equal(pair["mask"], ~np.isnan(release.vectors[key]))
            keys.append(key)
    except HumanstError as error:
        return keys, error
    return keys, None


def refused(pairs: Any, release: Written) -> None:
    """Both pairs of the first shard come; then the second is refused by its name."""
    keys, error = read(pairs, release)
    assert keys == release.keys["train"][:2]
    assert isinstance(error, IntegrityError)
    assert error.facts.file == SHARD


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_a_shard_cut_at_any_block_border_is_refused(copy: Written, front_end: str) -> None:
    shard = copy.path / SHARD
    data = shard.read_bytes()
    borders = range(0, len(data), BLOCK_BYTES)
    assert len(borders) > 40
    for border in borders:
        shard.write_bytes(data[:border])
        refused(FRONT_ENDS[front_end](copy.path), copy)


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_unverified_a_cut_shard_gives_whole_pairs_or_an_error(copy: Written, front_end: str) -> None:
    shard = copy.path / SHARD
    data = shard.read_bytes()
    given = set()
    for border in range(0, len(data), 4 * BLOCK_BYTES):
        shard.write_bytes(data[:border])
        keys, error = read(FRONT_ENDS[front_end](copy.path, verify=False), copy)
        assert keys == copy.keys["train"][: len(keys)]
        assert (error is None) == (len(keys) == 4)
        assert error is None or "train-00001.tar" in str(error.facts.file)
        given.add(len(keys))
    assert given == {2, 3, 4} if front_end == "by number" else given <= {2, 3, 4}


def regions(shard: Path) -> Iterator[tuple[str, int]]:
    """A byte in the header, the content and the padding of each member, and in the end of the archive."""
    with tarfile.open(shard) as tar:
        members = tar.getmembers()
    for info in members:
        kind = info.name.split(".", 1)[1]
        yield f"header of {kind}", info.offset + 3
        yield f"check sum of {kind}", info.offset + 150
        yield f"first of {kind}", info.offset_data
        yield f"middle of {kind}", info.offset_data + info.size // 2
        yield f"last of {kind}", info.offset_data + info.size - 1
        if info.size % BLOCK_BYTES:
            yield f"padding of {kind}", info.offset_data + info.size
    yield "end", shard.stat().st_size - 1


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_a_flipped_bit_anywhere_is_refused(copy: Written, front_end: str) -> None:
    shard = copy.path / SHARD
    data = shard.read_bytes()
    places = dict(regions(shard))
    assert len(places) >= 4 * 5
    for place in [*(place for _, place in regions(shard)), *range(0, len(data), 4999)]:
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        shard.write_bytes(changed)
        refused(FRONT_ENDS[front_end](copy.path), copy)


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_hashes_of_members_see_each_changed_member_and_nothing_else(copy: Written, front_end: str) -> None:
    shard = copy.path / SHARD
    data = shard.read_bytes()
    for where, place in regions(shard):
        changed = bytearray(data)
        changed[place] ^= 1
        shard.write_bytes(changed)
        keys, error = read(FRONT_ENDS[front_end](copy.path, verify=False, check_members=True), copy)
        harmless = where.endswith("txt") or where.startswith(("header", "check", "padding", "end"))
        assert (error is None) == harmless, where
        assert keys == copy.keys["train"][: len(keys)]


def rebuilt(shard: Path, without: str) -> bytes:
    """The bytes of the shard without one member, otherwise as they were."""
    out = io.BytesIO()
    with tarfile.open(shard) as tar, tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as made:
        for info in tar:
            if info.name != without:
                made.addfile(info, tar.extractfile(info))
    return out.getvalue()


def on_record(release: Written, data: bytes) -> None:
    """Let the manifest record these bytes: the shard is now the one that was published."""
    (release.path / SHARD).write_bytes(data)
    manifest = release.manifest
    manifest["splits"]["train"]["shards"][1] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    release.set_manifest(manifest)


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@pytest.mark.parametrize("member", MEMBERS)
def test_a_missing_member_is_refused(copy: Written, front_end: str, member: str) -> None:
    data = rebuilt(copy.path / SHARD, f"{copy.keys['train'][2]}.{member}")
    (copy.path / SHARD).write_bytes(data)
    refused(FRONT_ENDS[front_end](copy.path), copy)
    # Published like this, the index leads elsewhere: never to a pair that was put together of others.
    on_record(copy, data)
    if member == "jpg":
        # The largest member: the shard is too short for its index.
        with pytest.raises(DataError, match=r"train-00001\.tar"):
            FRONT_ENDS[front_end](copy.path)
        return
    keys, error = read(FRONT_ENDS[front_end](copy.path, check_members=True), copy)
    n_whole = 3 if member == "txt" else 2
    assert keys == copy.keys["train"][:n_whole]
    assert error is not None
    assert error.facts.field in copy.keys["train"][n_whole:]


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("jpg_offset", None), ("json_length", None), ("npy_offset", -1), ("jpg_length", 2**31 - 1)),
        *(("shard", "pipe:touch boom"), ("shard", "../train-00001.tar"), ("shard", None), ("key", "s1_a.b.c")),
    ],
)
def test_an_index_that_lacks_a_member_or_names_another_place_is_refused(
    copy: Written, front_end: str, column: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    index = copy.path / "index/train.parquet"
    table = pq.read_table(index)
    values = table[column].to_pylist()
    values[2] = value
    number = table.column_names.index(column)
    changed = table.set_column(
        number, table.schema.field(number).with_nullable(True), pa.array(values, table.schema.field(number).type)
    )
    pq.write_table(changed, index)
    manifest = copy.manifest
    manifest["splits"]["train"]["index_sha256"] = hashlib.sha256(index.read_bytes()).hexdigest()
    copy.set_manifest(manifest)
    with pytest.raises(HumanstError):
        list(FRONT_ENDS[front_end](copy.path))
    assert not (tmp_path / "boom").exists()


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2 // BLOCK_BYTES * BLOCK_BYTES]


def _flip(data: bytes) -> bytes:
    return data[:700] + bytes([data[700] ^ 1]) + data[701:]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("damage", [_cut, _flip])
def test_a_worker_refuses_it_by_name_as_well(
    torch: ModuleType, copy: Written, stream: bool, damage: Callable[[bytes], bytes]
) -> None:
    """Damaged after the loader was made; before, the loader is not made at all."""
    loader = dataloader(copy.path, 2, workers=1, stream=stream, shuffle=False)
    shard = copy.path / SHARD
    shard.write_bytes(damage(shard.read_bytes()))
    given = []
    with pytest.raises(IntegrityError, match=r"train-00001\.tar"):
        for batch in loader:
            given += batch["key"]
    assert given == copy.keys["train"][:2]
    # torch waits five seconds for each worker of a failed run; there is nothing left to wait for.
    for process in loader._iterator._workers:
        process.terminate()
    with pytest.raises(IntegrityError, match=r"train-00001\.tar"):
        dataloader(copy.path, 2, workers=1, stream=stream)
