"""Ask a host how large a file is, without fetching it: for drafts of catalog entries."""

from __future__ import annotations

import time
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from humanst.fetch.download import USER_AGENT
from humanst.fetch.mirrors import check_url, host_and_port
from humanst.settings import Settings

TIMEOUT_S = (5.0, 15.0)


@dataclass(frozen=True, slots=True)
class Probe:
    """What a host said of a file: its bytes, or the host it sends the asker on to. ``None`` for what it did not say."""

    bytes: int | None = None
    sends_to: str | None = None


def probe(url: str, settings: Settings) -> Probe:
    """Send one HEAD request; nothing is asked offline, no redirect is followed, and silence is no error.

    Raises
    ------
    HostileError
        For an address that humanst does not open, such as one that is not https or is in a private network.
    """
    if settings.offline:
        return Probe()
    import requests

    from humanst.fetch.connections import guarded_session

    host = host_and_port(urlsplit(url))
    check_url(url, (host,), allow_loopback_http=settings.allow_loopback_http)
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    try:
        with guarded_session(time.monotonic() + sum(TIMEOUT_S), allow_loopback=settings.allow_loopback_http) as session:
            answer = session.head(url, allow_redirects=False, timeout=TIMEOUT_S, headers=headers)
    except requests.RequestException:
        return Probe()
    if answer.is_redirect:
        return Probe(sends_to=host_and_port(urlsplit(urljoin(url, answer.headers["Location"]))))
    length = answer.headers.get("Content-Length", "")
    return Probe(bytes=int(length) if answer.status_code == 200 and length.isdigit() else None)
