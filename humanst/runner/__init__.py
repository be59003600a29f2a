"""Run independent tasks here, in several processes or on a cluster; one task's failure never stops the others."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator, Sequence

from humanst.runner.cluster import Cluster, run_on_cluster
from humanst.runner.outcomes import Outcome, Result, Task, attempt
from humanst.runner.processes import run_in_processes
from humanst.runner.stopping import stop_asked

__all__ = ["Cluster", "Outcome", "default_workers", "run_tasks"]

logger = logging.getLogger(__name__)


def default_workers() -> int:
    """As many processes as this process may use cores."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def run_tasks(
    tasks: Sequence[Task], work: Callable[[Task], Result], *, workers: int = 1, cluster: Cluster | None = None
) -> Generator[Outcome[Task, Result]]:
    """Yield an outcome for every task, in the order they finish.

    Errors of humanst's own family become outcomes as they are; any other is a bug, reported as ``unexpected`` with
    its traceback in the log. A worker process that dies costs the task it had in hand, which is tried once more. With
    more than one worker a script needs the usual ``if __name__ == "__main__":`` guard: workers are fresh interpreters.

    Parameters
    ----------
    cluster
        Where to run them instead of ``workers`` processes of this machine.

    Raises
    ------
    KeyboardInterrupt
        After SIGTERM, once the tasks in hand are finished and yielded; at once on Ctrl-C.
    NetworkError
        When the cluster cannot be reached or is lost.
    """
    with stop_asked() as stop:
        if cluster is not None:
            yield from run_on_cluster(tasks, work, cluster, stop)
        elif workers <= 1 or len(tasks) <= 1:
            yield from _here(tasks, work, stop)
        else:
            yield from run_in_processes(tasks, work, min(workers, len(tasks)), stop)
        if stop():
            logger.warning("Told to stop: the tasks in hand were finished, no other was begun")
            raise KeyboardInterrupt


def _here(
    tasks: Sequence[Task], work: Callable[[Task], Result], stop: Callable[[], bool]
) -> Iterator[Outcome[Task, Result]]:
    for position, task in enumerate(tasks):
        if stop():
            return
        yield attempt(position, task, work)
