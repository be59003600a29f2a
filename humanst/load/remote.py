"""Releases that lie elsewhere: files come into the cache of ``humanst fetch`` when they are first needed.

An address is that of the folder with ``MANIFEST.json``: ``https://``, ``hf://`` or ``s3://``. Every file
but the manifest is verified by the hash on record before it is read, and an interrupted transfer goes on where it
stopped, by the rules of ``humanst fetch`` (mirrors, proxies, ``HUMANST_OFFLINE``, ``HUMANST_CACHE_DIR``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from humanst.fetch.engine import cache_path, fetch_file
from humanst.fetch.releases import MANIFEST, OWNER, ReleaseRoot, release_at
from humanst.settings import settings

_ADDRESS = re.compile(r"(https?|hf|s3)://\S+")


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a release lies; picklable, for worker processes fetch for themselves."""

    root: ReleaseRoot

    @property
    def folder(self) -> Path:
        """Its folder in the cache."""
        return cache_path(settings(), OWNER, self.root.name)

    def get(self, path: str, *, sha256: str, n_bytes: int | None = None) -> Path:
        """Give a file of the release, verified; fetched when it is not in the cache.

        Raises
        ------
        NetworkError, IntegrityError, HostileError, NoRoomError
            See :func:`humanst.fetch.engine.fetch_file`.
        """
        return fetch_file(self.root.wanted(path, n_bytes=n_bytes, sha256=sha256), settings())[0]


def is_address(path: object) -> bool:
    """Whether this is an address rather than a folder."""
    return isinstance(path, str) and _ADDRESS.fullmatch(path) is not None


def open_remote(address: str, manifest_sha256: str | None) -> Remote:
    """Bring the manifest of a release into the cache.

    Parameters
    ----------
    manifest_sha256
        Its hash. Without one, the first manifest that comes is believed, and every later one compared with it.

    Raises
    ------
    NetworkError, IntegrityError, HostileError
        See :func:`humanst.fetch.engine.fetch_file`.
    """
    root = release_at(address.removesuffix(MANIFEST))
    fetch_file(root.wanted(MANIFEST, sha256=manifest_sha256, pin=True), settings())
    return Remote(root)
