"""A killed build leaves nothing torn: the next run needs no flag, sweeps what is left and ends with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import ROOT, run_humanst

SECTIONS = ("demo_visium_V1", "demo_st_A1")


def command(release: Path) -> list[str]:
    return [
        "build-shards",
        "--sections",
        ",".join(SECTIONS),
        "-o",
        str(release),
        "--workers",
        "1",
        "--shard-pairs",
        "64",
    ]


@pytest.fixture(scope="module")
def whole(demo_atlas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    result = run_humanst(*command(folder / "out"), atlas=demo_atlas, cache=folder / "cache")
    assert result.returncode == 0, result.stderr
    return folder / "out"


@pytest.mark.parametrize("share", [0.5, 0.93])
def test_killed_anywhere_the_next_run_ends_with_the_same_bytes(
    share: float, whole: Path, demo_atlas: Path, tmp_path: Path
) -> None:
    release = tmp_path / "out"
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "HUMANST_CATALOG": str(demo_atlas / "catalog.yaml"),
        "HUMANST_MIRROR": str(demo_atlas / "mirror"),
        "HUMANST_CACHE_DIR": str(tmp_path / "cache"),
        "HUMANST_OFFLINE": "1",
    }
    call = [sys.executable, "-c", "from humanst.cli import main; main()", *command(release)]
    began = time.monotonic()
    with subprocess.Popen(call, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        # Kill by what is there, not by the clock: a share of the files that a whole run leaves.
        target = share * sum(1 for _ in _files(whole))
        while process.poll() is None and sum(1 for _ in _files(release)) < target and time.monotonic() - began < 300:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it was killed, and had not ended by itself"
    assert 0 < len(_files(release)) < sum(1 for _ in _files(whole)), "in the middle of its work"
    assert not (release / "MANIFEST.json").exists()
    result = run_humanst(*command(release), atlas=demo_atlas, cache=tmp_path / "cache")
    assert result.returncode == 0, result.stderr
    assert (release / "MANIFEST.json").read_bytes() == (whole / "MANIFEST.json").read_bytes()
    assert (release / "SHA256SUMS").read_bytes() == (whole / "SHA256SUMS").read_bytes()
    left = [path.name for root in (release, release.with_name("out.work")) for path in root.rglob(".*partial*")]
    assert left == []
    assert run_humanst("verify", str(release)).returncode == 0


def _files(release: Path) -> list[str]:
    # os.walk shrugs at folders that vanish while it looks; pathlib's rglob does not.
    roots = (release, release.with_name(f"{release.name}.work"))
    return [name for root in roots for _, _, names in os.walk(root) for name in names]
