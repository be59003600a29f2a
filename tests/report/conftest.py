"""The small release that other rooms build too, for the pages of what is in it, and a browser to look at them with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.report.browsing import chromium
from tests.shards.conftest import made

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["made"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found
