"""What becomes of a task, whoever runs it: a result or an error of humanst's own family, never an exception."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from humanst.errors import HostileError, HumanstError
from humanst.files import refused_by_system

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


def attempt(position: int, task: Task, work: Callable[[Task], Result]) -> Outcome[Task, Result]:
    """Do a task; errors of humanst's own family become outcomes as they are, any other is reported as a bug."""
    try:
        return Outcome(position, task, work(task), None)
    except HumanstError as error:
        return Outcome(position, task, None, error)
    except MemoryError as error:
        return Outcome(position, task, None, _too_large(error))
    except OSError as error:
        refused = refused_by_system(error)
        if refused is None:
            logger.exception("Unexpected error in a task")
        return Outcome(position, task, None, refused or _bug(error))
    except Exception as error:
        # The net under every task: libraries raise errors of families of their own, and the others must go on.
        logger.exception("Unexpected error in a task")
        return Outcome(position, task, None, _bug(error))


def _bug(error: Exception) -> HumanstError:
    return HumanstError(
        f"Unexpected {type(error).__name__}: {error}",
        code="unexpected",
        done="The task was given up; the others go on",
        todo="This is a bug in humanst: please report it with the traceback above",
    )


def _too_large(error: MemoryError) -> HumanstError:
    from humanst.runner.limits import machine_memory_bytes

    return HostileError(
        "It needs more memory than a task may have",
        code="task-memory",
        expected=f"its share of {machine_memory_bytes() >> 20:,} MiB, or HUMANST_TASK_MEMORY_GIB",
        found=f"more ({str(error) or 'out of memory'})"[:200],
        done="The task was given up; the others go on",
        todo="Check where its files come from; give it more memory, or fewer --workers, if they are right",
    )


def crashed(position: int, task: Task, by: signal.Signals) -> Outcome[Task, Result]:
    """The outcome of a task that ended its process by a signal: a crash of a reader, or its processor time."""
    slow = by == signal.SIGXCPU
    error = HostileError(
        "It takes more processor time than a task may have" if slow else "The program that reads its files crashed",
        code="task-time" if slow else "reader-crashed",
        expected="an end within HUMANST_TASK_CPU_S"
        if slow
        else "files that can be read, or an error that says why not",
        found=f"the process was ended by {by.name}",
        done="The task was given up; the others go on",
        todo="Check where its files come from; do not open them with other programs until it is known what they are",
    )
    return Outcome(position, task, None, error)


def worker_died(position: int, task: Task, found: str) -> Outcome[Task, Result]:
    """The outcome of a task whose worker process ended in the middle of it, more than once."""
    died = HumanstError(
        "The worker process died",
        code="worker-died",
        found=found,
        done="The task was given up; the others go on",
        todo="Run the same command again, with fewer --workers if memory was short; a script of your own needs an "
        "`if __name__ == '__main__':` guard",
    )
    return Outcome(position, task, None, died)
