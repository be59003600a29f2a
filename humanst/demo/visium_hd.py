"""Write a Visium HD section as Space Ranger 3 lays out its 8 um bins: a small array on a larger image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from humanst import files
from humanst.demo.expression import Expression, draw_counts
from humanst.demo.genes import load_genes
from humanst.demo.paint import paint
from humanst.demo.seeding import named_rng
from humanst.demo.truth import SpotTruth
from humanst.demo.vendor import write_pyramid, write_reduced_png
from humanst.demo.visium import write_h5

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from humanst.demo.layout import SectionPlan
    from humanst.demo.tissue import Tissue

BIN_UM = 8.0
ARRAY_ROWS, ARRAY_COLUMNS = 158, 156
# The array lies in the lower right of its image, its middle this far from both borders: tissue ends inside it.
FROM_CORNER_UM = 710.0
# Counts are drawn for cells of 2 x 2 bins and scattered over their bins.
BINS_A_CELL = 2
BINS_A_SQUARE = 14
TYPICAL_SIZE = 120.0
FIDUCIAL_UM = 330.0
# As on real files: the header is near the pitch of the bins and not the same.
HEADER_FACTOR = 1.0003
SCATTER_PX = 0.1
HIRES_PX, LOWRES_PX = 1500, 400


def write_visium_hd(folder: Path, plan: SectionPlan, tissue: Tissue, *, seed: int) -> tuple[dict[str, str], SpotTruth]:
    """Write one section's files below ``folder``.

    Returns
    -------
    roles
        Role of each file -> path below ``folder``.
    spots
        The truth of every whole square of 14 x 14 bins (112 um) of the array.
    """
    genes = load_genes()
    base = f"{plan.section_id}/outs/binned_outputs/square_{BIN_UM:03.0f}um"
    roles = {
        "image": f"{plan.section_id}/image.tif",
        "counts": f"{base}/filtered_feature_bc_matrix.h5",
        "positions": f"{base}/spatial/tissue_positions.parquet",
        "scalefactors": f"{base}/spatial/scalefactors_json.json",
        "hires": f"{base}/spatial/tissue_hires_image.png",
        "lowres": f"{base}/spatial/tissue_lowres_image.png",
    }
    row, column = (axis.ravel() for axis in np.indices((ARRAY_ROWS, ARRAY_COLUMNS)))
    xy_um = place_um(plan, np.stack([row, column], axis=1), seed=seed)
    in_tissue = tissue.class_at(xy_um) > 0
    pattern = f"s_{BIN_UM:03.0f}um_%05d_%05d-1"
    barcodes = np.array([pattern % bin_at for bin_at in zip(row.tolist(), column.tolist(), strict=True)])
    counts, drawn = _draw(tissue, plan, seed=seed)
    write_h5(
        folder / roles["counts"],
        plan,
        genes,
        barcodes[in_tissue],
        counts[np.flatnonzero(in_tissue)],
        chemistry="Visium HD v1",
        software="spaceranger-3.1.2",
    )
    _write_positions(folder / roles["positions"], plan, barcodes, in_tissue, row, column, xy_um, seed=seed)
    _write_images(folder, roles, plan, paint(tissue, plan, seed=seed))
    return roles, _square_truth(plan, tissue, drawn, in_tissue, seed=seed)


def place_um(
    plan: SectionPlan, row_col: NDArray[np.integer] | NDArray[np.floating], *, seed: int
) -> NDArray[np.float64]:
    """Centres (n, 2) (x, y) in um of the image of array positions (row, column), fractional ones too.

    Rows run with y and columns against x, slightly turned, as on real slides.
    """
    turn = named_rng(seed, plan.sample_id, "lattice").uniform(-0.02, 0.02)
    along = -(row_col[:, 1] - (ARRAY_COLUMNS - 1) / 2) * BIN_UM
    across = (row_col[:, 0] - (ARRAY_ROWS - 1) / 2) * BIN_UM
    x = plan.width_um - FROM_CORNER_UM + along * np.cos(turn) - across * np.sin(turn)
    y = plan.height_um - FROM_CORNER_UM + along * np.sin(turn) + across * np.cos(turn)
    return np.stack([x, y], axis=1)


def _cells() -> NDArray[np.floating]:
    """Array positions (row, column) of the centres of the cells of 2 x 2 bins, row by row."""
    row, column = np.indices((ARRAY_ROWS // BINS_A_CELL, ARRAY_COLUMNS // BINS_A_CELL))
    return np.stack([row.ravel(), column.ravel()], axis=1) * float(BINS_A_CELL) + (BINS_A_CELL - 1) / 2


def _draw(tissue: Tissue, plan: SectionPlan, *, seed: int) -> tuple[csr_matrix, Expression]:
    """Counts (n_bins, n_genes) int32 of all bins, and what was drawn for the cells."""
    from scipy.sparse import csr_matrix

    drawn = draw_counts(
        tissue, plan, place_um(plan, _cells(), seed=seed), genes=load_genes(), seed=seed, typical_size=TYPICAL_SIZE
    )
    cell, gene = np.nonzero(drawn.counts)
    repeats = drawn.counts[cell, gene]
    first = np.floor(_cells()).astype(np.int64)[np.repeat(cell, repeats)]
    step = named_rng(seed, plan.sample_id, "bins").integers(BINS_A_CELL, size=first.shape)
    row, column = (first + step).T
    where = (row * ARRAY_COLUMNS + column, np.repeat(gene, repeats))
    shape = (ARRAY_ROWS * ARRAY_COLUMNS, drawn.counts.shape[1])
    return csr_matrix((np.ones(len(row), np.int32), where), shape=shape), drawn


def _write_positions(
    path: Path,
    plan: SectionPlan,
    barcodes: NDArray[np.str_],
    in_tissue: NDArray[np.bool_],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    xy_um: NDArray[np.float64],
    *,
    seed: int,
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    scatter = named_rng(seed, plan.sample_id, "scatter").normal(0.0, SCATTER_PX, xy_um.shape)
    xy_px = xy_um / plan.um_per_pixel + scatter
    table = pa.table(
        {
            "barcode": barcodes.tolist(),
            "in_tissue": in_tissue.astype(np.int32),
            "array_row": row.astype(np.int32),
            "array_col": column.astype(np.int32),
            "pxl_row_in_fullres": xy_px[:, 1],
            "pxl_col_in_fullres": xy_px[:, 0],
        }
    )
    files.write_with(path, lambda partial: pq.write_table(table, partial, compression="zstd"))


def _write_images(folder: Path, roles: dict[str, str], plan: SectionPlan, rgb: NDArray[np.uint8]) -> None:
    write_pyramid(folder / roles["image"], rgb, um_per_pixel=plan.um_per_pixel)
    hires = write_reduced_png(folder / roles["hires"], rgb, longest_px=HIRES_PX)
    lowres = write_reduced_png(folder / roles["lowres"], rgb, longest_px=LOWRES_PX)
    header = plan.um_per_pixel * HEADER_FACTOR
    factors = {
        "spot_diameter_fullres": BIN_UM / header,
        "bin_size_um": BIN_UM,
        "microns_per_pixel": header,
        "regist_target_img_scalef": hires,
        "tissue_lowres_scalef": lowres,
        "fiducial_diameter_fullres": FIDUCIAL_UM / header,
        "tissue_hires_scalef": hires,
    }
    files.write_bytes(folder / roles["scalefactors"], json.dumps(factors, indent=4).encode())


def _square_truth(
    plan: SectionPlan, tissue: Tissue, drawn: Expression, in_tissue: NDArray[np.bool_], *, seed: int
) -> SpotTruth:
    """Truth of the whole squares, row by row: means over the cells whose centres they hold."""
    n_rows, n_columns = ARRAY_ROWS // BINS_A_SQUARE, ARRAY_COLUMNS // BINS_A_SQUARE
    row, column = (axis.ravel() for axis in np.indices((n_rows, n_columns)))
    whole = in_tissue.reshape(ARRAY_ROWS, ARRAY_COLUMNS)[: n_rows * BINS_A_SQUARE, : n_columns * BINS_A_SQUARE]
    share = whole.reshape(n_rows, BINS_A_SQUARE, n_columns, BINS_A_SQUARE).mean(axis=(1, 3)).ravel()
    square = (_cells() // BINS_A_SQUARE).astype(np.int64)
    number = square[:, 0] * n_columns + square[:, 1]
    within = (square < (n_rows, n_columns)).all(axis=1)

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        summed = np.zeros((n_rows * n_columns, *values.shape[1:]))
        np.add.at(summed, number[within], values[within])
        per_square: NDArray[np.float32] = (summed / (BINS_A_SQUARE / BINS_A_CELL) ** 2).astype(np.float32)
        return per_square

    middle = np.stack([row, column], axis=1) * BINS_A_SQUARE + (BINS_A_SQUARE - 1) / 2
    return SpotTruth(
        spot_ids=np.array([f"r{r}c{c}" for r, c in zip(row.tolist(), column.tolist(), strict=True)]),
        xy_px=place_um(plan, middle, seed=seed) / plan.um_per_pixel,
        in_tissue=share >= 0.5,
        has_counts=share >= 0.5,
        activity=mean(drawn.activity),
        library_factor=mean(drawn.library_factor),
    )
