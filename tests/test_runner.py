"""Tasks: what one of them raises, of whatever family, costs that one."""

from __future__ import annotations

import logging
import struct
import zlib

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
