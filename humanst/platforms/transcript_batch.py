"""Rows of a transcript table, whatever file they come from, and what is said of rows that cannot be transcripts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError

BATCH_ROWS = 1 << 19
# The sample area of a slide is 2.4 cm wide; ten times that is no position.
FARTHEST_UM = 240_000.0


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
        ``codeword_category`` where the table has it; an empty one says nothing.
    is_gene
        ``(n,)`` bool where the table has it.
    """

    feature: Coded
    xy_um: NDArray[np.float64]
    qv: NDArray[np.float64]
    category: Coded | None
    is_gene: NDArray[np.bool_] | None


def unreadable(name: str, expected: str, found: str) -> DataError:
    """Say that a transcript table is damaged: ``transcripts-unreadable``."""
    return DataError(
        "The transcript table cannot be read",
        code="transcripts-unreadable",
        file=name,
        expected=expected,
        found=found,
        todo="Fetch the file again",
    )


def invalid(name: str, field: str, found: str) -> DataError:
    """Say that rows are no transcripts: ``transcripts-invalid``."""
    return DataError(
        "Some transcripts have no name or no place",
        code="transcripts-invalid",
        file=name,
        field=field,
        expected=f"a feature and finite positions within {FARTHEST_UM / 1000:g} mm in every row",
        found=found,
        todo="Take the file as the instrument wrote it",
    )


def check_places(xy_um: NDArray[np.float64], name: str, field: str) -> None:
    """Refuse ``(n, 2)`` positions that are no numbers, or too far away to be on a slide.

    Raises
    ------
    DataError
        ``transcripts-invalid``.
    """
    bad = ~(np.abs(xy_um) < FARTHEST_UM).all(axis=1)
    if bad.any():
        raise invalid(name, field, f"{int(bad.sum()):,} rows such as {xy_um[bad][0].tolist()}")
