"""Transcript tables of any Xenium version, streamed: parquet, the csv(.gz) of older bundles, the viewer's zarr archive.

A table is never held whole: batches of half a million rows come one after another, with the few columns that pooling
needs. What cannot be a transcript (a missing name, a position that is no number) stops the section.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError
from humanst.platforms.transcript_batch import BATCH_ROWS, Batch, Coded, check_places, invalid, unreadable
from humanst.platforms.transcripts_zarr import read_archive

CSV_BLOCK_BYTES = 1 << 25
NEEDED = ("feature_name", "x_location", "y_location", "qv")
OPTIONAL = ("codeword_category", "is_gene")
_PARQUET, _GZIP, _ZIP = b"PAR1", b"\x1f\x8b", b"PK"


def read_transcripts(path: Path, *, name: str, batch_rows: int = BATCH_ROWS) -> Iterator[Batch]:
    """Stream a transcript table; the format is told by its first bytes, not by its name.

    Raises
    ------
    DataError
        ``transcripts-zarr`` for a zarr archive of an unknown layout or an unpacked one, ``transcripts-unreadable`` for
        a damaged file or one without rows, ``missing-column``, ``transcripts-invalid`` for rows that cannot be placed.
    """
    import pyarrow as pa

    head = _head(path, name)
    rows = 0
    try:
        for batch in _batches(path, name, head, batch_rows):
            rows += len(batch.qv)
            yield batch
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise unreadable(name, "a whole transcript table", str(error)) from error
    if not rows:
        raise unreadable(name, "at least one transcript", "an empty table")


def _head(path: Path, name: str) -> bytes:
    if path.is_dir():
        raise DataError(
            "Transcripts in an unpacked zarr folder are not read",
            code="transcripts-zarr",
            file=name,
            expected="transcripts.parquet, transcripts.csv.gz or transcripts.zarr.zip",
            found="a folder, of which no checksum can be recorded",
            done="The section was refused",
            todo="Give the file as the instrument wrote it: all three hold the same transcripts",
        )
    with path.open("rb") as handle:
        return handle.read(4)


def _batches(path: Path, name: str, head: bytes, batch_rows: int) -> Iterator[Batch]:
    if head.startswith(_ZIP):
        yield from read_archive(path, name=name, batch_rows=batch_rows)
        return
    is_parquet = head.startswith(_PARQUET)
    records = _parquet(path, name, batch_rows) if is_parquet else _csv(path, name, gzipped=head.startswith(_GZIP))
    for record in records:
        if record.num_rows:
            yield _batch(record, name)


def _columns(there: list[str], name: str) -> list[str]:
    """The columns to read.

    Raises
    ------
    DataError
        ``missing-column``.
    """
    missing = [column for column in NEEDED if column not in there]
    if missing:
        raise DataError(
            f"The transcript table has no column {', '.join(missing)}",
            code="missing-column",
            file=name,
            field=missing[0],
            expected=f"columns {', '.join(NEEDED)}",
            found=f"columns {', '.join(there[:12])}",
            todo="Give the transcript table of a Xenium bundle",
        )
    return [*NEEDED, *(column for column in OPTIONAL if column in there)]


def _parquet(path: Path, name: str, batch_rows: int) -> Iterator[Any]:
    import pyarrow.parquet as pq

    # Buffered reads and no read-ahead: a column of one large row group would otherwise be held whole.
    with pq.ParquetFile(path, read_dictionary=["feature_name"], pre_buffer=False, buffer_size=1 << 20) as table:
        columns = _columns(table.schema_arrow.names, name)
        yield from table.iter_batches(batch_size=batch_rows, columns=columns, use_threads=False)


def _csv(path: Path, name: str, *, gzipped: bool) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import csv

    compression = "gzip" if gzipped else None
    with pa.input_stream(str(path), compression=compression) as stream:
        first = stream.read(1 << 16).split(b"\n", 1)[0].decode("utf-8")
    columns = _columns([part.strip().strip('"') for part in first.split(",")], name)
    numbers = dict.fromkeys(("x_location", "y_location", "qv"), pa.float64())
    convert = csv.ConvertOptions(
        include_columns=columns,
        column_types={"feature_name": pa.string(), "codeword_category": pa.string(), "is_gene": pa.bool_(), **numbers},
        strings_can_be_null=False,
    )
    read = csv.ReadOptions(block_size=CSV_BLOCK_BYTES, use_threads=False)
    with pa.input_stream(str(path), compression=compression) as stream:
        yield from csv.open_csv(stream, read_options=read, convert_options=convert)


def _batch(record: Any, name: str) -> Batch:
    held = dict(zip(record.schema.names, record.columns, strict=True))
    for column in NEEDED[:3]:
        if held[column].null_count:
            raise invalid(name, column, f"{held[column].null_count:,} rows without one")
    for column in NEEDED[1:]:
        if not _is_number(held[column].type):
            raise invalid(name, column, f"values of type {held[column].type}")
    if not _is_text(held["feature_name"].type):
        raise invalid(name, "feature_name", f"values of type {held['feature_name'].type}")
    xy = np.stack([_numbers(held["x_location"]), _numbers(held["y_location"])], axis=1)
    check_places(xy, name, "x_location")
    feature = _coded(held["feature_name"])
    if "" in feature.values:
        raise invalid(name, "feature_name", "rows with an empty name")
    return Batch(
        feature=feature,
        xy_um=xy,
        qv=_numbers(held["qv"]),
        category=_coded(held["codeword_category"].fill_null("")) if "codeword_category" in held else None,
        is_gene=_flags(held["is_gene"]) if "is_gene" in held else None,
    )


def _is_number(kind: Any) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_integer(kind) or kinds.is_floating(kind))


def _is_text(kind: Any) -> bool:
    import pyarrow.types as kinds

    kind = kind.value_type if kinds.is_dictionary(kind) else kind
    return bool(kinds.is_string(kind) or kinds.is_binary(kind) or kinds.is_large_string(kind))


def _numbers(column: Any) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.to_numpy(zero_copy_only=False).astype(np.float64)
    return values


def _flags(column: Any) -> NDArray[np.bool_]:
    # A missing flag becomes None, which is false.
    flags: NDArray[np.bool_] = column.to_numpy(zero_copy_only=False).astype(bool)
    return flags


def _coded(column: Any) -> Coded:
    import pyarrow as pa

    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    # Bundles of the first version hold names as bytes.
    values = coded.dictionary.cast(pa.string()).to_pylist()
    return Coded(coded.indices.to_numpy(zero_copy_only=False).astype(np.int64), tuple(values))
