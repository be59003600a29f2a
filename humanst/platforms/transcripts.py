"""Transcript tables of any Xenium version, streamed: parquet, and the csv(.gz) that older bundles have.

A table is never held whole: batches of half a million rows come one after another, with the few columns that pooling
needs. What cannot be a transcript (a missing name, a position that is no number) stops the section.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError

BATCH_ROWS = 1 << 19
CSV_BLOCK_BYTES = 1 << 25
NEEDED = ("feature_name", "x_location", "y_location", "qv")
OPTIONAL = ("codeword_category", "is_gene")
# The sample area of a slide is 2.4 cm wide; ten times that is no position.
FARTHEST_UM = 240_000.0
_PARQUET, _GZIP, _ZIP = b"PAR1", b"\x1f\x8b", b"PK"


@dataclass(frozen=True, slots=True)
class Coded:
    """A text column as codes into its distinct values: ``values[codes[i]]`` is row ``i``."""

    codes: NDArray[np.int64]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a transcript table.

    Attributes
    ----------
    feature
        Name of the gene or control.
    xy_um
        ``(n, 2)`` float64 (x, y) in the assay's own frame, um.
    qv
        ``(n,)`` float64 Phred-scaled quality.
    category
        ``codeword_category`` where the table has it.
    is_gene
        ``(n,)`` bool where the table has it.
    """

    feature: Coded
    xy_um: NDArray[np.float64]
    qv: NDArray[np.float64]
    category: Coded | None
    is_gene: NDArray[np.bool_] | None


def read_transcripts(path: Path, *, name: str, batch_rows: int = BATCH_ROWS) -> Iterator[Batch]:
    """Stream a transcript table; the format is told by its first bytes, not by its name.

    Raises
    ------
    DataError
        ``transcripts-zarr`` for the archive of the viewer, ``transcripts-unreadable`` for a damaged file or one without
        rows, ``missing-column``, ``transcripts-invalid`` for rows that cannot be placed.
    """
    import pyarrow as pa

    head = _head(path, name)
    try:
        if head.startswith(_PARQUET):
            source = _parquet(path, name, batch_rows)
        else:
            source = _csv(path, name, gzipped=head.startswith(_GZIP))
        rows = 0
        for record in source:
            if record.num_rows:
                rows += record.num_rows
                yield _batch(record, name)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _unreadable(name, "a whole transcript table", str(error)) from error
    if not rows:
        raise _unreadable(name, "at least one transcript", "an empty table")


def _head(path: Path, name: str) -> bytes:
    head = _ZIP if path.is_dir() else b""
    if not head:
        with path.open("rb") as handle:
            head = handle.read(4)
    if head.startswith(_ZIP):
        raise DataError(
            "Transcripts in zarr are not read",
            code="transcripts-zarr",
            file=name,
            expected="transcripts.parquet or transcripts.csv.gz",
            found="a zarr archive",
            done="The section was refused",
            todo="Take the parquet or csv file of the same bundle: it holds the same transcripts",
        )
    return head


def _unreadable(name: str, expected: str, found: str) -> DataError:
    return DataError(
        "The transcript table cannot be read",
        code="transcripts-unreadable",
        file=name,
        expected=expected,
        found=found,
        todo="Fetch the file again",
    )


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
            raise _invalid(name, column, f"{held[column].null_count:,} rows without one")
    xy = np.stack([_numbers(held["x_location"]), _numbers(held["y_location"])], axis=1)
    bad = ~(np.abs(xy) < FARTHEST_UM).all(axis=1)
    if bad.any():
        raise _invalid(name, "x_location", f"{int(bad.sum()):,} rows such as {xy[bad][0].tolist()}")
    feature = _coded(held["feature_name"])
    if "" in feature.values:
        raise _invalid(name, "feature_name", "rows with an empty name")
    return Batch(
        feature=feature,
        xy_um=xy,
        qv=_numbers(held["qv"]),
        category=_coded(held["codeword_category"].fill_null("")) if "codeword_category" in held else None,
        is_gene=_flags(held["is_gene"]) if "is_gene" in held else None,
    )


def _invalid(name: str, field: str, found: str) -> DataError:
    return DataError(
        "Some transcripts have no name or no place",
        code="transcripts-invalid",
        file=name,
        field=field,
        expected=f"a feature and finite positions within {FARTHEST_UM / 1000:g} mm in every row",
        found=found,
        todo="Take the file as the instrument wrote it",
    )


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
