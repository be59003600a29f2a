"""A request to stop - from a scheduler, a person or a shell - lets the step in hand end and its state be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopRequest:
    """Whether somebody asked.

    Attributes
    ----------
    asked
        Of this process.
    by
        Name of the first signal that came, or ``None``.
    """

    def __init__(self) -> None:
        self.asked = False
        self.by: str | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Take a signal; a second Ctrl-C does not wait.

        Schedulers repeat theirs: a second SIGTERM changes nothing, or it would cut short what the first set going.
        """
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.by = self.by or signal.Signals(number).name
        self.asked = True

    def agreed(self) -> bool:
        """Whether any rank was asked, the same answer on all; every rank has to call it at the same step.

        Without a process group it is ``asked``.
        """
        from torch import distributed

        if not (distributed.is_available() and distributed.is_initialized()):
            return self.asked
        import torch

        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        flag = torch.tensor(int(self.asked), device=device)
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        return bool(flag.item())


@contextmanager
def asked_to_stop() -> Iterator[StopRequest]:
    """Take SIGTERM, SIGUSR1 and SIGINT as requests; the handlers from before are put back at the end.

    Outside the main thread, where no signal arrives, nobody ever asks.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.note) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            # A handler that was not set by Python cannot be put back; the system's own is the nearest.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
