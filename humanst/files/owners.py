"""Who writes what is unfinished: names that say it, and the broom for those whose writer is dead."""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
import sys
import time
from pathlib import Path

from humanst.files.disk import delete

logger = logging.getLogger(__name__)

STALE_PARTIAL_SECONDS = 24 * 3600
OWNER = r"(?P<host>[A-Za-z0-9-]+)-(?P<pid>\d+)-[0-9a-f]{8}"
_PARTIAL = re.compile(rf"^\.(?P<name>.+)\.partial-{OWNER}$")
_REPLACED = re.compile(rf"^\.(?P<name>.+)\.replaced-{OWNER}$")


def host_name() -> str:
    """Name of this machine, as it can stand in a file name."""
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "host"


def partial_path(path: Path) -> Path:
    """Where ``path`` is written aside by this process: a new name each time."""
    return owned_path(path, "partial")


def owned_path(path: Path, kind: str) -> Path:
    """A new hidden name beside ``path`` that says of which process it is."""
    return path.with_name(f".{path.name}.{kind}-{host_name()}-{os.getpid()}-{secrets.token_hex(4)}")


def sweep_partials(folder: Path) -> list[Path]:
    """Remove partials that no living process owns, and put back a folder whose swap was cut short.

    A partial of this host is dead when its process is; one of another host, or on Windows, when it is older than a day.

    Returns
    -------
    list of Path
        What was removed or put back.
    """
    if not folder.is_dir():
        return []
    swept = []
    for entry in sorted(folder.iterdir()):
        leftover = _PARTIAL.match(entry.name) or _REPLACED.match(entry.name)
        try:
            if leftover is None or is_owned(leftover, entry):
                continue
            final = folder / leftover["name"]
            if leftover.re is _REPLACED and not final.exists():
                entry.replace(final)
            else:
                delete(entry)
            swept.append(entry)
        except FileNotFoundError:
            # Another process swept it first.
            continue
    if swept:
        logger.info("Swept %d leftovers of an interrupted run from %s", len(swept), folder)
    return swept


def is_partial(name: str) -> bool:
    """Whether a name is that of a partial, or of a folder that is being replaced."""
    return any(kind.match(name) for kind in (_PARTIAL, _REPLACED))


def is_running(pid: int) -> bool:
    """Whether a process of this machine lives, ours or anybody's; one that nobody has buried yet does not.

    Where asking would be a signal to it, as on Windows, it is said to live.
    """
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return not Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].lstrip().startswith(b"Z")
    except OSError:
        return True


def is_owned(partial: re.Match[str], entry: Path, stale_seconds: float = STALE_PARTIAL_SECONDS) -> bool:
    """Whether the process that a name speaks of may still be at work on the entry."""
    if partial["host"] == host_name() and sys.platform != "win32":
        return is_running(int(partial["pid"]))
    inside = list(entry.iterdir()) if entry.is_dir() else []
    return time.time() - max(path.stat().st_mtime for path in (entry, *inside)) < stale_seconds
