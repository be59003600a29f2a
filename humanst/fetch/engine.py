"""Fetch one file: cache, mirrors, host, in that order; verify; place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from humanst import files
from humanst.errors import HostileError, HumanstError, IntegrityError, NetworkError
from humanst.fetch.filling import Fetching, Wanted, fill_from
from humanst.fetch.mirrors import Place, places
from humanst.fetch.owner_ids import owner_folder
from humanst.fetch.pins import read_pins, record_pin
from humanst.fetch.receive import Expected, Progress
from humanst.fetch.stamps import outside_stamp, stamp_path, trusted_sha256, verified_sha256, write_stamp
from humanst.settings import Settings

__all__ = ["Wanted", "cache_path", "expectation", "fetch_file", "find_shared", "from_anywhere"]

logger = logging.getLogger(__name__)


def cache_path(settings: Settings, owner_id: str, path: str) -> Path:
    """Where a file lies in the cache: ``<cache>/sources/<owner>/<path>``.

    Raises
    ------
    HostileError
        For an id or path that would leave its folder.
    """
    return settings.resolved_cache_dir() / "sources" / owner_folder(owner_id) / files.safe_relative_path(path)


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


def find_shared(wanted: Wanted, expected: Expected, settings: Settings) -> tuple[Path, str] | None:
    """The file in one of the caches of others (``HUMANST_SHARED_CACHE``), verified, and its sha256.

    Nothing is written there: what was hashed for want of a stamp is stamped in the own cache.
    """
    for folder in settings.shared_cache:
        path = Path(folder).expanduser() / "sources" / wanted.owner_id / files.safe_relative_path(wanted.source.path)
        try:
            known = trusted_sha256(path, expected)
            if known is None:
                known = verified_sha256(path, expected, stamp=outside_stamp(path, settings.resolved_cache_dir()))
        except PermissionError as error:
            logger.warning("%s in a shared cache cannot be read: %s", wanted.key, error)
            continue
        if known is not None:
            return path, known
        if path.exists() and expected.pinned:
            logger.warning("%s in %s is not the file on record", wanted.key, folder)
    return None


def fetch_file(
    wanted: Wanted, settings: Settings, *, progress: Progress | None = None, target: Path | None = None
) -> tuple[Path, str]:
    """Return the verified local file and its sha256, fetching it when it is not there.

    Parameters
    ----------
    target
        Where to place it instead of the cache. The caller keeps others away from it; its stamp lies in the cache.

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
    UsageError
        When its address needs a library that is not installed.
    """
    if target is not None:
        return _fetch_to(target, wanted, settings, progress, stamp=outside_stamp(target, settings.resolved_cache_dir()))
    target = cache_path(settings, wanted.owner_id, wanted.source.path)
    expected = expectation(wanted, settings)
    if (known := trusted_sha256(target, expected)) is not None:
        return target, known
    if not target.exists() and (shared := find_shared(wanted, expected, settings)) is not None:
        return shared
    with files.locked(target, what=wanted.key):
        placed = _fetch_to(target, wanted, settings, progress, stamp=stamp_path(target))
        for path in (target, stamp_path(target)):
            files.let_group_read(path, settings.resolved_cache_dir())
        return placed


def _fetch_to(
    target: Path, wanted: Wanted, settings: Settings, progress: Progress | None, *, stamp: Path
) -> tuple[Path, str]:
    expected = expectation(wanted, settings)
    if (known := verified_sha256(target, expected, stamp=stamp)) is not None:
        files.remove_parts(target.parent, target.name)
        return target, known
    if target.exists() and expected.pinned:
        logger.warning("%s in the cache is not the file on record: fetching it again", wanted.key)
    files.sweep_partials(target.parent)
    if expected.bytes is not None:
        files.require_room(target.parent, expected.bytes - files.part_bytes(target))
    with files.write_part(target, md5=expected.md5 is not None) as part:
        from_anywhere(Fetching(wanted, expected, settings, part, progress), _fill_and_pin)
    write_stamp(target, part.sha256, md5=part.md5, stamp=stamp)
    return target, part.sha256


def from_anywhere(job: Fetching, fill: Callable[[Place, Fetching], None]) -> None:
    """Fill the part from the first place that has what is on record.

    Raises
    ------
    HumanstError
        What weighs most of the faults of all places.
    """
    faults: list[tuple[str, HumanstError]] = []
    wanted, settings = job.wanted, job.settings
    for place in places(wanted.owner_id, wanted.source, wanted.hosts, settings):
        if place.url is not None and settings.offline:
            continue
        try:
            fill(place, job)
        except (IntegrityError, NetworkError, HostileError) as error:
            level = logging.INFO if error.facts.code == "not-found" else logging.WARNING
            logger.log(level, "%s: %s: %s", wanted.key, place.label, error)
            faults.append((place.label, error))
        else:
            return
    raise _verdict(wanted, faults, settings)


def _fill_and_pin(place: Place, job: Fetching) -> None:
    fill_from(place, job)
    if not job.expected.pinned:
        cache, part = job.settings.resolved_cache_dir(), job.part
        record_pin(cache, job.wanted.key, sha256=part.sha256, n_bytes=part.n_bytes, origin=place.label)


def _verdict(wanted: Wanted, faults: list[tuple[str, HumanstError]], settings: Settings) -> HumanstError:
    """What to say when no place gave the file: wrong bytes weigh more than a refusal, a refusal more than absence."""
    tried = "; ".join(f"{label}: {error.facts.code}" for label, error in faults)
    for kind in (IntegrityError, HostileError):
        for _, error in faults:
            if isinstance(error, kind):
                # One place whose address stands in what was found need not be named again.
                known = len(faults) == 1 and faults[0][0] in str(error.facts.found)
                done = error.facts.done or "Nothing was placed"
                error.facts = replace(error.facts, done=done if known else f"{done} (tried {tried})")
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
    told = [error for _, error in faults if error.facts.code != "not-found"]
    if wanted.source.url is None and not told:
        return NetworkError(
            "This file has no public address, and no mirror has it",
            code="no-address",
            found=tried or "no mirror set",
            todo=f"Set HUMANST_MIRROR to a folder or URL that holds {wanted.key}",
            **where,
        )
    if len(faults) == 1 or (wanted.source.url is None and len(told) == 1):
        return (told[0] if told else faults[0][1]).located(file=wanted.source.path, done="Nothing was placed")
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
