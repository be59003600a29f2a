"""The map of a section in a browser: each spot where it is, in the colour of its value, reached by mouse and keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib import colormaps

from humanst.demo import load_truth
from humanst.report.atlas_source import open_source
from humanst.report.section_facts import section_facts
from humanst.report.section_page import section_page
from tests.report.browsing import Opened, canvas_pixels
from tests.report.maps import CANVAS, assert_registered, at, choose, drawn, limits_by_legend, places_by_legend
from tests.report.sections import expected_px, index_rows, npy_targets, pictures, pixels

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# The browser and the pages are made once.
pytestmark = pytest.mark.xdist_group("section-map")
VISIUM, XENIUM = "demo_visium_V1", "demo_xenium_X1"
CLASSES = ("DEMO_TUMOUR_PROLIFERATION", "DEMO_STROMA_MATRIX", "DEMO_ADIPOSE_LIPID", "DEMO_IMMUNE_INFILTRATE")


@pytest.fixture(scope="module")
def pages(demo_release: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of one section with circles and one with squares, in files."""
    source, folder = open_source(demo_release), tmp_path_factory.mktemp("pages")
    for name in (VISIUM, XENIUM):
        html = section_page(section_facts(source, name), standalone=True, up=None)
        (folder / f"{name}.html").write_text(html, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in (VISIUM, XENIUM)}


@pytest.fixture
def visium(browser: Browser, pages: dict[str, Path]) -> Iterator[Opened]:
    with drawn(browser, pages[VISIUM]) as found:
        yield found


def test_spots_lie_where_they_are_and_are_as_large_as_they_are(
    visium: Opened, demo_release: Path, pages: dict[str, Path]
) -> None:
    rows = index_rows(demo_release, VISIUM)
    html = pages[VISIUM].read_text()
    xy_px = expected_px(demo_release, VISIUM, html, rows)
    px_per_um = xy_px[0, 0] / rows["x_um"].iloc[0]
    assert_registered(choose(visium, "Library size"), xy_px, 55 / 2 * px_per_um)
    visium.page.check(".hs-size[value=large]")
    larger = canvas_pixels(visium.page, CANVAS)
    visium.page.check(".hs-size[value=true]")
    assert (larger[:, :, 3] > 127).mean() > 2 * (canvas_pixels(visium.page, CANVAS)[:, :, 3] > 127).mean()


def test_colours_are_those_of_the_shards_values(visium: Opened, demo_release: Path, pages: dict[str, Path]) -> None:
    targets, rows = npy_targets(demo_release, VISIUM), index_rows(demo_release, VISIUM)
    xy_px = expected_px(demo_release, VISIUM, pages[VISIUM].read_text(), rows)
    inside = ((xy_px > 1) & (xy_px < 1000)).all(axis=1)
    for name in CLASSES:
        colours = at(choose(visium, name), xy_px)[inside]
        assert (colours[:, 3] == 255).all()
        low, high = limits_by_legend(visium)
        values = targets.loc[rows.index, name].to_numpy()[inside]
        expected = np.clip((values - low) / (high - low), 0, 1)
        np.testing.assert_allclose(places_by_legend(visium, colours[:, :3]), expected, atol=2.5 / 255)


def test_library_size_has_the_colours_of_viridis(visium: Opened, demo_release: Path, pages: dict[str, Path]) -> None:
    rows = index_rows(demo_release, VISIUM)
    xy_px = expected_px(demo_release, VISIUM, pages[VISIUM].read_text(), rows)
    inside = ((xy_px > 1) & (xy_px < 1000)).all(axis=1)
    colours = at(choose(visium, "Library size"), xy_px)[inside, :3]
    low, high = limits_by_legend(visium)
    share = np.clip((np.log10(rows["n_counts"].to_numpy(float)) - low) / (high - low), 0, 1)[inside]
    expected = colormaps["viridis"](share)[:, :3] * 255
    # The numbers of the legend have two places, and neighbours in the table differ by two or three levels.
    assert np.abs(colours - expected).max() <= 8


def test_a_pathway_lights_up_where_it_was_painted(
    visium: Opened, demo_atlas: Path, demo_release: Path, pages: dict[str, Path]
) -> None:
    truth = load_truth(demo_atlas, VISIUM)
    rows = index_rows(demo_release, VISIUM)
    xy_px = expected_px(demo_release, VISIUM, pages[VISIUM].read_text(), rows)
    inside = ((xy_px > 1) & (xy_px < 1000)).all(axis=1)
    order = {name: number for number, name in enumerate(truth.spot_ids.tolist())}
    painted = np.array([order[name] for name in rows.index])
    for name in CLASSES:
        activity = truth.activity_of(name)[painted][inside]
        places = places_by_legend(visium, at(choose(visium, name), xy_px)[inside, :3])
        high, low = activity >= np.quantile(activity, 0.85), activity <= np.quantile(activity, 0.4)
        assert places[high].mean() > places[low].mean() + 0.15, name


