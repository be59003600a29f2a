"""A loopback HTTP server with one fault per path, and a count of what was asked.

``/<fault>/<name>`` serves the body registered under ``name``. Faults: ``ok``; ``short`` (cut, with a length),
``short-unsaid`` (cut, without), ``short-once``; ``flip`` (one bit); ``long``; ``html`` (a login page); ``busy~<n>``
(503 n times, then right); ``later~<seconds>`` (503 once with Retry-After); ``gzipped``, ``labelled-gzip``,
``gzip-cut``, ``br``; ``chunked``, ``chunked-cut``; ``raw`` (the body is head and body); ``drip`` (a
byte each 20 ms); ``drip-head`` (a header, a byte each 20 ms), ``continue`` (100 Continue, again and again); ``stall``
(a third, then nothing), ``stall-late`` (a drip, nothing after 3 s); ``redirect-away``, ``redirect-file``,
``redirect-ok``, ``redirect-loop``. These know Range and If-Range: ``resume`` (cut in the middle once, then right),
``slow`` (blocks of 16 KiB with pauses); ``login-once`` (the page instead of the first rest). ``ranges`` (never cut)
knows Range with an end, too. ``no-range`` (cut once) does not. ``blind`` (cut once) knows Range, but not If-Range;
``less`` (cut once) gives a quarter at a time; ``shifted`` (cut once) begins 100 bytes before what it is asked for,
and says so; ``packed-rest`` (cut once) gives the rest of the gzipped file; ``dated`` and ``weak`` (cut once) are like
``blind``, with a date and no ETag, or with a weak one that stays as it is. A new fault is a new method of
``_Handler``.
"""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

LOGIN_PAGE = b"<!DOCTYPE html>\n<html><title>Sign in</title><body>Please sign in.</body></html>\n"


