"""The errors of one download, each written once."""

from __future__ import annotations

from humanst.errors import IntegrityError, NetworkError


def unreachable(url: str, error: Exception) -> NetworkError:
    """Say that no answer came: ``unreachable``."""
    return NetworkError(
        "The host could not be reached",
        code="unreachable",
        expected=f"an answer from {url}",
        found=f"{type(error).__name__}: {error}",
        todo="Check the connection, proxy and mirrors, and run the same command again",
    )


def too_slow(url: str, n_bytes: int) -> NetworkError:
    """Say that the time is up: ``time-budget``."""
    return NetworkError(
        "The download took longer than its time budget",
        code="time-budget",
        expected="the whole file within the budget",
        found=f"{n_bytes:,} bytes from {url}",
        done="Nothing was placed",
        todo="Run the same command again, or set HUMANST_MIRROR to a faster host",
    )


def short_body(url: str, length: str | None, n_bytes: int) -> IntegrityError:
    """Say that the connection ended too early: ``body-short``."""
    return IntegrityError(
        "The body was cut short",
        code="body-short",
        field="bytes",
        expected=f"{length or 'all'} bytes",
        found=f"{n_bytes:,} bytes from {url}",
        todo="Run the same command again, or set HUMANST_MIRROR",
    )
