"""Tasks on a Dask cluster that somebody else runs (``dask scheduler``, ``dask worker``): futures, one a task.

Folders are shared by path between all machines. Workers that die are the scheduler's business: it gives their tasks to
others, a few times (``distributed.scheduler.allowed-failures``), and then says so.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from humanst.errors import HumanstError, NetworkError
from humanst.runner.outcomes import Outcome, Result, Task, attempt, worker_died

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 30
POLL_SECONDS = 0.05
# So often it is said that nobody works.
SAY_SECONDS = 10
# Tasks in the scheduler's hands for every thread of the cluster: enough that none waits, few enough to stop soon.
TASKS_A_THREAD = 2
AT_LEAST_TASKS = 4


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the scheduler is: its address (``tcp://...``), or the file it wrote with ``--scheduler-file``."""

    address: str | None = None
    scheduler_file: Path | None = None


def run_on_cluster(
    tasks: Sequence[Task], work: Callable[[Task], Result], cluster: Cluster, stop: Callable[[], bool]
) -> Iterator[Outcome[Task, Result]]:
    """Yield an outcome for every task, in the order they finish; no task is given out once ``stop`` says so.

    Raises
    ------
    NetworkError
        ``scheduler-unreachable`` when nobody answers, ``scheduler-lost`` when it is gone in the middle.
    HumanstError
        ``task-not-run`` when the scheduler or the workers cannot take the tasks.
    """
    from distributed import as_completed

    client = _connect(cluster)
    told = {name: text for name, text in os.environ.items() if name.startswith(("HUMANST_", "HF_HUB_OFFLINE"))}
    try:
        given: dict[Any, int] = {}
        completed = as_completed(loop=client.loop)
        todo = iter(range(len(tasks)))
        while True:
            with _told_of_loss():
                while len(given) < _window(client) and not stop():
                    position = next(todo, None)
                    if position is None:
                        break
                    # Not pure: the same call is made again when a run is repeated.
                    future = client.submit(_work, position, tasks[position], work, told, pure=False)
                    given[future] = position
                    completed.add(future)
                if not given or not _wait(completed, client, stop):
                    return
                future = next(completed)
                position = given.pop(future)
                outcome = _outcome(future, position, tasks[position])
            yield outcome
    finally:
        client.close()


@contextmanager
def _told_of_loss() -> Iterator[None]:
    """Every call that asks the scheduler may find it gone."""
    from distributed.client import FutureCancelledError

    try:
        yield
    except (FutureCancelledError, OSError) as error:
        raise _lost(error) from error


def _wait(completed: Any, client: Any, stop: Callable[[], bool]) -> bool:
    """Wait for a task to end, saying so when nobody works; ``False`` when told to stop and nobody does."""
    until = time.monotonic() + SAY_SECONDS
    while not completed.has_ready():
        time.sleep(POLL_SECONDS)
        if (stop() or time.monotonic() > until) and not client.nthreads():
            if stop():
                return False
            logger.warning("The Dask cluster has no worker: waiting for one to join")
        if time.monotonic() > until:
            until = time.monotonic() + SAY_SECONDS
    return True


def _outcome(future: Any, position: int, task: Task) -> Outcome[Task, Any]:
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    try:
        outcome: Outcome[Task, Any] = future.result()
    except KilledWorker as error:
        return worker_died(position, task, f"the worker {error.last_worker} and others before it")
    except (FutureCancelledError, OSError):
        raise
    except Exception as error:
        # What the task itself raises is in its outcome: this comes from taking it over or handing it back.
        cause = error.__cause__ or error
        raise HumanstError(
            "The Dask cluster cannot take the tasks",
            code="task-not-run",
            field="--scheduler",
            expected="a scheduler and workers with the same versions of Python, humanst and its libraries",
            found=f"{type(cause).__name__}: {cause}",
            done="What was finished stays",
            todo="Start them from the same environment and run the same command again",
        ) from error
    return outcome


def _connect(cluster: Cluster) -> Any:
    from distributed import Client

    file = None if cluster.scheduler_file is None else str(cluster.scheduler_file)
    try:
        return Client(address=cluster.address, scheduler_file=file, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise NetworkError(
            "The Dask scheduler does not answer",
            code="scheduler-unreachable",
            field="--scheduler",
            expected="a running `dask scheduler` of the same versions",
            found=f"{cluster.address or cluster.scheduler_file}: {error}",
            done="Nothing was given out",
        ) from error


def _lost(error: Exception) -> HumanstError:
    return NetworkError(
        "The Dask scheduler is gone",
        code="scheduler-lost",
        found=str(error),
        done="What was finished stays",
        todo="Start the scheduler and run the same command again: it goes on where it stopped",
    )


def _window(client: Any) -> int:
    return max(AT_LEAST_TASKS, TASKS_A_THREAD * int(sum(client.nthreads().values())))


def _work(position: int, task: Any, work: Callable[[Any], Any], told: Mapping[str, str]) -> Outcome[Any, Any]:
    """Run on a worker: with the settings of whoever asked, and without handing parts of a task to the cluster."""
    import dask

    os.environ.update(told)
    with dask.config.set(scheduler="synchronous"):
        return attempt(position, task, work)
