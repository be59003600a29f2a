"""Many files at once: each asked for once, several side by side, room for all asked for first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from humanst import files
from humanst.errors import HumanstError, InterruptedRun
from humanst.fetch.engine import Wanted, cache_path, expectation, fetch_file, find_shared
from humanst.fetch.receive import Progress
from humanst.fetch.stamps import trusted_sha256
from humanst.settings import Settings

DEFAULT_JOBS = 4

Fetched = tuple[Path, str] | HumanstError
Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class Planned:
    """One file before it is fetched.

    Attributes
    ----------
    state
        ``cached``; ``shared`` for one in a cache of others; ``missing``.
    bytes
        Its size on record, or of the file that is here; ``None`` where not known.
    here_bytes
        Bytes of it that need not be asked for: all of them, or those of an unfinished download.
    pinned
        Whether a digest is on record, in the catalog or from an earlier fetch.
    fault
        Why it cannot be fetched: it is unpinned, its name is not safe.
    """

    wanted: Wanted
    state: str
    bytes: int | None
    here_bytes: int
    pinned: bool = True
    fault: HumanstError | None = None

    @property
    def missing_bytes(self) -> int | None:
        """Bytes that a fetch would ask for, ``None`` where not known."""
        return None if self.bytes is None else max(self.bytes - self.here_bytes, 0)


def plan(wanted: Sequence[Wanted], settings: Settings) -> list[Planned]:
    """What a fetch of these files would do, each file once, without asking any host.

    A cached file of the right size counts as here; a fetch that finds no stamp beside it hashes it all the same.
    """
    return [_planned(item, settings) for item in {item.key: item for item in wanted}.values()]


def _planned(item: Wanted, settings: Settings) -> Planned:
    try:
        target = cache_path(settings, item.owner_id, item.source.path)
        expected = expectation(item, settings)
        if trusted_sha256(target, expected) is not None or _has_size(target, expected.bytes):
            return Planned(item, "cached", target.stat().st_size, target.stat().st_size)
        if (shared := find_shared(item, expected, settings)) is not None:
            n_bytes = shared[0].stat().st_size
            return Planned(item, "shared", n_bytes, n_bytes)
        return Planned(item, "missing", expected.bytes, files.part_bytes(target), expected.pinned)
    except HumanstError as error:
        return Planned(item, "missing", item.source.bytes, 0, False, error.located(file=item.source.path))


def _has_size(path: Path, n_bytes: int | None) -> bool:
    return n_bytes is not None and path.is_file() and path.stat().st_size == n_bytes


def require_room_for(planned: Sequence[Planned], settings: Settings) -> None:
    """Ask for the room of all files before the first is fetched; those of unknown size cannot be counted.

    Raises
    ------
    NoRoomError
        With the bytes needed and the bytes free.
    """
    # An offline run takes what is missing from folders, which may have it or not.
    need = sum(item.missing_bytes or 0 for item in planned if item.fault is None)
    if need:
        files.require_room(settings.resolved_cache_dir(), need)


def fetch_files(
    wanted: Sequence[Wanted], settings: Settings, *, jobs: int = DEFAULT_JOBS, progress: Progress | None = None
) -> dict[str, Fetched]:
    """Fetch files side by side, each once.

    Parameters
    ----------
    jobs
        How many at a time. Of some hosts fewer (:data:`humanst.fetch.host_jobs.HOST_JOBS`).
    progress
        Called from several threads, one at a time, with (key, bytes so far, bytes expected or ``None``).

    Returns
    -------
    dict
        ``<owner>/<path>`` -> (local file, sha256), or the error of a file that could not be had.

    Raises
    ------
    NoRoomError
        When the disk has no room for all files together.
    """
    require_room_for(plan(wanted, settings), settings)

    def one(item: Wanted, tell: Progress) -> tuple[Path, str]:
        return fetch_file(item, settings, progress=tell)

    return side_by_side({item.key: partial(one, item) for item in wanted}, jobs=jobs, progress=progress)


def side_by_side(
    tasks: Mapping[str, Callable[[Progress], Done]],
    *,
    jobs: int,
    progress: Progress | None = None,
    all_or_nothing: bool = False,
) -> dict[str, Done | HumanstError]:
    """Run tasks that fetch, several at a time.

    Parameters
    ----------
    tasks
        Key -> what to do, given whom to tell of its progress.
    all_or_nothing
        Whether the first failure ends the others, which keep their parts, and is raised.

    Returns
    -------
    dict
        Key -> the task's result, or its error.
    """
    stop, turn = threading.Event(), threading.Lock()

    def one(key: str) -> Done:
        def tell(_: str, n_bytes: int, total: int | None) -> None:
            if stop.is_set():
                raise InterruptedRun("Interrupted", todo="Run the same command again: it goes on where it stopped")
            if progress is not None:
                with turn:
                    progress(key, n_bytes, total)

        return tasks[key](tell)

    if jobs == 1 or len(tasks) == 1:
        return {key: _outcome(partial(one, key), all_or_nothing) for key in tasks}
    with ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="fetch") as pool:
        futures: Mapping[Future[Done], str] = {pool.submit(one, key): key for key in tasks}
        found: dict[str, Done | HumanstError] = {}
        try:
            for future in as_completed(futures):
                found[futures[future]] = _outcome(future.result, all_or_nothing)
        except BaseException:
            # What is being written ends at its next block and keeps its part.
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return {key: found[key] for key in tasks}


def _outcome(result: Callable[[], Done], all_or_nothing: bool) -> Done | HumanstError:
    try:
        return result()
    except InterruptedRun:
        raise
    except HumanstError as error:
        if all_or_nothing:
            raise
        return error
