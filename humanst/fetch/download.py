"""One HTTP download: every hop checked, every wait bounded, every byte counted.

Redirects are followed by hand, at most five, each checked against the allowed hosts before it is asked, and no login
is ever sent. The body is read as it comes and the connection is shut when the time budget ends, so neither a slow drip
nor a stall outlives it. A body that was cut is gone on with by Range and If-Range.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from humanst import __version__
from humanst.errors import HostileError, IntegrityError, NetworkError
from humanst.fetch.mirrors import check_url
from humanst.fetch.patience import Patience, TransientError, retry_after_s, with_patience

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

__all__ = ["Answer", "Patience", "RestartError", "Resume", "TransientError", "stream", "with_patience"]

MAX_HOPS = 5
BLOCK_BYTES = 1 << 18
USER_AGENT = f"humanst/{__version__}"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BUSY = frozenset({408, 429, *range(500, 600)})


class RestartError(Exception):
    """The host cannot go on from where the body was cut: it must be asked for the whole of it."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Ask for the bytes from ``offset`` on, if the file is still the one that ``validator`` (ETag or date) names.

    With ``stop`` only the bytes before it are asked for.
    """

    offset: int
    validator: str | None = None
    stop: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host said before the body.

    Attributes
    ----------
    offset
        Where the body begins in the file: not 0 when the host goes on from where it was cut.
    validator
        Its strong ETag, else its Last-Modified; ``None`` without either.
    encoded
        Whether the body is encoded for transport, so that bytes received are not bytes of the file.
    is_html
        Whether the host calls it an HTML page.
    is_part
        Whether the body is a part of the file, as it was asked for.
    """

    offset: int
    validator: str | None
    encoded: bool
    is_html: bool
    is_part: bool = False


def stream(
    url: str,
    write: Callable[[bytes], None],
    *,
    hosts: tuple[str, ...],
    patience: Patience,
    deadline: float,
    allow_loopback_http: bool = False,
    resume: Resume | None = None,
    begin: Callable[[Answer], None] | None = None,
    session: requests.Session | None = None,
) -> None:
    """Send the body of ``url`` to ``write``.

    Parameters
    ----------
    hosts
        Hosts (``host`` or ``host:port``) that may be asked.
    deadline
        ``time.monotonic()`` value after which the download is given up.
    resume
        Ask for the rest of a body that was cut.
    begin
        Called with the host's answer before the first byte; its ``offset`` says whether the body is the rest, or the
        whole file after all.
    session
        A :func:`connection` to ask over, for many requests to one host.

    Raises
    ------
    TransientError
        For 408, 429, 5xx, broken connections and short bodies.
    RestartError
        When the rest cannot be had: the file became another one, or ends before it.
    NetworkError
        For other statuses, and when the time budget is used up.
    HostileError
        For a hop to an address that is not allowed.
    """
    with (
        nullcontext(session) if session is not None else connection() as line,
        _opened(line, url, hosts, patience, deadline, allow_loopback_http, resume) as response,
    ):
        offset = _offset(url, response, resume)
        answer = _answer(url, response, offset)
        if begin is not None:
            begin(answer)
        with _shut_at(deadline, response):
            _pump(url, response, write, deadline, decode=answer.encoded)


def _offset(url: str, response: requests.Response, resume: Resume | None) -> int:
    """Where the body begins in the file.

    Raises
    ------
    RestartError
        When it begins neither at zero nor where it was asked to, or is of another file than before.
    """
    if resume is None or response.status_code not in (206, 416):
        _check_status(url, response)
        return 0
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    etag = response.headers.get("ETag")
    # A host that does not know If-Range gives the rest of whatever the file is now.
    changed = etag is not None and resume.validator is not None and '"' in resume.validator and etag != resume.validator
    encoded = response.headers.get("Content-Encoding", "identity").lower() != "identity"
    if response.status_code == 416 or start is None or int(start[1]) != resume.offset or changed or encoded:
        raise RestartError
    return resume.offset


