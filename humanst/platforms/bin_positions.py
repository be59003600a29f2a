"""``tissue_positions.parquet`` of Visium HD: where every bin of the array lies, read column by column.

The table lists all bins, in tissue or not: 11.2 million of 2 um on a slide of 6.5 mm. No row is looked at on its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.fetch import LocalFiles
from humanst.findings import Findings
from humanst.platforms.tables import missing_columns

POSITION_COLUMNS = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
# 6.5 cm of the smallest bins: no slide is as large.
MAX_INDEX = 1 << 15
_WHOLE_UP_TO = {"in_tissue": 1, "array_row": MAX_INDEX, "array_col": MAX_INDEX}
MAX_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Bins:
    """All bins that the positions file lists, in its order.

    Attributes
    ----------
    barcodes
        pyarrow array of ``(n,)`` binary, each once.
    row_col
        ``(n, 2)`` int64 lattice indices >= 0, each pair once.
    xy_px
        ``(n, 2)`` float64 centres (x, y), full-resolution pixels.
    in_tissue
        ``(n,)`` bool.
    """

    barcodes: Any
    row_col: NDArray[np.int64]
    xy_px: NDArray[np.float64]
    in_tissue: NDArray[np.bool_]


def read_bins(files: LocalFiles, findings: Findings) -> Bins | None:
    """Read the positions of role ``positions``; ``None`` after a refusal.

    Findings: ``no-positions``, ``table-unreadable``, ``missing-column``, ``positions-invalid`` (a value that is no
    index, flag or number), ``duplicate-spot-ids`` and ``duplicate-bins`` all refuse.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if "positions" not in files.paths:
        findings.refuse(
            "no-positions",
            "The section has no positions file",
            field="positions",
            expected="tissue_positions.parquet",
            found=f"files for {', '.join(sorted(files.paths)) or 'nothing'}",
            todo="Add the file of the same square_*um/spatial folder to the catalog or the folder",
        )
        return None
    name = files.names["positions"]
    if not _has_columns(files.paths["positions"], name, findings):
        return None
    barcodes = _column(files.paths["positions"], "barcode", name, findings)
    if barcodes is None:
        return None
    barcodes = pc.cast(barcodes, pa.binary()).combine_chunks()
    sound: dict[str, NDArray[np.float64]] = {}
    for key in POSITION_COLUMNS[1:]:
        column = _column(files.paths["positions"], key, name, findings)
        values = None if column is None else _numbers(column, key, barcodes, name, findings)
        if values is not None:
            sound[key] = values
    if len(sound) < len(POSITION_COLUMNS) - 1:
        return None
    bins = Bins(
        barcodes=barcodes,
        row_col=np.stack([sound["array_row"], sound["array_col"]], axis=1).astype(np.int64),
        xy_px=np.stack([sound["pxl_col_in_fullres"], sound["pxl_row_in_fullres"]], axis=1),
        in_tissue=sound["in_tissue"] == 1,
    )
    return None if _refuse_twins(bins, name, findings) else bins


def _unreadable(error: Exception, name: str, findings: Findings) -> None:
    findings.refuse(
        "table-unreadable",
        "The positions cannot be read",
        file=name,
        expected="a parquet table",
        found=str(error),
        todo="Fetch the file again",
    )


def _has_columns(path: Path, name: str, findings: Findings) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        given, n_rows = pq.read_schema(path).names, pq.read_metadata(path).num_rows
    except (OSError, ValueError, pa.ArrowException) as error:
        _unreadable(error, name, findings)
        return False
    todo = "Give tissue_positions.parquet as the vendor wrote it"
    if missing_columns(given, POSITION_COLUMNS, name=name, findings=findings, todo=todo):
        return False
    if not n_rows:
        findings.refuse("positions-invalid", "The positions list no bins", file=name, expected="one row a bin")
    return bool(n_rows)


def _column(path: Path, key: str, name: str, findings: Findings) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=[key]).column(key)
    except (OSError, ValueError, pa.ArrowException) as error:
        _unreadable(error, name, findings)
        return None


def _numbers(column: Any, key: str, barcodes: Any, name: str, findings: Findings) -> NDArray[np.float64] | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    most = _WHOLE_UP_TO.get(key)
    expected = "finite numbers" if most is None else f"whole numbers from 0 to {most}"
    try:
        values: NDArray[np.float64] = pc.cast(column, pa.float64()).to_numpy()
    except pa.ArrowException:
        found = f"{column.type}, such as {column[0]}"
    else:
        bad = ~np.isfinite(values)
        if most is not None:
            bad |= (values != np.floor(values)) | (values < 0) | (values > most)
        if not bad.any():
            return values
        first = int(np.flatnonzero(bad)[0])
        found = f"{int(bad.sum()):,} rows that are not, such as {values[first]:g} of {text(barcodes[first])}"
    findings.refuse(
        "positions-invalid", "Bin positions are not all numbers", file=name, field=key, expected=expected, found=found
    )
    return None


def _refuse_twins(bins: Bins, name: str, findings: Findings) -> bool:
    """Refuse barcodes and lattice positions that two rows share."""
    import pyarrow.compute as pc

    row, column = bins.row_col[:, 0], bins.row_col[:, 1]
    place, times = np.unique(row * (MAX_INDEX + 1) + column, return_counts=True)
    if len(place) < len(row):
        twice = [divmod(int(one), MAX_INDEX + 1) for one in place[times > 1][:MAX_EXAMPLES]]
        findings.refuse(
            "duplicate-bins",
            "Two bins lie at one place of the array",
            file=name,
            field="array_row, array_col",
            expected="each pair of indices once",
            found=f"{int((times > 1).sum()):,} pairs more than once, such as {', '.join(map(str, twice))}",
            todo="Give the positions of one binning of one section",
        )
    n_distinct = pc.count_distinct(bins.barcodes).as_py()
    if n_distinct < len(bins.barcodes):
        counted = pc.value_counts(bins.barcodes)
        more = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
        findings.refuse(
            "duplicate-spot-ids",
            "Bins occur more than once",
            file=name,
            field="barcode",
            expected="each barcode once",
            found=f"{len(more):,} more than once, such as {', '.join(text(one) for one in more[:MAX_EXAMPLES])}",
            todo="Correct the file; humanst does not choose between two rows",
        )
    return findings.refused and (len(place) < len(row) or n_distinct < len(bins.barcodes))


def text(barcode: Any) -> str:
    """A barcode (pyarrow binary scalar) for a message."""
    value: bytes | None = barcode.as_py()
    return "no barcode" if value is None else value.decode("utf-8", "replace")
