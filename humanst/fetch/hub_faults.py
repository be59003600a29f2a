"""What the Hub answers when it does not do as asked, as errors of ours that never show the token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from humanst.errors import HumanstError, NetworkError
from humanst.fetch.patience import TransientError

ENDPOINT = "https://huggingface.co"
_BUSY = frozenset({408, 429, 500, 502, 503, 504})


@contextmanager
def hub_faults(errors: Any, repository: str, token: str, *, transient: bool) -> Iterator[None]:
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
    TransientError
        The same where it may pass, if ``transient``.
    """
    base = next(kind for kind in errors.HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
    try:
        yield
    except (base, errors.OfflineModeIsEnabled, OSError, RuntimeError, ValueError) as error:
        status = _status(error)
        told = _told(error, status, repository, token)
        if transient and (status in _BUSY or (status is None and isinstance(error, (base, OSError, RuntimeError)))):
            raise TransientError(told) from None
        raise told from None


def _told(error: BaseException, status: int | None, repository: str, token: str) -> HumanstError:
    found = f"{f'HTTP {status}, ' if status else ''}{type(error).__name__}: {error}"
    found = " ".join(found.replace(token, "***").split())[:400]
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
        found=found,
        done="What was sent is not sent again",
        todo=todo,
    )


def _status(error: BaseException | None) -> int | None:
    """The HTTP status behind an error, or behind its cause: what fails in a thread comes wrapped."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            return int(status)
        error = error.__cause__
    return None
