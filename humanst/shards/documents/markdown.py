"""Text of others in Markdown: what would be markup is escaped, what would break a line or a cell is one blank."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# A mark within a word or an address is none; elsewhere it may open emphasis, code, a link, HTML or a cell.
_MARKS = re.compile(r"[\\`*\[\]<>|~#&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def plain(text: object) -> str:
    """Text that renders as it is, on one line."""
    return _MARKS.sub(lambda match: f"\\{match[0]}", " ".join(str(text).split()))


def words(*parts: str) -> str:
    """One paragraph of several parts; an empty part is none."""
    return " ".join(part for part in parts if part)


def code(text: object) -> str:
    """Text as inline code: what is in it is never markup."""
    inside = " ".join(str(text).split()).replace("|", "\\|")
    fence = "``" if "`" in inside else "`"
    pad = " " if fence == "``" else ""
    return f"{fence}{pad}{inside}{pad}{fence}"


def link(text: object, url: str) -> str:
    """A link; an address that is not plain http(s) stays text."""
    address = url.replace("(", "%28").replace(")", "%29").replace("|", "%7C")
    if not re.fullmatch(r"https?://[^\s<>\"\\]+", address):
        return plain(text)
    return f"[{plain(text)}]({address})"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table. Cells are Markdown already; numbers stand to the right."""
    body = [tuple(row) for row in rows]
    right = [bool(body) and all(isinstance(row[i], int) for row in body) for i in range(len(head))]
    lines = [_row(head), _row(["--:" if number else "---" for number in right])]
    return [*lines, *(_row([f"{cell:,}" if isinstance(cell, int) else cell for cell in row]) for row in body)]


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"
