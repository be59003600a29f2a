"""One built release, as plain tools read it, and no way to the network."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.readers.world import Plain
from tests.shards.conftest import Made
from tests.shards.conftest import made as made


@pytest.fixture(scope="session")
def plain(made: Made) -> Plain:
    """Read only: five shards to train on, three to validate, an empty test split."""
    return Plain.read(made.release)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Readers get folders of this test to cache in; one that asks for a connection fails its test."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "1")
    for name in ("HF_HOME", "HF_DATASETS_CACHE", "CROISSANT_CACHE", "WIDS_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    asked: list[Any] = []

    def refuse(*where: Any, **_: Any) -> Any:
        asked.append(where)
        raise OSError("no connection in tests")

    connect = socket.socket.connect

    def within_this_machine(this: socket.socket, where: Any) -> Any:
        # Worker processes hand over memory through sockets that are files.
        return connect(this, where) if this.family == socket.AF_UNIX else refuse(this, where)

    monkeypatch.setattr(socket.socket, "connect", within_this_machine)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert asked == []
