"""Releases as far as names go: who is in which split, without pictures or numbers."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from humanst.load import Release, open_release

SPLITS = ("train", "val", "test")


def section(name: str, split: str, group: str | None = None, **about: str) -> dict:
    """A section as manifests have it; its donor is its own without one."""
    own = {"study_id": about.pop("study_id", "study"), "donor_id": about.pop("donor_id", f"donor of {name}")}
    return {"sample_id": name, "split": split, "group": group or name, **own, "metadata": about}


def write_release(folder: Path, sections: Sequence[dict], **more) -> Release:
    """A release as far as names go: manifest and indexes, two pairs a section.

    ``more`` stands in the manifest too.
    """
    splits = {}
    for split in SPLITS:
        names = [row["sample_id"] for row in sections if row["split"] == split for _ in range(2)]
        group = {row["sample_id"]: row["group"] for row in sections}
        keys = [f"{name}_{number}" for number, name in enumerate(names)]
        shard = f"{split}-00000.tar"
        columns = {
            "uid": keys,
            "key": keys,
            "shard": [shard] * len(names),
            "sample_id": names,
            "donor_group": [group[name] for name in names],
        }
        table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
        for member in ("jpg", "json", "npy"):
            for part in ("offset", "length"):
                table = table.append_column(f"{member}_{part}", pa.array([0] * len(names), pa.int64()))
            table = table.append_column(f"{member}_hash", pa.array(["0"] * len(names), pa.string()))
        table = table.append_column("log10_counts_z", pa.array([0.0] * len(names), pa.float32()))
        data = io.BytesIO()
        pq.write_table(table, data)
        path = folder / "index" / f"{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.getvalue())
        shards = [{"path": f"data/{split}/{shard}", "bytes": 1, "sha256": "0", "n_pairs": len(names)}]
        splits[split] = {
            "n_pairs": len(names),
            "index": f"index/{split}.parquet",
            "index_sha256": hashlib.sha256(data.getvalue()).hexdigest(),
            "shards": shards if names else [],
        }
    manifest = {
        "schema": "humanst.release/1",
        "version": "1",
        "pathways": {"names": ["p"]},
        "organs": {},
        "patch": {"side_px": 8},
        "splits": splits,
        "sections": list(sections),
        **more,
    }
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    return open_release(folder)
