"""The card that commits a store: what it was made from, and how many files and bytes it has."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from humanst import files

CARD_SCHEMA = "humanst.section-card/1"


def tree_digest(store: Path) -> dict[str, Any]:
    """Number of files, bytes and one digest over (relative path, sha256) of a folder."""
    digest, n_files, n_bytes = hashlib.sha256(), 0, 0
    for path in sorted((p for p in store.rglob("*") if p.is_file()), key=lambda p: p.relative_to(store).as_posix()):
        digest.update(f"{path.relative_to(store).as_posix()}\0{files.sha256_file(path)}\n".encode())
        n_files += 1
        n_bytes += path.stat().st_size
    return {"n_files": n_files, "n_bytes": n_bytes, "tree_sha256": digest.hexdigest()}


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
