"""Here the disk itself is asked for."""

from __future__ import annotations

import os

import pytest

from tests.disk import real_fsync


@pytest.fixture(autouse=True)
def _real_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", real_fsync)
