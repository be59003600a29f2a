"""A host on the list that leads into a private network is not asked, whatever its name says."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest

from humanst.errors import HostileError, HumanstError, NetworkError
from humanst.fetch import fetch_section
from humanst.fetch.connections import check_address
from humanst.fetch.probe import probe
from humanst.settings import settings
from tests.fetch.conftest import source, study

pytestmark = pytest.mark.usefixtures("online")


@pytest.mark.parametrize(
    "address",
    """127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1
    255.255.255.255 ::1 :: fe80::1 fe80::1%eth0 fc00::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 2002:7f00:1::
    64:ff9b::a00:1 ff02::1""".split(),
)
def test_addresses_of_private_networks(address: str) -> None:
    with pytest.raises(HostileError) as caught:
        check_address("data.example.org", address, allow_loopback=False)
    facts = caught.value.facts
    assert (facts.code, facts.found, caught.value.exit_code) == ("private-address", address, 8)


@pytest.mark.parametrize("address", ["188.185.33.206", "2001:1458:d00:3b::100:200", "64:ff9b::bcb9:21ce", "198.18.0.7"])
def test_public_addresses_and_those_of_transparent_proxies(address: str) -> None:
    check_address("data.example.org", address, allow_loopback=False)


def test_loopback_is_let_through_by_the_setting_alone() -> None:
    check_address("localhost", "127.0.0.1", allow_loopback=True)
    with pytest.raises(HostileError):
        check_address("data.example.org", "10.0.0.1", allow_loopback=True)


class Listener:
    """A port that counts who connects, and what they say first."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.said: list[bytes] = []
        self.met = Event()

    def serve(self) -> None:
        while True:
            try:
                other, _ = self.socket.accept()
            except OSError:
                return
            with other:
                other.settimeout(5)
                try:
                    self.said.append(other.recv(100))
                except OSError:
                    self.said.append(b"")
                self.met.set()


@contextmanager
def listening() -> Iterator[Listener]:
    listener = Listener()
    thread = Thread(target=listener.serve, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        listener.socket.shutdown(socket.SHUT_RDWR)
        listener.socket.close()
        thread.join(10)


def name_service(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    """Let data.example.org have these addresses, one after the other; the last one stays."""
    real, left = socket.getaddrinfo, list(answers)

    def look_up(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host != "data.example.org":
            return real(host, port, *args, **more)
        return real(left.pop(0) if len(left) > 1 else left[0], port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def fetch(port: int) -> HumanstError:
    host = f"data.example.org:{port}"
    with pytest.raises(HumanstError) as caught:
        fetch_section(*study(source(f"https://{host}/a"), hosts=(host,)))
    return caught.value


def test_a_name_that_leads_here_is_not_even_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUMANST_ALLOW_LOOPBACK_HTTP", "0")
    name_service(monkeypatch, "127.0.0.1")
    with listening() as listener:
        error = fetch(listener.port)
        assert listener.said == []
    assert (type(error), error.facts.code, error.exit_code) == (HostileError, "private-address", 8)
    assert error.facts.file
    assert error.facts.todo


def test_a_name_that_changes_its_address_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUMANST_ALLOW_LOOPBACK_HTTP", "0")
    name_service(monkeypatch, "188.185.33.206", "127.0.0.1")
    with listening() as listener:
        error = fetch(listener.port)
        assert listener.met.wait(10)
        assert listener.said == [b""]
    assert error.facts.code == "private-address"


@pytest.mark.parametrize("named_as", ["mirror", "proxy", "setting"])
def test_what_the_user_named_is_asked(monkeypatch: pytest.MonkeyPatch, named_as: str) -> None:
    """The listener speaks no TLS, so the fetch fails; but it was spoken to."""
    name_service(monkeypatch, "127.0.0.1")
    monkeypatch.setenv("HUMANST_ALLOW_LOOPBACK_HTTP", "1" if named_as == "setting" else "0")
    monkeypatch.setenv("HUMANST_FETCH_BUDGET_S", "3")
    with listening() as listener:
        if named_as == "mirror":
            monkeypatch.setenv("HUMANST_MIRROR", f"https://data.example.org:{listener.port}/files")
            with pytest.raises(NetworkError):
                fetch_section(*study(source(None)))
        else:
            if named_as == "proxy":
                monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.port}")
            assert isinstance(fetch(listener.port), NetworkError)
        expected = b"CONNECT data.example.org" if named_as == "proxy" else b"\x16\x03"
        assert listener.said
        assert listener.said[0].startswith(expected)


def test_a_draft_asks_no_private_address_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUMANST_ALLOW_LOOPBACK_HTTP", "0")
    name_service(monkeypatch, "169.254.169.254")
    with pytest.raises(HostileError) as caught:
        probe("https://data.example.org/latest/meta-data", settings())
    assert caught.value.facts.code == "private-address"
