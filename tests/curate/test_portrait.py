"""The sheet of a section: spots where the source says, a scale bar of the length it names, figures as recorded."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from humanst.catalog import load_catalog
from humanst.curate.drawing import INK, MARGIN_PX, SPOT, draw
from humanst.curate.portrait import PICTURE_PX, Portrait, portrait_of_section


def sheet_of(portrait: Portrait) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(draw(portrait))).convert("RGB")).astype(int)


def near(pixels: np.ndarray, colour: tuple[int, int, int], by: int = 60) -> np.ndarray:
    return np.abs(pixels - colour).max(axis=-1) <= by


def ring_share(sheet: np.ndarray, x: float, y: float, radius: float) -> float:
    """Share of a circle on the sheet that has the colour of a spot, looking one pixel to each side."""
    turns = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    hits = np.zeros(len(turns), bool)
    for step in (-1, 0, 1):
        columns = np.rint(MARGIN_PX + x + (radius + step) * np.cos(turns)).astype(int)
        rows = np.rint(MARGIN_PX + y + (radius + step) * np.sin(turns)).astype(int)
        pixels = sheet[np.clip(rows, 0, sheet.shape[0] - 1), np.clip(columns, 0, sheet.shape[1] - 1)]
        hits |= (pixels[:, 2] - pixels[:, 0] > 60) & (pixels[:, 2] - pixels[:, 1] > 20)
    return float(hits.mean())


def scale_bar_px(sheet: np.ndarray) -> int:
    """Length of the longest run of ink in the lower left of the picture."""
    corner = near(sheet[MARGIN_PX : MARGIN_PX + PICTURE_PX, MARGIN_PX : MARGIN_PX + PICTURE_PX // 3], INK, 4)
    runs = [len(run) for row in corner for run in "".join("x" if hit else " " for hit in row).split()]
    return max(runs)


def made(*, image: bool, shape: str = "circle") -> Portrait:
    """3 x 2 spots of 100 um, 200 um apart, on a white image of 1000 x 800 um at 2 um per pixel; one is outside."""
    x, y = np.meshgrid([300.0, 500.0, 700.0], [300.0, 500.0])
    spots = pd.DataFrame(
        {"x_um": x.ravel(), "y_um": y.ravel(), "in_tissue": [True] * 5 + [False], "n_counts": 5, "n_genes": 3}
    )
    attrs: dict[str, Any] = {
        "sample_id": "made_1", "study_id": "made", "section_id": "1", "platform": "st", "um_per_pixel": 0.5,
        "target": {"shape": shape, "side_um": 100.0}, "counts_in": 30, "counts_out": 30, "spots_in": 7,
        "spots_out": 6, "drops": [{"what": "spots", "reason": "low-counts", "n": 1}], "findings": [],
        "picture": {"source_name": "he.tif", "width_px": 2000, "height_px": 1600} if image else None,
        "tissue": None,
        "provenance": {"um_per_pixel_source": "lattice", "um_per_pixel_witnesses": {"tag": 0.5}},
    }  # fmt: skip
    rgb = np.full((400, 500, 3), 255, np.uint8) if image else None
    return Portrait(attrs, spots, rgb, 2.0, None)


def test_spots_stand_where_they_were_put() -> None:
    portrait = made(image=True)
    sheet = sheet_of(portrait)
    px_per_um = PICTURE_PX / 1000
    for x, y, inside in portrait.spots[["x_um", "y_um", "in_tissue"]].itertuples(index=False):
        share = ring_share(sheet, x * px_per_um, y * px_per_um, 50 * px_per_um)
        assert share > 0.95 if inside else share < 0.05
        assert ring_share(sheet, x * px_per_um, y * px_per_um, 35 * px_per_um) < 0.05


def test_squares_are_squares() -> None:
    sheet = sheet_of(made(image=True, shape="square"))
    blue = near(sheet, SPOT)
    px_per_um = PICTURE_PX / 1000
    # The upper left spot: its sides at 250 and 350 um, its corners coloured too.
    for corner_um in ((250, 250), (350, 250), (350, 350), (250, 350)):
        x, y = (round(MARGIN_PX + um * px_per_um) for um in corner_um)
        assert blue[y - 2 : y + 3, x - 2 : x + 3].any()


def test_the_scale_bar_has_the_length_it_names() -> None:
    assert scale_bar_px(sheet_of(made(image=True))) == pytest.approx(200 * PICTURE_PX / 1000, abs=2)


def test_a_section_without_an_image_shows_its_spots() -> None:
    portrait = made(image=False)
    assert near(sheet_of(portrait), SPOT).sum() > 500
    assert dict(portrait.figures())["image"] == "none"


def test_figures_tell_witnesses_and_drops() -> None:
    figures = dict(made(image=True).figures())
    assert figures["witness"] == "0.5000 um per pixel, by tag"
    assert figures["spots"] == "7 in, 6 out (dropped: 1 low-counts)"


@pytest.mark.real
def test_a_real_section_as_its_spot_file_says(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """her2st B4: the full-resolution pixels of the spot file, against rings on the sheet."""
    monkeypatch.setenv("HUMANST_MIRROR", str(real_data))
    study = load_catalog().study("her2st")
    portrait = portrait_of_section(study, study.section("B4"))
    sheet = sheet_of(portrait)
    table = pd.read_csv(real_data / "her2st" / "data" / "ST-spotfiles" / "B4_selection.tsv", sep="\t")
    (image,) = (real_data / "her2st" / "data" / "ST-imgs" / "B" / "B4").glob("*.jpg")
    size = Image.open(image).size
    shrink = PICTURE_PX / max(size)
    # 0.69 um per pixel and spots of 100 um, as the study states.
    radius = 50 / 0.69 * shrink
    shares = [ring_share(sheet, x * shrink, y * shrink, radius) for x, y in table[["pixel_x", "pixel_y"]].to_numpy()]
    kept = int(re.findall(r"([\d,]+) out", dict(portrait.figures())["spots"])[0])
    assert sum(share > 0.5 for share in shares) == pytest.approx(kept, abs=3)
    assert scale_bar_px(sheet) == pytest.approx(1000 / 0.69 * shrink, rel=0.02)
    assert any("correlation" in sentence for _, sentence in portrait.findings())
