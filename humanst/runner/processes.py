"""Tasks in several processes of this machine, one task a process at a time, so that a dead one costs its task alone."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import Any

from humanst.errors import HumanstError
from humanst.runner.limits import Limits, begin_apart
from humanst.runner.outcomes import Outcome, Result, Task, attempt, crashed, worker_died

logger = logging.getLogger(__name__)

# A task whose worker died is tried once more: the machine may have been short of memory for a moment.
TRIES = 2


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, context: BaseContext, limits: Limits | None) -> None:
        self._pipe, theirs = context.Pipe()
        # A forked process has this end too, and must close it to hear when the pipe ends.
        ours = self._pipe if context.get_start_method() == "fork" else None
        self.process = context.Process(target=_serve, args=(theirs, limits, ours))  # type: ignore[attr-defined]
        self.process.start()
        # With this copy closed, the pipe ends when the process does.
        theirs.close()
        self.position: int | None = None

    @property
    def pipe(self) -> Connection:
        return self._pipe

    def give(self, position: int, task: Any, work: Callable[[Any], Any]) -> bool:
        """Hand over a task; ``False`` when the process is gone already."""
        self.position = position
        try:
            self._pipe.send((position, task, work))
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def take(self) -> Outcome[Any, Any] | None:
        """The outcome of its task; ``None`` when the process died."""
        try:
            outcome: Outcome[Any, Any] = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            return None
        self.position = None
        return outcome

    def end(self) -> None:
        """Let an idle process go; end one that is at work, whose partial files the next run sweeps."""
        self._pipe.close()
        if self.position is not None:
            self.process.kill()
        self.process.join()


def run_in_processes(
    tasks: Sequence[Task],
    work: Callable[[Task], Result],
    workers: int,
    stop: Callable[[], bool],
    *,
    limits: Limits | None = None,
    forked: bool = False,
) -> Iterator[Outcome[Task, Result]]:
    """Yield an outcome for every task, in the order they finish; no task is begun once ``stop`` says so.

    Parameters
    ----------
    limits
        What a task may take of the machine.
    forked
        Fork the worker from this process (:func:`humanst.runner.limits.can_fork`), for one worker alone.
    """
    # "spawn" gives every worker a clean interpreter: libvips and other threads do not survive a fork.
    context = multiprocessing.get_context("fork" if forked else "spawn")
    waiting = deque(range(len(tasks)))
    tries = [0] * len(tasks)
    crew: list[_Worker] = []
    try:
        while True:
            gone = _hand_out(tasks, work, waiting, crew, workers, lambda: _Worker(context, limits), stop)
            ready = [worker for worker in crew if worker in gone or worker.position is not None]
            if not ready:
                return
            for worker in gone or _ready(ready):
                position = worker.position
                outcome = worker.take()
                if outcome is not None:
                    yield outcome
                elif position is not None:
                    crew.remove(worker)
                    worker.end()
                    tries[position] += 1
                    yield from _again_or_never(tasks, position, tries[position], waiting, worker)
    finally:
        for worker in crew:
            worker.end()


def _ready(busy: list[_Worker]) -> list[_Worker]:
    heard = wait([worker.pipe for worker in busy])
    return [worker for worker in busy if worker.pipe in heard]


def _hand_out(
    tasks: Sequence[Any],
    work: Callable[[Any], Any],
    waiting: deque[int],
    crew: list[_Worker],
    workers: int,
    hire: Callable[[], _Worker],
    stop: Callable[[], bool],
) -> list[_Worker]:
    """Give every idle process a task, starting processes as they are needed; returns those that died before."""
    gone = []
    while waiting and not stop():
        idle = next((worker for worker in crew if worker.position is None), None)
        if idle is None:
            if len(crew) >= workers:
                break
            idle = hire()
            crew.append(idle)
        position = waiting.popleft()
        if not idle.give(position, tasks[position], work):
            gone.append(idle)
    return gone


def _again_or_never(
    tasks: Sequence[Task], position: int, tried: int, waiting: deque[int], worker: _Worker
) -> Iterator[Outcome[Task, Any]]:
    code = worker.process.exitcode or 0
    found = f"exit code {code}"
    # Whoever kills a process, the system that is short of memory too, does so with SIGKILL; other signals are its own.
    if code < 0 and -code not in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP):
        yield crashed(position, tasks[position], signal.Signals(-code))
    elif tried < TRIES:
        logger.warning("A worker process died (%s); its task is tried once more", found)
        waiting.appendleft(position)
    else:
        yield worker_died(position, tasks[position], f"{found}, {tried} times")


def _serve(pipe: Connection, limits: Limits | None, ours: Connection | None) -> None:
    """Work off tasks until the pipe ends. Whether to stop is decided by the process that hands them out."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    if ours is not None:
        ours.close()
        # Those of a progress display belong to a thread that this process has not.
        sys.stdout, sys.stderr = sys.__stdout__ or sys.stdout, sys.__stderr__ or sys.stderr
    begin_apart(limits)
    while True:
        try:
            position, task, work = pipe.recv()
        except EOFError:
            return
        if limits is not None:
            limits.begin_task()
        outcome = attempt(position, task, work)
        try:
            pipe.send(outcome)
        except (TypeError, AttributeError) as error:
            odd = HumanstError("The result of a task cannot be sent", code="unexpected", found=str(error))
            pipe.send(Outcome(position, None, None, odd))


def _die_with_parent() -> None:
    """Ask Linux to end this worker when its parent is gone, so that a rerun meets no live writer."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
