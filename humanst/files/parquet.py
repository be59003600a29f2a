"""Parquet of strangers: its footer is held against bounds before anything is decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

# Each group of rows costs some kilobytes here and ten times that in memory; ours have one group for 64 Ki rows.
MAX_FOOTER_BYTES = 8 << 20
_TAIL_BYTES = 8
_MAGIC = b"PAR1"


def parse_parquet(data: bytes, *, max_rows: int) -> pa.Table:
    """The table in a parquet file of so many rows at most, with names that are text.

    Raises
    ------
    ValueError
        When it is no parquet file, has more rows, or takes a footer that no table of ours needs.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    footer_bytes = int.from_bytes(data[-_TAIL_BYTES:-4], "little")
    if data[-4:] != _MAGIC or footer_bytes + _TAIL_BYTES > len(data):
        raise ValueError("no parquet file, or one without its end")
    if footer_bytes > MAX_FOOTER_BYTES:
        raise ValueError(f"{footer_bytes:,} bytes that describe its groups of rows; {MAX_FOOTER_BYTES:,} would do")
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            if file.metadata.num_rows > max_rows:
                raise ValueError(f"{file.metadata.num_rows:,} rows")
            table = file.read()
        # Asked for here, for names and values that are no UTF-8 fail when they are first looked at.
        table.schema.names  # noqa: B018
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from error
    return table


def is_one_value(kind: pa.DataType) -> bool:
    """Whether a column of this type holds one value a row: no list, no object, no dictionary."""
    import pyarrow.types as kinds

    return not kinds.is_nested(kind) and not kinds.is_dictionary(kind)
