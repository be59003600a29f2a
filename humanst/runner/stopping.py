"""A request to stop (SIGTERM) lets the tasks in hand finish; Ctrl-C and a second request do not wait."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_asked() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGTERM has come since; a second SIGTERM is a ``KeyboardInterrupt``.

    Outside the main thread, where no signal arrives, it always says no; so it does in a worker, which leaves it to the
    process that hands out the tasks.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        yield lambda: False
        return
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield lambda: asked
    finally:
        # A generator that nobody closed is closed by whichever thread drops it last.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
