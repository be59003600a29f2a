from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from humanst.catalog import Lattice, Recipe, Section, Source, Study
from humanst.fetch import filling
from tests.server import FaultServer, serving

BODY = bytes(range(256)) * 40
NAME = "data/S1.tsv"


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with serving() as running:
        running.bodies[NAME] = BODY
        running.bodies[f"tiny/{NAME}"] = BODY
        yield running


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let humanst open connections to this machine, and to no other; pauses between tries are short."""
    monkeypatch.setattr(filling, "BACKOFF_S", 0.05)
    monkeypatch.setenv("HUMANST_OFFLINE", "0")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HUMANST_ALLOW_LOOPBACK_HTTP", "1")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mirror"
    (folder / "tiny").mkdir(parents=True)
    monkeypatch.setenv("HUMANST_MIRROR", str(folder))
    return folder / "tiny"


def source(
    url: str | None = None, *, body: bytes | None = BODY, path: str = NAME, role: str = "counts", md5: bool = False
) -> Source:
    """A source whose record is that of ``body``; unpinned and of unknown size for ``None``."""
    if body is None:
        return Source(role, path, url)
    if md5:
        return Source(role, path, url, len(body), None, hashlib.md5(body, usedforsecurity=False).hexdigest())
    return Source(role, path, url, len(body), hashlib.sha256(body).hexdigest())


def study(*sources: Source, hosts: tuple[str, ...] = (), study_id: str = "tiny") -> tuple[Study, Section]:
    section = Section(study_id, "S1", f"{study_id}_S1", "active", sources, {})
    recipe = Recipe("st", "symbol", False, "zero", Lattice("square", 200.0, 100.0))
    made = Study(study_id, "Tiny", "st", "CC0-1.0", None, "made here", None, "none", hosts, recipe, (section,))
    return made, section


def on_disk(folder: Path) -> set[str]:
    """Every file below a folder that is neither a lock, a stamp nor the kept part of an unfinished download."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.parent.name.endswith(".part"))
    return {str(path.relative_to(folder)) for path in files if path.suffix not in (".lock", ".stamp")}
