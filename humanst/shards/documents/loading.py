"""How to load a release: the lines of the card. The tests of others' readers run them as they stand there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from humanst.shards.documents.facts import filled_splits

_HUMANST = """\
from humanst import dataloader

for batch in dataloader(RELEASE, 64, split="{split}"):
    batch["image"], batch["pathways"], batch["mask"]  # uint8 (64, 3, {side}, {side}); float32 and bool (64, {p})"""

_DATASETS = """\
from datasets import load_dataset

sections = load_dataset(RELEASE, "samples", split="train")  # one table: all sections, of all splits
pairs = load_dataset(RELEASE, "pairs")  # the index: one row a pair
patches = load_dataset(RELEASE, data_files={{"{split}": "data/{split}/*.tar"}})  # jpg, json, pathway.npy, txt"""

_WEBDATASET = """\
import webdataset

shards = f"{{RELEASE}}/data/{split}/{split}-{python_shards}.tar"
pairs = webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8").to_tuple("jpg", "pathway.npy", "json")
image, pathways, about = next(iter(pairs))"""

_TIMM = """\
from timm.data import create_dataset

patches = create_dataset("wds/", root=f"{{RELEASE}}/data", split="{split}")  # (image, label of the organ)"""

_OPEN_CLIP = """\
python -m open_clip_train.main --dataset-type webdataset --workers 1 \\
  --train-data "$RELEASE/data/{split}/{split}-{shards}.tar\""""

_WIDS = """\
import wids

patches = wids.ShardListDataset(f"{{RELEASE}}/data/{split}/index.json", cache_dir=CACHE)  # one cache a release"""


def how_to_load(manifest: Mapping[str, Any]) -> list[str]:
    """Lines of Markdown, for the first split that holds pairs; none for a release without."""
    splits = filled_splits(manifest)
    if not splits:
        return []
    split = next(iter(splits))
    shards = shard_numbers([str(shard["path"]) for shard in splits[split]["shards"]])
    values = {
        "split": split,
        "shards": shards,
        # Inside an f-string.
        "python_shards": shards.replace("{", "{{").replace("}", "}}"),
        "side": manifest["patch"]["side_px"],
        "p": len(manifest["pathways"]["names"]),
    }
    lines = ["", "## Load it", "", "`RELEASE` is the folder of this file, `CACHE` a folder of yours."]
    for title, kind, text in (
        ("humanst", "python", _HUMANST),
        ("datasets", "python", _DATASETS),
        ("webdataset", "python", _WEBDATASET),
        ("timm", "python", _TIMM),
        ("open_clip", "sh", _OPEN_CLIP),
        ("wids", "python", _WIDS),
    ):
        lines += ["", f"**{title}**", "", f"```{kind}", *text.format(**values).splitlines(), "```"]
    return lines


def shard_numbers(paths: Sequence[str]) -> str:
    """Numbers of shards in braces: ``{00000..00004}``, and ``{{00000..00001},00003}`` where some are gone."""
    runs: list[list[str]] = []
    for number in (path.removesuffix(".tar").rpartition("-")[2] for path in paths):
        if runs and int(number) == int(runs[-1][-1]) + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    if len(runs) == 1:
        return f"{{{runs[0][0]}..{runs[0][-1]}}}"
    return "{" + ",".join(run[0] if len(run) == 1 else f"{{{run[0]}..{run[-1]}}}" for run in runs) + "}"
