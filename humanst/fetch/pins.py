"""Trust on first use: digests of files that had none on record, in ``<cache>/pins.lock.json``.

The first download of an unpinned file, asked for with ``pin``, writes its hash here; from then on it is checked like
any other. A catalog digest always goes first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from humanst import files
from humanst.errors import IntegrityError

PINS_SCHEMA = "humanst.pins/1"
PINS_NAME = "pins.lock.json"


def read_pins(cache: Path) -> dict[str, dict[str, Any]]:
    """All pins, ``<owner>/<path>`` -> ``{"sha256", "bytes", "origin"}``.

    Raises
    ------
    IntegrityError
        When the lock file cannot be read: without it unpinned files would be trusted a second time.
    """
    path = cache / PINS_NAME
    try:
        document = json.loads(path.read_bytes())
        pins: dict[str, dict[str, Any]] = document["pins"]
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            "The lock file of pinned files cannot be read",
            code="pins-unreadable",
            file=str(path),
            expected=f"JSON with schema {PINS_SCHEMA}",
            found=str(error),
            todo="Restore it; or delete it, and fetch again with --pin",
        ) from error
    return pins


def record_pin(cache: Path, key: str, *, sha256: str, n_bytes: int, origin: str) -> None:
    """Write the pin of a file, unless it has one.

    Raises
    ------
    IntegrityError
        When it is pinned to another hash.
    """
    path = cache / PINS_NAME
    with files.locked(path, what="the lock file of pinned files"):
        pins = read_pins(cache)
        known = pins.get(key)
        if known is not None and known["sha256"] != sha256:
            raise IntegrityError(
                "The file is not the one that was pinned",
                code="pin-differs",
                file=key,
                field="sha256",
                expected=f"sha256 {known['sha256']} from {known['origin']}",
                found=f"sha256 {sha256} from {origin}",
                done="Nothing was placed",
                todo=f"If the change is right, remove its entry from {path}",
            )
        if known is None:
            pins[key] = {"sha256": sha256, "bytes": n_bytes, "origin": origin}
            files.write_json(path, {"schema": PINS_SCHEMA, "pins": pins})
