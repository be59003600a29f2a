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
        Gets one refusal for each row of another length.

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
        header: list[str] = []
        try:
            reader = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True)
            begins = 1
            for cells in reader:
                if not header:
                    header = cells
                elif cells and len(cells) != len(header):
                    found, expected = f"{len(cells)} cells", f"{len(header)} cells"
                    place = f"line {begins}"
                    findings.refuse(
                        "row-length", "A row is cut or too long", field=place, found=found, expected=expected
                    )
                elif cells:
                    self.rows.append(dict(zip(header, cells, strict=True)))
                    self._lines.append(begins)
                begins = reader.line_num + 1
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(
                "The samples table cannot be read", code="table-unreadable", file=self.name, found=str(error)
            ) from error
        self.header = header
        self.by_section: dict[str, dict[str, str]] = {}
        if {"section_id", "sample_id", "status"} <= set(header):
            for row in self.rows:
                self.by_section.setdefault(row["section_id"], row)

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
