"""The rows of an extract: a table as it lies in memory, of which packing takes a few rows at a time.

A shard draws a handful of rows from each of a thousand extracts. An uncompressed Arrow file is mapped, so that reading
them costs what they are, and not what the section is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from humanst import files

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = "rows.arrow"
PATHWAYS = "pathways"
"""Column of the scores: as many float32 in each row as there are pathways."""


def write_rows(path: Path, table: pa.Table, scores: NDArray[np.float32] | None = None) -> None:
    """Write the rows of an extract as one record batch.

    Parameters
    ----------
    scores
        ``(n_rows, P)`` float32: becomes the column ``pathways``.
    """
    import pyarrow as pa

    if scores is not None:
        values = pa.array(np.ascontiguousarray(scores, dtype=np.float32).ravel())
        table = table.append_column(PATHWAYS, pa.FixedSizeListArray.from_arrays(values, scores.shape[1]))
    batch = table.combine_chunks().to_batches()[0]

    def write(target: Path) -> None:
        with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as out:
            out.write_batch(batch)

    files.write_with(path, write)


def take_rows(path: Path, rows: NDArray[np.int64]) -> pa.RecordBatch:
    """Some rows of an extract, in the order asked; nothing else of the file is read."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).get_batch(0).take(pa.array(rows))


def read_uids(path: Path) -> list[str]:
    """The uids of all rows of an extract."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        uids: list[str] = pa.ipc.open_file(source).get_batch(0)["uid"].to_pylist()
    return uids
