"""Opening a release: what is missing, unknown or changed is refused by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from humanst.errors import DataError, HostileError, IntegrityError, UsageError
from humanst.load import PairDataset, open_release

SHARD = "data/train/train-00001.tar"


def test_a_release_tells_what_is_in_it(release: Any) -> None:
    opened = open_release(release.path)
    assert opened.version == "0.0.1"
    assert opened.pathway_names == ("HYPOXIA", "GLYCOLYSIS", "MYC_TARGETS", "EMT", "KRAS_UP")
    assert opened.organs == {"breast": 0, "lung": 1}
    assert {name: split.n_pairs for name, split in opened.splits.items()} == {"train": 51, "val": 5, "test": 0}
    assert [shard.n_pairs for shard in opened.split("train").shards] == [17, 17, 17]
    assert opened.index("train").equals(pq.read_table(release.path / "index" / "train.parquet"))
    assert open_release(opened) is opened


def test_a_folder_without_manifest_is_not_a_release(own_release: Any) -> None:
    (own_release.path / "MANIFEST.json").unlink()
    for path in (own_release.path, own_release.path / "nowhere", own_release.path / "index" / "val.parquet"):
        with pytest.raises(DataError, match="a release exists only when its manifest exists"):
            open_release(path)


@pytest.mark.parametrize("schema", ["humanst.release/2", None])
def test_an_unknown_schema_is_refused(own_release: Any, schema: str | None) -> None:
    own_release.set_manifest(own_release.manifest | {"schema": schema})
    with pytest.raises(DataError, match=r"Expected humanst\.release/1") as caught:
        open_release(own_release.path)
    assert caught.value.facts.found == repr(schema)


def test_a_manifest_that_is_no_json_is_refused(own_release: Any) -> None:
    text = (own_release.path / "MANIFEST.json").read_bytes()
    (own_release.path / "MANIFEST.json").write_bytes(text[: len(text) // 2])
    with pytest.raises(DataError, match="Expected a JSON document"):
        open_release(own_release.path)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("version", lambda m: m.pop("version")),
        ("pathways.names", lambda m: m["pathways"].pop("names")),
        ("organs", lambda m: m.update(organs=[1])),
        ("patch.side_px", lambda m: m["patch"].update(side_px="224")),
        ("splits.val.index_sha256", lambda m: m["splits"]["val"].pop("index_sha256")),
        ("splits.train.shards[1].bytes", lambda m: m["splits"]["train"]["shards"][1].update(bytes=None)),
        ("splits.train.n_pairs", lambda m: m["splits"]["train"].update(n_pairs=52)),
        ("splits.val.shards", lambda m: m["splits"]["val"].update(shards=m["splits"]["val"]["shards"] * 2, n_pairs=10)),
    ],
)
def test_a_field_that_is_missing_or_wrong_is_named(own_release: Any, field: str, change: Any) -> None:
    manifest = own_release.manifest
    change(manifest)
    own_release.set_manifest(manifest)
    with pytest.raises(DataError) as caught:
        open_release(own_release.path)
    assert (caught.value.facts.file, caught.value.facts.field) == ("MANIFEST.json", field)


@pytest.mark.parametrize("path", ["../outside.tar", "/etc/passwd", "data\\..\\..\\x.tar", "C:/x.tar"])
def test_paths_that_leave_the_folder_are_refused(own_release: Any, path: str) -> None:
    manifest = own_release.manifest
    manifest["splits"]["val"]["shards"][0]["path"] = path
    own_release.set_manifest(manifest)
    with pytest.raises(HostileError):
        open_release(own_release.path)
    manifest = own_release.manifest
    manifest["splits"]["val"]["shards"][0]["path"] = "data/val/val-00000.tar"
    manifest["splits"]["val"]["index"] = path
    own_release.set_manifest(manifest)
    with pytest.raises(HostileError):
        open_release(own_release.path)


def test_an_unknown_split_is_refused_with_those_there_are(release: Any) -> None:
    with pytest.raises(UsageError, match="test or train or val"):
        PairDataset(release.path, "validation")


def test_an_index_with_another_hash_is_refused(own_release: Any) -> None:
    index = own_release.path / "index" / "train.parquet"
    table = pq.read_table(index)
    pq.write_table(table.slice(0, 50), index)
    with pytest.raises(IntegrityError) as caught:
        PairDataset(own_release.path, "train")
    assert caught.value.facts.file == "index/train.parquet"
    assert str(caught.value.facts.expected).split()[-1] == own_release.manifest["splits"]["train"]["index_sha256"]
    index.unlink()
    with pytest.raises(IntegrityError, match=r"index/train\.parquet"):
        PairDataset(own_release.path, "train")


def _replace_index(written: Any, change: Any) -> None:
    import hashlib

    index = written.path / "index" / "train.parquet"
    pq.write_table(change(pq.read_table(index)), index)
    manifest = written.manifest
    manifest["splits"]["train"]["index_sha256"] = hashlib.sha256(index.read_bytes()).hexdigest()
    written.set_manifest(manifest)


def _shift(table: Any, column: str, row: int, value: Any) -> Any:
    values = table[column].to_pylist()
    values[row] = value
    import pyarrow as pa

    return table.set_column(table.column_names.index(column), column, pa.array(values, table[column].type))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.slice(1), r"17 rows of train-00000\.tar"),
        (lambda table: table.drop_columns(["npy_length"]), "columns npy_length"),
        (lambda table: _shift(table, "key", 20, table["key"][21].as_py()), "51 different values of key"),
        (lambda table: _shift(table, "npy_offset", 20, 10**9), r"train-00001\.tar"),
        (lambda table: _shift(table, "jpg_offset", 20, -512), r"train-00001\.tar"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(own_release: Any, change: Any, message: str) -> None:
    _replace_index(own_release, change)
    with pytest.raises(DataError, match=message) as caught:
        PairDataset(own_release.path, "train")
    assert caught.value.facts.file == "index/train.parquet"


def test_an_index_that_leads_to_another_pair_is_refused(own_release: Any) -> None:
    def swapped(table: Any) -> Any:
        for column in ("jpg_offset", "json_offset", "npy_offset"):
            values = table[column].to_pylist()
            table = _shift(_shift(table, column, 0, values[1]), column, 1, values[0])
        return table

    # Length differs between the members of pairs, so the lengths are swapped as well.
    def both(table: Any) -> Any:
        table = swapped(table)
        for column in ("jpg_length", "json_length", "npy_length"):
            values = table[column].to_pylist()
            table = _shift(_shift(table, column, 0, values[1]), column, 1, values[0])
        return table

    _replace_index(own_release, both)
    dataset = PairDataset(own_release.path, "train")
    with pytest.raises(IntegrityError, match="The index leads to another pair") as caught:
        dataset[0]
    assert own_release.keys["train"][1] in str(caught.value)


@pytest.mark.parametrize("cut", [0, 512, 10_240, -10_240, -512, -1])
def test_a_truncated_shard_is_refused_by_name(own_release: Any, cut: int) -> None:
    shard = own_release.path / SHARD
    size = shard.stat().st_size
    left = cut if cut >= 0 else size + cut
    os.truncate(shard, left)
    with pytest.raises(IntegrityError) as caught:
        open_release(own_release.path).verify_shard(SHARD)
    facts = caught.value.facts
    assert (facts.file, facts.expected, facts.found) == (SHARD, f"{size:,} bytes", f"{left:,} bytes")


def test_a_flipped_bit_is_refused_by_name_and_other_shards_still_read(own_release: Any) -> None:
    shard = own_release.path / SHARD
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    dataset = PairDataset(own_release.path, "train")
    assert dataset[0]["key"] == own_release.keys["train"][0]
    with pytest.raises(IntegrityError, match="sha256") as caught:
        dataset[17]
    assert caught.value.facts.file == SHARD
    with pytest.raises(IntegrityError):
        dataset[20]
    assert dataset[50]["key"] == own_release.keys["train"][50]


def test_a_missing_shard_is_refused_by_name(own_release: Any) -> None:
    (own_release.path / SHARD).unlink()
    for verify in (True, False):
        with pytest.raises(IntegrityError) as caught:
            PairDataset(own_release.path, "train", verify=verify)[17]
        assert caught.value.facts.file == SHARD


def test_a_shard_is_hashed_once_and_again_after_it_changed(own_release: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import humanst.load.release as module

    hashed: list[Path] = []
    original = module.sha256_file
    monkeypatch.setattr(module, "sha256_file", lambda path: hashed.append(path) or original(path))
    opened = open_release(own_release.path)
    for _ in range(3):
        assert opened.verify_shard(SHARD) == own_release.path / SHARD
    assert len(hashed) == 1
    data = (own_release.path / SHARD).read_bytes()
    (own_release.path / SHARD).write_bytes(data[:-1] + b"x")
    with pytest.raises(IntegrityError):
        opened.verify_shard(SHARD)


def test_an_unknown_shard_is_a_usage_error(release: Any) -> None:
    with pytest.raises(UsageError, match="no such shard"):
        open_release(release.path).verify_shard("data/train/train-00009.tar")
