"""The segmented cells of a Xenium bundle: counted for the record, and nothing else.

Targets are transcripts in squares, whatever cell they were given to; the segmentation changes with every version of the
instrument's software, and the sums of squares do not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from humanst.fetch import LocalFiles
from humanst.findings import Findings
from humanst.platforms.pooling import SquareGrid

CENTROID = ("x_centroid", "y_centroid")


def count_cells(
    files: LocalFiles, grid: SquareGrid, row_col: NDArray[np.int64], findings: Findings
) -> dict[str, int] | None:
    """Count the cells of role ``cells`` (cells.parquet or cells.csv.gz); ``None`` without the file.

    Findings: ``cells-unreadable`` warns, for no target rests on the file.

    Parameters
    ----------
    row_col
        ``(n, 2)`` squares with counts.

    Returns
    -------
    dict
        ``n``, and ``in_squares``: those whose centroid lies in a square with counts.
    """
    if "cells" not in files.paths:
        return None
    try:
        centroid_um = _centroids(files.paths["cells"])
    except (OSError, ValueError, KeyError) as error:
        findings.warn(
            "cells-unreadable",
            "The table of cells cannot be read",
            file=files.names["cells"],
            expected=f"a parquet or csv table with columns {', '.join(CENTROID)}",
            found=str(error),
            done="The cells were not counted; transcripts do not depend on them",
        )
        return None
    places, _, _ = grid.place(centroid_um)
    key, squares = (pairs @ np.array([1 << 32, 1]) for pairs in (places, row_col))
    return {"n": len(centroid_um), "in_squares": int(np.isin(key, squares).sum())}


def _centroids(path: Path) -> NDArray[np.float64]:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    with path.open("rb") as handle:
        head = handle.read(4)
    if head == b"PAR1":
        with pq.ParquetFile(path) as file:
            missing = set(CENTROID) - set(file.schema_arrow.names)
            if missing:
                raise KeyError(f"no column {', '.join(sorted(missing))}")
            table = file.read(columns=list(CENTROID))
    else:
        options = csv.ConvertOptions(include_columns=list(CENTROID), column_types=dict.fromkeys(CENTROID, pa.float64()))
        with pa.input_stream(str(path), compression="gzip" if head.startswith(b"\x1f\x8b") else None) as stream:
            table = csv.read_csv(stream, convert_options=options)
    xy_um = np.stack([table[name].to_numpy().astype(np.float64) for name in CENTROID], axis=1)
    if not np.isfinite(xy_um).all():
        raise ValueError("centroids that are no numbers")
    return xy_um
