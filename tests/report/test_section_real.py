"""The map of a real section: its spots where its spot file has them, on the tissue of its photograph."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from humanst.report.atlas_source import open_source
from humanst.report.section_facts import section_facts
from humanst.report.section_page import section_page
from tests.real.test_her2st_release import built as built
from tests.report.maps import assert_registered, at, choose, drawn
from tests.report.sections import expected_px, index_rows, pictures, pixels

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.mark.real
@pytest.mark.xdist_group("her2st")
def test_spots_of_a_real_section_lie_on_its_tissue(
    real_data: Path, browser: Browser, tmp_path: Path, built: tuple[Path, dict[str, Any]]
) -> None:
    release, _ = built
    html = section_page(section_facts(open_source(release), "her2st_B4"), standalone=True, up=None)
    path = tmp_path / "b4.html"
    path.write_text(html, encoding="utf-8")
    rows = index_rows(release, "her2st_B4")
    xy_px = expected_px(release, "her2st_B4", html, rows)
    # Independent of any table: the spot file gives pixels of the photograph as it was published.
    spots = pd.read_csv(real_data / "her2st/data/ST-spotfiles/B4_selection.tsv", sep="\t")
    # Of the photograph its header alone is read.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(real_data / "her2st/data/ST-imgs/B/B4/BT10737_D2_HE.jpg") as image:
            full = np.array(image.size)
    by_name = {f"{row.x}x{row.y}": (row.pixel_x, row.pixel_y) for row in spots.itertuples()}
    thumbnail = pixels(pictures(html)[0])
    scale = np.array(thumbnail.shape[1::-1]) / full
    published = np.array([by_name[name] for name in rows.index]) * scale
    assert np.abs(published - xy_px).max() < 1.0
    with drawn(browser, path) as seen:
        canvas = choose(seen, "Library size")
    radius = 100 / 2 * xy_px[0, 0] / rows["x_um"].iloc[0]
    assert_registered(canvas, published, radius)
    glass = np.median(thumbnail[:200].reshape(-1, 3), axis=0)
    darker = glass.sum() - at(thumbnail, published).astype(float).sum(axis=1)
    assert np.median(darker) > 40, "tissue under the spots, glass at the top"
