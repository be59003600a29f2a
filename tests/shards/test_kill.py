"""A build killed at any moment leaves nothing torn: the next run needs no flag and ends with the same bytes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from random import Random

import pytest

from tests.helpers import run_humanst, start_humanst
from tests.shards.conftest import Made, digests
from tests.warm import Running

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("kill")

# `make faults-long` kills a hundred; the five of every run are fault F10 of ``tests/faults``.
KILLS = int(os.environ.get("HUMANST_BUILD_KILLS", "1"))
SECTION = "demo_st_A1"


def command(release: Path) -> list[str]:
    request = ["--sections", SECTION, "--shard-pairs", "7", "--seed", "3"]
    return ["build-shards", "-o", str(release), "--workers", "1", *request]


def start(made: Made, release: Path) -> Running:
    return start_humanst(*command(release), env=made.environment())


def wait_for_plan(process: Running, release: Path) -> None:
    """Until it has begun to write."""
    plan = release.with_name(f"{release.name}.work") / "plan.json"
    deadline = time.monotonic() + 300
    while not plan.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.fixture(scope="module")
def whole(made: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The release of an undisturbed run, and the seconds it wrote for."""
    release = tmp_path_factory.mktemp("whole") / "out"
    with start(made, release) as process:
        wait_for_plan(process, release)
        began = time.monotonic()
        assert process.wait(timeout=300) == 0
    return release, time.monotonic() - began


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_any_moment_the_next_run_ends_with_the_same_bytes(
    number: int, whole: tuple[Path, float], made: Made, tmp_path: Path
) -> None:
    """Moments are drawn evenly over the time that a build writes; every other build replaces an earlier release."""
    good, seconds = whole
    release = tmp_path / "out"
    if number % 2:
        shutil.copytree(made.release, release)
    moment = seconds * (number + Random(number).random()) / KILLS
    with start(made, release) as process:
        wait_for_plan(process, release)
        try:
            process.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    # In the instant between two renames neither is there, and the next run puts one back; else what is there is whole.
    if release.exists():
        assert digests(release) in (digests(good), digests(made.release))
    else:
        assert not number % 2 or list(tmp_path.glob(".out.replaced-*"))
    result = run_humanst(*command(release), atlas=made.atlas, cache=made.cache)
    assert result.returncode == 0, result.stderr
    assert digests(release) == digests(good)
    left = [path.name for path in tmp_path.rglob(".*") if re.search(r"\.(partial|replaced|next)-", path.name)]
    assert left == []
