"""What ``docs/targets.md`` says of every target geometry: its areas are right and no option is missing."""

from __future__ import annotations

import re

import numpy as np
import pytest
import shapely

from humanst.platforms.sides import SIDES_OF_BIN_UM, XENIUM_SIDES_UM
from tests.helpers import ROOT

TEXT = (ROOT / "docs" / "targets.md").read_text()
ROW = re.compile(
    r"^\| (?P<platform>[^|]+) \| [^|]+ \| (?P<shape>circle|square) \| (?P<side>\d+) "
    r"\| (?P<area>[\d,]+) \| (?P<share>\d+) %",
    re.MULTILINE,
)
ROWS = [match.groupdict() for match in ROW.finditer(TEXT)]
PATCH = shapely.box(-56, -56, 56, 56)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['platform']}-{row['side']}")
def test_areas_and_shares_are_those_of_the_shapes(row: dict[str, str]) -> None:
    side = float(row["side"])
    half = side / 2
    field = shapely.box(-half, -half, half, half)
    if row["shape"] == "circle":
        field = shapely.Point(0, 0).buffer(half, quad_segs=500)
    assert round(field.area) == int(row["area"].replace(",", ""))
    assert round(100 * field.intersection(PATCH).area / PATCH.area) == int(row["share"])


def test_every_option_is_listed() -> None:
    listed = {platform: {float(row["side"]) for row in ROWS if row["platform"].startswith(platform)}
              for platform in ("Visium HD", "Xenium")}  # fmt: skip
    assert listed["Visium HD"] == {side for sides in SIDES_OF_BIN_UM.values() for side in sides}
    assert listed["Xenium"] == set(XENIUM_SIDES_UM)
    assert len(ROWS) == 8


@pytest.mark.parametrize(("degrees", "share"), [(1, 99), (5, 96)])
def test_a_turned_square_covers_less_of_its_patch(degrees: float, share: int) -> None:
    assert f"{share} %" in TEXT
    turn = np.deg2rad(degrees)
    corners = np.array([[-56, -56], [56, -56], [56, 56], [-56, 56]])
    square = shapely.Polygon(corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]))
    assert round(100 * square.intersection(PATCH).area / PATCH.area) == share
