"""A few patches of a section, spread over its library sizes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.report.frame import jpeg_uri
from humanst.report.histograms import number

if TYPE_CHECKING:
    import pandas as pd

    from humanst.report.atlas_source import AtlasSource

N_PATCHES = 12
# Pairs are in random order: of so many of them those shown are chosen.
N_LOOKED_AT = 60
QUALITY = 86
MOST_PX = 1024


@dataclass(frozen=True, slots=True)
class Shot:
    """A patch as a page shows it.

    Attributes
    ----------
    picture
        A data URI, or ``None`` where the patch cannot be decoded.
    figures
        Name and text of what is known of it.
    """

    key: str
    spot_id: str
    picture: str | None
    figures: tuple[tuple[str, str], ...]


def shots_of(source: AtlasSource, sample_id: str, pairs: pd.DataFrame, n: int = N_PATCHES) -> tuple[Shot, ...]:
    """``n`` patches from the smallest library to the largest; the same release gives the same ones.

    Parameters
    ----------
    pairs
        The rows of the section, as :meth:`AtlasSource.pairs` gives them.

    Raises
    ------
    IntegrityError
        When a shard or a patch is not the one on record.
    """
    found = dict(source.patches(sample_id, N_LOOKED_AT)) if len(pairs) else {}
    rows = pairs[pairs["key"].isin(list(found))].sort_values(["n_counts", "key"]) if found else pairs.iloc[:0]
    n = min(n, len(rows))
    chosen = sorted({round(place) for place in np.linspace(0, len(rows) - 1, n).tolist()})
    return tuple(_shot(row, found[str(row["key"])]) for row in rows.iloc[chosen].to_dict("records"))


def _shot(row: Mapping[Any, Any], jpeg: bytes) -> Shot:
    figures = (
        ("transcripts", number(float(row["n_counts"]))),
        ("genes", number(float(row["n_genes"]))),
        ("tissue", f"{float(row['tissue_fraction']):.0%}"),
        ("sharpness", number(float(row["blur"]))),
    )
    return Shot(str(row["key"]), str(row["spot_id"]), _picture(jpeg), figures)


def _picture(jpeg: bytes) -> str | None:
    """The pixels of a JPEG in another one: what else a stranger's file carries stays behind."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            if max(image.size) > MOST_PX:
                return None
            return jpeg_uri(np.asarray(image.convert("RGB")), QUALITY)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return None
