"""A curator's outline becomes a mask in place; what is not an outline is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import Point, Polygon, mapping

from humanst.errors import DataError
from humanst.harmonize.outline import read_outline

OUTER = [(100, 80), (1700, 120), (1500, 1100), (200, 1000)]
HOLE = [(600, 400), (900, 400), (900, 700), (600, 700)]


def written(folder: Path, content: Any) -> Path:
    path = folder / "outline.geojson"
    path.write_text(json.dumps(content) if not isinstance(content, str) else content)
    return path


def test_the_mask_agrees_with_shapely_point_by_point(tmp_path: Path) -> None:
    polygon = Polygon(OUTER, [HOLE])
    feature = {"type": "Feature", "properties": {}, "geometry": mapping(polygon)}
    path = written(tmp_path, {"type": "FeatureCollection", "features": [feature]})
    tissue = read_outline(path, size_px=(2000, 1200), um_per_pixel=0.5, mask_um_per_pixel=8.0)
    assert tissue.mask.shape == (75, 125)
    assert tissue.um_per_pixel == 8.0
    expected = np.array([[polygon.contains(Point(x * 16 + 8, y * 16 + 8)) for x in range(125)] for y in range(75)])
    assert (tissue.mask == expected).mean() > 0.998
    assert tissue.area_mm2 == pytest.approx(polygon.area * 0.25 / 1e6, rel=0.01)


@pytest.mark.parametrize(
    "content",
    [
        "not json",
        [1, 2],
        {"type": "Point", "coordinates": [1, 2]},
        {"type": "Polygon", "coordinates": [[[1, 2], [3]]]},
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [[[5000, 5000], [6000, 5000], [6000, 6000]]]},
        {"type": "FeatureCollection", "features": []},
    ],
)
def test_what_is_no_outline_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(DataError) as caught:
        read_outline(written(tmp_path, content), size_px=(2000, 1200), um_per_pixel=0.5, mask_um_per_pixel=8.0)
    assert (caught.value.facts.code, caught.value.facts.file) == ("outline-invalid", "outline.geojson")
