"""What tests of section pages read for themselves: patches' targets from the shards, pictures from the page."""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

JPEG = re.compile(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)")


def manifest_row(release: Path, sample_id: str) -> dict[str, Any]:
    manifest = json.loads((release / "MANIFEST.json").read_bytes())
    (row,) = (row for row in manifest["sections"] if row["sample_id"] == sample_id)
    return dict(row)


def index_rows(release: Path, sample_id: str) -> pd.DataFrame:
    """The rows of the index that are of a section, by spot id."""
    split = manifest_row(release, sample_id)["split"]
    table = pq.read_table(release / "index" / f"{split}.parquet").to_pandas()
    return table[table["sample_id"] == sample_id].set_index("spot_id")


def npy_targets(release: Path, sample_id: str) -> pd.DataFrame:
    """Targets of a section by spot id and pathway, as Python's tarfile and numpy read them."""
    names = json.loads((release / "MANIFEST.json").read_bytes())["pathways"]["names"]
    rows = index_rows(release, sample_id)
    split = manifest_row(release, sample_id)["split"]
    spot_of = dict(zip(rows["key"], rows.index, strict=True))
    found = {}
    for shard in sorted(rows["shard"].unique()):
        with tarfile.open(release / "data" / split / shard) as tar:
            for member in tar:
                key, _, kind = member.name.partition(".")
                if kind == "pathway.npy" and key in spot_of:
                    content = tar.extractfile(member)
                    assert content is not None
                    found[spot_of[key]] = np.load(io.BytesIO(content.read()))
    return pd.DataFrame.from_dict(found, orient="index", columns=names)


def pictures(html: str) -> list[bytes]:
    """The bytes of all JPEGs of a page, in order; the first is the section."""
    return [base64.b64decode(text) for text in JPEG.findall(html)]


def pixels(jpeg: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image.convert("RGB"))


def expected_px(release: Path, sample_id: str, html: str, spots: pd.DataFrame) -> NDArray[np.float64]:
    """``(n, 2)`` where spots lie in the picture of the page: the image is as wide in um as its level 0."""
    picture = manifest_row(release, sample_id)["picture"]
    height, width = pixels(pictures(html)[0]).shape[:2]
    um = float(picture["um_per_pixel"])
    field_um = np.array([picture["width_px"] * um, picture["height_px"] * um])
    places: NDArray[np.float64] = spots[["x_um", "y_um"]].to_numpy(np.float64) / field_um * np.array([width, height])
    return places
