"""Whether an address answers: one short request, no redirect followed, and never a login in what is told of it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from humanst.errors import HumanstError, NetworkError
from humanst.fetch.download import USER_AGENT
from humanst.fetch.mirrors import check_url, host_and_port, without_login
from humanst.settings import Settings

TIMEOUT_S = (3.0, 4.0)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status of HTTP, and how long it took."""

    status: int
    seconds: float


def masked(text: str) -> str:
    """A text without the logins of the addresses in it, and without what stands behind their ``?``: it may be a key."""
    return re.sub(r"(?<=\?)\S+", "***", without_login(text))


def reach(url: str, settings: Settings, *, own: bool) -> Answer:
    """Send one HEAD request and tell whether anybody answered, whatever the answer.

    Parameters
    ----------
    own
        Whether the user named the address, so that it may be in a private network.

    Raises
    ------
    NetworkError
        ``unreachable``, or ``offline``.
    HostileError
        For an address that is not opened: no https, a login in it, a private network that nobody named.
    """
    if settings.offline:
        raise NetworkError("humanst is offline", code="offline", todo="Unset HUMANST_OFFLINE to ask")
    import requests

    from humanst.fetch.connections import guarded_session

    try:
        host = host_and_port(urlsplit(url))
    except ValueError as error:
        raise NetworkError("This is no address", code="unreachable", found=masked(str(error))) from None
    check_url(url, (host,), allow_loopback_http=settings.allow_loopback_http)
    deadline, own_hosts = time.monotonic() + sum(TIMEOUT_S), (host,) if own else ()
    began = time.monotonic()
    try:
        with guarded_session(deadline, own_hosts=own_hosts, allow_loopback=settings.allow_loopback_http) as session:
            answer = session.head(url, allow_redirects=False, timeout=TIMEOUT_S, headers={"User-Agent": USER_AGENT})
    except HumanstError:
        raise
    except requests.RequestException as error:
        raise NetworkError(
            "Nobody answers", code="unreachable", found=f"{type(error).__name__}: {masked(str(error))}"[:300]
        ) from None
    return Answer(answer.status_code, time.monotonic() - began)
