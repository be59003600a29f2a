"""A loopback HTTP server with one fault per path, and a count of what was asked.

``/<fault>/<name>`` serves the body registered under ``name``. Faults: ``ok``; ``short`` (cut, with a length),
``short-unsaid`` (cut, without), ``short-once``; ``flip`` (one bit); ``long``; ``html`` (a login page); ``busy~<n>``
(503 n times, then right); ``gzipped``, ``labelled-gzip``; ``drip`` (a byte each 20 ms); ``redirect-away``,
``redirect-file``, ``redirect-ok``, ``redirect-loop``. A new fault is a new method of ``_Handler``.
"""

from __future__ import annotations

import gzip
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

LOGIN_PAGE = b"<!DOCTYPE html>\n<html><title>Sign in</title><body>Please sign in.</body></html>\n"


class FaultServer(ThreadingHTTPServer):
    """The server: ``bodies`` by name, ``hits`` by path, ``agents`` seen, ``away`` the base url of another server."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: dict[str, bytes] = {}
        self.hits: Counter[str] = Counter()
        self.agents: set[str] = set()
        self.away = ""

    @property
    def host(self) -> str:
        """``127.0.0.1:<port>``, as it stands in a list of allowed hosts."""
        return f"127.0.0.1:{self.server_port}"

    def url(self, fault: str, name: str = "") -> str:
        """The address that serves ``name`` with a fault."""
        return f"http://{self.host}/{fault}/{name}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultServer
    _redirects: ClassVar[frozenset[str]] = frozenset({"redirect-away", "redirect-file", "redirect-ok", "redirect-loop"})

    def do_GET(self) -> None:
        self.server.hits[self.path] += 1
        self.server.agents.add(self.headers.get("User-Agent", ""))
        fault, _, name = self.path.lstrip("/").partition("/")
        kind, _, number = fault.partition("~")
        if kind in self._redirects:
            self._redirect(kind, name)
            return
        body = self.server.bodies.get(name)
        if body is None:
            self._send(404, b"no such file")
            return
        getattr(self, f"_{kind.replace('-', '_')}")(body, number)

    def _redirect(self, kind: str, name: str) -> None:
        target = {
            "redirect-away": f"{self.server.away}/ok/{name}",
            "redirect-file": "file:///etc/hostname",
            "redirect-ok": f"/ok/{name}",
            "redirect-loop": self.path,
        }[kind]
        self._send(302, b"", {"Location": target})

    def _ok(self, body: bytes, _: str) -> None:
        self._send(200, body)

    def _short(self, body: bytes, _: str) -> None:
        self._send(200, body[: len(body) // 3], {"Content-Length": str(len(body))})
        self.close_connection = True

    def _short_unsaid(self, body: bytes, _: str) -> None:
        self._send(200, body[: len(body) // 3], {"Content-Length": None})

    def _short_once(self, body: bytes, _: str) -> None:
        (self._short if self.server.hits[self.path] == 1 else self._ok)(body, _)

    def _flip(self, body: bytes, _: str) -> None:
        self._send(200, bytes([body[0] ^ 1]) + body[1:])

    def _long(self, body: bytes, _: str) -> None:
        self._send(200, body + b"more")

    def _html(self, _body: bytes, _: str) -> None:
        self._send(200, LOGIN_PAGE)

    def _busy(self, body: bytes, times: str) -> None:
        if self.server.hits[self.path] <= int(times):
            self._send(503, b"busy")
        else:
            self._ok(body, times)

    def _gzipped(self, body: bytes, _: str) -> None:
        self._send(200, gzip.compress(body, mtime=0), {"Content-Encoding": "gzip"})

    def _labelled_gzip(self, body: bytes, _: str) -> None:
        self._send(200, body, {"Content-Encoding": "gzip"})

    def _drip(self, body: bytes, _: str) -> None:
        self._send(200, b"", {"Content-Length": str(len(body))})
        try:
            for number in range(len(body)):
                self.wfile.write(body[number : number + 1])
                time.sleep(0.02)
        except OSError:
            self.close_connection = True

    def _send(self, status: int, body: bytes, headers: dict[str, str | None] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            if value is not None:
                self.send_header(key, value)
            else:
                self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep the test output quiet."""


@contextmanager
def serving() -> Iterator[FaultServer]:
    """A running server, stopped at the end."""
    server = FaultServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
