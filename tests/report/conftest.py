"""The small release that other rooms build too, for the pages of what is in it."""

from __future__ import annotations

from tests.shards.conftest import made

__all__ = ["made"]
