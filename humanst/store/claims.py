"""What the arrays of a section store claim to hold, looked at before any of them is read.

Zarr makes room for the shape that a few bytes of metadata name, and fills it where chunks are missing. A store may be a
stranger's, so what is claimed is held against the bytes that are there.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst.errors import HostileError

if TYPE_CHECKING:
    import zarr

MAX_OBJECTS = 10_000
MAX_CHUNKS = 1 << 16
# Counts and masks shrink to a hundredth; what grows more than this, and to much, is no section.
FREE_BYTES = 64 << 20
MAX_RATIO = 1000
MAX_BYTES = 16 << 30


def check_claims(root: zarr.Group, store: Path, wanted: tuple[str, ...]) -> None:
    """Ask that arrays of a store grow to no more than what is stored of them allows.

    Parameters
    ----------
    root
        The store, opened without consolidated metadata: an array is then read as its own metadata has it.
    wanted
        Paths in it of the groups and arrays that are read whole.

    Raises
    ------
    HostileError
        ``store-bomb`` for too many arrays or chunks, or for more bytes than ``FREE_BYTES``, or ``MAX_RATIO`` times what
        is stored and ``MAX_BYTES``.
    """
    arrays = _arrays(root, store, wanted)
    claimed = {path: _claimed_bytes(array) for path, array in arrays.items()}
    for path, array in arrays.items():
        n_chunks = math.prod(
            -(-length // step) if step else 1 for length, step in zip(array.shape, array.chunks, strict=True)
        )
        if n_chunks > MAX_CHUNKS:
            raise _bomb(store, path, f"at most {MAX_CHUNKS:,} chunks", f"{n_chunks:,}")
    stored = sum(found.stat().st_size for path in arrays for found in (store / path).rglob("*") if found.is_file())
    limit = min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * stored))
    if (total := sum(claimed.values())) > limit:
        largest = max(claimed, key=claimed.__getitem__)
        expected = f"at most {limit:,} bytes in all, as {stored:,} are stored"
        shape = " x ".join(f"{n:,}" for n in arrays[largest].shape)
        raise _bomb(store, largest, expected, f"{total:,} bytes, {claimed[largest]:,} of them here ({shape})")


def _arrays(root: zarr.Group, store: Path, wanted: tuple[str, ...]) -> dict[str, zarr.Array[Any]]:
    """All arrays at and below these paths, by path."""
    import zarr

    found: dict[str, zarr.Array[Any]] = {}
    waiting: list[tuple[str, Any]] = [(path, root[path]) for path in wanted]
    n_objects = 0
    while waiting:
        path, item = waiting.pop()
        n_objects += 1
        if n_objects > MAX_OBJECTS:
            raise _bomb(store, path, f"at most {MAX_OBJECTS:,} arrays and groups", "more")
        if isinstance(item, zarr.Group):
            waiting += [(f"{path}/{name}", member) for name, member in item.members()]
        else:
            found[path] = item
    return found


def _claimed_bytes(array: zarr.Array[Any]) -> int:
    """Bytes of an array, or of one of its chunks where that is more: chunks are unpacked whole."""
    chunk = array.shards or array.chunks
    n_values: int = max(math.prod(array.shape), math.prod(chunk))
    return n_values * int(array.dtype.itemsize)


def _bomb(store: Path, field: str, expected: str, found: str) -> HostileError:
    return HostileError(
        "This section store grows too much when it is read",
        code="store-bomb",
        file=store.name,
        field=field,
        expected=expected,
        found=found,
        done="Nothing of it was read",
    )
