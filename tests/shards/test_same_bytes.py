"""The same request gives the same bytes: a Dask cluster, array tasks, one process.

Two processes, another folder and another hash seed are fault F14 of ``tests/faults``.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import dask
import pytest
from click.testing import Result
from distributed import LocalCluster
from distributed.utils import get_mp_context

from tests.helpers import run_humanst
from tests.shards.conftest import SECTIONS, SHARD_PAIRS, Made, digests
from tests.warm import LIBRARIES, OWN

Run = Callable[[Sequence[str]], Result]


def leftovers(folder: Path) -> list[str]:
    """What an unfinished write leaves behind, anywhere below a folder."""
    return [path.name for path in folder.rglob(".*") if re.search(r"\.(partial|replaced|next)-", path.name)]


def test_a_release_is_whole(made: Made) -> None:
    names = set(digests(made.release))
    assert {"MANIFEST.json", "SHA256SUMS", "CHANGES.md", "index/train.parquet", "index/val.parquet"} <= names
    assert sum(name.endswith(".tar") for name in names) >= 6, "several shards, in two splits"
    assert {f"sections/{name}.zarr.zip" for name in SECTIONS} <= names
    assert run_humanst("verify", str(made.release)).returncode == 0
    assert leftovers(made.release.parent) == []


def test_three_array_tasks_of_a_plan(made: Made, humanst_here: Run, tmp_path: Path) -> None:
    """Shares in any order; a share that nobody did stops the next stage, and names what is missing."""
    plan, release = tmp_path / "plan.json", tmp_path / "out"
    assert humanst_here(["plan", "-o", str(plan), "--shard-pairs", SHARD_PAIRS]).exception is None
    build = ["build-shards", "--plan", str(plan), "-o", str(release), "--workers", "1"]

    def share(stage: str, index: int) -> Result:
        return humanst_here([*build, "--stage", stage, "--task-index", str(index), "--num-tasks", "3"])

    assert [share("extract", index).exception for index in (2, 0)] == [None, None]
    early = share("pack", 0).exception
    assert getattr(early, "exit_code", None) == 75
    assert "demo_st_B1" in str(early)
    assert share("extract", 1).exception is None
    assert [share("pack", index).exception for index in (1, 2)] == [None, None]
    assert getattr(humanst_here([*build, "--stage", "finish"]).exception, "exit_code", None) == 75
    assert not release.exists(), "a release exists when it is whole, and not before"
    assert share("pack", 0).exception is None
    for _ in ("once", "once more, as after a kill when all was done"):
        assert humanst_here([*build, "--stage", "finish"]).exception is None
        assert digests(release) == digests(made.release)
        assert leftovers(tmp_path) == []


@contextmanager
def two_workers() -> Iterator[LocalCluster]:
    """Two, and a third for the one that is killed, forked from a process that imported the libraries for all."""
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        get_mp_context().set_forkserver_preload(["distributed", *LIBRARIES, *OWN])
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    try:
        yield cluster
    finally:
        # On a busy machine workers take longer to end than Dask waits for them; it kills them then.
        with suppress(TimeoutError):
            cluster.close()


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_of_which_a_worker_is_killed_in_the_middle_of_a_task(
    made: Made, humanst_here: Run, tmp_path: Path
) -> None:
    release, killed = tmp_path / "out", []
    over = threading.Event()

    def kill_one() -> None:
        while not killed and not over.is_set():
            # A partial names the process that writes it.
            for path in (tmp_path / "out.work").glob("*/.*.partial-*"):
                pid = int(path.name.rsplit("-", 2)[1])
                if pid != os.getpid():
                    os.kill(pid, signal.SIGKILL)
                    killed.append(path.parent.name)
                    return
            time.sleep(0.01)

    with two_workers() as cluster:
        # As `dask scheduler --scheduler-file` writes it.
        (tmp_path / "cluster.json").write_text(json.dumps(cluster.scheduler.identity()))
        killer = threading.Thread(target=kill_one)
        killer.start()
        result = humanst_here(
            [
                *("build-shards", "-o", str(release), "--shard-pairs", SHARD_PAIRS),
                "--scheduler-file",
                str(tmp_path / "cluster.json"),
            ]
        )
        over.set()
        killer.join()
    assert result.exception is None, result.exception
    assert killed, "one was killed"
    assert digests(release) == digests(made.release)
    assert leftovers(tmp_path) == []


def test_a_scheduler_that_is_not_there_is_a_network_error(
    humanst_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("humanst.runner.cluster.CONNECT_SECONDS", 1)
    arguments = ["build-shards", "-o", str(tmp_path / "out"), "--scheduler", "tcp://127.0.0.1:9"]
    error = humanst_here(arguments).exception
    assert getattr(error, "exit_code", None) == 7
    assert "127.0.0.1:9" in str(error)
    assert not (tmp_path / "out").exists()