def _answer(url: str, response: requests.Response, offset: int) -> Answer:
    etag = response.headers.get("ETag")
    if etag is not None and etag.startswith("W/"):
        etag = None
    encoded = response.headers.get("Content-Encoding", "identity").lower() != "identity"
    return Answer(
        offset=offset,
        validator=etag or response.headers.get("Last-Modified"),
        # The request asked for no encoding. Where a host encodes all the same, a .gz file is meant as it is on disk.
        encoded=encoded and not url.split("?")[0].endswith(".gz"),
        is_html=response.headers.get("Content-Type", "").lower().startswith("text/html"),
        is_part=response.status_code == 206,
    )


@contextmanager
def _shut_at(deadline: float, response: requests.Response) -> Iterator[None]:
    """Shut the connection at the deadline, so that a read which waits for bytes ends with it."""
    raw: Any = response.raw

    def shut() -> None:
        # Without a connection there is nothing that could still wait.
        with suppress(ValueError, RuntimeError, OSError):
            raw.shutdown()

    timer = threading.Timer(max(deadline - time.monotonic(), 0.0), shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def connection() -> Iterator[requests.Session]:
    """What requests go over: kept open from one to the next, with proxies and CA bundles of the environment."""
    import requests

    with requests.Session() as session:
        # No login from a .netrc goes to any host.
        session.auth = _no_login
        yield session


@contextmanager
def _opened(
    session: requests.Session,
    url: str,
    hosts: tuple[str, ...],
    patience: Patience,
    deadline: float,
    allow_loopback_http: bool,
    resume: Resume | None,
) -> Iterator[requests.Response]:
    hop, came_from = url, None
    for _ in range(MAX_HOPS + 1):
        check_url(hop, hosts, allow_loopback_http=allow_loopback_http, redirected_from=came_from)
        with _ask(session, hop, patience, deadline, resume) as response:
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


def _no_login(request: Any) -> Any:
    return request


def _ask(
    session: requests.Session, url: str, patience: Patience, deadline: float, resume: Resume | None
) -> AbstractContextManager[requests.Response]:
    import requests

    left = max(deadline - time.monotonic(), 0.001)
    timeout = (min(patience.connect_s, left), min(patience.read_s, left))
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if resume is not None:
        headers["Range"] = f"bytes={resume.offset}-{'' if resume.stop is None else resume.stop - 1}"
        if resume.validator is not None:
            headers["If-Range"] = resume.validator
    try:
        return session.get(url, stream=True, allow_redirects=False, timeout=timeout, headers=headers)
    except requests.RequestException as error:
        if time.monotonic() > deadline:
            raise _too_slow(url, 0) from error
        raise TransientError(_unreachable(url, error)) from error


def _check_status(url: str, response: requests.Response) -> None:
    status = response.status_code
    if status == 200:
        return
    error = NetworkError(
        f"The host answered {status}",
        code="not-found" if status in (404, 410) else "http-status",
        expected="HTTP 200",
        found=f"HTTP {status} from {url}",
        todo="Try again later, or set HUMANST_MIRROR",
    )
    if status not in _BUSY:
        raise error
    raise TransientError(error, retry_after_s=retry_after_s(response.headers.get("Retry-After", "")))


def _pump(
    url: str, response: requests.Response, write: Callable[[bytes], None], deadline: float, *, decode: bool
) -> None:
    from urllib3.exceptions import HTTPError, IncompleteRead

    raw: Any = response.raw
    length = response.headers.get("Content-Length")
    n_bytes = 0
    try:
        while block := raw.read1(BLOCK_BYTES, decode_content=decode):
            n_bytes += len(block)
            write(block)
            if time.monotonic() > deadline:
                raise _too_slow(url, n_bytes)
        if time.monotonic() > deadline:
            # A connection that was shut at the deadline reads like one that ended.
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
