"""Fill the part of one file from one place: copy it, or download it, going on with what is there already."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from humanst import files
from humanst.catalog import Source
from humanst.errors import IntegrityError, NetworkError
from humanst.fetch.backends import is_object_store, read_object, resolved_url
from humanst.fetch.download import Answer, RestartError, Resume, stream
from humanst.fetch.host_jobs import host_slot
from humanst.fetch.mirrors import Place
from humanst.fetch.patience import Patience, TransientError, with_patience
from humanst.fetch.receive import Expected, Progress, Receiver
from humanst.settings import Settings

logger = logging.getLogger(__name__)

BACKOFF_S = 0.5
_BUDGET_BASE_S = 600.0
_BUDGET_BYTES_PER_S = 100_000.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file to fetch.

    Attributes
    ----------
    owner_id
        Study or resource id: its folder in cache and mirrors.
    source
        The file.
    hosts
        Hosts that may be asked for it.
    pin
        Whether to trust and pin the first download of a file without a digest.
    """

    owner_id: str
    source: Source
    hosts: tuple[str, ...]
    pin: bool

    @property
    def key(self) -> str:
        """``<owner>/<path>``."""
        return f"{self.owner_id}/{self.source.path}"


@dataclass(frozen=True, slots=True)
class Fetching:
    """One file on its way: what is wanted, what is on record of it, and the part that is being filled."""

    wanted: Wanted
    expected: Expected
    settings: Settings
    part: files.PartFile
    progress: Progress | None

    def receiver(self, place: Place) -> Receiver:
        """What takes and judges the bytes of one place."""
        return Receiver(
            self.part, self.expected, name=self.wanted.source.path, origin=place.label, progress=self.progress
        )

    @property
    def patience(self) -> Patience:
        """How long to try: the setting, else by the file's size."""
        budget_s = self.settings.fetch_budget_s
        if budget_s is None:
            budget_s = _BUDGET_BASE_S + (self.expected.bytes or 300_000_000) / _BUDGET_BYTES_PER_S
        return Patience(backoff_s=BACKOFF_S, budget_s=budget_s)


def fill_from(place: Place, job: Fetching) -> None:
    """Fill the part with the whole file from one place, and judge it.

    Raises
    ------
    IntegrityError
        When it is not the file on record. A part that was gone on with is first fetched once more from zero.
    NetworkError, HostileError
        When the place does not give it.
    UsageError
        When the place needs a library that is not installed.
    """
    try:
        if place.path is not None:
            _fill_with(_blocks(place.path, place.label), job.receiver(place), job.part)
        elif is_object_store(place.url or ""):
            _fill_with(read_object(place.url or "", place.hosts), job.receiver(place), job.part)
        else:
            url = resolved_url(place.url or "")
            with host_slot(url):
                with_patience(
                    job.patience, lambda deadline: _attempt(url, place, job, deadline), reached=lambda: job.part.n_bytes
                )
    except IntegrityError as error:
        if error.facts.code not in _WORTH_KEEPING:
            job.part.restart()
        raise


# What a part may be gone on with after: the bytes that are there may well be right.
_WORTH_KEEPING = frozenset({"body-short", "html-instead-of-rest"})


def _fill_with(blocks: Iterator[bytes], receiver: Receiver, part: files.PartFile) -> None:
    first = next(blocks, b"")
    # Only a place that has the file costs what another place gave of it.
    part.restart()
    if first:
        receiver.write(first)
    for block in blocks:
        receiver.write(block)
    receiver.check()


def _attempt(url: str, place: Place, job: Fetching, deadline: float) -> str:
    resume = _resume(url, job)
    if resume is not None:
        try:
            if resume.offset != job.expected.bytes:
                _load(url, place, job, deadline, resume)
            job.receiver(place).check()
        except RestartError:
            logger.info("%s: the host cannot go on from byte %d: beginning again", job.wanted.key, resume.offset)
        except IntegrityError as error:
            if error.facts.code in _WORTH_KEEPING:
                raise
            logger.warning("%s: what was gone on with is not the file on record: once more from zero", job.wanted.key)
        else:
            return job.part.sha256
        job.part.restart()
    _load(url, place, job, deadline, None)
    job.receiver(place).check()
    return job.part.sha256


def _resume(url: str, job: Fetching) -> Resume | None:
    """Where to go on, if there is something to go on with.

    Without a validator of this very address only a digest on record can tell that the halves belong together.
    """
    note = job.part.note
    same = note.get("url") == url
    validator = note.get("validator") if same else None
    usable = bool(note) and not note.get("encoded") and (validator is not None or job.expected.pinned)
    offset = job.part.take_up() if usable else 0
    too_long = job.expected.bytes is not None and offset > job.expected.bytes
    if offset == 0 or too_long:
        job.part.restart()
        return None
    return Resume(offset, validator)


def _load(url: str, place: Place, job: Fetching, deadline: float, resume: Resume | None) -> None:
    receiver, part, expected = job.receiver(place), job.part, job.expected

    whole_bytes = expected.bytes

    def begin(answer: Answer) -> None:
        nonlocal whole_bytes
        whole_bytes = whole_bytes or answer.total
        if not answer.says_its_end and whole_bytes is None and not expected.pinned:
            raise receiver.endless()
        if answer.offset > 0:
            return
        if resume is not None and answer.is_html and not receiver.is_named_html:
            raise receiver.html_instead_of_rest(resume.offset)
        part.restart()
        part.keep = not answer.encoded and (answer.validator is not None or expected.pinned)
        part.remember({"url": url, "validator": answer.validator, "encoded": answer.encoded})

    stream(
        url,
        receiver.write,
        hosts=place.hosts,
        own_hosts=place.own_hosts,
        patience=job.patience,
        deadline=deadline,
        allow_loopback_http=job.settings.allow_loopback_http,
        resume=resume,
        begin=begin,
    )
    short = whole_bytes is not None and receiver.n_bytes < whole_bytes
    if short and not receiver.is_html:
        # Without a Content-Length nothing but the record can tell that a body was cut.
        raise TransientError(receiver.fault("body-short", f"{whole_bytes:,} bytes", f"{receiver.n_bytes:,} bytes"))


def _blocks(path: Path, label: str) -> Iterator[bytes]:
    try:
        files.require_plain(path)
        with path.open("rb") as handle:
            while block := handle.read(files.CHUNK_BYTES):
                yield block
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise NetworkError(
            "The mirror has no such file",
            code="not-found",
            expected="the file in the mirror",
            found=f"{type(error).__name__} in {label}",
            todo="Put it there, or correct HUMANST_MIRROR",
        ) from error
    except OSError as error:
        raise NetworkError(
            "The mirror's file cannot be read",
            code="mirror-unreadable",
            expected="a file that can be read",
            found=f"{error.strerror or error} in {label}",
            todo="Check the folder and its rights, or correct HUMANST_MIRROR",
        ) from error
