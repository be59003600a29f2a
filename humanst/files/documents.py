"""JSON from elsewhere, read within bounds: no deeper than any document of ours, and nothing that is no JSON."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 64


def parse_json(data: bytes | str) -> Any:
    """Parse a JSON document.

    Raises
    ------
    ValueError
        For what is no JSON (NaN and Infinity are none), is no UTF-8, or is nested deeper than 64 levels: whoever walks
        through a deeper one would run out of stack.
    """
    try:
        content = json.loads(data, parse_constant=_no_number)
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
