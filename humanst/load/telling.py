"""What a run should be looked at for, said once a process: rank and world size, and how many pairs stay out.

Each is a line at level INFO of the logger ``humanst.load``. Python shows such lines only where a program has set up
logging; most training scripts have not, and would never learn that eight processes each took themselves for the only
one. So where no logging is set up the line goes to standard error, as warnings do.
"""

from __future__ import annotations

import logging
from functools import cache

logger = logging.getLogger("humanst.load")


@cache
def tell(message: str) -> None:
    """Log a message at level INFO, or write it on standard error where no logging is set up; each message once."""
    if logger.hasHandlers():
        logger.info("%s", message)
        return
    record = logger.makeRecord(logger.name, logging.INFO, __file__, 0, message, (), None)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("humanst: %(message)s"))
    handler.handle(record)


def tell_rank(rank: int, world: int, source: str) -> None:
    """Say which part of the pairs this process reads, and who said so."""
    tell(f"rank {rank} of {world} ({source})")


def tell_left_out(n_left_out: int, n: int, rank: int, why: str) -> None:
    """Say how many of ``n`` pairs are left out. It is the same for all ranks, so the first one says it."""
    if n_left_out and not rank:
        tell(f"{n_left_out:,} of {n:,} pairs are left out: {why}")
