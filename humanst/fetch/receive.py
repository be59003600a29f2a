"""Receive bytes into the part of a file, and judge them before it gets its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from humanst.errors import IntegrityError
from humanst.files import PartFile

Progress = Callable[[str, int, int | None], None]
_HEAD_BYTES = 512


@dataclass(frozen=True, slots=True)
class Expected:
    """What is on record of a file: size in bytes and digests, ``None`` where not known."""

    bytes: int | None
    sha256: str | None
    md5: str | None

    @property
    def pinned(self) -> bool:
        """Whether a digest is on record."""
        return self.sha256 is not None or self.md5 is not None


def looks_like_html(head: bytes) -> bool:
    """Whether a body starts like an HTML page: a login or error page served as success."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head"))


class Receiver:
    """Bounds and judges what is written to a part.

    Parameters
    ----------
    part
        The file being written.
    expected
        What is on record of it.
    name
        Its catalog path, for messages.
    origin
        Where the bytes come from, for messages.
    progress
        Called with (name, bytes so far, bytes expected or ``None``).
    """

    def __init__(
        self, part: PartFile, expected: Expected, *, name: str, origin: str, progress: Progress | None = None
    ) -> None:
        self._part = part
        self._expected = expected
        self._name = name
        self._origin = origin
        self._progress = progress

    @property
    def n_bytes(self) -> int:
        """Bytes received so far."""
        return self._part.n_bytes

    @property
    def sha256(self) -> str:
        """Hex digest of everything received so far."""
        return self._part.sha256

    @property
    def is_html(self) -> bool:
        """Whether an HTML page came instead of the file."""
        return looks_like_html(self._part.head(_HEAD_BYTES)) and not self.is_named_html

    @property
    def is_named_html(self) -> bool:
        """Whether the file on record is an HTML page itself."""
        return self._name.lower().endswith((".html", ".htm"))

    def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises
        ------
        IntegrityError
            As soon as more came than is on record.
        """
        self._part.write(data)
        if self._expected.bytes is not None and self.n_bytes > self._expected.bytes:
            raise self.fault(
                "body-too-long", f"{self._expected.bytes:,} bytes", f"more than {self.n_bytes - 1:,} bytes"
            )
        if self._progress is not None:
            self._progress(self._name, self.n_bytes, self._expected.bytes)

    def check(self) -> None:
        """Judge the whole body.

        Raises
        ------
        IntegrityError
            When it is not the file on record, or when an HTML page came instead of a file without record.
        """
        expected = self._expected
        if expected.bytes is not None and self.n_bytes != expected.bytes:
            raise self.fault("body-short", f"{expected.bytes:,} bytes", f"{self.n_bytes:,} bytes")
        if expected.sha256 is not None and self.sha256 != expected.sha256:
            raise self.fault("hash-differs", f"sha256 {expected.sha256}", f"sha256 {self.sha256}")
        if expected.md5 is not None and self._part.md5 != expected.md5:
            raise self.fault("hash-differs", f"md5 {expected.md5}", f"md5 {self._part.md5}")
        if not expected.pinned and self.is_html:
            raise self.fault("html-page", "the file itself", f"{self.n_bytes:,} bytes")

    def html_instead_of_rest(self, offset: int) -> IntegrityError:
        """The error for an HTML page that came where the rest of a file was asked for: what is here is kept."""
        return IntegrityError(
            "An HTML page came instead of the rest of the file",
            code="html-instead-of-rest",
            file=self._name,
            expected=f"the bytes from {offset:,} on",
            found=f"an HTML page from {self._origin}",
            done="What was fetched before is kept aside",
            todo="Log in to the network, or try again later, or set HUMANST_MIRROR",
        )

    def endless(self) -> IntegrityError:
        """The error for a body without a length or chunks, of a file of which nothing is on record."""
        return IntegrityError(
            "Nobody can tell whether this file comes whole",
            code="no-length",
            file=self._name,
            field="bytes",
            expected="a size or hash on record, or a host that says how long the file is",
            found=f"neither, from {self._origin}",
            done="Nothing was placed",
            todo="Add the file's bytes to the catalog, or set HUMANST_MIRROR",
        )

    def fault(self, code: str, expected: str, found: str) -> IntegrityError:
        """The error for a body that is not the file on record; says so when it looks like an HTML page."""
        html = self.is_html
        return IntegrityError(
            "An HTML page came instead of the file" if html else "The bytes are not the bytes on record",
            code="html-page" if html else code,
            file=self._name,
            field="bytes" if "bytes" in expected else "sha256" if "sha256" in expected else "md5",
            expected=expected,
            found=f"{found} from {self._origin}" + (", which look like an HTML page" if html else ""),
            done="Nothing was placed",
            todo="Try again later or set HUMANST_MIRROR; if the host changed the file, correct the catalog",
        )