class FaultServer(ThreadingHTTPServer):
    """The server: ``bodies`` by name, ``hits`` by path, ``agents`` seen, ``away`` the base url of another server.

    ``sent`` counts the bytes of bodies by path, ``headers`` holds those of every request, ``at_once`` is the largest
    number of ranged bodies that were under way together, ``changed`` replaces bodies after the first request for them.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: dict[str, bytes] = {}
        self.hits: Counter[str] = Counter()
        self.agents: set[str] = set()
        self.away = ""
        self.sent: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.changed: dict[str, bytes] = {}
        self.pause_s = 0.0
        self.released = threading.Event()
        self.turn = threading.Lock()
        self.under_way = 0
        self.at_once = 0

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
        with self.server.turn:
            self.server.hits[self.path] += 1
            self.server.headers.append(dict(self.headers))
        try:
            self._answer()
        except OSError:
            # The other side went away.
            self.close_connection = True

    def _answer(self) -> None:
        self.server.agents.add(self.headers.get("User-Agent", ""))
        fault, _, name = self.path.lstrip("/").partition("/")
        kind, _, number = fault.partition("~")
        if kind in self._redirects:
            self._redirect(kind, name)
            return
        body = self.server.bodies.get(name)
        if self.server.hits[self.path] > 1:
            body = self.server.changed.get(name, body)
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

    def _later(self, body: bytes, seconds: str) -> None:
        if self.server.hits[self.path] == 1:
            self._send(503, b"busy", {"Retry-After": seconds})
        else:
            self._ok(body, seconds)

    def _stall(self, body: bytes, _: str) -> None:
        self._send(200, body[: len(body) // 3], {"Content-Length": str(len(body))})
        self.server.released.wait(30)
        self.close_connection = True

    def _stall_late(self, body: bytes, _: str) -> None:
        self._send(200, body[:1], {"Content-Length": str(len(body))})
        for position in range(1, 31):
            time.sleep(0.1)
            self.wfile.write(body[position : position + 1])
        self.server.released.wait(30)
        self.close_connection = True

    def _resume(self, body: bytes, _: str) -> None:
        self._ranged(body, cut=self.server.hits[self.path] == 1)

    def _no_range(self, body: bytes, _: str) -> None:
        (self._short if self.server.hits[self.path] == 1 else self._ok)(body, _)

    def _blind(self, body: bytes, _: str) -> None:
        self._ranged(body, cut=self.server.hits[self.path] == 1, if_range=False)

    def _login_once(self, body: bytes, _: str) -> None:
        if self.server.hits[self.path] == 2:
            self._send(200, LOGIN_PAGE, {"Content-Type": "text/html; charset=utf-8"})
        else:
            self._ranged(body, cut=self.server.hits[self.path] == 1)

    def _ranges(self, body: bytes, _: str) -> None:
        self._ranged(body, cut=False)

    def _slow(self, body: bytes, _: str) -> None:
        self._ranged(body, cut=False, block_bytes=1 << 14)

    def _ranged(
        self,
        body: bytes,
        *,
        cut: bool,
        if_range: bool = True,
        block_bytes: int = 1 << 20,
        at_most: int | None = None,
        validators: dict[str, str | None] | None = None,
        shift: int = 0,
    ) -> None:
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        asked = self.headers.get("Range", "")
        wanted = self.headers.get("If-Range", etag)
        begin, _, last = asked.removeprefix("bytes=").partition("-") if wanted == etag or not if_range else ("", "", "")
        start, stop = int(begin or 0), min(int(last) + 1, len(body)) if last else len(body)
        headers: dict[str, str | None] = {"ETag": etag, "Accept-Ranges": "bytes"}
        headers |= validators or {}
        if start >= len(body):
            self._send(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            return
        start = max(start - shift, 0)
        if start:
            stop = min(stop, start + (at_most or stop))
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
        self._send(206 if start else 200, b"", headers | {"Content-Length": str(stop - start)})
        end = ((start + stop) // 2 if last else len(body) // 2) if cut else stop
        # Little stays between the two sides, so that what was sent is about what was received.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        self._count_under_way(1)
        for position in range(start, end, block_bytes):
            block = body[position : min(position + block_bytes, end)]
            time.sleep(self.server.pause_s)
            if position + block_bytes >= end:
                # Once the last block is out the other side may ask for its next file.
                self._count_under_way(-1)
            self.wfile.write(block)
            self.server.sent[self.path] += len(block)
        if cut:
            self.close_connection = True

    def _count_under_way(self, change: int) -> None:
        with self.server.turn:
            self.server.under_way += change
            self.server.at_once = max(self.server.at_once, self.server.under_way)

    def _gzipped(self, body: bytes, _: str) -> None:
        self._send(200, gzip.compress(body, mtime=0), {"Content-Encoding": "gzip"})

    def _labelled_gzip(self, body: bytes, _: str) -> None:
        self._send(200, body, {"Content-Encoding": "gzip"})

    def _raw(self, body: bytes, _: str) -> None:
        self.wfile.write(body)
        self.close_connection = True

    def _chunked(self, body: bytes, _: str) -> None:
        self._send(200, b"", {"Content-Length": None, "Transfer-Encoding": "chunked"})
        for position in range(0, len(body), 1 << 16):
            block = body[position : position + (1 << 16)]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
        self.wfile.write(b"0\r\n\r\n")

    def _chunked_cut(self, body: bytes, _: str) -> None:
        self._send(200, b"", {"Content-Length": None, "Transfer-Encoding": "chunked"})
        self.wfile.write(b"%x\r\n%b" % (len(body), body[: len(body) // 2]))
        self.close_connection = True

    def _less(self, body: bytes, _: str) -> None:
        self._ranged(body, cut=self.server.hits[self.path] == 1, at_most=len(body) // 4)

    def _dated(self, body: bytes, _: str) -> None:
        validators = {"ETag": None, "Last-Modified": f"Sun, {zlib.crc32(body) % 28 + 1:02} Mar 2026 12:00:00 GMT"}
        self._ranged(body, cut=self.server.hits[self.path] == 1, if_range=False, validators=validators)

    def _shifted(self, body: bytes, _: str) -> None:
        self._ranged(body, cut=self.server.hits[self.path] == 1, shift=100)

    def _packed_rest(self, body: bytes, _: str) -> None:
        if self.server.hits[self.path] == 2:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            packed = gzip.compress(body, mtime=0)[start:]
            size = len(packed) + start
            self._send(206, packed, {"Content-Range": f"bytes {start}-{size - 1}/{size}", "Content-Encoding": "gzip"})
        else:
            self._ranged(body, cut=self.server.hits[self.path] == 1)

    def _weak(self, body: bytes, _: str) -> None:
        self._ranged(body, cut=self.server.hits[self.path] == 1, if_range=False, validators={"ETag": 'W/"same"'})

    def _gzip_cut(self, body: bytes, _: str) -> None:
        self._send(200, gzip.compress(body, mtime=0)[:-20], {"Content-Encoding": "gzip"})

    def _br(self, body: bytes, _: str) -> None:
        self._send(200, body, {"Content-Encoding": "br"})

    def _drip(self, body: bytes, _: str) -> None:
        self._send(200, b"", {"Content-Length": str(len(body))})
        try:
            for number in range(len(body)):
                self.wfile.write(body[number : number + 1])
                time.sleep(0.02)
        except OSError:
            self.close_connection = True

    def _drip_head(self, _body: bytes, _: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        self._again_and_again(b"a")

    def _continue(self, _body: bytes, _: str) -> None:
        self._again_and_again(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _again_and_again(self, data: bytes) -> None:
        self.close_connection = True
        end = time.monotonic() + 10
        while not self.server.released.wait(0.02) and time.monotonic() < end:
            self.wfile.write(data)

    def _send(self, status: int, body: bytes, headers: dict[str, str | None] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            if value is not None:
                self.send_header(key, value)
            elif key == "Content-Length":
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
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
