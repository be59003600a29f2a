"""Where a release lies: on record in the catalog, at a URL, or in a folder."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from humanst.catalog import Catalog, Source
from humanst.errors import UsageError
from humanst.fetch.backends import is_object_store, resolved_url
from humanst.fetch.engine import Wanted
from humanst.fetch.mirrors import host_and_port
from humanst.files import sha256_file

OWNER = "atlas"
"""Owner of the files of all releases in the cache and in mirrors: ``atlas/<release>/<path>``."""
MANIFEST = "MANIFEST.json"
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_ADDRESS = re.compile(r"(https?|hf|s3)://\S+")


@dataclass(frozen=True, slots=True)
class ReleaseRoot:
    """The place of one release.

    Attributes
    ----------
    name
        Its version where it is on record, else a name made of its address; its folder in cache and mirrors.
    url
        Address of the folder that holds ``MANIFEST.json``, without a slash at the end.
    hosts
        Hosts that may be asked for it.
    manifest_sha256
        Hash of the manifest, where it is known before anything is asked.
    license
        Of the release as a whole, where it is on record.
    """

    name: str
    url: str
    hosts: tuple[str, ...]
    manifest_sha256: str | None = None
    license: str | None = None

    def wanted(self, path: str, *, n_bytes: int | None = None, sha256: str | None = None, pin: bool = False) -> Wanted:
        """One file of the release, as fetch takes it."""
        source = Source("release", f"{self.name}/{path}", f"{self.url}/{quote(path)}", n_bytes, sha256)
        return Wanted(OWNER, source, self.hosts, pin)


def find_release(asked: str | None, catalog: Catalog) -> ReleaseRoot:
    """The release that a user means: a version on record (the newest without one), a URL, or a folder.

    Raises
    ------
    UsageError
        ``unknown-release`` for a version that is not on record, or what is neither a URL nor a folder.
    """
    published = catalog.releases
    if asked is None and published:
        asked = max(published, key=lambda version: tuple(map(int, version.split("."))))
    name = (asked or "").removesuffix(MANIFEST).rstrip("/")
    known = next((entry for entry in published.values() if name in (entry.version, entry.url.rstrip("/"))), None)
    if known is not None:
        return ReleaseRoot(known.version, known.url.rstrip("/"), known.hosts, known.manifest_sha256, known.license)
    if _ADDRESS.fullmatch(name):
        return release_at(name)
    if name and not _VERSION.fullmatch(name) and (Path(name) / MANIFEST).is_file():
        folder = Path(name).resolve()
        # A folder of one's own is what it is: its manifest is believed, and all else by what the manifest says.
        return ReleaseRoot(_name_of(str(folder)), folder.as_uri(), (), sha256_file(folder / MANIFEST))
    raise UsageError(
        "No such release" if asked else "No release is on record yet, and none was named",
        code="unknown-release",
        field="--release",
        expected=f"{', '.join(published) or 'a version on record (there is none yet)'}, or the URL or folder of one",
        found=repr(asked) if asked else "nothing",
        done="Nothing was asked for",
        todo="Give the address of the folder that holds MANIFEST.json; a folder named like a version as ./<folder>",
    )


def release_at(address: str) -> ReleaseRoot:
    """The release at a URL, on record or not.

    Raises
    ------
    UsageError
        For what is no address.
    """
    url = address.rstrip("/")
    return ReleaseRoot(_name_of(url), url, _hosts_of(url))


def _name_of(address: str) -> str:
    return f"at-{hashlib.sha256(address.encode()).hexdigest()[:16]}"


def _hosts_of(url: str) -> tuple[str, ...]:
    if is_object_store(url):
        return (f"s3://{urlsplit(url).netloc}",)
    try:
        return (host_and_port(urlsplit(resolved_url(f"{url}/{MANIFEST}"))),)
    except ValueError as error:
        raise UsageError("This is no address", field="--release", found=f"{url!r}: {error}") from error
