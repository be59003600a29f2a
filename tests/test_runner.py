"""Tasks: what one of them raises, of whatever family, costs that one."""

from __future__ import annotations

import logging
import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from humanst.errors import DataError, HostileError
from humanst.runner import call_apart, run_tasks
from humanst.runner.limits import GIB, LEAST_MEMORY_BYTES, machine_memory_bytes, task_limits
from tests.helpers import ROOT


class StrangerError(Exception):
    """Of no family that anybody knows, as libraries have."""


def work(task: str) -> str:
    if task == "known":
        raise DataError("A known fault", code="known-fault")
    if task in FAULTS:
        raise FAULTS[task]
    return task.upper()


FAULTS: dict[str, Exception] = {
    "struct": struct.error("unpack requires a buffer of 2 bytes"),
    "zlib": zlib.error("incorrect header check"),
    "end": EOFError("end of file"),
    "stranger": StrangerError("??"),
}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_others_are_done(workers: int, caplog: pytest.LogCaptureFixture) -> None:
    tasks = ["one", *FAULTS, "known", "two"]
    with caplog.at_level(logging.ERROR):
        outcomes = {outcome.task: outcome for outcome in run_tasks(tasks, work, workers=workers)}
    assert {task: outcome.result for task, outcome in outcomes.items() if outcome.error is None} == {
        "one": "ONE",
        "two": "TWO",
    }
    codes = {task: outcome.error.facts.code for task, outcome in outcomes.items() if outcome.error is not None}
    assert codes == {**dict.fromkeys(FAULTS, "unexpected"), "known": "known-fault"}
    assert outcomes["known"].error is not None
    assert (outcomes["known"].error.exit_code, outcomes["stranger"].error.exit_code) == (5, 1)


def test_an_interrupt_is_no_fault_of_a_task() -> None:
    def interrupted(_: str) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_tasks(["one"], interrupted))


def deadly(task: tuple[str, str]) -> str:
    """``once`` kills its process the first time it is tried, ``always`` every time."""
    kind, marker = task
    if kind == "always" or (kind == "once" and not Path(marker).exists()):
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return kind


def test_a_dead_worker_costs_its_task_alone_and_only_the_second_time(tmp_path: Path) -> None:
    kinds = ["fine 1", "always", "once", "fine 2", "fine 3"]
    tasks = [(kind, str(tmp_path / kind)) for kind in kinds]
    outcomes = {outcome.task[0]: outcome for outcome in run_tasks(tasks, deadly, workers=2)}
    died = outcomes.pop("always").error
    assert died is not None
    assert died.facts.code == "worker-died"
    assert {kind: outcome.result for kind, outcome in outcomes.items()} == {kind: kind for kind in outcomes}
    assert len(outcomes) == 4


def test_a_request_to_stop_lets_the_task_in_hand_finish(tmp_path: Path) -> None:
    def told_to_stop(name: str) -> str:
        if name == "one":
            os.kill(os.getpid(), signal.SIGTERM)
        (tmp_path / name).touch()
        return name

    seen = []
    with pytest.raises(KeyboardInterrupt):
        seen.extend(outcome.result for outcome in run_tasks(["one", "two"], told_to_stop))
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


_APART = """
import ctypes, os, sys
from humanst.errors import HumanstError
from humanst.runner import call_apart, run_tasks
def work(task):
    if task == "crash":
        ctypes.string_at(0)
    if task == "hoard":
        return len([bytearray(1 << 26) for _ in range(1 << 10)])
    return f"{task} {os.getpid() != parent}"
parent = os.getpid()
for outcome in run_tasks(["one", "crash", "hoard", "two"], work, apart=True):
    print(outcome.position, outcome.result, outcome.error and outcome.error.facts.code)
print(call_apart(work, "three"))
try:
    call_apart(work, "crash")
except HumanstError as error:
    print(error.exit_code)
"""


def test_one_worker_is_a_process_of_its_own_whose_end_costs_a_task() -> None:
    """In an interpreter without threads, as that of the command is."""
    env = {key: value for key, value in os.environ.items() if key != "HUMANST_ONE_PROCESS"}
    env |= {"PYTHONPATH": str(ROOT), "HUMANST_TASK_MEMORY_GIB": "2"}
    result = subprocess.run([sys.executable, "-c", _APART], env=env, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [
        "0 one True None",
        "1 None reader-crashed",
        "2 None task-memory",
        "3 two True None",
        "three True",
        "8",
    ]


def test_in_a_process_with_threads_one_worker_is_that_process() -> None:
    assert call_apart(work, "x") == "X"
    with pytest.raises(HostileError):
        call_apart(_hostile, "x")


def _hostile(_: str) -> str:
    raise HostileError("A fault")


def test_limits_are_the_settings_or_a_share_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, among_many = task_limits(1), task_limits(10_000)
    assert alone is not None
    assert among_many is not None
    assert alone.memory_bytes == max(LEAST_MEMORY_BYTES, int(0.9 * machine_memory_bytes()))
    assert among_many.memory_bytes == LEAST_MEMORY_BYTES
    monkeypatch.setenv("HUMANST_TASK_MEMORY_GIB", "1.5")
    monkeypatch.setenv("HUMANST_TASK_CPU_S", "60")
    told = task_limits(4)
    assert told is not None
    assert (told.memory_bytes, told.cpu_s) == (3 * GIB // 2, 60)
