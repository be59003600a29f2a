"""A small atlas of three sections, and its release as one process makes it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from filelock import FileLock

from tests.conftest import LITTLE_SECTIONS
from tests.helpers import ROOT, run_humanst

SECTIONS = LITTLE_SECTIONS
# Five shards to train on, three to validate.
SHARD_PAIRS = "29"


@dataclass(frozen=True)
class Made:
    """A small atlas, and what one process built from it in one go."""

    atlas: Path
    cache: Path
    release: Path

    @property
    def work(self) -> Path:
        return self.release.with_name(f"{self.release.name}.work")

    def environment(self) -> dict[str, str]:
        """What a child process needs to run humanst on the atlas, without a connection."""
        return os.environ | {
            "PYTHONPATH": str(ROOT),
            "HUMANST_CATALOG": str(self.atlas / "catalog.yaml"),
            "HUMANST_MIRROR": str(self.atlas / "mirror"),
            "HUMANST_CACHE_DIR": str(self.cache),
            "HUMANST_OFFLINE": "1",
        }


def digests(folder: Path) -> dict[str, str]:
    """Path -> sha256 of every file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def made(shared_tmp: Path, little_atlas: Path) -> Made:
    folder = shared_tmp / "small"
    found = Made(little_atlas, folder / "cache", folder / "one" / "out")
    with FileLock(shared_tmp / "small.lock"):
        if not (found.release / "MANIFEST.json").exists():
            arguments = ["-o", str(found.release), "--workers", "1", "--shard-pairs", SHARD_PAIRS]
            result = run_humanst("build-shards", *arguments, atlas=found.atlas, cache=found.cache)
            assert result.returncode == 0, result.stderr
    return found


@pytest.fixture
def humanst_here(made: Made, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], Result]:
    """Run a command of humanst in this process, on the small atlas."""
    from humanst.cli import humanst

    monkeypatch.setenv("HUMANST_CATALOG", str(made.atlas / "catalog.yaml"))
    monkeypatch.setenv("HUMANST_MIRROR", str(made.atlas / "mirror"))
    monkeypatch.setenv("HUMANST_CACHE_DIR", str(made.cache))
    return lambda arguments: CliRunner().invoke(humanst, list(arguments), standalone_mode=False)
