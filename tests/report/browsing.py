"""A browser without a network, and what it sees of a page that is opened from a file."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from playwright.sync_api import Browser, Page

WITHOUT_BROWSER = "needs a Chromium on the PATH"


def _program() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(WITHOUT_BROWSER)
        pytest.skip(WITHOUT_BROWSER)
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser, for a fixture of a module."""
    from playwright.sync_api import sync_playwright

    program = _program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page, what its console said in anger, and what it asked of a network that is not there."""

    page: Page
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def quiet(self) -> None:
        """Nothing went wrong, and nothing was asked for."""
        assert self.errors == []
        assert self.asked == []


@contextmanager
def opened(browser: Browser, path: Path, *, dark: bool = False, width: int = 1300) -> Iterator[Opened]:
    """A file in a window of its own."""
    context = browser.new_context(
        offline=True, viewport={"width": width, "height": 1000}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    found = Opened(page)
    page.on("console", lambda said: found.errors.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    own = path.as_uri()
    page.on(
        "request",
        lambda sent: found.asked.append(sent.url) if not sent.url.startswith(("data:", own)) else None,
    )
    page.goto(own)
    yield found
    context.close()


def canvas_pixels(page: Page, selector: str) -> NDArray[np.uint8]:
    """``(h, w, 4)`` RGBA of a canvas as its owner painted it."""
    text = page.eval_on_selector(selector, "canvas => canvas.toDataURL('image/png')")
    with Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGBA"))
