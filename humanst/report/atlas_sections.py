"""One section of a report, made by itself: any process can make it, and its failure is its own."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

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


def forget_sources() -> None:
    """Close what this process opened: another report is of what lies there then."""
    _source.cache_clear()


def make_section(task: SectionTask) -> Made:
    """Make the page of a section, or its part of one file.

    Raises
    ------
    HumanstError
        When its store, its pairs or its scores are not as they were written.
    """
    from humanst.report.section_facts import section_facts
    from humanst.report.section_page import section_fragment, section_page

    source = _source(task.path, task.opened)
    facts = section_facts(source, task.sample_id)
    n_genes, picture = _n_genes(source, task.sample_id), small_picture(facts.frame.picture)
    if task.folder is None:
        href = f"#section-{quote(task.sample_id, safe='')}"
        return Made(task.sample_id, href, n_genes, picture, str(section_fragment(facts)))
    name = f"{page_name(task.sample_id)}.html"
    files.write_bytes(task.folder / name, section_page(facts, standalone=False, up="../index.html").encode())
    return Made(task.sample_id, f"{task.folder.name}/{name}", n_genes, picture)


def _n_genes(source: AtlasSource, sample_id: str) -> NDArray[np.int32]:
    """Of every pair of a release, of every spot of a store."""
    if source.kind == "release":
        return source.pairs(sample_id)["n_genes"].to_numpy(np.int32)
    with source.store(sample_id) as stored:
        return stored.spots["n_genes"].to_numpy(np.int32)


def page_name(sample_id: str) -> str:
    """A name for the page of a section: its own where that is a safe name of a file, else a safe one made of it."""
    if _SAFE.fullmatch(sample_id):
        return sample_id
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", sample_id).strip("-")[:60]
    return f"{safe}-{hashlib.blake2b(sample_id.encode('utf-8', 'replace'), digest_size=6).hexdigest()}"


def small_picture(uri: str | None) -> bytes:
    """A JPEG of at most ``PICTURE_PX`` points a side, sharp on a screen of two pixels a point; nothing of nothing.

    Parameters
    ----------
    uri
        A picture as a data URI.
    """
    from PIL import Image

    if uri is None:
        return b""
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])), formats=["JPEG", "PNG"])
    image.thumbnail((2 * PICTURE_PX, 2 * PICTURE_PX), Image.Resampling.BOX)
    held = io.BytesIO()
    image.save(held, "JPEG", quality=_PICTURE_QUALITY, optimize=True)
    return held.getvalue()
