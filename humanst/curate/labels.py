"""Which text file beside a Visium section looks like labels of its spots, and how it joins to them."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from humanst.curate.layouts import Bundle, folders_of
from humanst.curate.tables import TEXT_SUFFIXES
from humanst.errors import DataError
from humanst.platforms.tables import read_table

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 5_000
MIN_KNOWN = 0.9
# A column with a value of its own in nearly every row names spots; one with a single value says nothing of them.
MAX_CLASSES = 60


@dataclass(frozen=True, slots=True)
class LabelFile:
    """A file of labels.

    Attributes
    ----------
    key
        Its column of barcodes.
    columns
        Its columns of words that repeat.
    bare
        Whether its barcodes are those of the positions only without what follows the sequence.
    """

    path: str
    separator: str
    key: str
    columns: tuple[str, ...]
    bare: bool = False

    def rule(self) -> dict[str, object]:
        """The recipe's ``labels``."""
        column: object = self.columns[0] if len(self.columns) == 1 else list(self.columns)
        separator = {} if self.separator == "\t" else {"separator": self.separator}
        return {"key": self.key, **separator, "column": column}


def find_labels(folder: Path, bundle: Bundle, paths: Iterable[str]) -> list[LabelFile]:
    """The text files beside a bundle whose rows are its barcodes and that hold words about them, by name."""
    known = _barcodes(folder / bundle.files.get("positions", ""))
    if not known:
        return []
    places, taken = folders_of(bundle), set(bundle.files.values())
    beside = [
        path
        for path in sorted(paths)
        if "/".join(PurePosixPath(path).parts[:-1]) in places
        and path.lower().removesuffix(".gz").endswith(TEXT_SUFFIXES)
        and path not in taken
        and PurePosixPath(path).name.startswith(bundle.prefix)
    ]
    return [found for path in beside if (found := _read(folder, path, known)) is not None]


def _barcodes(path: Path) -> frozenset[str]:
    if not path.name.removesuffix(".gz").endswith(".csv"):
        return frozenset()
    try:
        table = read_table(path, name=path.name, header=None, usecols=[0], dtype=str)
    except (DataError, OSError, EOFError, ValueError):
        return frozenset()
    return frozenset(table[0].dropna()) - {"barcode"}


def _read(folder: Path, path: str, known: frozenset[str]) -> LabelFile | None:
    try:
        with (folder / path).open("rb") as raw, gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw as handle:
            header = handle.readline(1 << 16).decode("utf-8")
        separator = max(("\t", ",", ";"), key=header.count)
        table = read_table(folder / path, name=path, sep=separator, dtype=str, nrows=MAX_ROWS, index_col=False)
    except (DataError, OSError, EOFError, ValueError):
        return None
    sequences = frozenset(_sequence(barcode) for barcode in known)
    for bare in (False, True):
        names = sequences if bare else known
        for key in map(str, table.columns):
            values = table[key].dropna().map(_sequence if bare else str)
            if len(values) and values.isin(names).mean() >= MIN_KNOWN and key not in known:
                columns = tuple(name for name in map(str, table.columns) if name != key and _is_label(table[name]))
                return LabelFile(path, separator, key, columns, bare) if columns else None
    return None


def _sequence(barcode: str) -> str:
    return barcode.split("-", 1)[0]


def _is_label(column: pd.Series[str]) -> bool:
    import pandas as pd

    values = column.dropna()
    if not 2 <= values.nunique() <= min(MAX_CLASSES, len(values) / 2):
        return False
    return bool(pd.to_numeric(values, errors="coerce").isna().any())
