"""HDF5 files from elsewhere, looked at before anything is read from them.

HDF5 can fetch a dataset's bytes from any other file of the machine (external links, external storage, virtual
datasets), and a file of a kilobyte can declare a dataset of 80 GB. Neither is known from count matrices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from humanst.errors import HostileError

if TYPE_CHECKING:
    import h5py

MAX_OBJECTS = 10_000
# Sparse counts shrink to a hundredth; what grows more than this, and to much, is no matrix.
FREE_BYTES = 64 << 20
MAX_RATIO = 1000
MAX_BYTES = 16 << 30


@contextmanager
def open_h5(path: Path, name: str) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, after a look at every link and dataset of it.

    Parameters
    ----------
    name
        How messages call the file.

    Raises
    ------
    HostileError
        ``h5-reaches-out`` for links and data outside the file, ``h5-bomb`` for a dataset that grows too much.
    OSError
        For what is no HDF5 file.
    """
    import h5py

    with h5py.File(path, "r") as handle:
        _check(handle, name)
        yield handle


def _check(handle: h5py.File, name: str) -> None:
    import h5py

    seen: set[int] = set()
    waiting: list[h5py.Group] = [handle]
    while waiting:
        group = waiting.pop()
        for key in group:
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise _reaches_out(name, f"{group.name.rstrip('/')}/{key}", "a link")
            item = group[key]
            address = int(h5py.h5o.get_info(item.id).addr)
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > MAX_OBJECTS:
                raise _bomb(name, group.name, f"more than {MAX_OBJECTS:,} objects")
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                _check_dataset(item, name)


def _check_dataset(dataset: h5py.Dataset, name: str) -> None:
    if dataset.external or dataset.is_virtual:
        raise _reaches_out(name, dataset.name, "a dataset that lies in other files")
    limit = min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * dataset.id.get_storage_size()))
    if dataset.nbytes > limit:
        raise _bomb(name, dataset.name, f"{dataset.nbytes:,} bytes, {dataset.id.get_storage_size():,} of them stored")
    # Whoever reads one value has its whole chunk unpacked, which may be larger than the dataset.
    chunk_bytes = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
    if chunk_bytes > max(FREE_BYTES, dataset.nbytes):
        raise _bomb(name, dataset.name, f"chunks of {chunk_bytes:,} bytes for {dataset.nbytes:,}")


def _reaches_out(name: str, field: str, found: str) -> HostileError:
    return HostileError(
        "This HDF5 file reads from other files",
        code="h5-reaches-out",
        file=name,
        field=field,
        expected="data inside the file alone",
        found=found,
        done="Nothing was read",
        todo="Check where the file comes from",
    )


def _bomb(name: str, field: str, found: str) -> HostileError:
    return HostileError(
        "This HDF5 file grows too much when it is read",
        code="h5-bomb",
        file=name,
        field=field,
        expected=f"at most {FREE_BYTES:,} bytes, or {MAX_RATIO:,} times what is stored and {MAX_BYTES:,}",
        found=found,
        done="Nothing was read",
        todo="Check where the file comes from",
    )
