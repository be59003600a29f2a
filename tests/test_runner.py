"""Tasks: what one of them raises, of whatever family, costs that one."""

from __future__ import annotations

import logging
import os
import signal
import struct
import zlib
from pathlib import Path

import pytest

from humanst.errors import DataError
from humanst.runner import run_tasks


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
