"""The card that commits a store: what it was made from, and how many files and bytes it has."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from humanst import files

CARD_SCHEMA = "humanst.section-card/1"


class TreeDigest:
    """The digest of a tree of files, which are noted in any order."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[int, str]] = {}

    def add(self, name: str, n_bytes: int, sha256: str) -> None:
        """Note a file by its path below the root."""
        self._files[name] = (n_bytes, sha256)

    def to_dict(self) -> dict[str, Any]:
        """``n_files``, ``n_bytes``, and ``tree_sha256``: over ``<path> NUL <sha256> LF`` of all files, by path."""
        digest = hashlib.sha256()
        for name, (_, sha256) in sorted(self._files.items()):
            digest.update(f"{name}\0{sha256}\n".encode())
        n_bytes = sum(n for n, _ in self._files.values())
        return {"n_files": len(self._files), "n_bytes": n_bytes, "tree_sha256": digest.hexdigest()}


def tree_digest(store: Path) -> dict[str, Any]:
    """Number of files, bytes and one digest over (relative path, sha256) of a folder."""
    tree = TreeDigest()
    for path in store.rglob("*"):
        if path.is_file():
            tree.add(path.relative_to(store).as_posix(), path.stat().st_size, files.sha256_file(path))
    return tree.to_dict()


def card_path(store: Path) -> Path:
    """The card that commits a store."""
    return store.with_name(f"{store.name}.card.json")


def read_card(store: Path) -> dict[str, Any] | None:
    """The store's card, or ``None`` when the store was never committed."""
    path = card_path(store)
    if not path.is_file() or not store.is_dir():
        return None
    try:
        card = json.loads(path.read_bytes())
    except ValueError:
        return None
    return card if isinstance(card, dict) and card.get("schema") == CARD_SCHEMA else None


def is_current(store: Path, inputs: str) -> bool:
    """Whether a committed store was made from exactly these inputs."""
    card = read_card(store)
    return card is not None and card.get("inputs") == inputs and size_of(store) == (card["n_files"], card["n_bytes"])


def size_of(store: Path) -> tuple[int, int]:
    """Number of files and bytes of a store as it lies there."""
    sizes = [path.stat().st_size for path in store.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def read_attrs(store: Path) -> dict[str, Any]:
    """The ``humanst`` attributes of a store, without opening anything else of it."""
    content = json.loads((store / "zarr.json").read_bytes())
    attrs: dict[str, Any] = content["attributes"]["humanst"]
    return attrs
