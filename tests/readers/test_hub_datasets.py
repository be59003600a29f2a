"""Hugging Face ``datasets`` opens a built release: its shards by their paths, its tables by the card's configs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.readers.world import Plain, pixel_hash


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    return datasets


def assert_same(loaded: Any, plain: Plain, split: str) -> None:
    """Every pair in its order, every member."""
    rows = list(loaded)
    assert [row["__key__"] for row in rows] == plain.keys(split) == [row["key"] for row in plain.rows[split]]
    assert [row["json"] for row in rows] == plain.facts(split)
    assert [row["txt"] for row in rows] == plain.texts(split)
    np.testing.assert_array_equal(np.array([row["pathway.npy"] for row in rows], "f4"), plain.vectors(split))
    assert [pixel_hash(row["jpg"]) for row in rows[::50]] == plain.pixels(split)[::50]


def test_shards_as_webdataset(datasets: Any, plain: Plain) -> None:
    files = {split: str(plain.path / "data" / split / "*.tar") for split in ("train", "val")}
    loaded = datasets.load_dataset("webdataset", data_files=files)
    assert set(loaded) == {"train", "val"}
    for split, rows in loaded.items():
        assert_same(rows, plain, split)
    assert loaded["train"].features["json"]["label"].dtype == "int64"


def test_shards_as_a_stream(datasets: Any, plain: Plain) -> None:
    stream = datasets.load_dataset(
        "webdataset", data_files={"val": str(plain.path / "data/val/*.tar")}, split="val", streaming=True
    )
    assert [row["__key__"] for row in stream] == plain.keys("val")


def test_configs_of_the_card(datasets: Any, plain: Plain) -> None:
    """Each that the card names loads; the default is the table of sections."""
    folder = str(plain.path)
    assert datasets.get_dataset_config_names(folder) == ["samples", "pairs"]
    sections = pq.read_table(plain.path / "samples.parquet").to_pylist()
    for arguments in ((folder,), (folder, "samples")):
        loaded = datasets.load_dataset(*arguments)
        assert {split: list(rows) for split, rows in loaded.items()} == {"train": sections}
    loaded = datasets.load_dataset(folder, "pairs")
    filled = {split: rows for split, rows in plain.rows.items() if rows}
    assert {split: list(rows) for split, rows in loaded.items()} == filled
    assert "test" not in filled, "an empty split is in no config"


def test_snippet_of_the_card(datasets: Any, plain: Plain) -> None:
    names: dict[str, Any] = {"RELEASE": str(plain.path)}
    exec(plain.snippet("datasets"), names)  # noqa: S102
    assert names["sections"].num_rows == len(pq.read_table(plain.path / "samples.parquet"))
    assert {split: rows.num_rows for split, rows in names["pairs"].items()} == {
        split: len(rows) for split, rows in plain.rows.items() if rows
    }
    assert set(names["patches"]) == {"train"}
    assert_same(names["patches"]["train"], plain, "train")


def test_the_bytes_of_a_patch_are_those_of_the_shard(datasets: Any, plain: Plain) -> None:
    loaded = datasets.load_dataset(str(plain.path), data_files={"val": "data/val/*.tar"}, split="val")
    raw = loaded.cast_column("jpg", datasets.Image(decode=False))
    members = list(plain.pairs["val"].values())
    assert [row["jpg"]["bytes"] for row in raw] == [pair["jpg"] for pair in members]
    assert Image.open(io.BytesIO(members[0]["jpg"])).size == (224, 224)
