"""Files of a study that would meet on disk, or that no host it allows serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from humanst.catalog.records import Source


def twins(sources: Mapping[str, Source]) -> Iterator[tuple[str, str]]:
    """Paths that differ only in case, which fall on one file on many disks, or that stand for two files.

    Parameters
    ----------
    sources
        Field of the catalog -> the file.

    Yields
    ------
    tuple
        The field of the later of the two, and both as text.
    """
    spelled: dict[str, Source] = {}
    for place, source in sources.items():
        other = spelled.setdefault(source.path.casefold(), source)
        ours, theirs = ((one.path, one.sha256, one.md5, one.url) for one in (source, other))
        if ours != theirs:
            yield f"{place}.path", f"{other.path!r} and {source.path!r}"


def check_hosts(where: str, entry: Mapping[str, Any], sources: Mapping[str, Source]) -> Iterator[tuple[str, str]]:
    """Hosts of a study's files that are not on its list, each once.

    Parameters
    ----------
    where
        Field of the study.

    Yields
    ------
    tuple
        The field that names the host, and the host. An ``hf://`` address names none: its library knows the way.
    """
    told = set()
    base = entry.get("base_url")
    for place, source in sources.items():
        parts = urlsplit(source.url or "")
        host = f"s3://{parts.netloc}" if parts.scheme == "s3" else parts.netloc.lower().removesuffix(":443")
        if parts.scheme in ("https", "s3") and host not in entry["hosts"] and host not in told:
            told.add(host)
            shared = base is not None and source.url == base + quote(source.path)
            yield f"{where}.hosts" if shared else f"{place}.url", host
