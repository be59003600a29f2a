"""Tasks on a Dask cluster that goes away, never comes or cannot take them: said, and never an endless wait."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator

import pytest
from distributed import LocalCluster

from humanst.errors import HumanstError
from humanst.runner import Cluster, run_tasks

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCluster]:
    monkeypatch.setattr("humanst.runner.cluster.CONNECT_SECONDS", 2)
    monkeypatch.setattr("humanst.runner.cluster.SAY_SECONDS", 0.2)
    n_workers = request.param
    with LocalCluster(
        n_workers=n_workers, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None
    ) as made:
        yield made


def double(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("cluster", [1], indirect=True)
def test_a_scheduler_that_goes_away_between_two_tasks_is_a_network_error(cluster: LocalCluster) -> None:
    outcomes = run_tasks(list(range(20)), double, cluster=Cluster(cluster.scheduler_address))
    assert next(outcomes).error is None
    cluster.close()
    with pytest.raises(HumanstError) as caught:
        list(outcomes)
    assert (caught.value.exit_code, caught.value.facts.code) == (7, "scheduler-lost")


@pytest.mark.parametrize("cluster", [0], indirect=True)
def test_without_workers_it_says_so_and_can_be_told_to_stop(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    timer = threading.Timer(1.5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    timer.start()
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        list(run_tasks([1, 2], double, cluster=Cluster(cluster.scheduler_address)))
    timer.join()
    assert "has no worker" in caplog.text


class Foreign:
    """What a worker of another version does not know."""

    def __reduce__(self) -> tuple[object, ...]:
        return __import__, ("humanst_of_tomorrow",)


@pytest.mark.parametrize("cluster", [1], indirect=True)
def test_workers_that_do_not_know_the_tasks_are_named(cluster: LocalCluster) -> None:
    with pytest.raises(HumanstError) as caught:
        list(run_tasks([Foreign()], str, cluster=Cluster(cluster.scheduler_address)))
    assert caught.value.facts.code == "task-not-run"
    assert "humanst_of_tomorrow" in str(caught.value)
