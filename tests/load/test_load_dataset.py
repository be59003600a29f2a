"""PairDataset against the truth the release was written from."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from humanst.errors import IntegrityError
from humanst.load import PairDataset


def test_every_pair_is_the_one_that_was_written(release: Any) -> None:
    dataset = PairDataset(release.path, "train")
    assert len(dataset) == 51
    index = pd.read_parquet(release.path / "index" / "train.parquet")
    for number, key in enumerate(release.keys["train"]):
        pair, truth = dataset[number], release.documents[key]
        vector = release.vectors[key]
        reference = np.asarray(Image.open(io.BytesIO(release.jpgs[key])))
        assert pair["image"].dtype == np.uint8
        assert np.array_equal(pair["image"], reference)
        assert np.array_equal(pair["mask"], np.isfinite(vector))
        assert np.array_equal(pair["pathways"], np.nan_to_num(vector, nan=0.0))
        assert (pair["pathways"].dtype, pair["mask"].dtype) == (np.float32, np.bool_)
        assert (pair["key"], pair["uid"], pair["label"]) == (key, truth["uid"], truth["label"])
        assert pair["log10_counts_z"] == np.float32(truth["log10_counts_z"])
        row = index.iloc[number].to_dict()
        located = [name for name in row if name.endswith(("_offset", "_length", "_hash"))]
        assert pair["metadata"] == {name: value for name, value in row.items() if name not in located}
        assert type(pair["metadata"]["n_counts"]) is int


def test_some_pathways_are_unmeasured_in_the_fixture(release: Any) -> None:
    masks = np.stack([PairDataset(release.path, "train")[i]["mask"] for i in range(51)])
    assert 0 < masks.mean() < 1


def test_numbers_outside_are_refused_and_negative_ones_count_from_the_end(release: Any) -> None:
    dataset = PairDataset(release.path, "val")
    assert dataset[-1]["key"] == dataset[np.int64(4)]["key"] == release.keys["val"][4]
    assert [pair["key"] for pair in dataset] == release.keys["val"]
    for index in (5, -6):
        with pytest.raises(IndexError):
            dataset[index]
    with pytest.raises(TypeError):
        dataset["s0_val0x7"]


def test_an_empty_split_has_no_pairs(release: Any) -> None:
    dataset = PairDataset(release.path, "test")
    assert len(dataset) == 0
    assert list(dataset) == []
    assert len(dataset.metadata) == 0


@pytest.mark.parametrize(
    ("where", "query"),
    [
        ("platform == 'visium' and tissue_fraction > 0.5", "platform == 'visium' and tissue_fraction > 0.5"),
        ("sample_id in ('s1', 's3')", "sample_id in ('s1', 's3')"),
        ("not platform == 'st' or n_counts < 1010", "not platform == 'st' or n_counts < 1010"),
        ("n_counts < 0", "n_counts < 0"),
    ],
)
def test_a_filter_selects_what_pandas_selects(release: Any, where: str, query: str) -> None:
    index = pd.read_parquet(release.path / "index" / "train.parquet")
    expected = index.query(query)
    dataset = PairDataset(release.path, "train", where=where)
    assert [pair["key"] for pair in dataset] == expected["key"].tolist()
    described = [name for name in index.columns if not name.endswith(("_offset", "_length", "_hash"))]
    pd.testing.assert_frame_equal(dataset.metadata, expected[described].reset_index(drop=True))
    assert dataset.table["key"].to_pylist() == expected["key"].tolist()


def test_the_transform_takes_the_place_of_the_image(release: Any) -> None:
    plain, changed = (
        PairDataset(release.path, "val"),
        PairDataset(release.path, "val", transform=lambda image: image.mean()),
    )
    assert changed[2]["image"] == plain[2]["image"].mean()


def test_a_pickled_copy_reads_the_same_and_trusts_what_was_verified(release: Any) -> None:
    dataset = PairDataset(release.path, "train")
    first = dataset[3]
    copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert np.array_equal(copy[3]["image"], first["image"])
    assert copy.metadata.equals(dataset.metadata)


def _keys_in_child(dataset: PairDataset, numbers: list[int], queue: Any) -> None:
    queue.put([dataset[number]["key"] for number in numbers])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_read_side_by_side(release: Any, method: str) -> None:
    dataset = PairDataset(release.path, "train")
    dataset[0]
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=_keys_in_child, args=(dataset, list(range(50, 25, -1)), queue))
    child.start()
    mine = [dataset[number]["key"] for number in range(26)]
    theirs = queue.get(timeout=60)
    child.join(timeout=60)
    assert mine + theirs[::-1] == release.keys["train"]


def test_a_fork_opens_its_own_descriptors(release: Any) -> None:
    dataset = PairDataset(release.path, "train")
    dataset[0]
    before = dict(dataset._reader.files._open)
    pid = os.fork()
    if pid == 0:
        key = dataset[1]["key"]
        # Exit codes carry the answer; 0 would also be a child that never looked.
        os._exit(17 if key == release.keys["train"][1] and dataset._reader.files._pid == os.getpid() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 17
    assert dataset._reader.files._open == before
    assert dataset[2]["key"] == release.keys["train"][2]


def test_only_so_many_shards_stay_open(uneven_release: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("humanst.load.shardfile.OPEN_SHARDS", 2)
    dataset = PairDataset(uneven_release.path, "train")
    assert [pair["key"] for pair in dataset] == uneven_release.keys["train"]
    assert len(dataset._reader.files._open) == 2
    assert dataset[0]["key"] == uneven_release.keys["train"][0]


def test_a_shard_cut_while_open_never_gives_half_a_pair(own_release: Any) -> None:
    dataset = PairDataset(own_release.path, "train")
    dataset[0]
    os.truncate(own_release.path / "data/train/train-00000.tar", int(dataset.table["npy_offset"][5].as_py()))
    assert dataset[4]["key"] == own_release.keys["train"][4]
    with pytest.raises(IntegrityError, match="ends before the pair does") as caught:
        dataset[5]
    assert caught.value.facts.file == "data/train/train-00000.tar"


@pytest.mark.parametrize("member", ["jpg", "json", "npy"])
def test_check_members_sees_a_change_after_the_opening(own_release: Any, member: str) -> None:
    dataset = PairDataset(own_release.path, "train", check_members=True)
    assert dataset[5]["key"] == own_release.keys["train"][5]
    row = dataset.table.slice(5, 1).to_pylist()[0]
    with (own_release.path / "data/train/train-00000.tar").open("r+b") as shard:
        shard.seek(row[f"{member}_offset"] + row[f"{member}_length"] - 1)
        shard.write(b"\x01")
    with pytest.raises(IntegrityError, match=f"The {member} of this pair changed") as caught:
        dataset[5]
    assert (caught.value.facts.file, caught.value.facts.field) == ("train-00000.tar", own_release.keys["train"][5])


def test_a_selection_as_anndata(release: Any) -> None:
    dataset = PairDataset(release.path, "train", where="sample_id != 's1'")
    made = dataset.to_anndata()
    assert list(made.obs_names) == [key for key in release.keys["train"] if not key.startswith("s1_")]
    assert list(made.var_names) == list(dataset.pathway_names)
    for row in (0, 7, len(dataset) - 1):
        key = made.obs_names[row]
        assert np.array_equal(made.X[row], release.vectors[key], equal_nan=True)
        document = release.documents[key]
        assert made.obsm["spatial"][row].tolist() == [document["x_um"], document["y_um"]]
        assert made.obs["n_counts"].iloc[row] == document["n_counts"]
    assert np.isnan(made.X).any()
