"""A recipe's pixel size: a number, or a number and where it was seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from humanst.catalog import Recipe, load_recipe
from humanst.errors import DataError
from tests.studies import ST_RECIPE


def written(folder: Path, **changes: Any) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**ST_RECIPE, **changes}))
    return load_recipe(path)


def test_a_pixel_size_may_carry_its_source(tmp_path: Path) -> None:
    together = written(tmp_path, um_per_pixel={"value": 0.92, "source": "methods of the paper"})
    apart = written(tmp_path, um_per_pixel=0.92, um_per_pixel_source="methods of the paper")
    assert (together.um_per_pixel, together.um_per_pixel_source) == (0.92, "methods of the paper")
    assert together == apart
    assert written(tmp_path).um_per_pixel is None


@pytest.mark.parametrize(
    "scale",
    [{"value": 0.92}, {"source": "the paper"}, {"value": 0.92, "source": ""}, {"value": 0, "source": "x"},
     {"value": 300, "source": "dpi"}, {"value": "0.92", "source": "x"}, {"value": 0.92, "source": "x", "dpi": 96}],
)  # fmt: skip
def test_a_pixel_size_without_its_source_or_out_of_all_bounds_is_refused(tmp_path: Path, scale: dict[str, Any]) -> None:
    with pytest.raises(DataError) as caught:
        written(tmp_path, um_per_pixel=scale)
    assert "um_per_pixel" in str(caught.value)
