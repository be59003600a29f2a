"""Whether those answer who are asked for files: the mirrors that are set, and the hosts of the catalog on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from humanst.doctor.checks import Check
from humanst.errors import HostileError, HumanstError, NetworkError, UsageError
from humanst.fetch.reach import masked, reach
from humanst.settings import Settings, data_path

_AT_ONCE = 8
_REFUSED = frozenset({401, 403, 407})


def mirror_checks(known: Settings) -> list[Check]:
    """Each entry of ``HUMANST_MIRROR``: a folder that is there, or an address that answers."""
    if not known.mirror:
        return [Check("mirrors", "HUMANST_MIRROR", "ok", "not set: files come from their original hosts")]
    return _all(known.mirror, lambda mirror: _mirror(mirror, known))


def host_checks(known: Settings) -> list[Check]:
    """Each host that the catalog names; nothing is fetched from it."""
    from humanst.catalog import load_catalog

    try:
        catalog = load_catalog(known.catalog or data_path("catalog.yaml"))
    except HumanstError:
        # The check of the catalog says what is wrong with it.
        return []
    named = [study.hosts for study in catalog.studies.values()]
    named += [resource.hosts for resource in catalog.resources.values()]
    named += [release.hosts for release in catalog.releases.values()]
    hosts = sorted({host for some in named for host in some if "://" not in host})
    scheme = "http" if known.allow_loopback_http else "https"
    return _all(hosts, lambda host: _asked("hosts", host, f"{scheme}://{host}/", known, own=False))


def _all(names: Sequence[str], look: Callable[[str], Check]) -> list[Check]:
    with ThreadPoolExecutor(_AT_ONCE) as side:
        return list(side.map(look, dict.fromkeys(names)))


def _mirror(mirror: str, known: Settings) -> Check:
    try:
        parts = urlsplit(mirror)
    except ValueError as error:
        return Check("mirrors", masked(mirror), "fail", masked(str(error)), "Correct HUMANST_MIRROR", UsageError)
    if parts.scheme in ("http", "https") and parts.hostname:
        return _asked("mirrors", mirror, mirror, known, own=True)
    if "://" in mirror and parts.scheme != "file":
        found = "neither a folder nor file:// nor https://"
        return Check("mirrors", masked(mirror), "fail", found, "Correct HUMANST_MIRROR", UsageError)
    folder = Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(mirror).expanduser()
    return _readable(mirror, folder)


def _readable(mirror: str, folder: Path) -> Check:
    try:
        if not folder.is_dir():
            todo = "Mount it, or correct HUMANST_MIRROR"
            return Check("mirrors", mirror, "fail", "no such folder", todo, NetworkError)
        owners = sum(entry.is_dir() for entry in folder.iterdir())
    except OSError as error:
        todo = "Ask its owner to let you read it"
        return Check("mirrors", mirror, "fail", str(error.strerror or error), todo, NetworkError)
    if not owners:
        todo = "A mirror holds a folder a study or resource"
        return Check("mirrors", mirror, "warn", "an empty folder", todo)
    return Check("mirrors", mirror, "ok", f"{owners} studies and resources")


def _asked(group: str, item: str, url: str, known: Settings, *, own: bool) -> Check:
    item = masked(item)
    if known.offline:
        return Check(group, item, "warn", "not asked: HUMANST_OFFLINE is set", "Unset it to ask")
    try:
        answer = reach(url, known, own=own)
    except HostileError as error:
        return Check(group, item, "fail", masked(str(error.facts.found)), _opened(url), HostileError)
    except NetworkError as error:
        todo = "Check the name, the connection and the proxy (HTTPS_PROXY); without a connection set HUMANST_OFFLINE"
        return Check(group, item, "fail", str(error.facts.found), todo, NetworkError)
    found = f"answers in {answer.seconds:.2f} s (HTTP {answer.status})"
    if answer.status in _REFUSED and own:
        return Check(group, item, "warn", found, "It wants a login, and humanst sends none: use a mirror without")
    if answer.status >= 500:
        return Check(group, item, "warn", found, "It has trouble of its own: ask again later")
    return Check(group, item, "ok", found)


def _opened(url: str) -> str:
    if urlsplit(url).username is not None:
        return "humanst sends no login: use a mirror without, or a folder"
    return "Only https is asked, and only public addresses that a mirror does not name"
