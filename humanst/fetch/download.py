"""One HTTP download: every hop checked, every wait bounded, every byte counted.

Redirects are followed by hand, at most five, each checked against the allowed hosts before it is asked. The body is
read as it comes, so a slow drip meets the total time budget and not only the socket's timeout.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from humanst import __version__
from humanst.errors import HostileError, HumanstError, IntegrityError, NetworkError
from humanst.fetch.mirrors import check_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

MAX_HOPS = 5
BLOCK_BYTES = 1 << 18
USER_AGENT = f"humanst/{__version__}"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BUSY = frozenset({408, 429, *range(500, 600)})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try: tries, first backoff (doubled each time), socket timeouts and a total budget, in seconds."""

    tries: int = 3
    backoff_s: float = 0.5
    connect_s: float = 10.0
    read_s: float = 30.0
    budget_s: float = 3600.0


class TransientError(Exception):
    """A fault worth another try; ``error`` is what is raised when there is none."""

    def __init__(self, error: HumanstError) -> None:
        super().__init__(str(error))
        self.error = error


def with_patience(patience: Patience, attempt: Callable[[float], str]) -> str:
    """Call ``attempt(deadline)`` until it succeeds, with doubling pauses between tries.

    Raises
    ------
    HumanstError
        What the last try failed with, saying how many there were.
    """
    deadline = time.monotonic() + patience.budget_s
    for number in range(1, patience.tries + 1):
        try:
            return attempt(deadline)
        except TransientError as fault:
            pause = patience.backoff_s * 2 ** (number - 1)
            if number == patience.tries or time.monotonic() + pause > deadline:
                raise fault.error.located(done=f"Tried {number} times; nothing was placed") from None
            time.sleep(pause)
    raise NetworkError("No try was allowed", field="tries", expected="at least 1", found=str(patience.tries))


def stream(
    url: str,
    write: Callable[[bytes], None],
    *,
    hosts: tuple[str, ...],
    patience: Patience,
    deadline: float,
    allow_loopback_http: bool = False,
) -> None:
    """Send the body of ``url`` to ``write``.

    Parameters
    ----------
    hosts
        Hosts (``host`` or ``host:port``) that may be asked.
    deadline
        ``time.monotonic()`` value after which the download is given up.

    Raises
    ------
    TransientError
        For 408, 429, 5xx, broken connections and short bodies.
    NetworkError
        For other statuses, and when the time budget is used up.
    HostileError
        For a hop to an address that is not allowed.
    """
    with _opened(url, hosts, patience, deadline, allow_loopback_http) as response:
        _check_status(url, response.status_code)
        _pump(url, response, write, deadline)


@contextmanager
def _opened(
    url: str, hosts: tuple[str, ...], patience: Patience, deadline: float, allow_loopback_http: bool
) -> Iterator[requests.Response]:
    import requests

    with requests.Session() as session:
        hop, came_from = url, None
        for _ in range(MAX_HOPS + 1):
            check_url(hop, hosts, allow_loopback_http=allow_loopback_http, redirected_from=came_from)
            with _ask(session, hop, patience, deadline) as response:
                target = response.headers.get("Location") if response.status_code in _REDIRECTS else None
                if target is None:
                    yield response
                    return
                hop, came_from = urljoin(hop, target), hop
    raise HostileError(
        "Too many redirects",
        code="redirect-loop",
        expected=f"at most {MAX_HOPS} redirects",
        found=f"more, from {url}",
        done="Nothing was placed",
        todo="Correct the address in the catalog",
    )


def _ask(
    session: requests.Session, url: str, patience: Patience, deadline: float
) -> AbstractContextManager[requests.Response]:
    import requests

    left = max(deadline - time.monotonic(), 0.001)
    timeout = (min(patience.connect_s, left), min(patience.read_s, left))
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    try:
        return session.get(url, stream=True, allow_redirects=False, timeout=timeout, headers=headers)
    except requests.RequestException as error:
        raise TransientError(_unreachable(url, error)) from error


def _check_status(url: str, status: int) -> None:
    if status == 200:
        return
    error = NetworkError(
        f"The host answered {status}",
        code="not-found" if status in (404, 410) else "http-status",
        expected="HTTP 200",
        found=f"HTTP {status} from {url}",
        todo="Try again later, or set HUMANST_MIRROR",
    )
    raise TransientError(error) if status in _BUSY else error


def _pump(url: str, response: requests.Response, write: Callable[[bytes], None], deadline: float) -> None:
    from urllib3.exceptions import HTTPError, IncompleteRead

    raw: Any = response.raw
    # The request asked for no encoding. Where a host encodes all the same, a .gz file is meant as it is on disk.
    encoded = response.headers.get("Content-Encoding", "identity").lower() != "identity"
    decode = encoded and not url.split("?")[0].endswith(".gz")
    length = response.headers.get("Content-Length")
    n_bytes = 0
    try:
        while block := raw.read1(BLOCK_BYTES, decode_content=decode):
            n_bytes += len(block)
            write(block)
            if time.monotonic() > deadline:
                raise _too_slow(url, n_bytes)
    except HTTPError as error:
        if time.monotonic() > deadline:
            raise _too_slow(url, n_bytes) from error
        # urllib3 hands a body shorter than its Content-Length on as the cause of a broken connection.
        cut = any(isinstance(cause, IncompleteRead) for cause in (error, *error.args))
        fault = _short_body(url, length, n_bytes) if cut else _unreachable(url, error)
        raise TransientError(fault) from error


def _unreachable(url: str, error: Exception) -> NetworkError:
    return NetworkError(
        "The host could not be reached",
        code="unreachable",
        expected=f"an answer from {url}",
        found=f"{type(error).__name__}: {error}",
        todo="Check the connection, proxy and mirrors, and run the same command again",
    )


def _too_slow(url: str, n_bytes: int) -> NetworkError:
    return NetworkError(
        "The download took longer than its time budget",
        code="time-budget",
        expected="the whole file within the budget",
        found=f"{n_bytes:,} bytes from {url}",
        done="Nothing was placed",
        todo="Run the same command again, or set HUMANST_MIRROR to a faster host",
    )


def _short_body(url: str, length: str | None, n_bytes: int) -> IntegrityError:
    return IntegrityError(
        "The body was cut short",
        code="body-short",
        field="bytes",
        expected=f"{length or 'all'} bytes",
        found=f"{n_bytes:,} bytes from {url}",
        todo="Run the same command again, or set HUMANST_MIRROR",
    )
