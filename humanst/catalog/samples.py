"""``samples.csv``: one row a section, every cell text."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from humanst.catalog.yaml_files import MAX_BYTES, require_file, short_name
from humanst.errors import DataError
from humanst.findings import Findings

SAMPLE_KEYS = ("sample_id", "section_id", "donor_id", "donor_id_source", "status")


def read_samples(path: Path) -> list[dict[str, str]]:
    """Read a ``samples.csv`` as rows of text, in file order.

    Only what the rest of the catalog hangs on is checked here (the columns, and ids that are there and unique);
    ``schemas/samples.yaml`` holds the full contract, which :func:`humanst.schemas.check_table` applies.

    Raises
    ------
    DataError
        For a missing or repeated column, a row of another length, a blank or repeated id.
    UsageError
        When the file does not exist.
    """
    name = short_name(path)
    findings = Findings(file=name)
    reader = csv.reader(io.StringIO(_text(path, name)), strict=True)
    try:
        lines = [line for line in reader if line]
    except csv.Error as error:
        raise DataError(
            "The samples table cannot be read",
            code="table-unreadable",
            file=name,
            field=f"line {reader.line_num}",
            found=str(error),
        ) from error
    header = lines[0] if lines else []
    for column in SAMPLE_KEYS:
        if column not in header:
            findings.refuse("missing-column", "The samples table has no such column", field=column, found="nothing")
    for column in sorted({column for column in header if header.count(column) > 1}):
        findings.refuse("duplicate-column", "A column is there twice", field=column, expected="once", found=column)
    findings.raise_if_refused()
    rows = []
    for number, cells in enumerate(lines[1:], 2):
        if len(cells) != len(header):
            text = f"{len(cells)} cells"
            findings.refuse("row-length", "A row is cut or too long", field=f"row {number}", found=text)
            continue
        rows.append(dict(zip(header, cells, strict=True)))
    _check_sample_ids(rows, findings)
    findings.raise_if_refused()
    return rows


def _check_sample_ids(rows: list[dict[str, str]], findings: Findings) -> None:
    for column in ("sample_id", "section_id"):
        seen: set[str] = set()
        for number, row in enumerate(rows, 2):
            value = row[column]
            if not value or value in seen:
                findings.refuse(
                    "duplicate-value" if value else "missing-value",
                    "An id must be there, once",
                    field=f"{column} in row {number}",
                    expected="a unique id",
                    found=repr(value),
                )
            seen.add(value)


def _text(path: Path, name: str) -> str:
    require_file(path)
    if (size := path.stat().st_size) > MAX_BYTES:
        raise _unreadable(name, f"{size:,} bytes")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(name, str(error)) from error
    if "\0" in text:
        raise _unreadable(name, "a NUL byte")
    return text


def _unreadable(name: str, found: str) -> DataError:
    expected = f"UTF-8 text of at most {MAX_BYTES:,} bytes"
    return DataError("The table is not UTF-8 text", code="table-unreadable", file=name, expected=expected, found=found)
