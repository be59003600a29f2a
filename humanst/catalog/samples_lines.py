"""A ``samples.csv`` whose rows know their lines, for whoever has to correct one."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from humanst.catalog.yaml_files import require_file, short_name
from humanst.errors import DataError
from humanst.findings import Findings

if TYPE_CHECKING:
    import pandas as pd

_ROW = re.compile(r"\bin row (\d+)$")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufffd]")


class SampleLines:
    """The rows of a samples table that have as many cells as its header.

    Attributes
    ----------
    name
        How messages call the file.
    rows
        As text, in file order.
    by_section
        The rows by their section id; of a repeated id, the first.

    Parameters
    ----------
    path
        The file.
    findings
        Gets one refusal for each row of another length and each cell with characters that are no text, one for a
        column that is there twice, and one for a table without rows.

    Raises
    ------
    DataError
        When it is no table of UTF-8 text.
    UsageError
        When it is not there.
    """

    def __init__(self, path: Path, findings: Findings) -> None:
        require_file(path)
        self.name = short_name(path)
        self.rows: list[dict[str, str]] = []
        self._lines: list[int] = []
        self.header: list[str] = []
        begins = 1
        try:
            reader = csv.reader(io.StringIO(_text(path, self.name), newline=None), strict=True)
            for cells in reader:
                if not self.header and cells:
                    self._head(cells)
                elif cells:
                    self._row(cells, begins, findings)
                begins = reader.line_num + 1
        except csv.Error as error:
            raise _unreadable(self.name, f"line {begins}", str(error)) from error
        self._whole(findings)
        self.by_section: dict[str, dict[str, str]] = {}
        if {"section_id", "sample_id", "status"} <= set(self.header):
            for row in self.rows:
                self.by_section.setdefault(row["section_id"], row)

    def _head(self, cells: list[str]) -> None:
        if len(cells) == 1:
            raise _unreadable(self.name, "line 1", f"one column, {cells[0][:60]!r}", "columns separated by commas")
        self.header = cells

    def _row(self, cells: list[str], line: int, findings: Findings) -> None:
        if len(cells) != len(self.header):
            found, expected = f"{len(cells)} cells", f"{len(self.header)} cells"
            findings.refuse(
                "row-length", "A row is cut or too long", field=f"line {line}", found=found, expected=expected
            )
            return
        for column, cell in zip(self.header, cells, strict=True):
            if _CONTROL.search(cell):
                place = f"{column} in row {len(self.rows)}"
                findings.refuse(
                    "bad-character", "A cell is not plain text", field=place, found=repr(cell), expected="plain text"
                )
        self.rows.append(dict(zip(self.header, cells, strict=True)))
        self._lines.append(line)

    def _whole(self, findings: Findings) -> None:
        twice = sorted({column for column in self.header if self.header.count(column) > 1})
        for column in twice:
            findings.refuse("duplicate-column", "A column is there twice", field=column, found=column, expected="once")
        if twice:
            # Which of the two is meant cannot be told, so that no cell of the table can be judged.
            self.rows, self._lines = [], []
        elif not self.rows and not findings.refused:
            found = "a header alone" if self.header else "an empty file"
            findings.refuse(
                "table-empty", "The table has no rows", field="line 1", found=found, expected="a row a section"
            )

    def frame(self) -> pd.DataFrame:
        """The rows as a table of text, indexed from 0."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=self.header, dtype=object)

    def line_of(self, section_id: str) -> int | None:
        """The line a section's row begins on."""
        row = self.by_section.get(section_id)
        return None if row is None else self._lines[self.rows.index(row)]

    def line_in(self, field: str | None) -> int | None:
        """The line of ``<column> in row <index>``; the header's for a whole column."""
        row = _ROW.search(field or "")
        if row is not None:
            return self._lines[int(row[1])]
        return None if field is None or field.startswith("line ") else 1


def _text(path: Path, name: str) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _unreadable(name, f"line {line}", str(error), "UTF-8 text") from error


def _unreadable(name: str, place: str, found: str, expected: str = "a table of comma-separated cells") -> DataError:
    return DataError(
        "The samples table cannot be read",
        code="table-unreadable",
        file=name,
        field=place,
        expected=expected,
        found=found,
    )
