"""Arrays of a zarr (format 2) archive in a zip, one at a time, where nothing that is missing reads as zeros.

Zarr takes a chunk that is not there for one full of the fill value, so a cut archive would give transcripts at (0, 0).
Here every chunk that an array's shape asks for must be in the archive, and none besides; an archive of a writer that
leaves out chunks full of the fill value cannot be told from a cut one, and is refused with it. The file is not trusted:
the shapes it declares are bounded, and of all codecs only Blosc is run, whose header tells the size before it unpacks.
"""

from __future__ import annotations

import itertools
import json
import math
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_MEMBERS = 4_000_000
MAX_JSON_BYTES = 1 << 25
MAX_ARRAY_BYTES = 1 << 27
MAX_CHUNKS = 1 << 16
# What Blosc may add to bytes that cannot be made smaller.
_ROOM_BYTES = 1024
_BLOSC_HEADER_BYTES = 16
_NUMBERS = "biuf"
# How the instrument writes arrays.
_WAYS: dict[str, tuple[Any, ...]] = {
    "zarr_format": (2,),
    "filters": (None, []),
    "dimension_separator": (".",),
    "compressor": (None, "blosc"),
}


class ArchiveFault(Exception):
    """What is wrong with an archive: what was expected, and what was found."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.expected, self.found = expected, found


class UnknownLayout(ArchiveFault):
    """The archive is whole, but not of a kind that is known."""


class ZarrZip:
    """A zarr archive opened for reading.

    Parameters
    ----------
    archive
        The open zip file.

    Raises
    ------
    ArchiveFault
        When it has more members than any real one.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        names = archive.namelist()
        if len(names) > MAX_MEMBERS:
            raise ArchiveFault(f"at most {MAX_MEMBERS:,} members", f"{len(names):,}")
        self._children: dict[str, set[str]] = defaultdict(set)
        for name in names:
            folder, _, leaf = name.rpartition("/")
            self._children[folder].add(leaf)

    def groups(self, folder: str) -> set[str]:
        """Names of the groups and arrays right below a folder."""
        start = f"{folder}/"
        return {key[len(start) :].split("/", 1)[0] for key in self._children if key.startswith(start)}

    def has_array(self, path: str) -> bool:
        """Whether there is an array of this path."""
        return ".zarray" in self._children.get(path, ())

    def attributes(self, path: str = "") -> dict[str, Any]:
        """Attributes of a group or array; empty where it has none."""
        if ".zattrs" not in self._children.get(path, ()):
            return {}
        return self._json(f"{path}/.zattrs".lstrip("/"))

    def array(self, path: str) -> NDArray[Any]:
        """Read an array whole.

        Raises
        ------
        ArchiveFault
            Where a chunk is missing, too many or damaged, or the array larger than any real one.
        UnknownLayout
            Where it is written in another way than the instrument's.
        """
        if not self.has_array(path):
            raise ArchiveFault(f"an array {path}", "none")
        meta = self._json(f"{path}/.zarray")
        shape, chunks, dtype = _declared(path, meta)
        out = np.empty(shape, dtype=dtype)
        if not math.prod(shape):
            return out
        counts = [-(-length // step) for length, step in zip(shape, chunks, strict=True)]
        if math.prod(counts) > MAX_CHUNKS:
            raise ArchiveFault(f"at most {MAX_CHUNKS:,} chunks of {path}", f"{math.prod(counts):,}")
        keys = {".".join(map(str, index)): index for index in itertools.product(*map(range, counts))}
        there = {leaf for leaf in self._children[path] if leaf and not leaf.startswith(".")}
        if there != set(keys):
            found = f"{len(set(keys) - there):,} missing and {len(there - set(keys)):,} too many"
            raise ArchiveFault(f"{len(keys):,} chunks of {path}", found)
        for key, index in keys.items():
            chunk = self._chunk(f"{path}/{key}", chunks, dtype, meta)
            place = tuple(slice(i * step, (i + 1) * step) for i, step in zip(index, chunks, strict=True))
            room = out[place]
            # Chunks at the far edges are written whole; what lies beyond the array is padding.
            room[...] = chunk[tuple(slice(0, length) for length in room.shape)]
        return out

    def _chunk(self, name: str, chunks: tuple[int, ...], dtype: np.dtype[Any], meta: dict[str, Any]) -> NDArray[Any]:
        n_bytes = math.prod(chunks) * dtype.itemsize
        data = self._member(name, n_bytes + _ROOM_BYTES)
        if meta.get("compressor") is not None:
            data = _unpacked(name, data, n_bytes)
        if len(data) != n_bytes:
            raise ArchiveFault(f"{n_bytes:,} bytes in {name}", f"{len(data):,}")
        return np.frombuffer(data, dtype=dtype).reshape(chunks, order="F" if meta.get("order") == "F" else "C")

    def _member(self, name: str, limit: int) -> bytes:
        info = self._archive.getinfo(name)
        if info.file_size > limit:
            raise ArchiveFault(f"at most {limit:,} bytes in {name}", f"{info.file_size:,}")
        return self._archive.read(info)

    def _json(self, name: str) -> dict[str, Any]:
        content = json.loads(self._member(name, MAX_JSON_BYTES))
        if not isinstance(content, dict):
            raise ArchiveFault(f"a JSON object in {name}", type(content).__name__)
        return content


@contextmanager
def open_zarr_zip(path: Path) -> Iterator[ZarrZip]:
    """Open an archive; faults of the zip and its JSON become :class:`ArchiveFault`."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield ZarrZip(archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        # RuntimeError and NotImplementedError are what zipfile says of passwords and of methods it does not know.
        raise ArchiveFault("an archive that can be read to its end", str(error) or type(error).__name__) from error


def _declared(path: str, meta: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...], np.dtype[Any]]:
    """Shape, chunk shape and type of an array, as its ``.zarray`` says; what is not the instrument's way is told."""
    compressor = meta.get("compressor")
    told = {
        "zarr_format": meta.get("zarr_format"),
        "filters": meta.get("filters"),
        "dimension_separator": meta.get("dimension_separator", "."),
        "compressor": compressor.get("id") if isinstance(compressor, dict) else compressor,
    }
    for key, value in told.items():
        if value not in _WAYS[key]:
            raise UnknownLayout(f"{key} {' or '.join(map(str, _WAYS[key]))} in {path}", str(value))
    try:
        dtype = np.dtype(str(meta.get("dtype")))
    except TypeError as error:
        raise UnknownLayout(f"numbers in {path}", str(meta.get("dtype"))) from error
    if dtype.kind not in _NUMBERS:
        raise UnknownLayout(f"numbers in {path}", str(dtype))
    shape, chunks = _sizes(path, meta, "shape"), _sizes(path, meta, "chunks")
    if len(shape) != len(chunks) or (0 in chunks and 0 not in shape):
        raise ArchiveFault(f"chunks in {path} that make up its shape", f"{chunks} of {shape}")
    n_bytes = max(math.prod(shape), math.prod(chunks)) * dtype.itemsize
    if n_bytes > MAX_ARRAY_BYTES:
        raise ArchiveFault(f"at most {MAX_ARRAY_BYTES:,} bytes in {path}", f"{n_bytes:,}")
    return shape, chunks, dtype


def _sizes(path: str, meta: dict[str, Any], key: str) -> tuple[int, ...]:
    sizes = meta.get(key)
    if isinstance(sizes, list) and sizes and all(isinstance(size, int) and size >= 0 for size in sizes):
        return tuple(sizes)
    raise ArchiveFault(f"the {key} of {path}", str(sizes))


def _unpacked(name: str, data: bytes, n_bytes: int) -> bytes:
    from numcodecs import blosc

    sizes = [int.from_bytes(data[start : start + 4], "little") for start in (4, 12)]
    if len(data) < _BLOSC_HEADER_BYTES or sizes != [n_bytes, len(data)]:
        raise ArchiveFault(f"{n_bytes:,} bytes of Blosc in {name}", f"{len(data):,} bytes that say {sizes[0]:,}")
    unpacked: bytes = blosc.decompress(data)
    return unpacked
