"""The picture a section store carries, at a size for the eye."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError

# Pictures are halved until their smaller side is below 512: a level for the eye is far below it.
MOST_PX = 64_000_000


def read_picture(store: Path, attrs: Mapping[str, Any], least_px: int) -> tuple[NDArray[np.uint8], float] | None:
    """The smallest level of the picture whose larger side has ``least_px`` pixels, else the largest level.

    Parameters
    ----------
    attrs
        The ``humanst`` attributes of the store.

    Returns
    -------
    ``(h, w, 3)`` uint8 RGB and its um per pixel along x; ``None`` for a store without a picture.

    Raises
    ------
    DataError
        ``picture-too-large`` when that level has more than 64 million pixels: a few bytes can claim any number.
    """
    import zarr

    picture = attrs["picture"]
    root = zarr.open_group(store, mode="r")
    if picture is None or "images/he" not in root:
        return None
    levels = [array for _, array in zarr.open_group(store / "images" / "he", mode="r").arrays()]
    levels.sort(key=lambda array: -array.shape[-1])
    fit = [array for array in levels if max(array.shape[-2:]) >= least_px]
    chosen: Any = fit[-1] if fit else levels[0]
    if chosen.size > 3 * MOST_PX:
        raise DataError(
            "The picture of a section store is too large to look at",
            code="picture-too-large",
            file=store.name,
            expected=f"a level of 3 channels and at most {MOST_PX:,} pixels",
            found=" x ".join(f"{n:,}" for n in chosen.shape),
        )
    rgb = np.moveaxis(np.asarray(chosen[...]), 0, -1)
    return rgb, float(attrs["um_per_pixel"]) * picture["width_px"] / rgb.shape[1]
