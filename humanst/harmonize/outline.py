"""A tissue mask from a curator's outline: GeoJSON polygons in level-0 pixels, as QuPath exports them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError
from humanst.files import read_json
from humanst.harmonize.tissue import TissueMask


def read_outline(path: Path, *, size_px: tuple[int, int], um_per_pixel: float, mask_um_per_pixel: float) -> TissueMask:
    """Rasterise the outline: polygons are tissue, their inner rings are holes.

    Parameters
    ----------
    path
        GeoJSON: a geometry, a feature, or a collection of either, of polygons or multipolygons.
    size_px
        Width and height of level 0.
    um_per_pixel, mask_um_per_pixel
        Of level 0, and wanted for the mask.

    Raises
    ------
    DataError
        ``outline-invalid`` for what is not GeoJSON of polygons, or lies wholly outside the image.
    """
    from skimage.draw import polygon2mask

    step = max(mask_um_per_pixel / um_per_pixel, 1.0)
    shape = (max(1, round(size_px[1] / step)), max(1, round(size_px[0] / step)))
    mask = np.zeros(shape, dtype=bool)
    for rings in _polygons(_read(path), path.name):
        outer, *holes = (_row_col(ring, step) for ring in rings)
        filled = polygon2mask(shape, outer)
        for hole in holes:
            filled &= ~polygon2mask(shape, hole)
        mask |= filled
    if not mask.any():
        raise _invalid(path.name, f"polygons inside {size_px[0]} x {size_px[1]} px", "none that covers a pixel")
    return TissueMask(mask=mask, um_per_pixel=um_per_pixel * size_px[0] / shape[1], source=f"outline {path.name}")


def _row_col(ring: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    # Pixel i of the mask covers [i, i + 1) steps and is judged at its centre.
    return ring[:, ::-1] / step - 0.5


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except (ValueError, OSError) as error:
        raise _invalid(path.name, "GeoJSON", str(error)) from error


def _polygons(content: Any, name: str) -> Iterator[list[NDArray[np.float64]]]:
    if not isinstance(content, Mapping):
        raise _invalid(name, "a GeoJSON object", type(content).__name__)
    kind = content.get("type")
    if kind == "FeatureCollection":
        for feature in content.get("features", ()):
            yield from _polygons(feature, name)
    elif kind == "GeometryCollection":
        for geometry in content.get("geometries", ()):
            yield from _polygons(geometry, name)
    elif kind == "Feature":
        yield from _polygons(content.get("geometry"), name)
    elif kind == "Polygon":
        yield _rings(content.get("coordinates"), name)
    elif kind == "MultiPolygon":
        for rings in content.get("coordinates", ()):
            yield _rings(rings, name)
    else:
        raise _invalid(name, "Polygon or MultiPolygon", repr(kind))


def _rings(coordinates: Any, name: str) -> list[NDArray[np.float64]]:
    try:
        rings = [np.asarray(ring, dtype=np.float64) for ring in coordinates]
    except (TypeError, ValueError) as error:
        raise _invalid(name, "rings of [x, y] pairs", str(error)) from error
    if not rings or any(ring.ndim != 2 or ring.shape[0] < 3 or ring.shape[1] < 2 for ring in rings):
        raise _invalid(name, "rings of at least three [x, y] pairs", "other coordinates")
    return [ring[:, :2] for ring in rings]


def _invalid(name: str, expected: str, found: str) -> DataError:
    return DataError(
        "The tissue outline cannot be used",
        code="outline-invalid",
        file=name,
        field="geometry",
        expected=expected,
        found=found,
        todo="Export the outline in level-0 pixels, or leave it out to use the optical-density mask",
    )
