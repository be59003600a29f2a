"""Files of a study that would meet on disk, or that no host it allows serves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from humanst.catalog.records import Source
from humanst.files import folded_name


def twins(sources: Iterable[tuple[str, Source]]) -> Iterator[tuple[str, str, str]]:
    """Paths that fall on one file on many disks, that stand for two files, or that run through a file.

    On many disks case, and how accents are written, make no difference.

    Parameters
    ----------
    sources
        Files, each with what messages call its place.

    Yields
    ------
    tuple
        The place of one of two, what was expected, and the paths of both.
    """
    spelled: dict[str, tuple[str, Source]] = {}
    for place, source in sources:
        _, other = spelled.setdefault(folded_name(source.path), (place, source))
        ours, theirs = ((one.path, one.sha256, one.md5, one.url) for one in (source, other))
        if ours != theirs:
            yield place, "paths that differ in more than case, or the same file", f"{other.path!r} and {source.path!r}"
    for folded, (place, source) in spelled.items():
        for folder in PurePosixPath(folded).parents:
            if str(folder) in spelled:
                inside = spelled[str(folder)][1].path
                yield place, "paths of which none is a folder of another", f"{inside!r} and {source.path!r}"


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
    hosts, base = entry["hosts"], entry.get("base_url")
    places = {place: _host(source.url or "") for place, source in sources.items()}
    # A host that no file uses is most likely the one that is misspelled.
    idle = next((number for number, host in enumerate(hosts) if host not in places.values()), None)
    told = set()
    for place, source in sources.items():
        host = places[place]
        if host is not None and host not in hosts and host not in told:
            told.add(host)
            shared = base is not None and source.url == base + quote(source.path)
            by_list = f"{where}.hosts" if idle is None else f"{where}.hosts[{idle}]"
            yield by_list if shared else f"{place}.url", host


def _host(url: str) -> str | None:
    parts = urlsplit(url)
    if parts.scheme == "s3":
        return f"s3://{parts.netloc}"
    return parts.netloc.lower().removesuffix(":443") if parts.scheme == "https" else None
