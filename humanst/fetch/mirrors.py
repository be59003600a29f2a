"""Where a file may be had: mirrors in order, then its original host. Which hosts may be asked is decided here too."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit
from urllib.request import url2pathname

from humanst.catalog import Source
from humanst.errors import HostileError, UsageError
from humanst.settings import Settings

_LOCAL_NAMES = ("", "localhost")
_LOGIN = re.compile(r"(?<=://)[^/?#\s]*@")


@dataclass(frozen=True, slots=True)
class Place:
    """One place to get a file from: a local ``path`` or a ``url`` with the hosts it may lead to.

    ``own_hosts`` are those of them that the user named, and that may be in a private network.
    """

    label: str
    path: Path | None = None
    url: str | None = None
    hosts: tuple[str, ...] = ()
    own_hosts: tuple[str, ...] = ()


def places(owner_id: str, source: Source, hosts: tuple[str, ...], settings: Settings) -> list[Place]:
    """Every place to try, in order.

    Raises
    ------
    UsageError
        For a ``HUMANST_MIRROR`` entry that is neither a folder, ``file://`` nor ``http(s)://``.
    """
    found = [_mirror_place(mirror, f"{owner_id}/{source.path}", hosts) for mirror in settings.mirror]
    if source.url is not None and source.url.startswith("file:"):
        # Only a release that a user names by its folder has such an address: no catalog may.
        found.append(Place(label=source.url, path=Path(url2pathname(urlsplit(source.url).path))))
    elif source.url is not None:
        found.append(Place(label=source.url, url=source.url, hosts=hosts))
    return found


def _mirror_place(mirror: str, below: str, hosts: tuple[str, ...]) -> Place:
    parts = urlsplit(mirror)
    if parts.scheme in ("http", "https") and parts.hostname:
        url = f"{mirror.rstrip('/')}/{quote(below)}"
        own = host_and_port(parts)
        return Place(label=without_login(mirror), url=url, hosts=(own, *hosts), own_hosts=(own,))
    if parts.scheme == "file" and parts.netloc in _LOCAL_NAMES:
        return Place(label=mirror, path=Path(url2pathname(parts.path)) / below)
    if "://" in mirror:
        raise UsageError(
            "This mirror cannot be used",
            code="mirror-scheme",
            field="HUMANST_MIRROR",
            expected="a folder, file:///folder or https://host/folder",
            found=repr(without_login(mirror)),
            todo="Correct the setting",
        )
    return Place(label=mirror, path=Path(mirror).expanduser() / below)


def host_and_port(parts: SplitResult) -> str:
    """``host``, or ``host:port`` for a port that is not the scheme's own.

    Raises
    ------
    ValueError
        For a port that is no number.
    """
    host = (parts.hostname or "").lower()
    default = {"https": 443, "http": 80}.get(parts.scheme)
    return host if parts.port in (None, default) else f"{host}:{parts.port}"


def without_login(text: str) -> str:
    """A text, such as an address, without the logins of the addresses in it."""
    return _LOGIN.sub("***@", text)


def check_url(url: str, hosts: Iterable[str], *, allow_loopback_http: bool, redirected_from: str | None = None) -> None:
    """Refuse a URL that humanst does not ask: plain http, logins in the URL, hosts that are not on the list.

    Plain http is let through to a loopback address when ``HUMANST_ALLOW_LOOPBACK_HTTP`` says so.

    Raises
    ------
    HostileError
        With the hosts that are allowed.
    """
    allowed = sorted(set(hosts))
    try:
        parts = urlsplit(url)
        place = host_and_port(parts)
    except ValueError as error:
        raise _refusal(url, allowed, str(error), redirected_from) from error
    if parts.scheme != "https" and not (parts.scheme == "http" and allow_loopback_http and _is_loopback(parts)):
        raise _refusal(url, allowed, f"scheme {parts.scheme!r}", redirected_from)
    if parts.username is not None or parts.password is not None:
        raise _refusal(url, allowed, "a login in the address", redirected_from)
    if place not in allowed:
        raise _refusal(url, allowed, f"host {place!r}", redirected_from)


def _is_loopback(parts: SplitResult) -> bool:
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"


def _refusal(url: str, allowed: list[str], why: str, redirected_from: str | None) -> HostileError:
    away, url = redirected_from is not None, without_login(url)
    return HostileError(
        f"A redirect leads where humanst does not go: {url}" if away else f"humanst does not ask this address: {url}",
        code="redirect-away" if away else "host-not-allowed",
        field="hosts",
        expected=f"https to {', '.join(allowed) or 'no host at all'}",
        found=why if not away else f"{why}, redirected from {redirected_from}",
        done="It was not asked",
        todo="If the host is right, add it to the study's hosts in the catalog",
    )
