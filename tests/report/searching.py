"""All that a release holds, unpacked: bytes of files, cells of tables, values of arrays, pixels of pictures."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import zarr

from tests.report.sections import pixels


def store_arrays(packed: Path) -> Iterator[tuple[str, Any]]:
    """Path and values of every array of a zipped store."""
    with zarr.storage.ZipStore(packed, mode="r") as held:
        root = zarr.open_group(held, mode="r", use_consolidated=False)
        for name, item in root.members(max_depth=None):
            if isinstance(item, zarr.Array):
                yield name, np.asarray(item[...])


def patches(release: Path) -> Iterator[bytes]:
    """The JPEG of every pair of every shard."""
    for path in sorted(release.rglob("*.tar")):
        with tarfile.open(path) as shard:
            for member in shard:
                if member.name.endswith(".jpg"):
                    yield shard.extractfile(member).read()  # type: ignore[union-attr]


def _unpacked(name: str, data: bytes) -> Iterator[bytes]:
    yield data
    if name.endswith(".parquet"):
        yield pq.read_table(io.BytesIO(data)).to_pandas().to_csv().encode()
    elif name.endswith(".gz"):
        yield gzip.decompress(data)
    elif name.endswith(".tar"):
        with tarfile.open(fileobj=io.BytesIO(data)) as shard:
            for member in shard:
                yield from _unpacked(member.name, shard.extractfile(member).read())  # type: ignore[union-attr]
    elif name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.namelist():
                yield from _unpacked(member, archive.read(member))


def _as_bytes(values: Any) -> bytes:
    text = values.dtype.kind in "OTU"
    return "\n".join(map(str, values.ravel().tolist())).encode() if text else values.tobytes()


def everything(release: Path) -> bytes:
    """The bytes of all files of a release and of what they are packed from, arrays and tables decoded."""
    parts: list[bytes] = []
    for path in sorted(release.rglob("*")):
        if path.is_file():
            parts += _unpacked(path.name, path.read_bytes())
        if path.name.endswith(".zarr.zip"):
            parts += [_as_bytes(values) for _, values in store_arrays(path)]
    return b"\n".join(parts)


def all_pixels(release: Path) -> Iterator[tuple[str, Any]]:
    """Name and ``(h, w, 3)`` pixels of every picture of a release: levels in its stores, patches in its shards."""
    for packed in sorted(release.rglob("*.zarr.zip")):
        for name, values in store_arrays(packed):
            if name.startswith("images/"):
                yield name, np.moveaxis(values, 0, -1)
    for jpeg in patches(release):
        yield "patch", pixels(jpeg)
