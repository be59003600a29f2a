"""The chain of pages of a TIFF, followed before anything else is read: one that never ends would hold every reader."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from humanst.tiles.faults import unreadable

if TYPE_CHECKING:
    from pathlib import Path

MAX_PAGES = 4096
"""More than any slide has; a reader takes half a millisecond for each."""


def require_chain(path: Path) -> None:
    """Ask that the pages of a TIFF follow each other without a circle, and are not too many.

    Raises
    ------
    DataError
        ``image-unreadable``.
    """
    seen: set[int] = set()
    with path.open("rb") as handle:
        head = handle.read(16)
        order, is_big = "<" if head[:2] == b"II" else ">", head[2:4] in (b"+\0", b"\0+")
        count, place, tag_bytes = (f"{order}Q", f"{order}Q", 20) if is_big else (f"{order}H", f"{order}I", 12)
        start = 8 if is_big else 4
        offset_bytes, count_bytes = struct.calcsize(place), struct.calcsize(count)
        (page,) = struct.unpack_from(place, head.ljust(16, b"\0"), start)
        while page:
            if page in seen:
                raise unreadable(
                    path, "pages that follow each other to a last one", f"page {len(seen)} is an earlier one"
                )
            if len(seen) == MAX_PAGES:
                raise unreadable(path, f"at most {MAX_PAGES:,} pages", "more")
            seen.add(page)
            handle.seek(page)
            n_tags = handle.read(count_bytes)
            if len(n_tags) < count_bytes:
                return
            handle.seek(page + count_bytes + struct.unpack(count, n_tags)[0] * tag_bytes)
            following = handle.read(offset_bytes)
            if len(following) < offset_bytes:
                # Cut: what a whole header says of its tiles is looked at elsewhere.
                return
            (page,) = struct.unpack(place, following)
