"""Parts of a large file: runs of bytes asked for by Range, every member in them checked by its own hash.

A piece is the runs laid end to end in one file. It is filled like any download, going on where an earlier process
stopped, and gets its name only when each of its members is the one on record.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from humanst import files
from humanst.errors import IntegrityError, NetworkError
from humanst.fetch.backends import is_object_store, resolved_url
from humanst.fetch.download import Answer, RestartError, Resume, stream
from humanst.fetch.engine import from_anywhere
from humanst.fetch.filling import Fetching, Wanted
from humanst.fetch.host_jobs import host_slot
from humanst.fetch.mirrors import Place
from humanst.fetch.patience import TransientError, with_patience
from humanst.fetch.receive import Expected, Progress
from humanst.settings import Settings

if TYPE_CHECKING:
    import requests

Member = tuple[int, int, str]
"""Offset and length in the file, and the blake2b-64 hex digest of the bytes there."""


class NoRangesError(Exception):
    """The host gives whole files only."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of bytes of one file, ascending and apart, as they lie end to end in a piece.

    Attributes
    ----------
    spans
        ``(start, stop)`` in the file.
    bases
        Where each begins in the piece.
    """

    spans: tuple[tuple[int, int], ...]
    bases: tuple[int, ...]

    @classmethod
    def of(cls, spans: Sequence[tuple[int, int]]) -> Runs:
        """Lay runs end to end."""
        bases, position = [], 0
        for start, stop in spans:
            bases.append(position)
            position += stop - start
        return cls(tuple(spans), tuple(bases))

    @property
    def n_bytes(self) -> int:
        """Bytes of all runs together."""
        return sum(stop - start for start, stop in self.spans)

    def locate(self, offset: int) -> int:
        """Where a byte of the file lies in the piece; it must be in one of the runs."""
        number = bisect_right(self.spans, offset, key=lambda span: span[0]) - 1
        return self.bases[number] + offset - self.spans[number][0]

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        return ((start, stop, base) for (start, stop), base in zip(self.spans, self.bases, strict=True))


@dataclass(frozen=True, slots=True)
class Piece:
    """What is wanted of one file.

    Attributes
    ----------
    wanted
        The file.
    runs
        The bytes to ask for.
    members
        All that is checked, ascending by offset, each inside one run.
    """

    wanted: Wanted
    runs: Runs
    members: tuple[Member, ...]

    def name(self) -> str:
        """A name that stands for these runs and members of this file and no others."""
        content = [self.wanted.key, self.wanted.source.sha256, self.runs.spans, self.members]
        digest = hashlib.blake2b(repr(content).encode(), digest_size=8).hexdigest()
        return f"{Path(self.wanted.source.path).stem}-{digest}"

    def first_wrong(self, read: Callable[[int, int], bytes], begin: int, end: int) -> Member | None:
        """The first member between two positions of the piece, ends of runs, that is not the one on record."""
        first = bisect_left(self.members, begin, key=lambda member: self.runs.locate(member[0]))
        for member in self.members[first:]:
            offset, length, digest = member
            position = self.runs.locate(offset)
            if position + length > end:
                break
            if hashlib.blake2b(read(position, length), digest_size=8).hexdigest() != digest:
                return member
        return None

    def is_at(self, path: Path) -> bool:
        """Whether a file is this piece, every member of it."""
        if not path.is_file() or path.stat().st_size != self.runs.n_bytes:
            return False
        with path.open("rb") as handle:

            def read(position: int, length: int) -> bytes:
                handle.seek(position)
                return handle.read(length)

            return self.first_wrong(read, 0, self.runs.n_bytes) is None


def fetch_piece(piece: Piece, target: Path, settings: Settings, *, progress: Progress | None = None) -> None:
    """Place a piece at ``target``, going on with what an earlier process left of it.

    Raises
    ------
    NoRangesError
        When a place has the file, but gives it as a whole only.
    IntegrityError
        When a member is not the one on record.
    NetworkError, HostileError, NoRoomError, UsageError
        See :func:`humanst.fetch.engine.fetch_file`.
    """
    with files.locked(target, what=piece.wanted.key):
        if piece.is_at(target):
            return
        files.sweep_partials(target.parent)
        files.require_room(target.parent, piece.runs.n_bytes - files.part_bytes(target))
        with files.write_part(target) as part:
            expected = Expected(piece.runs.n_bytes, None, None)
            from_anywhere(Fetching(piece.wanted, expected, settings, part, progress), partial(_fill, piece))


def _fill(piece: Piece, place: Place, job: Fetching) -> None:
    from humanst.fetch.connections import guarded_session

    if place.path is not None:
        job.part.restart()
        _copy(piece, place.path, place, job)
        return
    if is_object_store(place.url or ""):
        raise NoRangesError
    url = resolved_url(place.url or "")

    def attempt(deadline: float) -> str:
        _take_up(piece, job)
        allow = job.settings.allow_loopback_http
        with guarded_session(deadline, own_hosts=place.own_hosts, allow_loopback=allow) as session:
            _ask_for_runs(url, piece, place, job, deadline, session)
        return ""

    with host_slot(url):
        with_patience(job.patience, attempt, reached=lambda: job.part.n_bytes)


def _take_up(piece: Piece, job: Fetching) -> None:
    """Go on with what is there, if it is of this piece and right as far as it goes; else begin from zero."""
    note = {"piece": piece.name()}
    n_bytes = job.part.take_up() if job.part.note == note else 0
    if n_bytes == 0 or n_bytes > piece.runs.n_bytes or piece.first_wrong(job.part.read_at, 0, n_bytes) is not None:
        job.part.restart()
        job.part.remember(note)


def _copy(piece: Piece, path: Path, place: Place, job: Fetching) -> None:
    try:
        with path.open("rb") as handle:
            for start, stop, base in piece.runs:
                handle.seek(start)
                while (left := base + stop - start - job.part.n_bytes) > 0:
                    block = handle.read(min(left, files.CHUNK_BYTES))
                    if not block:
                        raise job.receiver(place).fault("body-short", f"bytes up to {stop:,}", "the end of the file")
                    job.receiver(place).write(block)
                _check_run(piece, base, base + stop - start, place, job)
    except OSError as error:
        absent = isinstance(error, FileNotFoundError | NotADirectoryError)
        raise NetworkError(
            "This place has no such file" if absent else "The file cannot be read",
            code="not-found" if absent else "mirror-unreadable",
            expected="the file",
            found=f"{error.strerror or error} in {place.label}",
        ) from error


def _ask_for_runs(
    url: str, piece: Piece, place: Place, job: Fetching, deadline: float, session: requests.Session
) -> None:
    here = job.part.n_bytes
    for start, stop, base in piece.runs:
        end = base + stop - start
        if job.part.n_bytes >= end:
            continue
        gone_on_with = base < here
        _ask_for_run(url, Resume(start + job.part.n_bytes - base, None, stop), place, job, deadline, session)
        try:
            _check_run(piece, base, end, place, job)
        except IntegrityError as error:
            # Two halves of one run may be of two files: once more from zero before anybody is blamed.
            if gone_on_with:
                raise TransientError(error) from error
            raise


def _ask_for_run(
    url: str, resume: Resume, place: Place, job: Fetching, deadline: float, session: requests.Session
) -> None:
    receiver = job.receiver(place)
    left = (resume.stop or 0) - resume.offset

    def begin(answer: Answer) -> None:
        if not answer.is_part:
            raise NoRangesError

    def write(data: bytes) -> None:
        nonlocal left
        left -= len(data)
        if left < 0:
            raise NoRangesError
        receiver.write(data)

    try:
        stream(
            url,
            write,
            hosts=place.hosts,
            patience=job.patience,
            deadline=deadline,
            allow_loopback_http=job.settings.allow_loopback_http,
            resume=resume,
            begin=begin,
            session=session,
        )
    except RestartError:
        # It gave other bytes than asked for. The whole file, judged by its hash, says what is wrong.
        raise NoRangesError from None
    if left > 0:
        raise TransientError(receiver.fault("body-short", "the bytes asked for", f"{left:,} bytes fewer"))


def _check_run(piece: Piece, begin: int, end: int, place: Place, job: Fetching) -> None:
    wrong = piece.first_wrong(job.part.read_at, begin, end)
    if wrong is None:
        return
    offset, length, digest = wrong
    found = hashlib.blake2b(job.part.read_at(piece.runs.locate(offset), length), digest_size=8).hexdigest()
    job.part.restart()
    raise IntegrityError(
        "The bytes are not the bytes on record",
        code="hash-differs",
        file=piece.wanted.source.path,
        field=f"bytes {offset:,} to {offset + length:,}",
        expected=f"blake2b {digest}",
        found=f"blake2b {found} from {place.label}",
        done="Nothing was placed",
        todo="Try again later or set HUMANST_MIRROR",
    )
