"""A machine that says no: rights, limits, settings of no machine, and a disk that rots without a trace."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from humanst.demo import DemoAtlas
from humanst.errors import UsageError
from humanst.files import refused_by_system
from humanst.runner.limits import FILE_BYTES, Limits, task_limits
from humanst.runner.outcomes import attempt
from humanst.settings import settings
from tests.faults.board import messages_of
from tests.faults.sections import one_section, recipe_of
from tests.helpers import ROOT, run_humanst

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("faults-readers")

# The first byte beyond the limit is refused by the system, the last one within it is not; holes take no room.
_TOO_LONG = """
import os, sys
from pathlib import Path
from humanst import files
from humanst.errors import HumanstError
from humanst.runner.limits import FILE_BYTES, begin_apart, task_limits
begin_apart(task_limits(1))
for number, place in enumerate((FILE_BYTES - 1, FILE_BYTES)):
    try:
        with files.write_aside(Path(sys.argv[1]) / str(number)) as aside:
            descriptor = os.open(aside.path, os.O_WRONLY)
            os.pwrite(descriptor, b"x", place)
        print("written", os.stat(Path(sys.argv[1]) / str(number)).st_size)
    except HumanstError as error:
        print(error.exit_code, error.facts.code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit there")
def test_a_task_writes_no_file_beyond_256_gib(tmp_path: Path) -> None:
    limits = task_limits(1)
    assert isinstance(limits, Limits)
    assert limits.file_bytes == FILE_BYTES == 256 * 2**30
    command = [sys.executable, "-c", _TOO_LONG, str(tmp_path)]
    result = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    if "file-limit" not in result.stdout.splitlines()[0]:
        assert result.stdout.splitlines() == [f"written {FILE_BYTES}", "9 file-limit"], result.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["0"]
    else:
        pytest.skip("this file system takes no such file")


def _raises(number: int) -> None:
    raise OSError(number, os.strerror(number), "/a/b/out.tif")


@pytest.mark.parametrize(
    ("number", "exit_code", "code"),
    [
        (errno.EACCES, 2, "not-allowed"),
        (errno.EROFS, 2, "not-allowed"),
        (errno.ENOSPC, 9, "no-room"),
        (errno.EFBIG, 9, "file-limit"),
        (errno.EIO, 1, "unexpected"),
    ],
)
def test_what_the_system_refuses_is_no_bug(number: int, exit_code: int, code: str) -> None:
    error = attempt(0, number, _raises).error
    assert error is not None
    assert (error.exit_code, error.facts.code) == (exit_code, code)
    if exit_code != 1:
        assert error.facts.file == "out.tif"
        assert "/a/b" not in str(error)
    assert refused_by_system(OSError(errno.EIO, "x")) is None


# Root may do all; without its capabilities it may what anybody may.
_NO_RIGHTS = """
import ctypes
head, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(head, none) == 0
"""


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> DemoAtlas:
    return one_section("st", tmp_path_factory.mktemp("st") / "atlas")


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody may look into or write to."""
    path = tmp_path / "closed"
    path.mkdir()
    path.chmod(0)
    yield path
    path.chmod(0o700)


@pytest.mark.skipif(sys.platform != "linux", reason="rights are given up as Linux has it")
def test_folders_without_rights(legacy: DemoAtlas, closed: Path, tmp_path: Path) -> None:
    """A cache that may not be written to is said; a folder that may not be looked into is never passed over."""
    result = run_humanst("fetch", "lab", "--json", atlas=legacy.folder, cache=closed / "cache", first=_NO_RIGHTS)
    message = messages_of(result.stdout)[""]
    assert (result.returncode, message.code, message.lacks()) == (2, "not-allowed", [])
    assert "Traceback" not in result.stderr
    arguments = ["build", str(tmp_path), "--recipe", str(recipe_of(legacy)), "-o", str(tmp_path / "out"), "--json"]
    result = run_humanst(*arguments, first=_NO_RIGHTS)
    message = next(iter(messages_of(result.stdout).values()))
    assert (result.returncode, message.code, message.lacks()) == (5, "folder-unreadable", [])


@pytest.mark.parametrize("name", ["HUMANST_TASK_CPU_S", "HUMANST_TASK_MEMORY_GIB", "HUMANST_FETCH_BUDGET_S"])
@pytest.mark.parametrize("value", ["inf", "1e300", "nan", "-1", "much"])
def test_settings_of_no_machine_are_usage_errors(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as caught:
        settings()
    assert caught.value.facts.field == name