@pytest.mark.parametrize("height", [500, 900])
def test_the_whole_map_is_seen_at_once(visium: Opened, height: int) -> None:
    visium.page.set_viewport_size({"width": 1300, "height": height})
    box = visium.page.locator(".hs-stage").bounding_box()
    picture = visium.page.locator(".hs-picture").evaluate("one => [one.naturalWidth, one.naturalHeight]")
    assert box is not None
    assert 0.7 * height < box["height"] < height
    assert box["width"] / box["height"] == pytest.approx(picture[0] / picture[1], rel=0.01)


def test_choosing_a_layer_or_an_opacity_changes_pixels(visium: Opened) -> None:
    first = choose(visium, "DEMO_STROMA_MATRIX")
    second = choose(visium, "DEMO_ADIPOSE_LIPID")
    assert (first != second).any(axis=2).mean() > 0.05
    half = choose(visium, "DEMO_ADIPOSE_LIPID", opacity=50)
    spots = second[:, :, 3] == 255
    assert np.abs(half[spots][:, 3].astype(int) - 128).max() <= 1
    assert choose(visium, "DEMO_ADIPOSE_LIPID", opacity=0)[:, :, 3].max() == 0
    visium.page.uncheck(".hs-show-spots")
    assert choose(visium, "DEMO_ADIPOSE_LIPID")[:, :, 3].max() == 0
    assert visium.page.locator(".hs-edge").get_attribute("visibility") == "visible"
    visium.page.uncheck(".hs-show-edge")
    assert visium.page.locator(".hs-edge").get_attribute("visibility") == "hidden"


def test_what_is_not_measured_is_listed_with_its_reason_and_hatched(browser: Browser, pages: dict[str, Path]) -> None:
    with drawn(browser, pages[XENIUM]) as seen:
        options = seen.page.locator(".hs-layer optgroup[label='Not measured'] option").all_text_contents()
        assert options == ["DEMO_CONTROL_B (not measured)", "DEMO_GLAND_SECRETION (not measured)"]
        canvas = choose(seen, options[1])
        said = seen.page.locator(".hs-says").text_content() or ""
        assert "not measured: fewer than 10 of its genes are measured" in said
        coloured = canvas[canvas[:, :, 3] == 255][:, :3]
        assert len(coloured) > 1000
        assert (np.ptp(coloured.astype(int), axis=1) < 3).all(), "outlines in grey, and no colour of a value"
        measured = choose(seen, "DEMO_ADIPOSE_LIPID")
        assert (measured[:, :, 3] == 255).mean() > 2 * (canvas[:, :, 3] == 255).mean()


def test_squares_fill_their_side(browser: Browser, demo_release: Path, pages: dict[str, Path]) -> None:
    rows = index_rows(demo_release, XENIUM)
    html = pages[XENIUM].read_text()
    xy_px = expected_px(demo_release, XENIUM, html, rows)
    half = 112 / 2 * xy_px[0, 0] / rows["x_um"].iloc[0]
    values = npy_targets(demo_release, XENIUM).loc[rows.index, "DEMO_ADIPOSE_LIPID"].to_numpy()
    assert np.isfinite(values).all()
    with drawn(browser, pages[XENIUM]) as seen:
        canvas = choose(seen, "DEMO_ADIPOSE_LIPID")
        inside = ((xy_px > half) & (xy_px < 1000 - half)).all(axis=1)
        low, high = limits_by_legend(seen)
        expected = np.clip((values[inside] - low) / (high - low), 0, 1)
        for corner in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
            near = xy_px[inside] + np.array(corner) * (half - 3)
            places = places_by_legend(seen, at(canvas, near)[:, :3])
            np.testing.assert_allclose(places, expected, atol=2.5 / 255)


def test_the_outline_is_that_of_the_painted_tissue(visium: Opened, demo_atlas: Path, pages: dict[str, Path]) -> None:
    from skimage.draw import polygon2mask

    truth = load_truth(demo_atlas, VISIUM)
    path = visium.page.locator(".hs-outline").get_attribute("d") or ""
    height, width = pixels(pictures(pages[VISIUM].read_text())[0]).shape[:2]
    filled = np.zeros((height, width), dtype=bool)
    for ring in path.split("M")[1:]:
        corners = np.array([[float(v) for v in pair.split()] for pair in ring.rstrip("Z").split("L")])
        filled ^= polygon2mask((height, width), corners[:, ::-1] - 0.5)
    mask = truth.tissue_mask
    row = (np.arange(height) + 0.5) * mask.shape[0] / height
    column = (np.arange(width) + 0.5) * mask.shape[1] / width
    painted = mask[row.astype(int)][:, column.astype(int)]
    assert (filled & painted).sum() / (filled | painted).sum() > 0.95


def test_the_scale_bar_is_as_long_as_it_says(visium: Opened, demo_release: Path, pages: dict[str, Path]) -> None:
    text = visium.page.locator(".hs-scale text").text_content() or ""
    number, unit = text.split()
    um = float(number) * (1000 if unit == "mm" else 1)
    drawn_px = float((visium.page.locator(".hs-scale path").get_attribute("d") or "").partition("H")[2])
    rows = index_rows(demo_release, VISIUM)
    xy_px = expected_px(demo_release, VISIUM, pages[VISIUM].read_text(), rows)
    assert drawn_px / um == pytest.approx(xy_px[0, 0] / rows["x_um"].iloc[0], rel=0.002)


