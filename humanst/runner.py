"""Run independent tasks in this process or in several; one task's failure never stops the others."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Generic, TypeVar

from humanst.errors import HumanstError

logger = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Task, Result]):
    """What became of one task: a result, or the error that stopped it.

    Attributes
    ----------
    position
        Index of the task in the sequence that was given.
    """

    position: int
    task: Task
    result: Result | None
    error: HumanstError | None


def default_workers() -> int:
    """As many processes as this process may use cores."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def run_tasks(
    tasks: Sequence[Task], work: Callable[[Task], Result], *, workers: int = 1
) -> Iterator[Outcome[Task, Result]]:
    """Yield an outcome for every task, in the order they finish.

    Errors of humanst's own family become outcomes as they are; any other is a bug, reported as ``unexpected`` with
    its traceback in the log. A worker process that dies costs the tasks it had taken with it. With more than one worker
    a script needs the usual ``if __name__ == "__main__":`` guard: workers are fresh interpreters.
    """
    if workers <= 1 or len(tasks) <= 1:
        for position, task in enumerate(tasks):
            yield _attempt(position, task, work)
        return
    # "spawn" gives every worker a clean interpreter: libvips and other threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_die_with_parent)
    try:
        waiting: dict[Future[Outcome[Task, Result]], int] = {
            pool.submit(_attempt, position, task, work): position for position, task in enumerate(tasks)
        }
        for future in as_completed(waiting):
            position = waiting[future]
            try:
                yield future.result()
            except BrokenProcessPool as error:
                died = HumanstError(
                    "The worker process died",
                    code="worker-died",
                    found=str(error),
                    done="The task was given up",
                    todo="Run the same command again, with fewer --workers if memory was short; a script of your own "
                    "needs an `if __name__ == '__main__':` guard",
                )
                yield Outcome(position, tasks[position], None, died)
    finally:
        # An interrupted run must not work off the tasks that are still queued.
        pool.shutdown(wait=True, cancel_futures=True)


def _die_with_parent() -> None:
    """Ask Linux to end this worker when its parent is gone, so that a rerun meets no live writer."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _attempt(position: int, task: Task, work: Callable[[Task], Result]) -> Outcome[Task, Result]:
    try:
        return Outcome(position, task, work(task), None)
    except HumanstError as error:
        return Outcome(position, task, None, error)
    except Exception as error:
        # The net under every task: libraries raise errors of families of their own, and the others must go on.
        logger.exception("Unexpected error in a task")
        bug = HumanstError(
            f"Unexpected {type(error).__name__}: {error}",
            code="unexpected",
            done="The task was given up; the others go on",
            todo="This is a bug in humanst: please report it with the traceback above",
        )
        return Outcome(position, task, None, bug)
