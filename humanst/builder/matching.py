"""Which files of a folder are which section's: the recipe's patterns against relative paths, and ids that are safe."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from humanst.errors import DataError

MAX_ID = 40
LONE_SECTION = "s1"
# Notes about a section do not make one: a label file alone is no section.
ANNOTATIONS = frozenset({"labels", "tissue"})
SECTION = "{section}"
Matches = dict[str, dict[str, tuple[str, ...]]]
"""Section -> role -> the files that match."""


def safe_id(text: str, limit: int = MAX_ID) -> str:
    """``text`` in ``[A-Za-z0-9_-]``, at most ``limit`` long; what is cut off is told apart by a hash at the end."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "x"
    return safe if len(safe) <= limit else f"{safe[: limit - 9]}-{_short_hash(text)}"


def _short_hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def unique_ids(names: list[str]) -> dict[str, str]:
    """Names -> ids; two names that fall on one id both carry a hash of their own."""
    ids = {name: safe_id(name) for name in names}
    taken = [value.casefold() for value in ids.values()]
    return {
        name: value if taken.count(value.casefold()) == 1 else safe_id(f"{value[: MAX_ID - 9]}-{_short_hash(name)}")
        for name, value in ids.items()
    }


def list_files(folder: Path) -> list[str]:
    """Relative POSIX paths of all files below a folder, sorted; hidden ones and zarr stores are passed over.

    Linked folders are followed once each, for labs link to where their data lie.

    Raises
    ------
    DataError
        ``folder-unreadable`` when a folder cannot be looked into: its sections would be missed without a word.
    """
    found: list[str] = []
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=_refuse_unreadable):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not name.endswith(".zarr"))
        base = Path(root).relative_to(folder)
        found += [(base / name).as_posix() for name in names if not name.startswith(".")]
    return sorted(found)


def _refuse_unreadable(error: OSError) -> None:
    raise DataError(
        "A folder cannot be looked into",
        code="folder-unreadable",
        file=Path(str(error.filename)).name,
        expected="folders that may be read",
        found=error.strerror or str(error),
        done="Nothing was read, for its sections would be missed without a word",
        todo="Change its rights, or take it out",
    ) from error


def match_sections(paths: Iterable[str], patterns: Mapping[str, str]) -> Matches:
    """Section -> role -> the files that match, for the patterns of a recipe.

    A pattern without ``{section}`` belongs to every section, and to one called ``s1`` when no pattern names any.
    """
    named: dict[str, dict[str, list[str]]] = {}
    notes: list[tuple[str, str, str]] = []
    shared: dict[str, list[str]] = {}
    for role, pattern in patterns.items():
        expression = re.compile(_expression(pattern))
        for path in paths:
            match = expression.fullmatch(path)
            if match is None:
                continue
            if SECTION not in pattern:
                shared.setdefault(role, []).append(path)
            elif role in ANNOTATIONS:
                notes.append((match["section"], role, path))
            else:
                named.setdefault(match["section"], {}).setdefault(role, []).append(path)
    if not named and any(role not in ANNOTATIONS for role in shared):
        named[LONE_SECTION] = {}
    for section, role, path in notes:
        if section in named:
            named[section].setdefault(role, []).append(path)
    return {
        section: {role: tuple(found) for role, found in {**shared, **roles}.items()} for section, roles in named.items()
    }


def _expression(pattern: str) -> str:
    pieces = re.split(r"(\*|\{section\})", pattern.removeprefix("./"))
    seen = False
    out = []
    for piece in pieces:
        if piece == SECTION:
            out.append(r"(?P=section)" if seen else r"(?P<section>[^/]+?)")
            seen = True
        else:
            out.append("[^/]*" if piece == "*" else re.escape(piece))
    return "".join(out)
