"""JSON from elsewhere, read within bounds: no deeper than any document of ours, and nothing that is no JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from humanst.files.disk import require_plain

MAX_DEPTH = 64
# A thousand times what instruments write, and more than any outline that a person drew.
MAX_JSON_BYTES = 64 << 20


def read_json(path: Path, *, parse_int: Callable[[str], Any] = int, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Parse a JSON file that somebody else wrote: not too large, and no object with a key twice.

    Parameters
    ----------
    parse_int
        What makes a number of digits without a point.
    max_bytes
        How large the file may be.

    Raises
    ------
    ValueError
        For what :func:`parse_json` refuses, files beyond ``max_bytes``, and a key that an object has twice: readers
        differ in which of the two they take.
    HostileError
        ``not-a-file``.
    OSError
        For what cannot be read.
    """
    require_plain(path)
    if (size := path.stat().st_size) > max_bytes:
        raise ValueError(f"{size:,} bytes, beyond {max_bytes:,}")
    return parse_json(path.read_bytes(), parse_int=parse_int, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise ValueError(f"the key {twice[:80]!r} twice in one object")
    return content


def parse_json(data: bytes | str, **how: Any) -> Any:
    """Parse a JSON document.

    Parameters
    ----------
    **how
        Options of :func:`json.loads`.

    Raises
    ------
    ValueError
        For what is no JSON (NaN and Infinity are none), is no UTF-8, or is nested deeper than 64 levels: whoever walks
        through a deeper one would run out of stack.
    """
    try:
        content = json.loads(data, parse_constant=_no_number, **how)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    level, depth = [content], 0
    while level := [inner for item in level for inner in _inside(item) if isinstance(inner, dict | list)]:
        depth += 1
        if depth >= MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    return content


def _inside(item: Any) -> Any:
    return item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
