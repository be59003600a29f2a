"""timm, open_clip, wids and plain webdataset open a built release, and see what plain tarfile sees in it."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import ROOT
from tests.readers.world import Plain, pixel_hash


@pytest.mark.parametrize("split", ["train", "val"])
def test_timm_reads_images_and_labels(plain: Plain, split: str) -> None:
    from timm.data import create_dataset

    loaded = create_dataset("wds/", root=str(plain.path / "data"), split=split)
    assert len(loaded) == len(plain.rows[split])
    found = [(pixel_hash(image), label) for image, label in loaded]
    labels = [facts["label"] for facts in plain.facts(split)]
    assert found == list(zip(plain.pixels(split), labels, strict=True))
    assert all(type(label) is int for _, label in found)


def test_timm_training_sees_every_pair_once(plain: Plain) -> None:
    from timm.data import create_dataset

    loaded = create_dataset("wds/", root=str(plain.path / "data"), split="train", is_training=True, batch_size=1)
    assert Counter(pixel_hash(image) for image, _ in loaded) == Counter(plain.pixels("train"))


def test_labels_have_names(plain: Plain) -> None:
    info = json.loads((plain.path / "data/_info.json").read_bytes())
    assert set(info["splits"]) == {"train", "val"}
    facts = plain.facts("train") + plain.facts("val")
    assert {(str(pair["label"]), pair["organ"]) for pair in facts} == set(info["label_names"].items())
    assert len(info["pathway_names"]) == len(plain.vectors("train")[0])


def arguments_of(plain: Plain, command: str) -> Any:
    """What open_clip makes of a command line."""
    from open_clip_train.params import parse_args

    words = shlex.split(command.replace("\\\n", "").replace("$RELEASE", str(plain.path)))
    assert words[:3] == ["python", "-m", "open_clip_train.main"]
    arguments = parse_args([*words[3:], "--batch-size", "1", "--val-data", plain.shards("val")])
    # main() sets these after it has looked for other processes; this one reads itself.
    arguments.world_size, arguments.workers = 1, 0
    return arguments


def test_open_clip_finds_sizes_and_validates(plain: Plain) -> None:
    from open_clip_train.data import get_dataset_size, get_wds_dataset

    for split, n_shards in (("train", 5), ("val", 3)):
        assert get_dataset_size(plain.shards(split)) == (len(plain.rows[split]), n_shards)
    arguments = arguments_of(plain, plain.snippet("open_clip"))
    data = get_wds_dataset(arguments, pixel_hash, is_train=False, tokenizer=lambda text: [text])
    found = [(images[0], texts[0]) for images, texts in data.dataloader]
    assert found == list(zip(plain.pixels("val"), plain.texts("val"), strict=True))


def test_open_clip_trains(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair once an epoch; how many there are is taken from ``sizes.json``."""
    import open_clip_train.data as clip
    from webdataset.tariterators import tar_file_expander

    # open_clip's training reader is written for webdataset <= 0.2.86, where no mark ended a shard.
    monkeypatch.setattr(clip, "tar_file_expander", partial(tar_file_expander, eof_value=None))
    arguments = arguments_of(plain, plain.snippet("open_clip"))
    assert arguments.train_num_samples is None
    data = clip.get_wds_dataset(arguments, pixel_hash, is_train=True, tokenizer=lambda text: [text])
    assert data.dataloader.num_samples == len(plain.rows["train"])
    found = Counter((images[0], texts[0]) for images, texts in data.dataloader)
    assert found == Counter(zip(plain.pixels("train"), plain.texts("train"), strict=True))


def wids_pairs(index: Path, cache: Path) -> list[dict[str, Any]]:
    import wids

    loaded = wids.ShardListDataset(str(index), cache_dir=str(cache), transformations=[])
    pairs = [loaded[number] for number in range(len(loaded))]
    loaded.close()
    return pairs


def test_wids_lists_and_indexes(plain: Plain, tmp_path: Path) -> None:
    everything = []
    for split in ("train", "val"):
        found = wids_pairs(plain.path / "data" / split / "index.json", tmp_path / split)
        expected = [{f".{suffix}": data for suffix, data in members.items()} for members in plain.pairs[split].values()]
        assert [pair["__key__"] for pair in found] == plain.keys(split)
        assert [
            {name: pair[name].read() for name in want} for pair, want in zip(found, expected, strict=True)
        ] == expected
        everything += [(key, split) for key in plain.keys(split)]
    found = wids_pairs(plain.path / "data/index.json", tmp_path / "all")
    assert [(pair["__key__"], pair["__dataset__"]) for pair in found] == everything


@pytest.mark.filterwarnings("ignore:String specifications:UserWarning")
def test_snippets_of_the_card(plain: Plain, tmp_path: Path) -> None:
    """As they stand there: humanst, webdataset, timm and wids."""
    names: dict[str, Any] = {"RELEASE": str(plain.path), "CACHE": str(tmp_path)}
    for title in ("humanst", "webdataset", "timm", "wids"):
        exec(plain.snippet(title), names)  # noqa: S102
    assert names["batch"]["image"].shape[1:] == (3, 224, 224)
    assert names["about"] == plain.facts("train")[0]
    assert names["image"].shape == (224, 224, 3)
    np.testing.assert_array_equal(names["pathways"], plain.vectors("train")[0])
    assert names["patches"][3][".json"] == plain.facts("train")[3], "of wids, the last one"


@pytest.mark.parametrize("title", ["humanst", "datasets", "webdataset", "timm", "open_clip", "wids"])
def test_the_page_shows_the_lines_of_the_card(plain: Plain, title: str) -> None:
    page = (ROOT / "docs/release.md").read_text()
    shown = re.search(rf"^\*\*{title}\*\*[^\n]*\n\n```(python|sh)\n(.*?)```$", page, re.DOTALL | re.MULTILINE)
    assert shown is not None
    assert shown[2] == plain.snippet(title)
