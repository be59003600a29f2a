"""The picture a section store carries, at a size for the eye."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_picture(store: Path, attrs: Mapping[str, Any], least_px: int) -> tuple[NDArray[np.uint8], float] | None:
    """The smallest level of the picture whose larger side has ``least_px`` pixels, else the largest level.

    Parameters
    ----------
    attrs
        The ``humanst`` attributes of the store.

    Returns
    -------
    ``(h, w, 3)`` uint8 RGB and its um per pixel along x; ``None`` for a store without a picture.
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
    rgb = np.moveaxis(np.asarray(chosen[...]), 0, -1)
    return rgb, float(attrs["um_per_pixel"]) * picture["width_px"] / rgb.shape[1]
