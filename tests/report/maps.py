"""Maps of sections in a browser, as several tests look at them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from humanst.report.section_facts import SectionFacts
from humanst.report.section_page import section_page
from tests.report.browsing import Opened, canvas_pixels, opened

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from playwright.sync_api import Browser

CANVAS = ".hs-stage > canvas"


@contextmanager
def drawn(browser: Browser, path: Path) -> Iterator[Opened]:
    """A page whose map is painted, and with which nothing goes wrong."""
    with opened(browser, path) as found:
        found.page.wait_for_selector("[data-drawn]")
        yield found
        found.quiet()


def choose(seen: Opened, name: str, *, opacity: int = 100) -> NDArray[np.uint8]:
    """Choose a layer by its name in the menu, as far as it goes opaque; the canvas then."""
    seen.page.select_option(".hs-layer", label=name)
    seen.page.locator(".hs-opacity").fill(str(opacity))
    return canvas_pixels(seen.page, CANVAS)


def places_by_legend(seen: Opened, colours: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Where ``(n, 3)`` colours stand in the bar of colours, from 0 to 1, and that they do."""
    bar = canvas_pixels(seen.page, ".hs-colours")[0, :, :3].astype(int)
    distance = np.abs(colours[:, None, :].astype(int) - bar[None]).sum(axis=2)
    assert distance.min(axis=1).max() <= 3, "every colour of a spot is one of the bar"
    places: NDArray[np.float64] = distance.argmin(axis=1) / 255
    return places


def limits_by_legend(seen: Opened) -> tuple[float, float]:
    low, _, high = seen.page.locator(".hs-ticks span").all_text_contents()
    return tuple(float(re.sub("[^0-9.-]", "", text)) for text in (low, high))  # type: ignore[return-value]


def at(canvas: NDArray[np.uint8], xy_px: NDArray[np.float64]) -> NDArray[np.uint8]:
    column, row = np.floor(xy_px).astype(int).T
    return canvas[row, column]


def assert_registered(canvas: NDArray[np.uint8], xy_px: NDArray[np.float64], radius_px: float) -> None:
    """Discs of that radius have their middle within a pixel of where spots are, one a spot."""
    labels, n = ndimage.label(canvas[:, :, 3] > 127)
    middles = np.array(ndimage.center_of_mass(np.ones_like(labels), labels, np.arange(1, n + 1)))[:, ::-1] + 0.5
    areas = ndimage.sum_labels(np.ones_like(labels), labels, np.arange(1, n + 1))
    height, width = canvas.shape[:2]
    inside = ((xy_px > radius_px + 1) & (xy_px < np.array([width, height]) - radius_px - 1)).all(axis=1)
    assert inside.sum() > 50
    distance = np.linalg.norm(xy_px[inside][:, None] - middles[None], axis=2)
    assert distance.min(axis=1).max() < 1.0
    assert len(set(distance.argmin(axis=1))) == inside.sum()
    measured = np.sqrt(areas[distance.argmin(axis=1)] / np.pi)
    np.testing.assert_allclose(measured, radius_px, atol=0.6)


def page(facts: SectionFacts) -> str:
    return section_page(facts, standalone=False, up="../index.html")


def shown(browser: Browser, html: str, folder: Path) -> tuple[str, int]:
    """The text of a page in a browser, and how many pixels of its map are painted; nothing may go wrong."""
    path = folder / "page.html"
    path.write_text(html, encoding="utf-8")
    with opened(browser, path) as seen:
        seen.page.wait_for_selector("[data-drawn]")
        painted = int((canvas_pixels(seen.page, CANVAS)[:, :, 3] > 0).sum())
        text = seen.page.locator("main").inner_text()
        seen.quiet()
    return text, painted
