"""Fetch one file: cache, mirrors, host, in that order; verify; place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from humanst import files
from humanst.catalog import Source
from humanst.errors import HostileError, HumanstError, IntegrityError, NetworkError
from humanst.fetch.download import Patience, TransientError, stream, with_patience
from humanst.fetch.mirrors import Place, places
from humanst.fetch.pins import read_pins, record_pin
from humanst.fetch.receive import Expected, Progress, Receiver
from humanst.fetch.stamps import verified_sha256, write_stamp
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


def cache_path(settings: Settings, owner_id: str, path: str) -> Path:
    """Where a file lies in the cache: ``<cache>/sources/<owner>/<path>``.

    Raises
    ------
    HostileError
        For an id or path that would leave its folder.
    """
    owner = files.safe_relative_path(owner_id)
    if len(owner.parts) != 1:
        raise HostileError("An id must be one folder name", code="unsafe-id", found=repr(owner_id))
    return settings.resolved_cache_dir() / "sources" / owner / files.safe_relative_path(path)


def expectation(wanted: Wanted, settings: Settings) -> Expected:
    """What is on record of a file: the catalog's digests, else the pin of an earlier fetch.

    Raises
    ------
    IntegrityError
        ``unpinned`` when neither has one and pinning was not asked for.
    """
    source = wanted.source
    if source.pinned:
        return Expected(source.bytes, source.sha256, source.md5)
    pinned = read_pins(settings.resolved_cache_dir()).get(wanted.key)
    if pinned is not None:
        return Expected(int(pinned["bytes"]), str(pinned["sha256"]), None)
    if not wanted.pin:
        raise IntegrityError(
            "No hash is on record for this file",
            code="unpinned",
            file=source.path,
            field="sha256",
            expected="a sha256 or md5 in the catalog, or a pin from an earlier fetch",
            found="neither",
            done="It was not fetched",
            todo="Run again with --pin to trust this download and check every later one against it",
        )
    return Expected(source.bytes, None, None)


def fetch_file(wanted: Wanted, settings: Settings, *, progress: Progress | None = None) -> tuple[Path, str]:
    """Return the verified local file and its sha256, fetching it when it is not there.

    Raises
    ------
    IntegrityError
        When some place had the file, but none with the bytes on record; when it is unpinned.
    NetworkError
        When no place had it, or humanst is offline.
    HostileError
        When an id, a path or an address is not safe and no other place had the file.
    NoRoomError
        When the disk is full.
    """
    target = cache_path(settings, wanted.owner_id, wanted.source.path)
    expected = expectation(wanted, settings)
    if (known := verified_sha256(target, expected)) is not None:
        return target, known
    with files.locked(target, what=wanted.key):
        expected = expectation(wanted, settings)
        if (known := verified_sha256(target, expected)) is not None:
            return target, known
        if target.exists() and expected.pinned:
            logger.warning("%s in the cache is not the file on record: fetching it again", wanted.key)
        files.sweep_partials(target.parent)
        sha256 = _from_anywhere(wanted, target, expected, settings, progress)
        write_stamp(target, sha256)
        return target, sha256


def _from_anywhere(
    wanted: Wanted, target: Path, expected: Expected, settings: Settings, progress: Progress | None
) -> str:
    if expected.bytes is not None:
        files.require_room(target.parent, expected.bytes)
    faults: list[tuple[str, HumanstError]] = []
    candidates = places(wanted.owner_id, wanted.source, wanted.hosts, settings)
    for place in candidates:
        if place.url is not None and settings.offline:
            continue
        try:
            return _from_place(place, wanted, target, expected, settings, progress)
        except (IntegrityError, NetworkError, HostileError) as error:
            level = logging.INFO if error.facts.code == "not-found" else logging.WARNING
            logger.log(level, "%s: %s: %s", wanted.key, place.label, error)
            faults.append((place.label, error))
    raise _verdict(wanted, faults, settings)


def _from_place(
    place: Place,
    wanted: Wanted,
    target: Path,
    expected: Expected,
    settings: Settings,
    progress: Progress | None,
) -> str:
    def attempt(pump: Callable[[Receiver], None]) -> str:
        with files.write_aside(target) as aside:
            name = wanted.source.path
            receiver = Receiver(aside, expected, name=name, origin=place.label, progress=progress)
            pump(receiver)
            receiver.check()
            if not expected.pinned:
                cache = settings.resolved_cache_dir()
                record_pin(cache, wanted.key, sha256=receiver.sha256, n_bytes=receiver.n_bytes, origin=place.label)
        return receiver.sha256

    if place.path is not None:
        path = place.path
        return attempt(lambda receiver: _copy(path, place.label, receiver))
    return with_patience(
        _patience(expected),
        lambda deadline: attempt(lambda receiver: _load(place, expected, settings, deadline, receiver)),
    )


def _patience(expected: Expected) -> Patience:
    if expected.bytes is None:
        return Patience(backoff_s=BACKOFF_S)
    return Patience(backoff_s=BACKOFF_S, budget_s=_BUDGET_BASE_S + expected.bytes / _BUDGET_BYTES_PER_S)


def _copy(path: Path, label: str, receiver: Receiver) -> None:
    for block in _blocks(path, label):
        receiver.write(block)


def _blocks(path: Path, label: str) -> Iterator[bytes]:
    try:
        with path.open("rb") as handle:
            while block := handle.read(files.CHUNK_BYTES):
                yield block
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise NetworkError(
            "The mirror has no such file",
            code="not-found",
            expected="the file in the mirror",
            found=f"{type(error).__name__} in {label}",
        ) from error
    except OSError as error:
        raise NetworkError(
            "The mirror's file cannot be read",
            code="mirror-unreadable",
            expected="a file that can be read",
            found=f"{error.strerror or error} in {label}",
        ) from error


def _load(place: Place, expected: Expected, settings: Settings, deadline: float, receiver: Receiver) -> None:
    stream(
        place.url or "",
        receiver.write,
        hosts=place.hosts,
        patience=_patience(expected),
        deadline=deadline,
        allow_loopback_http=settings.allow_loopback_http,
    )
    short = expected.bytes is not None and receiver.n_bytes < expected.bytes
    if short and not receiver.is_html:
        # Without a Content-Length nothing but the record can tell that a body was cut.
        raise TransientError(receiver.fault("body-short", f"{expected.bytes:,} bytes", f"{receiver.n_bytes:,} bytes"))


def _verdict(wanted: Wanted, faults: list[tuple[str, HumanstError]], settings: Settings) -> HumanstError:
    """What to say when no place gave the file: wrong bytes weigh more than a refusal, a refusal more than absence."""
    tried = "; ".join(f"{label}: {error.facts.code}" for label, error in faults)
    for kind in (IntegrityError, HostileError):
        for _, error in faults:
            if isinstance(error, kind):
                done = error.facts.done or "Nothing was placed"
                error.facts = replace(error.facts, done=f"{done} (tried {tried})")
                return error.located(file=wanted.source.path)
    where = {"file": wanted.source.path, "expected": f"{wanted.key} in a mirror or at its host"}
    if settings.offline:
        return NetworkError(
            "humanst is offline and this file is not here",
            code="offline",
            found=f"not in the cache, and not in {_mirrors(settings)}",
            todo="Fetch it on a machine with a connection, or set HUMANST_MIRROR to a folder that has it",
            **where,
        )
    if wanted.source.url is None:
        return NetworkError(
            "This file has no public address, and no mirror has it",
            code="no-address",
            found=tried or "no mirror set",
            todo=f"Set HUMANST_MIRROR to a folder or URL that holds {wanted.key}",
            **where,
        )
    if len(faults) == 1:
        return faults[0][1].located(file=wanted.source.path, done="Nothing was placed")
    return NetworkError(
        "No place gave this file",
        code=faults[-1][1].facts.code,
        found=tried,
        done="Nothing was placed",
        todo="Check the connection and HUMANST_MIRROR, and run the same command again",
        **where,
    )


def _mirrors(settings: Settings) -> str:
    return ", ".join(settings.mirror) or "any mirror (none is set)"
