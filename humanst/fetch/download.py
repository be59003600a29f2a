"""One HTTP download: every hop checked, every wait bounded, every byte counted.

Redirects are followed by hand, at most five, each checked against the allowed hosts before it is asked, and no login
is ever sent. The body is read as it comes and the connection is shut when the time budget ends, so neither a slow drip
nor a stall outlives it, in the head or in the body. A body that was cut is gone on with by Range and If-Range.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from humanst import __version__
from humanst.errors import HostileError, IntegrityError, NetworkError
from humanst.fetch.archives import gunzip
from humanst.fetch.download_faults import short_body, too_slow, unreachable
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
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})?")
_GZIP = ("gzip", "x-gzip")
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
    says_its_end
        Whether a body that was cut can be told from a whole one: it has a length, or comes in chunks.
    total
        Bytes of the whole file, where the body is a rest that says so: a host may give less than all that is left.
    """

    offset: int
    validator: str | None
    encoded: bool
    is_html: bool
    says_its_end: bool
    total: int | None
    is_part: bool


def stream(
    url: str,
    write: Callable[[bytes], None],
    *,
    hosts: tuple[str, ...],
    patience: Patience,
    deadline: float,
    own_hosts: tuple[str, ...] = (),
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
    own_hosts
        Those of them that may be in a private network, because the user named them.
    deadline
        ``time.monotonic()`` value after which the download is given up.
    resume
        Ask for the rest of a body that was cut.
    begin
        Called with the answer before the first byte; its ``offset`` says whether the rest or the whole file comes.
    session
        What to ask over (:func:`humanst.fetch.connections.guarded_session`), for many requests to one host.

    Raises
    ------
    TransientError
        For 408, 429, 5xx, broken connections and short bodies.
    RestartError
        When the rest cannot be had.
    NetworkError
        For other statuses, an encoding that is not gzip, and when the time budget is used up.
    HostileError
        For a hop to an address that is not allowed, and a host that leads into a private network.
    """
    from humanst.fetch.connections import guarded_session

    asking = _Asking(hosts, patience, deadline, allow_loopback_http, resume)
    line: AbstractContextManager[requests.Session] = (
        guarded_session(deadline, own_hosts=own_hosts, allow_loopback=allow_loopback_http)
        if session is None
        else nullcontext(session)
    )
    with (
        line as opened,
        _opened(opened, url, asking) as response,
    ):
        offset = _offset(url, response, resume)
        answer = _answer(url, response, offset)
        if begin is not None:
            begin(answer)
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
    part = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    # A host that does not know If-Range gives the rest of whatever the file is now.
    is_etag = resume.validator is not None and '"' in resume.validator
    now = response.headers.get("ETag" if is_etag else "Last-Modified")
    changed = None not in (now, resume.validator) and now != resume.validator
    encoded = response.headers.get("Content-Encoding", "identity").lower() != "identity"
    if response.status_code == 416 or part is None or int(part[1]) != resume.offset or changed or encoded:
        raise RestartError
    return resume.offset


def _answer(url: str, response: requests.Response, offset: int) -> Answer:
    etag = response.headers.get("ETag")
    if etag is not None and etag.startswith("W/"):
        etag = None
    # The request asked for no encoding. Where a host encodes all the same, a .gz file is meant as it is on disk.
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    encoded = encoding != "identity" and not url.split("?")[0].endswith(".gz")
    if encoded and encoding not in _GZIP:
        raise NetworkError(
            "The host encodes the file in a way that was not asked for",
            code="encoding",
            expected="the file as it is, or gzip",
            found=f"Content-Encoding: {encoding[:80]} from {url}",
            done="Nothing was placed",
            todo="Try again later, or set HUMANST_MIRROR",
        )
    part = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    return Answer(
        offset=offset,
        validator=etag or response.headers.get("Last-Modified"),
        encoded=encoded,
        is_html=response.headers.get("Content-Type", "").lower().startswith("text/html"),
        is_part=response.status_code == 206,
        says_its_end=response.raw.length_remaining is not None or response.raw.chunked,
        total=int(part[2]) if offset > 0 and part is not None and part[2] else None,
    )


@dataclass(frozen=True, slots=True)
class _Asking:
    """What holds for every hop of a download."""

    hosts: tuple[str, ...]
    patience: Patience
    deadline: float
    allow_loopback_http: bool
    resume: Resume | None


@contextmanager
def _opened(session: requests.Session, url: str, asking: _Asking) -> Iterator[requests.Response]:
    hop, came_from = url, None
    for _ in range(MAX_HOPS + 1):
        check_url(hop, asking.hosts, allow_loopback_http=asking.allow_loopback_http, redirected_from=came_from)
        with _ask(session, hop, asking) as response:
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


def _ask(session: requests.Session, url: str, asking: _Asking) -> AbstractContextManager[requests.Response]:
    import requests
    from urllib3.exceptions import HTTPError

    patience, resume = asking.patience, asking.resume
    left = max(asking.deadline - time.monotonic(), 0.001)
    timeout = (min(patience.connect_s, left), min(patience.read_s, left))
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if resume is not None:
        headers["Range"] = f"bytes={resume.offset}-{'' if resume.stop is None else resume.stop - 1}"
        if resume.validator is not None:
            headers["If-Range"] = resume.validator
    try:
        response = session.get(url, stream=True, allow_redirects=False, timeout=timeout, headers=headers)
    except (requests.RequestException, HTTPError, ValueError) as error:
        # A ValueError is of a Location that is no address: requests looks at it, followed or not.
        if time.monotonic() > asking.deadline:
            raise too_slow(url, 0) from error
        raise TransientError(unreachable(url, error)) from error
    if time.monotonic() > asking.deadline:
        # A head that was shut at the deadline reads like one that ended.
        response.close()
        raise too_slow(url, 0)
    return response


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
    from http.client import IncompleteRead

    from urllib3.exceptions import HTTPError

    n_bytes = 0
    blocks = _blocks(url, response, deadline)
    try:
        # urllib3 would decode too, and as far as the body goes; here a bomb ends.
        for block in gunzip(blocks, name=url) if decode else blocks:
            n_bytes += len(block)
            write(block)
    except IntegrityError as error:
        if error.facts.code != "archive-cut":
            raise
        raise TransientError(short_body(url, None, n_bytes)) from error
    except HostileError as error:
        # The file that is meant is the catalog's, which the caller names.
        error.facts = replace(error.facts, file=None, found=f"more, from {url}")
        raise
    except HTTPError as error:
        if time.monotonic() > deadline:
            raise too_slow(url, n_bytes) from error
        # urllib3 hands a body shorter than its length or its chunks on as the cause of a broken connection.
        cut = any(isinstance(cause, IncompleteRead) for cause in (error, *error.args))
        length = response.headers.get("Content-Length")
        fault = short_body(url, length, n_bytes) if cut else unreachable(url, error)
        raise TransientError(fault) from error


def _blocks(url: str, response: requests.Response, deadline: float) -> Iterator[bytes]:
    """The body as it comes."""
    raw: Any = response.raw
    n_bytes = 0
    while block := raw.read1(BLOCK_BYTES, decode_content=False):
        n_bytes += len(block)
        yield block
        if time.monotonic() > deadline:
            raise too_slow(url, n_bytes)
    if time.monotonic() > deadline:
        # A connection that was shut at the deadline reads like one that ended.
        raise too_slow(url, n_bytes)
