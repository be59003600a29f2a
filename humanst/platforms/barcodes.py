"""Barcodes of a matrix and of a positions file: one spelling, and a join that is total or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from humanst.catalog import Recipe
from humanst.fetch import LocalFiles
from humanst.findings import Drop, Findings
from humanst.platforms.tables import refuse_duplicates
from humanst.platforms.tenx import TenxMatrix

if TYPE_CHECKING:
    import pandas as pd

# Of a raw matrix that leaves out barcodes without a transcript, hardly one is in tissue.
MAX_SILENT_SHARE = 0.01


def renamed(
    matrix: TenxMatrix, positions: pd.DataFrame, files: LocalFiles, recipe: Recipe, findings: Findings
) -> TenxMatrix:
    """The matrix with its barcodes spelled as in the positions, by the recipe's ``barcode_suffix``.

    Parameters
    ----------
    matrix
        From :func:`humanst.platforms.tenx.read_matrix`.
    positions
        Indexed by barcode.
    findings
        Gets ``barcode-suffix`` and ``duplicate-spot-ids``; a refusal makes the result useless.
    """
    rule: Mapping[str, str] = recipe.options.get("barcode_suffix", {})
    if not {"counts", "positions"} & set(rule):
        return matrix
    names = positions.index.to_numpy(str)
    counts_name = files.names.get("counts", files.names.get("barcodes", ""))
    bare_names = without_suffix(names, rule.get("positions", ""), files.names["positions"], findings)
    bare = without_suffix(matrix.barcodes, rule.get("counts", ""), counts_name, findings)
    for texts, name in ((bare_names, files.names["positions"]), (bare, counts_name)):
        refuse_duplicates(texts, name=name, field="barcode", findings=findings)
    spelled = dict(zip(bare_names, names, strict=True))
    barcodes = np.array([spelled.get(key, own) for key, own in zip(bare, matrix.barcodes, strict=True)], dtype=str)
    order = np.argsort(barcodes, kind="stable")
    return replace(matrix, barcodes=barcodes[order], counts=matrix.counts[order])


def without_suffix(barcodes: NDArray[np.str_], suffix: str, name: str, findings: Findings) -> list[str]:
    """Barcodes without the suffix that every one of them must have; ``barcode-suffix`` refuses those that do not."""
    bad = [barcode for barcode in barcodes.tolist() if not barcode.endswith(suffix)]
    if bad:
        findings.refuse(
            "barcode-suffix",
            "Barcodes do not end in the suffix that the recipe names",
            file=name,
            field="barcode",
            expected=f"{suffix!r} at the end of every barcode",
            found=f"{len(bad):,} without it, such as {', '.join(bad[:3])}",
            todo="Correct `barcode_suffix` in the recipe",
        )
    return [barcode.removesuffix(suffix) for barcode in barcodes.tolist()]


def total_join(
    matrix: TenxMatrix, positions: pd.DataFrame, files: LocalFiles, findings: Findings
) -> tuple[NDArray[np.int64], tuple[Drop, ...]]:
    """Every barcode of the matrix needs a position; a filtered matrix holds every in-tissue barcode.

    Parameters
    ----------
    positions
        Indexed by barcode, with ``in_tissue`` 0 or 1.
    findings
        Gets ``barcodes-without-position`` and ``files-of-two-sections`` (refuse), ``in-tissue-without-counts`` (warn).

    Returns
    -------
    rows : ndarray
        Rows of the matrix under tissue.
    drops : tuple of Drop
        ``out-of-tissue``, for the rest.
    """
    known = set(positions.index)
    lost = [barcode for barcode in matrix.barcodes.tolist() if barcode not in known]
    if lost:
        findings.refuse(
            "barcodes-without-position",
            "Barcodes of the matrix have no position",
            file=files.names["positions"],
            field="barcode",
            expected=f"a position for each of {len(matrix.barcodes):,} barcodes, as in {positions.index[0]}",
            found=f"{len(lost):,} without, such as {', '.join(lost[:3])}",
            todo=_why_lost(lost, positions),
        )
        return np.arange(0), ()
    outside = (positions["in_tissue"].loc[matrix.barcodes.tolist()] != 1).to_numpy()
    _check_in_tissue(matrix, positions, int(outside.sum()), files, findings)
    rows = np.flatnonzero(~outside)
    if not outside.any():
        return rows, ()
    gone = np.flatnonzero(outside)
    names = tuple(map(str, matrix.barcodes[gone][:5]))
    return rows, (Drop("spots", "out-of-tissue", len(gone), int(matrix.counts[gone].sum()), names),)


def _check_in_tissue(
    matrix: TenxMatrix, positions: pd.DataFrame, n_outside: int, files: LocalFiles, findings: Findings
) -> None:
    """A filtered matrix has the in-tissue barcodes alone, a raw one has all of them; what is neither is of two slides.

    All slides of a generation have the same barcodes, so that files of two sections join without a gap.
    """
    with_counts = set(matrix.barcodes.tolist())
    tissue = positions.index[positions["in_tissue"] == 1]
    silent = [barcode for barcode in tissue if barcode not in with_counts]
    if n_outside and len(silent) > MAX_SILENT_SHARE * len(tissue):
        findings.refuse(
            "files-of-two-sections",
            "The matrix and the positions do not tell of one tissue",
            file=files.names["positions"],
            field="in_tissue",
            expected="a filtered matrix of the in-tissue barcodes, or a raw one that holds them all",
            found=f"{n_outside:,} barcodes out of tissue, and {len(silent):,} of {len(tissue):,} in tissue missing",
            todo="Check that both files are of this section",
        )
    elif silent:
        findings.warn(
            "in-tissue-without-counts",
            "In-tissue positions are not in the matrix",
            file=files.names.get("counts", files.names.get("matrix")),
            expected=f"all {len(tissue):,} in-tissue barcodes",
            found=f"{len(silent):,} missing, such as {', '.join(silent[:3])}",
        )


def _why_lost(lost: list[str], positions: pd.DataFrame) -> str:
    """What to do about lost barcodes; a difference in what follows the sequence is said, never mended."""
    sequences = {str(barcode).split("-", 1)[0] for barcode in positions.index}
    if all(barcode.split("-", 1)[0] in sequences for barcode in lost):
        return "Only what follows the barcodes differs: name it in the recipe as `barcode_suffix`"
    return "Check that both files are of this section"
