"""Heads and bodies that no host should send: an error of ours, in time, and nothing on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from humanst.errors import HumanstError
from humanst.fetch import fetch_section
from humanst.fetch.patience import retry_after_s
from tests.fetch.conftest import NAME, on_disk, source, study
from tests.server import FaultServer

OK = b"HTTP/1.1 200 OK\r\n"
THERE = b"HTTP/1.1 302 There\r\nContent-Length: 0\r\nLocation: "
PART = b"HTTP/1.1 206 Part\r\nContent-Length: 5\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ANSWERS = {
    "nothing": b"",
    "no http": b"220 mail.example.org ESMTP\r\n",
    "html without a head": b"<html>Please sign in</html>",
    "half a status line": b"HTTP/1.1 2",
    "strange status": b"HTTP/1.1 99999 What\r\n\r\n",
    "a head that ends in the middle": OK + b"Content-Type: text",
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "negative length": OK + b"Content-Length: -5\r\n\r\nhello",
    "length of 5000 digits": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nhello",
    "too many headers": OK + b"X-A: b\r\n" * 200 + b"\r\nhello",
    "long header": OK + b"X-A: " + b"b" * 70_000 + b"\r\n\r\nhello",
    "a part that nobody asked for": PART + b"Content-Range: bytes 0-4/9\r\n\r\nhello",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "waiting time in another script": b"HTTP/1.1 503 Busy\r\nRetry-After: \xb2\r\nContent-Length: 0\r\n\r\n",
    "waiting time without end": b"HTTP/1.1 503 Busy\r\nRetry-After: " + b"9" * 500 + b"\r\nContent-Length: 0\r\n\r\n",
    "redirect to no address": THERE + b"http://[::1\r\n\r\n",
    "redirect to nothing": THERE + b"\r\n\r\n",
    "redirect to a long name": b"HTTP/1.1 302 There\r\nLocation: https://"
    + b"a" * 300
    + b"/\r\nContent-Length: 0\r\n\r\n",
    "redirect to bytes": THERE + b"https://\xff\xfe/\r\n\r\n",
    "chunk size that is none": CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n",
    "negative chunk": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "chunk of 16 EiB": CHUNKED + b"FFFFFFFFFFFFFFFF\r\nhello\r\n",
    "chunks without an end": CHUNKED + b"5\r\nhello\r\n",
    "gzip that is none": OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
    "encoded twice": OK + b"Content-Encoding: gzip, gzip\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("kind", ANSWERS)
def test_strange_answers(server: FaultServer, cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The hardest case: a file of which nothing is on record, to be trusted as it comes."""
    monkeypatch.setenv("HUMANST_FETCH_BUDGET_S", "5")
    server.bodies[NAME] = ANSWERS[kind]
    made = study(source(server.url("raw", NAME), body=None), hosts=(server.host,))
    with pytest.raises(HumanstError) as caught:
        fetch_section(*made, pin=True)
    facts = caught.value.facts
    assert caught.value.exit_code in (6, 7, 8)
    assert facts.file == NAME
    assert facts.expected
    assert facts.found
    assert facts.todo
    assert on_disk(cache) == set()
    assert not (cache / "pins.lock.json").exists()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120.0), (" 7 ", 7.0), ("\u00b2", 0.0), ("-5", 0.0), ("9" * 500, 0.0), ("soon", 0.0), ("", 0.0)],
)
def test_waiting_times(text: str, seconds: float) -> None:
    assert retry_after_s(text) == seconds


@pytest.mark.parametrize("text", ["Thu, 01 Jan 2026 00:00:00 +9999999999", "Thu, 99 Foo 99999 99:99:99 GMT"])
def test_dates_that_are_none(text: str) -> None:
    assert retry_after_s(text) >= 0.0
