"""The small files beside the shards that others' readers ask for: timm, open_clip and wids, each under its own name.

- ``data/_info.json``: splits as timm's reader of WebDatasets takes them; ``alt_label`` names the integer of each pair's
  json that is its label. The names of labels and of pathways stand there too, for people.
- ``data/<split>/sizes.json``: shard -> pairs, where open_clip looks for the size of a data set.
- ``data/<split>/index.json`` and ``data/index.json``: shards as wids indexes them. A wids data set is one list of
  pairs, hence one index a split; in that of all splits each pair says its split as ``__dataset__``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from humanst.shards.documents.facts import filled_splits

LABEL = "label"


def reader_files(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Path -> text of the files; none for an empty split, which has no folder."""
    splits = filled_splits(manifest)
    found: dict[str, Any] = {"data/_info.json": _info(manifest, splits)}
    shards = []
    for name, split in splits.items():
        here = [_wids_shard(shard, name) for shard in split["shards"]]
        sizes = {entry["url"]: entry["nsamples"] for entry in here}
        found[f"data/{name}/sizes.json"] = sizes
        found[f"data/{name}/index.json"] = _wids(f"{_title(manifest)}-{name}", here)
        shards += [entry | {"url": f"{name}/{entry['url']}"} for entry in here]
    found["data/index.json"] = _wids(_title(manifest), shards)
    return {name: json.dumps(content, indent=1, ensure_ascii=False) + "\n" for name, content in found.items()}


def _title(manifest: Mapping[str, Any]) -> str:
    return f"humanst-{manifest['version']}"


def _info(manifest: Mapping[str, Any], splits: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    organs = manifest["organs"]
    return {
        "splits": {
            name: {
                "name": name,
                "num_samples": split["n_pairs"],
                "filenames": [f"{name}/{PurePosixPath(shard['path']).name}" for shard in split["shards"]],
                "shard_lengths": [shard["n_pairs"] for shard in split["shards"]],
                "alt_label": LABEL,
            }
            for name, split in splits.items()
        },
        "label": "organ",
        "label_names": {str(organs[organ]): organ for organ in sorted(organs, key=organs.__getitem__)},
        "pathway_names": manifest["pathways"]["names"],
    }


def _wids(name: str, shards: list[dict[str, Any]]) -> dict[str, Any]:
    return {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": name, "shardlist": shards}


def _wids_shard(shard: Mapping[str, Any], split: str) -> dict[str, Any]:
    # wids writes an md5sum here and never reads it; SHA256SUMS and the manifest hold the hash that counts.
    name = PurePosixPath(shard["path"]).name
    return {"url": name, "nsamples": shard["n_pairs"], "filesize": shard["bytes"], "dataset": split}
