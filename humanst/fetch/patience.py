"""How long and how often to ask: tries, pauses that double, what a host asked for, and one total budget of time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from humanst.errors import HumanstError, NetworkError

PROGRESS_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try: tries, first backoff (doubled each time), socket timeouts and a total budget, in seconds."""

    tries: int = 3
    backoff_s: float = 0.5
    connect_s: float = 10.0
    read_s: float = 30.0
    budget_s: float = 3600.0


class TransientError(Exception):
    """A fault worth another try; ``error`` is what is raised when there is none.

    ``retry_after_s`` is how long the host asked to be left alone.
    """

    def __init__(self, error: HumanstError, *, retry_after_s: float = 0.0) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after_s = retry_after_s


def with_patience(
    patience: Patience, attempt: Callable[[float], str], *, reached: Callable[[], int] = lambda: 0
) -> str:
    """Call ``attempt(deadline)`` until it succeeds, with doubling pauses between tries.

    Parameters
    ----------
    reached
        Tells how many bytes are here. A try that got at least 1 MiB further than any before counts as the first:
        a long download over a bad line ends when its time budget does.

    Raises
    ------
    HumanstError
        What the last try failed with, saying how many there were.
    """
    deadline = time.monotonic() + patience.budget_s
    number, total, furthest = 0, 0, reached()
    while number < patience.tries:
        number, total = number + 1, total + 1
        try:
            return attempt(deadline)
        except TransientError as fault:
            if (now := reached()) >= furthest + PROGRESS_BYTES:
                furthest, number = now, 1
            pause = max(patience.backoff_s * 2 ** (number - 1), fault.retry_after_s)
            if number == patience.tries or time.monotonic() + pause > deadline:
                raise fault.error.located(done=f"Tried {total} times; nothing was placed") from None
            time.sleep(pause)
    raise NetworkError(
        "No try was allowed",
        field="tries",
        expected="at least 1",
        found=str(patience.tries),
        done="It was not asked",
        todo="Allow one",
    )


def retry_after_s(text: str) -> float:
    """Seconds that a host asks to wait: a number, or a date; 0 for what is neither."""
    if re.fullmatch(r"[0-9]{1,9}", text.strip()):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
        return max((moment - datetime.now(moment.tzinfo or UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
