"""Requests to stop, as the system sends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import distributed

from stamp_train.stopping import SIGNALS, asked_to_stop


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_the_work_goes_on(number: signal.Signals) -> None:
    handlers = [signal.getsignal(one) for one in SIGNALS]
    with asked_to_stop() as stop:
        assert (stop.asked, stop.by, stop.agreed()) == (False, None, False)
        send(number)
        assert (stop.asked, stop.by, stop.agreed()) == (True, number.name, True)
    assert [signal.getsignal(one) for one in SIGNALS] == handlers


def test_schedulers_repeat_themselves_and_people_mean_it() -> None:
    handlers = [signal.getsignal(one) for one in SIGNALS]
    with pytest.raises(KeyboardInterrupt), asked_to_stop() as stop:
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM, signal.SIGUSR1):
            send(number)
        assert (stop.asked, stop.by) == (True, "SIGUSR1")
        send(signal.SIGINT)
    assert [signal.getsignal(one) for one in SIGNALS] == handlers


def test_handlers_are_put_back_whatever_happens() -> None:
    got = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: got.append(number))
    try:
        with pytest.raises(ZeroDivisionError), asked_to_stop():
            raise ZeroDivisionError
        send(signal.SIGUSR1)
        assert got == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_in_another_thread_nobody_asks() -> None:
    seen = []

    def work() -> None:
        with asked_to_stop() as stop:
            seen.append((stop.asked, stop.agreed()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, False)]


RANK = """
import os, signal, sys
from datetime import timedelta
from torch import distributed
from stamp_train.stopping import asked_to_stop
distributed.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=1, world_size=2,
                               timeout=timedelta(seconds=50))
with asked_to_stop() as stop:
    for step in range(4):
        if step == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
        if stop.agreed():
            break
print(step, stop.asked)
distributed.destroy_process_group()
"""


def test_ranks_stop_at_the_same_step_when_one_is_asked(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    store = tmp_path / "store"
    with subprocess.Popen([sys.executable, "-c", RANK, str(store)], stdout=subprocess.PIPE, text=True) as other:
        distributed.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=2)
        try:
            with asked_to_stop() as stop:
                for step in range(4):  # noqa: B007
                    if stop.agreed():
                        break
            assert (step, stop.asked) == (2, False)
        finally:
            distributed.destroy_process_group()
        assert other.communicate(timeout=60)[0] == "2 True\n"
