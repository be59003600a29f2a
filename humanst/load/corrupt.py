"""Pairs that cannot be decoded: named, counted, and the end of the run when there are more than a few."""

from __future__ import annotations

import logging

from humanst.errors import HumanstError, IntegrityError, UsageError

logger = logging.getLogger(__name__)

MAX_CORRUPT = 0.001
"""Share of pairs that may be left out because they cannot be decoded."""


class CorruptPairs:
    """Count the corrupt pairs of a process.

    Parameters
    ----------
    max_share
        Up to this share of a process's pairs are left out, each with a warning; 0 stops at the first.

    Raises
    ------
    UsageError
        For a share outside 0 to 1.
    """

    def __init__(self, max_share: float = MAX_CORRUPT) -> None:
        if not 0 <= max_share <= 1:
            raise UsageError("No share", code="max-corrupt", expected="a number from 0 to 1", found=repr(max_share))
        self.max_share = max_share
        self._rows: set[int] = set()

    def __len__(self) -> int:
        """How many different pairs could not be decoded."""
        return len(self._rows)

    def leave_out(self, row: int, error: HumanstError, n_pairs: int) -> None:
        """Count a row that cannot be decoded.

        Parameters
        ----------
        n_pairs
            Pairs that this process reads in an epoch.

        Raises
        ------
        IntegrityError
            ``too-many-corrupt`` when it is one too many.
        """
        if row in self._rows:
            return
        self._rows.add(row)
        facts = error.facts
        if len(self._rows) > self.max_share * n_pairs:
            allowed = int(self.max_share * n_pairs)
            raise IntegrityError(
                f"Too many pairs cannot be read; the last: {facts.what}",
                code="too-many-corrupt",
                file=facts.file,
                field=facts.field,
                expected=f"at most {allowed} of {n_pairs:,} pairs ({self.max_share:.2%})",
                found=f"{len(self._rows)}",
                done="The run stops rather than train on what is left",
                todo="Run humanst verify on the release and fetch it again",
            ) from error
        logger.warning("Pair left out (%d so far): %s", len(self._rows), error)
