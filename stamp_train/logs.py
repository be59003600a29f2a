"""What a run tells while it trains: a CSV that is whole at any time, or TensorBoard's own files."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Protocol

from humanst.errors import DataError, UsageError
from humanst.files import write_bytes

NAME = "log.csv"
BOARD = "tensorboard"
STEP = "step"
# Rows that a kill may take: those after the last checkpoint are made again anyway.
SECONDS_BETWEEN_WRITES = 1.0


class Log(Protocol):
    """Where numbers of a run go."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Note the numbers of a step."""

    def flush(self) -> None:
        """Bring all that was noted to the disk."""


@contextmanager
def open_log(kind: Literal["csv", "tensorboard"], folder: Path, *, resume_step: int | None = None) -> Iterator[Log]:
    """A log in the folder of a run; what was noted is on the disk when the block ends, however it ends.

    Parameters
    ----------
    kind
        ``csv``: ``log.csv``, a row a step, a column a name; ``tensorboard``: event files in ``tensorboard/``.
    folder
        Of the run; made where it is missing.
    resume_step
        Steps that the checkpoint has behind it. Rows are named for the steps done before theirs, so those from this
        one on are cut: they are made again. ``None`` begins anew.

    Raises
    ------
    UsageError
        ``log-kind`` for another kind, ``no-tensorboard`` when that package is not installed.
    DataError
        ``log-invalid`` when there is a ``log.csv`` to go on with that is none of ours.
    """
    if kind == "csv":
        log: _Csv | _Board = _Csv(folder / NAME, resume_step)
    elif kind == "tensorboard":
        log = _Board(folder / BOARD, resume_step)
    else:
        raise UsageError("There is no such log", code="log-kind", expected="csv or tensorboard", found=kind)
    try:
        yield log
    finally:
        log.close()


class _Csv:
    def __init__(self, path: Path, resume_step: int | None) -> None:
        self._path = path
        self._columns: list[str] = [STEP]
        self._rows: list[dict[str, str]] = []
        if resume_step is not None and path.is_file():
            self._columns, rows = _read(path)
            self._rows = [row for row in rows if int(row[STEP]) < resume_step]
        self._is_behind, self._written = True, float("-inf")
        self.flush()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._columns += [name for name in values if name not in self._columns]
        # The same step again is the same row: a run that is resumed may come by it twice.
        while self._rows and int(self._rows[-1][STEP]) >= step:
            self._rows.pop()
        self._rows.append({STEP: str(step), **{name: _text(value) for name, value in values.items()}})
        self._is_behind = True
        if time.monotonic() - self._written >= SECONDS_BETWEEN_WRITES:
            self.flush()

    def flush(self) -> None:
        if not self._is_behind:
            return
        text = io.StringIO()
        table = csv.DictWriter(text, self._columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self._rows)
        write_bytes(self._path, text.getvalue().encode())
        self._is_behind, self._written = False, time.monotonic()

    close = flush


class _Board:
    def __init__(self, folder: Path, resume_step: int | None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "TensorBoard is not installed",
                code="no-tensorboard",
                field="log",
                expected="the package tensorboard",
                found=error,
                todo="Install it with `pip install tensorboard`, or log as csv",
            ) from error
        # What was written after the checkpoint is hidden by TensorBoard, which never rewrites a file.
        self._writer: Any = SummaryWriter(str(folder), purge_step=resume_step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, float(value), step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _text(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return str(value) if isinstance(value, int) else repr(float(value))


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    with suppress(UnicodeDecodeError, csv.Error), path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        columns, rows = list(table.fieldnames or []), list(table)
        if columns[:1] == [STEP] and all(_is_row(row) for row in rows):
            return columns, rows
    raise DataError(
        "The log of this run cannot be gone on with",
        code="log-invalid",
        file=path,
        expected=f"a table with a column {STEP} of whole numbers, and a value or nothing in each column",
        found="another",
        done="Nothing was changed",
        todo="Move it away, or name another folder for the run",
    )


def _is_row(row: Mapping[Any, Any]) -> bool:
    return str(row[STEP]).isdecimal() and None not in row and None not in row.values()
