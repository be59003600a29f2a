"""A section store as one file: a zip whose bytes follow from the store's files alone.

The root of the zip is the root of the store, so zarr's ``ZipStore`` opens it as it is. Members are sorted by name and
stored, not deflated, for their chunks are compressed already; dates, owners and modes of the files stay out.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from stat import S_IFREG
from typing import Any

from humanst import files
from humanst.errors import IntegrityError
from humanst.store.cards import TreeDigest

# Raised whenever the same store would give other bytes.
ZIP_VERSION = 1
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_TREE = ("n_files", "n_bytes", "tree_sha256")
_MODE = (S_IFREG | 0o644) << 16


def zip_store(store: Path, target: Path, *, expected: Mapping[str, Any]) -> tuple[str, int]:
    """Write a store as a zip; what is in memory does not grow with the store.

    Parameters
    ----------
    expected
        ``n_files``, ``n_bytes`` and ``tree_sha256`` of the store, as its card has them.

    Returns
    -------
    sha256 : str
        Of the zip.
    n_bytes : int

    Raises
    ------
    IntegrityError
        ``store-changed`` when the store is not the one that is expected.
    NoRoomError
        When the disk is full. In either case nothing is left behind and an older ``target`` stays as it was.
    """
    n_bytes = 0

    def write(path: Path) -> None:
        nonlocal n_bytes
        tree = TreeDigest()
        with zipfile.ZipFile(path, "w") as archive:
            for name in sorted(found.relative_to(store).as_posix() for found in store.rglob("*") if found.is_file()):
                tree.add(name, *_add(archive, name, store / name))
        require_tree(store.name, expected, tree.to_dict())
        n_bytes = path.stat().st_size

    return files.write_with(target, write), n_bytes


def require_tree(name: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Ask that a store holds what is on record.

    Parameters
    ----------
    name
        Of the store, for the message.

    Raises
    ------
    IntegrityError
        ``store-changed``.
    """
    if any(found[key] != expected[key] for key in _TREE):
        said, is_there = (
            f"{tree['n_files']} files, {tree['n_bytes']:,} bytes, tree sha256 {tree['tree_sha256']}"
            for tree in (expected, found)
        )
        raise IntegrityError(
            "The section store is not the one on record",
            code="store-changed",
            file=name,
            expected=said,
            found=is_there,
            done="Nothing was written in its place",
            todo="Remove this store and run the same command again: it is made anew",
        )


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> tuple[int, str]:
    """Copy a file into the archive; returns its size and sha256."""
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system, info.external_attr = _UNIX, _MODE
    # Known beforehand, the size decides whether the member needs the fields of zip64.
    info.file_size = path.stat().st_size
    digest, n_bytes = hashlib.sha256(), 0
    with path.open("rb") as source, archive.open(info, "w") as out:
        while block := source.read(files.CHUNK_BYTES):
            digest.update(block)
            n_bytes += out.write(block)
    return n_bytes, digest.hexdigest()
