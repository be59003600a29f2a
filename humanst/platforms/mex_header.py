"""The head of a Market Exchange matrix, held against its features, its barcodes and its bytes before it is read.

A file of a hundred bytes can declare a matrix of any size, and a reader makes room for what is declared.
"""

from __future__ import annotations

import gzip
import zlib
from itertools import islice
from pathlib import Path

from humanst.errors import DataError
from humanst.fetch.archive_faults import bomb
from humanst.fetch.archives import BUDGET, is_gzip

_MAX_COMMENTS = 1000
_MAX_LINE_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 20
# "1 1\n" is the shortest entry there is.
_ENTRY_BYTES = 4


def check_header(path: Path, shape: tuple[int, int], name: str) -> None:
    """Ask that a matrix is a sparse one of this shape, with room in the file for the entries that it declares.

    Parameters
    ----------
    shape
        Number of features and of barcodes.

    Raises
    ------
    DataError
        ``matrix-unreadable``.
    HostileError
        ``archive-bomb`` for a compressed file that grows too much.
    """
    is_packed = is_gzip(path)
    n_file = path.stat().st_size
    limit = BUDGET.limit(n_file) if is_packed else n_file
    try:
        with gzip.open(path) if is_packed else path.open("rb") as handle:
            kind, sizes = handle.readline(_MAX_LINE_BYTES), b""
            for sizes in islice(iter(lambda: handle.readline(_MAX_LINE_BYTES), b""), _MAX_COMMENTS):
                if sizes.strip() and not sizes.startswith(b"%"):
                    break
            while handle.read(_BLOCK_BYTES):
                if handle.tell() > limit:
                    raise bomb(name, limit)
            n_bytes = handle.tell()
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(name, "a Market Exchange matrix", str(error)) from error
    if kind.lower().split()[:3] != [b"%%matrixmarket", b"matrix", b"coordinate"]:
        raise unreadable(name, "a line %%MatrixMarket matrix coordinate", repr(kind[:80]))
    try:
        n_rows, n_columns, n_entries = map(int, sizes.split())
    except ValueError as error:
        raise unreadable(name, "rows, columns and entries", repr(sizes[:80])) from error
    if (n_rows, n_columns) != shape:
        raise unreadable(name, f"{shape[0]} features x {shape[1]} barcodes", f"({n_rows}, {n_columns})")
    if not 0 <= n_entries <= n_bytes // _ENTRY_BYTES:
        raise unreadable(name, "as many entries as are declared", f"{n_entries:,} in {n_bytes:,} bytes")


def unreadable(name: str, expected: str, found: str) -> DataError:
    """The error for a damaged matrix file."""
    return DataError(
        "The count matrix cannot be read",
        code="matrix-unreadable",
        file=name,
        expected=expected,
        found=found,
        todo="Fetch the file again",
    )
