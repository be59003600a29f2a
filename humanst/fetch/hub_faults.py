"""What goes wrong while a release is sent to the Hub, as errors of ours that never show the token."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from humanst.errors import HumanstError, IntegrityError, NetworkError, UsageError
from humanst.fetch.patience import TransientError

ENDPOINT = "https://huggingface.co"
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
# What a disk says that cannot be read, without the name of a file.
_OF_A_DISK = frozenset({errno.EIO, errno.ENXIO, errno.ESTALE})


@dataclass(frozen=True, slots=True)
class Place:
    """What is sent where: the data set, its branch, the token, and the local path of each file -> its path there."""

    repository: str
    revision: str
    token: str
    names: Mapping[str, str]


@contextmanager
def hub_faults(errors: Any, place: Place, *, transient: bool) -> Iterator[None]:
    """Raise errors of the library as ours.

    Parameters
    ----------
    errors
        The module ``huggingface_hub.errors``.
    transient
        Whether those that pass are raised as ones to be tried again.

    Raises
    ------
    NetworkError
        What the Hub said, with ``***`` in the place of the token.
    UsageError
        ``no-branch`` when the data set has no such branch.
    IntegrityError
        ``unreadable`` when it was a file here that failed.
    TransientError
        A network error that may pass, if ``transient``.
    """
    base = next(kind for kind in errors.HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
    try:
        yield
    except (base, errors.OfflineModeIsEnabled, OSError, RuntimeError, ValueError) as error:
        if _is_local(error, base):
            raise unreadable(_name(error, place.names), _text(error, place.token)) from None
        if any(isinstance(one, errors.RevisionNotFoundError) for one in _chain(error)):
            raise _no_branch(error, place) from None
        status = _status(error)
        told = _told(error, status, place)
        if transient and (status in _BUSY or (status is None and isinstance(error, (base, OSError, RuntimeError)))):
            raise TransientError(told) from None
        raise told from None


def unreadable(name: str | None, found: str) -> HumanstError:
    """The error for a file of the release that cannot be read."""
    return IntegrityError(
        "A file of the release cannot be read",
        code="unreadable",
        file=name,
        expected="the file that was checked",
        found=found,
        done="The release was not sent whole: its manifest comes last",
        todo="Look at the disk and run the same command again: what was sent is not sent again",
    )


def _is_local(error: BaseException, network: type[BaseException]) -> bool:
    """Whether it was a file here that failed; below an error of the network lie those of sockets."""
    for one in _chain(error):
        if isinstance(one, network):
            return False
        if isinstance(one, OSError) and (one.filename is not None or one.errno in _OF_A_DISK):
            return True
    return False


def _name(error: BaseException, names: Mapping[str, str]) -> str | None:
    """Which file it was, as far as what is said tells."""
    said = [str(one) for one in _chain(error)]
    found = (name for path, name in names.items() if any(f"'{path}'" in text or f"'{name}'" in text for text in said))
    return next(found, None)


def _no_branch(error: BaseException, place: Place) -> HumanstError:
    return UsageError(
        "The data set has no such branch",
        code="no-branch",
        field="--to",
        expected=f"a branch of {place.repository}",
        found=f"{place.revision!r} ({_text(error, place.token)})",
        done="Nothing was sent",
        todo="Make the branch first, or leave @BRANCH out for main",
    )


def _told(error: BaseException, status: int | None, place: Place) -> HumanstError:
    repository = place.repository
    what, code, todo = {
        401: ("The Hub does not take the token", "not-allowed", f"Export a token that may write to {repository}"),
        403: ("The token may not write there", "not-allowed", f"Export a token that may write to {repository}"),
        404: ("There is no such data set", "not-found", f"Make it first, with its visibility: {ENDPOINT}/new-dataset"),
        409: ("Somebody else changed the data set meanwhile", "changed-meanwhile", "Look at it, and run it again"),
        412: ("Somebody else changed the data set meanwhile", "changed-meanwhile", "Look at it, and run it again"),
    }.get(status or 0, ("The Hub did not take it", "unreachable", "Run the same command again: it goes on"))
    return NetworkError(
        what,
        code=code,
        field="--to",
        expected=f"the data set {repository}",
        found=f"{f'HTTP {status}, ' if status else ''}{_text(error, place.token)}",
        done="What was sent is not sent again",
        todo=todo,
    )


def _text(error: BaseException, token: str) -> str:
    """What an error says, on one line and without the token."""
    behind = [error.__cause__] if isinstance(error, RuntimeError) and error.__cause__ is not None else []
    said = ": ".join(f"{type(one).__name__}: {one}" for one in (error, *behind))
    return " ".join(said.replace(token, "***").split())[:400]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it: what fails in a thread comes wrapped."""
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error."""
    for one in _chain(error):
        status = getattr(getattr(one, "response", None), "status_code", None)
        if status is not None:
            return int(status)
    return None
