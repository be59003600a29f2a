"""Fixtures every test may use: the real sections, the demo atlas, and a release built from it."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from tests.disk import real_fsync, wait_for_no_disk

LITTLE_SECTIONS = ("demo_st_A1", "demo_st_B1", "demo_visium_v1_P1")
REAL_DATA_REASON = "needs the real sections: set HUMANST_TEST_DATA, or put them at ../shared/data"

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("busy machines too", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machines too")


def _real_data() -> Path | None:
    named = os.environ.get("HUMANST_TEST_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if (folder / "her2st").is_dir() else None


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk() -> Iterator[None]:
    """Before all that is made once: see ``tests/disk.py``."""
    wait_for_no_disk()
    yield
    os.fsync = real_fsync


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """A shell starts what it puts in the background with SIGINT ignored, and every child would take that over."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real sections; without it the test skips, and fails under CI."""
    folder = _real_data()
    if folder is None:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(REAL_DATA_REASON)
        pytest.skip(REAL_DATA_REASON)
    return folder


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """See that the tests of an ``xdist_group`` go to one worker: what they share is made once.

    pytest-xdist 3.8 hands the groups over at the end of node ids, in an attribute that pytest 9.2 reads no more
    (pytest-xdist issue 1386): without a word, every worker makes what a group shares anew.
    """
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        meant = getattr(item, "_nodeid", item.nodeid)
        # Both are private: with versions that lack them the groups are spread, which costs time alone.
        if meant != item.nodeid and hasattr(getattr(item, "_id", None), "parse"):
            item._id = type(item._id).parse(meant)


@pytest.fixture(autouse=True)
def _one_worker_a_group(request: pytest.FixtureRequest) -> None:
    """A group that is spread over the workers says so, rather than take twice as long in silence."""
    grouped = request.node.get_closest_marker("xdist_group") and getattr(request.config.option, "loadgroup", False)
    if grouped and "@" not in request.node.nodeid.rpartition("]")[2]:
        warnings.warn("its group is spread over the workers: pytest and pytest-xdist do not fit", stacklevel=1)


@pytest.fixture(autouse=True)
def _own_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the user's settings or cache, and none reaches the network."""
    for name in list(os.environ):
        if name.startswith("HUMANST_") and name != "HUMANST_TEST_DATA":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HUMANST_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HUMANST_OFFLINE", "1")
    # What a test changes in this process is meant for the command, and what it counts is counted here.
    monkeypatch.setenv("HUMANST_ONE_PROCESS", "1")


@pytest.fixture(scope="session")
def shared_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all worker processes of this run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def demo_atlas(shared_tmp: Path) -> Path:
    """The embedded mini atlas, written once a run: catalog.yaml, curation/, mirror/, assign.csv, truth/.

    Thirteen of its twenty sections are on half their area: see ``tests.studies.demo_studies``.
    """
    from humanst.demo import write_atlas
    from tests.studies import demo_studies

    folder = shared_tmp / "demo_atlas"
    with FileLock(shared_tmp / "demo_atlas.lock"):
        if not (folder / "written").exists():
            write_atlas(folder, studies=demo_studies())
            (folder / "written").touch()
    return folder


@pytest.fixture(scope="session")
def little_atlas(shared_tmp: Path) -> Path:
    """Three sections of the mini atlas on a third of their area, for what is built many times over."""
    from humanst.demo import write_atlas
    from tests.studies import little_studies

    folder = shared_tmp / "little_atlas"
    with FileLock(shared_tmp / "little_atlas.lock"):
        if not (folder / "written").exists():
            write_atlas(folder, studies=little_studies(*LITTLE_SECTIONS))
            (folder / "written").touch()
    return folder


@pytest.fixture(scope="session")
def demo_release(demo_atlas: Path, shared_tmp: Path) -> Path:
    """A release of the whole demo atlas, built once a run by the command itself."""
    from tests.helpers import run_humanst

    release = shared_tmp / "demo_release"
    with FileLock(shared_tmp / "demo_release.lock"):
        if not (release / "MANIFEST.json").exists():
            result = run_humanst(
                "build-shards",
                "-o",
                str(release),
                "--assign",
                str(demo_atlas / "assign.csv"),
                "--shard-pairs",
                "384",
                "--workers",
                "2",
                atlas=demo_atlas,
                cache=shared_tmp / "demo_cache",
            )
            assert result.returncode == 0, result.stderr
    return release
