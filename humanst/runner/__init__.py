"""Run independent tasks here, in several processes or on a cluster; one task's failure never stops the others."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import cast

from humanst.runner.cluster import Cluster, run_on_cluster
from humanst.runner.limits import can_fork, import_libraries, task_limits
from humanst.runner.outcomes import Outcome, Result, Task, attempt
from humanst.runner.processes import run_in_processes
from humanst.runner.stopping import stop_asked

__all__ = ["Cluster", "Outcome", "call_apart", "default_workers", "run_tasks"]

logger = logging.getLogger(__name__)


def default_workers() -> int:
    """As many processes as this process may use cores."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def run_tasks(
    tasks: Sequence[Task],
    work: Callable[[Task], Result],
    *,
    workers: int = 1,
    cluster: Cluster | None = None,
    apart: bool = False,
) -> Generator[Outcome[Task, Result]]:
    """Yield an outcome for every task, in the order they finish.

    Errors of humanst's own family become outcomes as they are; any other is a bug, reported as ``unexpected`` with
    its traceback in the log. A worker process that dies costs the task it had in hand, which is tried once more. With
    more than one worker a script needs the usual ``if __name__ == "__main__":`` guard: workers are fresh interpreters.

    Parameters
    ----------
    cluster
        Where to run them instead of ``workers`` processes of this machine.
    apart
        The tasks read files of strangers. Their processes are bounded in memory, time and size of files
        (:mod:`humanst.runner.limits`), and one worker, too, is a process of its own where that can be forked from this
        one: a task that crashes is a refused one, and the others are done.

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
        elif workers > 1 and len(tasks) > 1:
            n_workers = min(workers, len(tasks))
            yield from run_in_processes(tasks, work, n_workers, stop, limits=task_limits(n_workers) if apart else None)
        elif apart and tasks and can_fork():
            import_libraries()
            yield from run_in_processes(tasks, work, 1, stop, limits=task_limits(1), forked=True)
        else:
            yield from _here(tasks, work, stop)
        if stop():
            logger.warning("Told to stop: the tasks in hand were finished, no other was begun")
            raise KeyboardInterrupt


def call_apart(function: Callable[[Task], Result], argument: Task) -> Result:
    """Call a function that reads files of strangers, in a process of its own where there can be one.

    Raises
    ------
    HumanstError
        What the function raises, or ``reader-crashed``, ``task-memory`` or ``task-time``.
    """
    if not can_fork():
        return function(argument)
    (outcome,) = run_tasks([argument], function, apart=True)
    if outcome.error is not None:
        raise outcome.error
    return cast("Result", outcome.result)


def _here(
    tasks: Sequence[Task], work: Callable[[Task], Result], stop: Callable[[], bool]
) -> Iterator[Outcome[Task, Result]]:
    for position, task in enumerate(tasks):
        if stop():
            return
        yield attempt(position, task, work)