def test_arrow_keys_go_from_spot_to_spot_and_are_told(visium: Opened, demo_release: Path) -> None:
    rows, targets = index_rows(demo_release, VISIUM), npy_targets(demo_release, VISIUM)
    choose(visium, "DEMO_STROMA_MATRIX")
    stage, told = visium.page.locator(".hs-stage"), visium.page.locator("output.hs-spot")
    assert told.get_attribute("aria-live") == "polite"
    stage.focus()

    def spot() -> str:
        found = re.fullmatch(r"Spot (\S+): DEMO_STROMA_MATRIX (-?[0-9.]+) \(.*\)\.", told.text_content() or "")
        assert found is not None
        assert float(found[2]) == pytest.approx(targets.loc[found[1], "DEMO_STROMA_MATRIX"], abs=0.0051)
        return found[1]

    stage.press("ArrowRight")
    seen = [spot()]
    for key, column, sign in (
        *(("ArrowRight", "x_um", 1),) * 3, ("ArrowDown", "y_um", 1), ("ArrowLeft", "x_um", -1), ("ArrowUp", "y_um", -1)
    ):  # fmt: skip
        stage.press(key)
        seen.append(spot())
        moved = rows.loc[seen[-1], ["x_um", "y_um"]].astype(float) - rows.loc[seen[-2], ["x_um", "y_um"]].astype(float)
        assert sign * moved[column] > 0
        assert 80 < np.hypot(*moved) < 130, "the next one and no other"
    ring = visium.page.locator(".hs-cursor").bounding_box()
    box = visium.page.locator(CANVAS).bounding_box()
    assert ring is not None
    assert box is not None
    stage.press("Escape")
    assert "arrow keys" in (told.text_content() or "")
    stage.press("End")
    assert spot() == sorted(rows.index)[-1]


def test_pointing_at_a_spot_tells_it(visium: Opened, demo_release: Path, pages: dict[str, Path]) -> None:
    rows = index_rows(demo_release, VISIUM)
    html = pages[VISIUM].read_text()
    xy_px = expected_px(demo_release, VISIUM, html, rows)
    box = visium.page.locator(CANVAS).bounding_box()
    assert box is not None
    shown = box["width"] / pixels(pictures(html)[0]).shape[1]
    for number in (0, 100, 200):
        x, y = xy_px[number] * shown
        visium.page.mouse.move(box["x"] + x, box["y"] + y)
        assert (visium.page.locator(".hs-spot").text_content() or "").startswith(f"Spot {rows.index[number]}:")


def test_keys_reach_every_control(visium: Opened) -> None:
    page = visium.page
    page.evaluate(
        "document.querySelectorAll('a, button, select, input, summary, [tabindex]').forEach((e, i) => e.dataset.i = i)"
    )
    wanted = set(page.eval_on_selector_all(
        "[data-i]",
        "all => all.filter(e => !e.disabled && e.checkVisibility() && !(e.type === 'radio' && !e.checked))"
        ".map(e => e.dataset.i)",
    ))  # fmt: skip
    reached = set()
    for _ in range(2 * len(wanted)):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.dataset.i ?? null"))
    assert wanted <= reached
    assert len(wanted) > 20
    page.locator(".hs-size:checked").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".hs-size:checked").get_attribute("value") == "large"
    page.locator(".hs-layer").focus()
    before = page.locator(".hs-says").text_content()
    page.keyboard.press("ArrowDown")
    assert page.locator(".hs-says").text_content() != before


def test_a_patch_leads_to_its_spot(visium: Opened) -> None:
    button = visium.page.locator(".hs-find").nth(3)
    spot = button.get_attribute("data-spot")
    button.press("Enter")
    assert (visium.page.locator(".hs-spot").text_content() or "").startswith(f"Spot {spot}:")
    assert visium.page.evaluate("document.activeElement.className") == "hs-stage"


def test_bibtex_is_copied_or_at_least_selected(visium: Opened, demo_release: Path) -> None:
    visium.page.click(".hs-copy")
    visium.page.locator(".hs-copied:not(:empty)").wait_for()
    told = visium.page.locator(".hs-copied").text_content() or ""
    text = visium.page.locator(".hs-bib").text_content() or ""
    assert "demo_visium" in text
    assert all(entry in (demo_release / "CITATION.bib").read_text() for entry in text.strip().split("\n\n"))
    if told.startswith("Selected"):
        assert visium.page.evaluate("getSelection().toString()").strip() == text.strip()
    else:
        visium.page.evaluate(
            "document.body.insertAdjacentHTML('beforeend', '<textarea id=pasted></textarea>'); pasted.focus()"
        )
        visium.page.keyboard.press("Control+V")
        assert visium.page.input_value("#pasted").strip() == text.strip()
