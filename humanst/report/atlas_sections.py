"""One section of a report, made by itself: any process can make it, and its failure is its own."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst import files
from humanst.report.atlas_facts import Made
from humanst.report.atlas_source import AtlasSource, open_source

PICTURE_PX = 56
_PICTURE_QUALITY = 72
_SAFE = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True, slots=True)
class SectionTask:
    """A section to show; picklable.

    Attributes
    ----------
    opened
        How its source is opened, as :func:`open_source` takes it.
    folder
        Where its page goes; ``None`` for a part of one file.
    """

    path: Path
    opened: tuple[tuple[str, Any], ...]
    sample_id: str
    folder: Path | None


@lru_cache(maxsize=2)
def _source(path: Path, opened: tuple[tuple[str, Any], ...]) -> AtlasSource:
    """A worker opens a source once for all its sections: the index of a release is read once."""
    return open_source(path, **dict(opened))


def make_section(task: SectionTask) -> Made:
    """Make the page of a section, or its part of one file.

    Raises
    ------
    HumanstError
        When its store, its pairs or its scores are not as they were written.
    """
    source = _source(task.path, task.opened)
    name = page_name(task.sample_id)
    n_genes, picture = _figures(source, task.sample_id)
    if task.folder is None:
        return Made(task.sample_id, f"#section-{name}", n_genes, picture, f"<section id=section-{name}></section>")
    files.write_bytes(task.folder / f"{name}.html", b"<!doctype html><title>x</title>")
    return Made(task.sample_id, f"sections/{name}.html", n_genes, picture)


def _figures(source: AtlasSource, sample_id: str) -> tuple[NDArray[np.int32], bytes]:
    from humanst.store import read_picture

    with source.store(sample_id) as stored:
        found = read_picture(stored.path, stored.attrs, PICTURE_PX)
        spots = source.pairs(sample_id) if source.kind == "release" else stored.spots
        n_genes = spots["n_genes"].to_numpy(np.int32)
    return n_genes, b"" if found is None else small_picture(found[0])


def page_name(sample_id: str) -> str:
    """A name for the page of a section: its own where that is a safe name of a file, else a safe one made of it."""
    if _SAFE.fullmatch(sample_id):
        return sample_id
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", sample_id).strip("-")[:60]
    return f"{safe}-{hashlib.blake2b(sample_id.encode('utf-8', 'replace'), digest_size=6).hexdigest()}"


def small_picture(rgb: NDArray[np.uint8]) -> bytes:
    """A JPEG of at most ``PICTURE_PX`` pixels a side."""
    from PIL import Image

    image = Image.fromarray(rgb)
    image.thumbnail((2 * PICTURE_PX, 2 * PICTURE_PX), Image.Resampling.BOX)
    held = io.BytesIO()
    image.save(held, "JPEG", quality=_PICTURE_QUALITY, optimize=True)
    return held.getvalue()
