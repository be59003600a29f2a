"""What an embedding run has done so far, kept on the disk until its file is whole."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from humanst.files import canonical_json, remove, sha256_file, write_bytes, write_json

logger = logging.getLogger(__name__)

CARD = "work.json"


@dataclass(frozen=True, slots=True)
class Settings:
    """How embedding runs.

    Attributes
    ----------
    batch_size
        Images at a time.
    workers
        Processes that read images; 0 = this one.
    device
        As torch calls it.
    precision
        ``fp32``, or ``bf16`` by autocast; features are stored as float32.
    chunk_rows
        So many rows are kept at a time, rounded up to whole batches.
    """

    batch_size: int = 64
    workers: int = 0
    device: str = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"
    chunk_rows: int = 1024

    @property
    def batches_per_chunk(self) -> int:
        """Whole batches, so that where a run was broken changes no batch."""
        return -(-self.chunk_rows // self.batch_size)


class Chunks:
    """Finished rows on the disk, each file named by its place and its hash; a card says what they are rows of.

    Parameters
    ----------
    folder
        Where they are kept; rows of anything else that lie there are removed.
    facts
        What is embedded, and by what.
    settings
        How; rows from batches of another size, or from another kind of device, are others.
    n_rows
        Of the whole.

    Attributes
    ----------
    ranges
        Rows of each chunk.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], settings: Settings, n_rows: int) -> None:
        rows = settings.batches_per_chunk * settings.batch_size
        self._folder = folder
        self.ranges = [range(start, min(start + rows, n_rows)) for start in range(0, n_rows, rows)]
        card = {
            **facts,
            "batch_size": settings.batch_size,
            "rows_per_chunk": rows,
            "device": settings.device.partition(":")[0],
            "versions": {name: version(name) for name in ("torch", "timm", "numpy")},
        }
        if not _is_card(folder / CARD, card):
            for stale in folder.glob("*.npy"):
                remove(stale)
            write_json(folder / CARD, card)
        self._files = {number: file for number in range(len(self.ranges)) if (file := self._sound(number))}

    @property
    def n_kept(self) -> int:
        """Rows that are there."""
        return sum(len(self.ranges[number]) for number in self._files)

    @property
    def missing(self) -> list[int]:
        """Numbers of the chunks that are still to be done."""
        return [number for number in range(len(self.ranges)) if number not in self._files]

    def keep(self, number: int, features: NDArray[np.float32]) -> None:
        """Put a finished chunk on the disk."""
        data = io.BytesIO()
        np.save(data, features, allow_pickle=False)
        content = data.getvalue()
        file = self._folder / f"{number:06d}-{hashlib.sha256(content).hexdigest()}.npy"
        write_bytes(file, content)
        self._files[number] = file

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """All rows in order."""
        for number in range(len(self.ranges)):
            yield np.load(self._files[number], allow_pickle=False)

    def _sound(self, number: int) -> Path | None:
        for file in sorted(self._folder.glob(f"{number:06d}-*.npy")):
            if file.stem.partition("-")[2] == sha256_file(file):
                return file
            logger.warning("A finished part is not as it was written, and is done again: %s", file.name)
            remove(file)
        return None


def _is_card(path: Path, card: Mapping[str, Any]) -> bool:
    try:
        return path.read_bytes() == canonical_json(card)
    except OSError:
        return False
