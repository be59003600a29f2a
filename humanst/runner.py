"""Run independent tasks in this process or in several; one task's failure never stops the others."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Generic, TypeVar

from humanst.errors import HumanstError

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

    Errors of humanst's own family become outcomes; anything else is a bug and propagates. A worker process that dies
    costs the tasks it had taken with it, each reported as an error.
    """
    if workers <= 1 or len(tasks) <= 1:
        for position, task in enumerate(tasks):
            yield _attempt(position, task, work)
        return
    # "spawn" gives every worker a clean interpreter: libvips and other threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=min(workers, len(tasks)), mp_context=context) as pool:
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
                    todo="Run the same command again, with fewer --workers if memory was short",
                )
                yield Outcome(position, tasks[position], None, died)


def _attempt(position: int, task: Task, work: Callable[[Task], Result]) -> Outcome[Task, Result]:
    try:
        return Outcome(position, task, work(task), None)
    except HumanstError as error:
        return Outcome(position, task, None, error)
