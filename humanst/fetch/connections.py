"""Connections that end in time and lead to public addresses.

The time limits of a socket hold for one read each, so a host that sends a byte now and then outlives them, in the head
of its answer as in the body. Here every socket is known from the moment it is connected, and shut when the time is up.
A name on the list of allowed hosts may lead anywhere its owner says, into the user's own network too: the address is
looked at before it is connected to, and once more when it is.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter

from humanst.errors import HostileError

Check = Callable[[str, str], None]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Proxies that a system routes to without a setting of ours answer with these addresses for every name.
_TRANSPARENT = ipaddress.ip_network("198.18.0.0/15")


class Watch:
    """Shuts the sockets it was given when ``deadline`` (a ``time.monotonic()`` value) comes."""

    def __init__(self, deadline: float) -> None:
        self._sockets: list[socket.socket] = []
        self._turn = threading.Lock()
        self._over = False
        self._timer = threading.Timer(max(deadline - time.monotonic(), 0.0), self._shut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._turn:
            for held in self._sockets:
                held.close()
            self._sockets.clear()

    def keep(self, connected: socket.socket) -> None:
        """Watch one more socket: a second handle of it, which lasts when TLS takes the first over."""
        with self._turn:
            self._sockets.append(connected.dup())
        if self._over:
            self._shut()

    def _shut(self) -> None:
        with self._turn:
            self._over = True
            for held in self._sockets:
                with suppress(OSError):
                    held.shutdown(socket.SHUT_RDWR)


@contextmanager
def guarded_session(
    deadline: float, *, own_hosts: tuple[str, ...] = (), allow_loopback: bool = False
) -> Iterator[requests.Session]:
    """A session whose connections end at the deadline and lead to public addresses.

    Parameters
    ----------
    own_hosts
        Hosts (``host`` or ``host:port``) that the user named, as a mirror: they may be in a private network.
    allow_loopback
        Whether any host may be this machine.
    """
    names = {host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host for host in own_hosts}

    def check(host: str, address: str) -> None:
        if host.lower() not in names:
            check_address(host, address, allow_loopback=allow_loopback)

    with Watch(deadline) as watch, requests.Session() as session:
        adapter = _Adapter(watch, check)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        # Proxies and CA bundles come from the environment, but no login from a .netrc goes to any host.
        session.auth = _no_login
        yield session


def _no_login(request: Any) -> Any:
    return request


class _Adapter(HTTPAdapter):
    """The adapter of requests, with connections that are watched; behind a proxy the address is the proxy's matter."""

    def __init__(self, watch: Watch, check: Check) -> None:
        self._watch, self._check = watch, check
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, **more)
        _watch_pools(self.poolmanager, self._watch, self._check)

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **more)
        if not known:
            _watch_pools(manager, self._watch, None)
        return manager


def _watch_pools(manager: Any, watch: Watch, check: Check | None) -> None:
    manager.pool_classes_by_scheme = {
        scheme: type(pool.__name__, (pool,), {"ConnectionCls": _watched(pool.ConnectionCls, watch, check)})
        for scheme, pool in manager.pool_classes_by_scheme.items()
    }


def _watched(kind: Any, watch: Watch, check: Check | None) -> type:
    class Watched(kind):  # type: ignore[misc]
        def _new_conn(self) -> Any:
            if check is not None:
                for address in _addresses(self.host, self.port):
                    check(self.host, address)
            connected = super()._new_conn()
            try:
                if check is not None:
                    # The name may have been given another address since.
                    check(self.host, str(connected.getpeername()[0]))
                watch.keep(connected)
            except BaseException:
                connected.close()
                raise
            return connected

    return Watched


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        # Connecting says what is the matter with the name.
        return []
    return [str(place[0]) for *_, place in found]


def check_address(host: str, address: str, *, allow_loopback: bool) -> None:
    """Refuse the address of a host when it is in no public network.

    Raises
    ------
    HostileError
        ``private-address``.
    """
    known = _embedded(ipaddress.ip_address(address.partition("%")[0]))
    is_public = known.is_global and not known.is_multicast
    if is_public or known in _TRANSPARENT or (known.is_loopback and allow_loopback):
        return
    raise HostileError(
        f"{host} leads into a private network",
        code="private-address",
        field="hosts",
        expected="a public address",
        found=address,
        done="It was not asked",
        todo="Check the name service; a mirror of your own network is used when HUMANST_MIRROR names it",
    )


def _embedded(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 address stands for, else itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
