"""A disk that fills up: exit code 9, nothing half-written, and the earlier release as it was.

The disk that fills up at any write is fault F12 of ``tests/faults``.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import Result

from humanst import files
from tests.helpers import start_humanst
from tests.shards.conftest import SECTIONS, Made, digests

Run = Callable[[Sequence[str]], Result]
SECTION = "demo_st_A1"


class FullDisk:
    """Lets so many files be brought to the disk by ``humanst.files``; from then on every write fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        self.seen = 0
        real_fsync, real_write = os.fsync, files.AsideFile.write

        def fsync(descriptor: int) -> None:
            self.seen += stat.S_ISREG(os.fstat(descriptor).st_mode)
            self._refuse()
            real_fsync(descriptor)

        def write(aside: files.AsideFile, data: bytes | memoryview) -> int:
            self._refuse()
            return real_write(aside, data)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(files.AsideFile, "write", write)

    def _refuse(self) -> None:
        if self.left is not None and self.seen > self.left:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    return FullDisk(monkeypatch)


@pytest.fixture
def earlier(made: Made, tmp_path: Path) -> Path:
    """An earlier, other release, with a work folder that holds the store of the section alone."""
    shutil.copytree(made.release, tmp_path / "out", copy_function=os.link)
    others = shutil.ignore_patterns(*(f"{name}.*" for name in SECTIONS if name != SECTION))
    for name in ("sections", "images", "genes"):
        shutil.copytree(made.work / name, tmp_path / "stores" / name, copy_function=os.link, ignore=others)
    return tmp_path / "out"


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit on the size of files")
@pytest.mark.parametrize("n_bytes", [20_000, 200_000, 1_500_000])
def test_files_that_may_not_grow_stop_whatever_library_writes_them(
    n_bytes: int, made: Made, earlier: Path, tmp_path: Path
) -> None:
    """The system itself refuses: image of record, zarr chunk, parquet or tar, from the outside as a user sees it."""
    before = digests(earlier)
    arguments = ["build-shards", "-o", str(earlier), "--sections", SECTION, "--workers", "1", "--seed", "2"]
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({n_bytes},) * 2)"
    said = tmp_path / "stderr"
    said.touch()
    with start_humanst(*arguments, env=made.environment(), stderr=str(said), first=limit) as process:
        assert process.wait(timeout=300) == 9, said.read_text()[-2000:]
    assert digests(earlier) == before
    assert [path.name for path in tmp_path.rglob(".*") if ".partial-" in path.name] == []
