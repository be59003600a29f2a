"""A release as plain tarfile, json and pyarrow read it: what others' readers are held against."""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from tests.fetch.small_release import pairs_of


@dataclass(frozen=True)
class Plain:
    """A release, read without any of the readers and without humanst.

    Attributes
    ----------
    pairs
        Split -> key -> suffix -> bytes, in the order of the shards.
    rows
        Split -> rows of the index.
    """

    path: Path
    pairs: dict[str, dict[str, dict[str, bytes]]]
    rows: dict[str, list[dict[str, Any]]]

    @classmethod
    def read(cls, path: Path) -> Plain:
        indexes = {index.stem: pq.read_table(index).to_pylist() for index in sorted(path.glob("index/*.parquet"))}
        return cls(path, pairs_of(path), indexes)

    def keys(self, split: str) -> list[str]:
        return list(self.pairs[split])

    def texts(self, split: str) -> list[str]:
        return [members["txt"].decode() for members in self.pairs[split].values()]

    def facts(self, split: str) -> list[dict[str, Any]]:
        return [json.loads(members["json"]) for members in self.pairs[split].values()]

    def vectors(self, split: str) -> list[np.ndarray]:
        return [np.load(io.BytesIO(members["pathway.npy"])) for members in self.pairs[split].values()]

    def pixels(self, split: str) -> list[str]:
        return [pixel_hash(Image.open(io.BytesIO(members["jpg"]))) for members in self.pairs[split].values()]

    def shards(self, split: str) -> str:
        """All shards of a split in brace notation."""
        names = sorted(path.name for path in self.path.glob(f"data/{split}/*.tar"))
        return f"{self.path}/data/{split}/{split}-{{00000..{len(names) - 1:05d}}}.tar"

    def snippet(self, title: str) -> str:
        """The code that the card gives under a title."""
        card = (self.path / "README.md").read_text()
        found = re.search(rf"^\*\*{title}\*\*\n\n```(python|sh)\n(.*?)```$", card, re.DOTALL | re.MULTILINE)
        assert found is not None, title
        return found[2]


def pixel_hash(image: Image.Image) -> str:
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()
