"""A small release made without humanst: Python's tarfile, json, pyarrow, Pillow and numpy only."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

PATHWAYS = ("HYPOXIA", "GLYCOLYSIS", "MYC_TARGETS", "EMT", "KRAS_UP")
ORGANS = {"breast": 0, "lung": 1}
MEMBERS = ("jpg", "json", "pathway.npy", "txt")
COLUMN_TYPES = {
    **dict.fromkeys(("jpg_length", "json_length", "npy_length", "row", "col", "n_genes"), pa.int32()),
    **dict.fromkeys(("tissue_fraction", "blur", "mt_fraction", "log10_counts", "log10_counts_z"), pa.float32()),
}


@dataclass
class Written:
    """The folder of a release and the truth it was written from, by key in index order."""

    path: Path
    jpgs: dict[str, bytes] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, list[str]] = field(default_factory=dict)

    @property
    def manifest(self) -> dict[str, Any]:
        return json.loads((self.path / "MANIFEST.json").read_bytes())

    def set_manifest(self, manifest: dict[str, Any]) -> None:
        (self.path / "MANIFEST.json").write_text(json.dumps(manifest))


def _jpg(number: int) -> bytes:
    ramp = np.linspace(0, 255, 224)
    shade = np.stack([np.tile(ramp, (224, 1)), np.tile(ramp[:, None], (1, 224)), np.full((224, 224), number % 251)], -1)
    out = io.BytesIO()
    Image.fromarray(shade.astype(np.uint8)).save(out, "JPEG", quality=90, subsampling=0)
    return out.getvalue()


def _vector(rng: np.random.Generator) -> np.ndarray:
    vector = rng.normal(size=len(PATHWAYS)).astype("<f4")
    vector[rng.random(len(PATHWAYS)) < 0.3] = np.nan
    return vector


def _document(split: str, number: int, rng: np.random.Generator) -> dict[str, Any]:
    sample = f"s{number % 4}"
    organ = "lung" if number % 4 == 3 else "breast"
    key = f"{sample}_{split}{number}x7"
    return {
        "blur": round(float(rng.random()), 3),
        "col": 7,
        "donor_group": f"d{number % 3}",
        "key": key,
        "label": ORGANS[organ],
        "log10_counts": 3.5,
        "log10_counts_z": float(np.float32(rng.normal())),
        "mt_fraction": 0.05,
        "n_counts": 1000 + number,
        "n_genes": 400 + number,
        "organ": organ,
        "platform": ("visium", "st", "xenium")[number % 3],
        "qc_flags": "",
        "row": number,
        "sample_id": sample,
        "split": split,
        "spot_id": f"{number}x7",
        "study_id": "demo",
        "target_shape": "circle",
        "target_side_um": 55.0,
        "tissue_fraction": float(np.float32(0.15 + 0.85 * rng.random())),
        "uid": hashlib.blake2b(key.encode(), digest_size=16).hexdigest(),
        "x_px": 100.5 + number,
        "x_um": 50.25 + number,
        "y_px": 200.5,
        "y_um": 100.25,
    }


def _npy(vector: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, vector, version=(1, 0), allow_pickle=False)
    return out.getvalue()


def _write_shard(path: Path, documents: list[dict[str, Any]], written: Written, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, document in enumerate(documents):
            key, vector = document["key"], _vector(rng)
            written.jpgs[key], written.vectors[key], written.documents[key] = _jpg(seed + number), vector, document
            text = f"{document['organ']}, unknown, {document['platform']}"
            contents = (written.jpgs[key], json.dumps(document).encode(), _npy(vector), text.encode())
            for member, data in zip(MEMBERS, contents, strict=True):
                info = tarfile.TarInfo(f"{key}.{member}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return _rows(path, documents)


def _rows(path: Path, documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The index rows of a finished shard, with the places tarfile finds its members at."""
    rows = []
    with tarfile.open(path) as tar:
        places = {info.name: (info.offset_data, info.size) for info in tar}
    data = path.read_bytes()
    left_out = {"key", "uid", "label", "organ", "split", "study_id"}
    for document in documents:
        row: dict[str, Any] = {"uid": document["uid"], "key": document["key"], "shard": path.name}
        for member, column in (("jpg", "jpg"), ("json", "json"), ("pathway.npy", "npy")):
            offset, length = places[f"{document['key']}.{member}"]
            digest = hashlib.blake2b(data[offset : offset + length], digest_size=8).hexdigest()
            row |= {f"{column}_offset": offset, f"{column}_length": length, f"{column}_hash": digest}
        row |= {name: value for name, value in document.items() if name not in left_out}
        rows.append(row | {"native_um_per_pixel": 0.5})
    return rows


def _schema(rows: list[dict[str, Any]]) -> pa.Schema:
    inferred = pa.Table.from_pylist(rows).schema
    return pa.schema([(name, COLUMN_TYPES.get(name, inferred.field(name).type)) for name in inferred.names])


def write_release(path: Path, sizes: dict[str, list[int]], **changes: Any) -> Written:
    """Write a release with the given pairs a shard; ``changes`` replace fields of the manifest."""
    written = Written(path)
    rng = np.random.default_rng(20)
    splits, schema = {}, None
    for split, shard_sizes in sizes.items():
        rows, shards, number = [], [], 0
        for i, size in enumerate(shard_sizes):
            tar = path / "data" / split / f"{split}-{i:05d}.tar"
            documents = [_document(split, number + k, rng) for k in range(size)]
            number += size
            rows += _write_shard(tar, documents, written, number)
            entry = {"path": tar.relative_to(path).as_posix(), "bytes": tar.stat().st_size, "n_pairs": size}
            shards.append(entry | {"sha256": hashlib.sha256(tar.read_bytes()).hexdigest(), "card_sha256": "0" * 64})
        schema = schema or _schema(rows)
        index = path / "index" / f"{split}.parquet"
        index.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), index)
        written.keys[split] = [row["key"] for row in rows]
        splits[split] = {
            "n_pairs": number,
            "index": f"index/{split}.parquet",
            "index_sha256": hashlib.sha256(index.read_bytes()).hexdigest(),
            "shards": shards,
        }
    manifest = {
        "schema": "humanst.release/1",
        "version": "0.0.1",
        "humanst_version": "0.1.0",
        "patch": {"side_px": 224, "um_per_pixel": 0.5, "quality": 90, "subsampling": "444"},
        "pathways": {"set": "demo", "names": list(PATHWAYS), "scorer": "bincontrol"},
        "organs": ORGANS,
        "seed": 0,
        "shard_pairs": 17,
        "splits": splits,
        "sections": [],
    }
    written.set_manifest(manifest | changes)
    return written


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """3 shards x 17 pairs to train on, one of 5 to validate, an empty test split. Read only."""
    return write_release(
        tmp_path_factory.mktemp("load") / "humanst-0.0.1", {"train": [17, 17, 17], "val": [5], "test": []}
    )


@pytest.fixture
def own_release(release: Written, tmp_path: Path) -> Written:
    """A copy of the release that a test may damage."""
    shutil.copytree(release.path, tmp_path / "damaged")
    return Written(tmp_path / "damaged", release.jpgs, release.vectors, release.documents, release.keys)


@pytest.fixture(scope="session")
def uneven_release(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Seven shards of 1 to 13 pairs."""
    return write_release(tmp_path_factory.mktemp("uneven"), {"train": [13, 1, 9, 4, 11, 2, 7]})


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """The torch module; without it the test is skipped, or fails where the environment promises it (CI=true)."""
    try:
        import torch
    except ImportError as error:
        reason = f"torch is not installed ({error}); install humanst[train]"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return torch
