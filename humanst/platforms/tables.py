"""What every reader needs of text tables: columns that must be there, counts that must be counts, unique ids."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError
from humanst.fetch.archive_faults import bomb
from humanst.fetch.archives import BUDGET, is_gzip
from humanst.findings import Findings

# No spot holds this many transcripts of one gene; sums of larger values would wrap.
MAX_COUNT = 2**31
# What readers take of a line: pandas takes a quarter of a millisecond a column, and gigabytes for a line without end.
MAX_FIELDS = 1_000
MAX_GENE_FIELDS = 100_000
MAX_LINE_BYTES = 16 << 20
_BLOCK_BYTES = 1 << 20
_TEXT_FAULTS = (UnicodeDecodeError, OSError, EOFError, zlib.error)

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix


def read_table(path: Path, *, name: str, max_fields: int = MAX_FIELDS, **how: Any) -> pd.DataFrame:
    """Read a delimited text file with pandas; gzip is told by its first bytes, not by the file's name.

    Parameters
    ----------
    max_fields
        How many columns such a table may have.

    Raises
    ------
    DataError
        ``table-unreadable`` when the file is not the table it should be.
    HostileError
        ``archive-bomb`` for a compressed one that grows too much.
    """
    import pandas as pd

    _refuse_strange(path, name, str(how.get("sep", ",")), max_fields, whole="nrows" not in how)
    try:
        table: pd.DataFrame = pd.read_csv(path, compression="gzip" if is_gzip(path) else None, **how)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, *_TEXT_FAULTS) as error:
        raise _unreadable(name, str(error)) from error
    return table


def _unreadable(name: str, found: str, expected: str = "a delimited text table") -> DataError:
    return DataError(
        "This table cannot be read",
        code="table-unreadable",
        file=name,
        expected=expected,
        found=found,
        todo="Fetch the file again, correct it, or name its field separator in the recipe",
    )


def _refuse_strange(path: Path, name: str, sep: str, most: int, *, whole: bool) -> None:
    """Look at the first two lines, of which one says how many columns there are, and for NUL bytes.

    A field ends at a NUL for pandas: 9 NUL 34 would be read as 9, without a word. What was compressed is read through
    within the budget of archives, before pandas holds all of it.
    """
    is_packed = is_gzip(path)
    opened, n_bytes = gzip.open if is_packed else Path.open, path.stat().st_size
    limit = BUDGET.limit(n_bytes) if is_packed else n_bytes
    try:
        with opened(path, "rb") as handle:
            lines = [handle.readline(MAX_LINE_BYTES) for _ in range(2)]
            has_nul = any(b"\0" in line for line in lines)
            while whole and not has_nul and (block := handle.read(_BLOCK_BYTES)):
                has_nul = b"\0" in block
                if handle.tell() > limit:
                    raise bomb(name, limit)
    except _TEXT_FAULTS as error:
        raise _unreadable(name, str(error)) from error
    if any(len(line) == MAX_LINE_BYTES for line in lines):
        raise _unreadable(name, f"a line of {MAX_LINE_BYTES:,} bytes or more")
    if has_nul:
        raise _unreadable(name, "a NUL byte")
    n_fields = 1 + max(line.count(sep.encode()) for line in lines)
    if n_fields > most:
        raise _unreadable(name, f"{n_fields:,} fields in a line", f"a table of at most {most:,} columns")


def missing_columns(
    given: Iterable[Any],
    needed: Iterable[str],
    *,
    name: str,
    findings: Findings,
    todo: str = "Name the columns in the recipe, or correct the file",
) -> bool:
    """Add one refusal for the columns that are not there; returns whether any is missing.

    Parameters
    ----------
    given, needed
        Columns that a table has, and those that it has to have.
    name, todo
        Of the file, and what to do about it, for the message.
    """
    given, needed = list(given), list(needed)
    missing = [column for column in needed if column not in given]
    if missing:
        findings.refuse(
            "missing-column",
            f"The table has no column {', '.join(missing)}",
            file=name,
            field=missing[0],
            expected=f"columns {', '.join(needed)}",
            found=f"columns {', '.join(map(str, given[:12]))}",
            todo=todo,
        )
    return bool(missing)


def first_duplicates(ids: Sequence[str] | NDArray[Any], most: int = 3) -> list[str]:
    """The first few ids that occur more than once."""
    values, n = np.unique(np.asarray(ids, dtype=str), return_counts=True)
    return [str(value) for value in values[n > 1][:most]]


def refuse_duplicates(ids: Sequence[str] | NDArray[Any], *, name: str, field: str, findings: Findings) -> None:
    """Refuse ids that occur more than once, naming the first three."""
    twice = first_duplicates(ids)
    if twice:
        findings.refuse(
            "duplicate-spot-ids",
            "Spot ids occur more than once",
            file=name,
            field=field,
            expected="each spot id once",
            found=f"{', '.join(twice)} more than once",
            todo="Correct the file; humanst does not choose between two rows",
        )


def counts_from_values(values: NDArray[Any], *, name: str, findings: Findings) -> NDArray[np.int64] | None:
    """Turn count values (any shape) into int64, refusing what is not a count.

    NaN, negative and fractional values are refused by name with the number of offenders; ``None`` is returned then.
    """
    if values.dtype.kind in "iu":
        bad = {"counts-negative": values < 0}
        numbers = values
    else:
        try:
            numbers = _as_real(values)
        except (TypeError, ValueError) as error:
            findings.refuse(
                "counts-not-numbers",
                "Counts are not numbers",
                file=name,
                field="counts",
                expected="whole numbers of transcripts",
                found=str(error),
                todo="Use the raw count matrix",
            )
            return None
        bad = {
            "counts-nan": ~np.isfinite(numbers),
            "counts-negative": numbers < 0,
            "counts-fractional": np.isfinite(numbers) & (numbers != np.floor(numbers)),
        }
    bad["counts-too-large"] = numbers >= MAX_COUNT
    ok = True
    for code, where in bad.items():
        if n := int(np.count_nonzero(where)):
            ok = False
            example = numbers[where].flat[0]
            findings.refuse(
                code,
                "Counts must be whole numbers of transcripts",
                file=name,
                field="counts",
                expected=f"integers >= 0 and < {MAX_COUNT:,}",
                found=f"{n:,} values such as {example}",
                todo="Use the raw count matrix, not a normalised one",
            )
    return numbers.astype(np.int64) if ok else None


def _as_real(values: NDArray[Any]) -> NDArray[np.float64]:
    # numpy would make 1 of true, and leave out what is imaginary.
    if values.dtype.kind in "bcmM":
        raise TypeError(f"values of type {values.dtype}")
    return values.astype(np.float64)


def dense_to_csr(values: NDArray[np.int64]) -> csr_matrix:
    """A dense count table as CSR int64 with sorted indices."""
    from scipy.sparse import csr_matrix

    matrix = csr_matrix(values)
    matrix.sort_indices()
    return matrix


def read_count_table(path: Path, *, name: str, sep: str) -> tuple[NDArray[np.str_], NDArray[np.str_], NDArray[Any]]:
    """Row names, column names and values of a table with a name at the head of every row and column.

    The header is read apart: pandas renames a column that occurs twice, and then it stands for no gene any more. It may
    or may not have a cell over the row names, as tables from R do not.

    Returns
    -------
    rows, columns : ndarray
        Names as in the file.
    values : ndarray
        ``(n_rows, n_columns)``.

    Raises
    ------
    DataError
        ``table-unreadable`` when the header does not fit the rows, and for what :func:`read_table` refuses.
    """
    (head,) = _first_lines(path, 1, name=name, sep=sep)
    # A converter and no index, for a row may be called NA: that is a gene, and no missing value.
    how = {"header": None, "skiprows": 1, "converters": {0: str}, "low_memory": False}
    body = read_table(path, name=name, sep=sep, max_fields=MAX_GENE_FIELDS, **how)
    columns = _columns(head, body.shape[1] - 1, name)
    return body[0].to_numpy(str), columns, body.iloc[:, 1:].to_numpy()


def read_column_names(path: Path, *, name: str, sep: str) -> NDArray[np.str_]:
    """The column names of :func:`read_count_table`, without its values: the first two lines tell them.

    Raises
    ------
    DataError
        ``table-unreadable``.
    """
    head, first = _first_lines(path, 2, name=name, sep=sep)
    return _columns(head, len(first) - 1, name)


def read_row_names(path: Path, *, name: str, sep: str) -> NDArray[np.str_]:
    """The row names of :func:`read_count_table`, without its values.

    Raises
    ------
    DataError
        ``table-unreadable``.
    """
    how = {"header": None, "skiprows": 1, "usecols": [0], "dtype": str, "keep_default_na": False}
    return read_table(path, name=name, sep=sep, max_fields=MAX_GENE_FIELDS, **how)[0].to_numpy(str)


def _columns(head: list[str], n_columns: int, name: str) -> NDArray[np.str_]:
    """The column names of a header that may or may not have a cell over the row names."""
    surplus = len(head) - n_columns
    if surplus not in (0, 1):
        expected = f"a header of {n_columns} or {n_columns + 1} names for rows of {n_columns + 1} fields"
        raise _unreadable(name, f"{len(head)} names", expected)
    return np.array(head[surplus:], dtype=str)


def _first_lines(path: Path, n: int, *, name: str, sep: str) -> list[list[str]]:
    """The fields of the first lines that are not empty; pandas takes seconds for a line of 15,000 fields."""
    opened = gzip.open if is_gzip(path) else Path.open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as handle:
            lines = list(islice(filter(None, csv.reader(handle, delimiter=sep)), n))
    except (csv.Error, *_TEXT_FAULTS) as error:
        raise _unreadable(name, str(error)) from error
    if len(lines) < n:
        raise _unreadable(name, f"{len(lines)} lines")
    return lines
