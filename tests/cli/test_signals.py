"""A build that is told to stop ends with exit code 75 and leaves no worker behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers import ROOT


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_build_says_so_and_ends_its_workers(sent: signal.Signals, demo_atlas: Path, tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "HUMANST_CATALOG": str(demo_atlas / "catalog.yaml"),
        "HUMANST_MIRROR": str(demo_atlas / "mirror"),
        "HUMANST_CACHE_DIR": str(tmp_path / "cache"),
        "HUMANST_OFFLINE": "1",
    }
    call = [sys.executable, "-c", "from humanst.cli import main; main()", "build", "-o", str(tmp_path / "out")]
    call += ["--workers", "2"]
    with subprocess.Popen(
        call,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A run of the tests in the background of a script has SIGINT ignored, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        deadline = time.monotonic() + 120
        workers: list[psutil.Process] = []
        while len(workers) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
            workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(sent)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors
    assert "Run the same command again" in errors
    assert len(workers) >= 2
    _gone, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []
