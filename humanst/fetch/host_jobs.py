"""How many files are asked of one host at a time, where a host wants fewer than there are jobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from urllib.parse import urlsplit

# Domain -> downloads at once, its subdomains taken together.
HOST_JOBS = {"zenodo.org": 2}


@contextmanager
def host_slot(url: str) -> Iterator[None]:
    """Wait until the host may be asked for one more file, and hold the place while working."""
    host = (urlsplit(url).hostname or "").lower()
    domain = next((name for name in HOST_JOBS if host == name or host.endswith(f".{name}")), None)
    if domain is None:
        yield
        return
    with _slots(domain, HOST_JOBS[domain]):
        yield


@cache
def _slots(domain: str, n_jobs: int) -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(n_jobs)
