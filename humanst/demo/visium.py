"""Write a Visium section as Space Ranger 2 or Space Ranger 1 lays it out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst import files
from humanst.demo.expression import Expression, draw_counts
from humanst.demo.genes import DemoGenes, load_genes
from humanst.demo.paint import paint
from humanst.demo.seeding import named_rng
from humanst.demo.truth import SpotTruth
from humanst.demo.vendor import gzip_bytes, write_pyramid, write_reduced_png

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from humanst.demo.layout import SectionPlan
    from humanst.demo.tissue import Tissue

PITCH_UM = 100.0
FIDUCIAL_UM = 105.0
# As real files have it: scalefactors give 65 um where the spot is 55 um wide.
SPOT_DIAMETER_UM = 65.0
COVERED_UM = 55.0
ARRAY_ROWS, ARRAY_COLUMNS = 78, 128
MARGIN_UM = 72.0
TYPICAL_SIZE = 4800.0
HIRES_PX, LOWRES_PX = 2000, 600


def write_visium(
    folder: Path, plan: SectionPlan, tissue: Tissue, *, seed: int, v1: bool
) -> tuple[dict[str, str], SpotTruth]:
    """Write one section's files below ``folder``.

    Returns
    -------
    roles
        Role of each file -> path below ``folder``.
    spots
        The spot truth, one row a line of the positions file.
    """
    genes = load_genes()
    row_col, xy_px = visium_lattice(plan, seed=seed)
    in_tissue = tissue.covered(xy_px * plan.um_per_pixel, COVERED_UM)
    barcodes = slide_barcodes()[row_col[:, 0], row_col[:, 1]]
    drawn = draw_counts(tissue, plan, xy_px * plan.um_per_pixel, genes=genes, seed=seed, typical_size=TYPICAL_SIZE)
    roles = _write_images(folder, plan, paint(tissue, plan, seed=seed))
    roles |= _write_positions(folder, plan, v1, barcodes=barcodes, in_tissue=in_tissue, row_col=row_col, xy_px=xy_px)
    chosen = np.flatnonzero(in_tissue)
    order = chosen[np.argsort(barcodes[chosen], kind="stable")]
    write_counts = _write_mex if v1 else _write_h5
    roles |= write_counts(folder, plan, genes, barcodes[order], drawn.counts[order])
    return roles, _spot_truth(barcodes, xy_px, in_tissue, drawn)


def _spot_truth(
    barcodes: NDArray[np.str_], xy_px: NDArray[np.float64], in_tissue: NDArray[np.bool_], drawn: Expression
) -> SpotTruth:
    return SpotTruth(barcodes, xy_px, in_tissue, in_tissue, drawn.activity, drawn.library_factor)


def slide_barcodes() -> NDArray[np.str_]:
    """Barcode of every (row, column) of a slide, (78, 128) str: as on real slides the same for all sections."""
    rng = named_rng(0, "slide barcodes")
    letters = np.array(list("ACGT"))[rng.integers(4, size=(ARRAY_ROWS * ARRAY_COLUMNS * 2, 16))]
    words = letters.view("<U16").ravel()
    _, first = np.unique(words, return_index=True)
    chosen = words[np.sort(first)[: ARRAY_ROWS * ARRAY_COLUMNS]]
    return np.char.add(chosen, "-1").reshape(ARRAY_ROWS, ARRAY_COLUMNS)


def visium_lattice(plan: SectionPlan, *, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Array (row, column) and whole-pixel (x, y) of the spots whose patch lies inside the image.

    Columns run with x and rows with y, as on every v1 slide seen; odd rows hold odd columns only.
    """
    rng = named_rng(seed, plan.sample_id, "lattice")
    turn = rng.uniform(-0.01, 0.01)
    first = np.array([int(rng.integers(6, 40)), int(rng.integers(6, 70))])
    row, column = np.meshgrid(np.arange(40), np.arange(60), indexing="ij")
    x = column * PITCH_UM / 2
    y = row * PITCH_UM * np.sqrt(3.0) / 2
    shift = rng.uniform(0.0, 20.0, 2)
    x_um = MARGIN_UM + shift[0] + x * np.cos(turn) - y * np.sin(turn)
    y_um = MARGIN_UM + shift[1] + x * np.sin(turn) + y * np.cos(turn)
    inside = (x_um >= MARGIN_UM) & (x_um <= plan.width_um - MARGIN_UM)
    inside &= (y_um >= MARGIN_UM) & (y_um <= plan.height_um - MARGIN_UM)
    inside &= (row + first[0] + column + first[1]) % 2 == 0
    row_col = np.stack([row[inside] + first[0], column[inside] + first[1]], axis=1)
    xy_px = np.rint(np.stack([x_um[inside], y_um[inside]], axis=1) / plan.um_per_pixel)
    return row_col.astype(np.int64), xy_px


def _write_images(folder: Path, plan: SectionPlan, rgb: NDArray[np.uint8]) -> dict[str, str]:
    spatial = f"{plan.section_id}/outs/spatial"
    roles = {
        "image": f"{plan.section_id}/image.tif",
        "hires": f"{spatial}/tissue_hires_image.png",
        "lowres": f"{spatial}/tissue_lowres_image.png",
        "scalefactors": f"{spatial}/scalefactors_json.json",
    }
    write_pyramid(folder / roles["image"], rgb, um_per_pixel=plan.um_per_pixel)
    factors = {
        "spot_diameter_fullres": SPOT_DIAMETER_UM / plan.um_per_pixel,
        "tissue_hires_scalef": write_reduced_png(folder / roles["hires"], rgb, longest_px=HIRES_PX),
        "fiducial_diameter_fullres": FIDUCIAL_UM / plan.um_per_pixel,
        "tissue_lowres_scalef": write_reduced_png(folder / roles["lowres"], rgb, longest_px=LOWRES_PX),
    }
    files.write_bytes(folder / roles["scalefactors"], json.dumps(factors).encode())
    return roles


def _write_positions(
    folder: Path,
    plan: SectionPlan,
    v1: bool,
    *,
    barcodes: NDArray[np.str_],
    in_tissue: NDArray[np.bool_],
    row_col: NDArray[np.int64],
    xy_px: NDArray[np.float64],
) -> dict[str, str]:
    name = "tissue_positions_list.csv" if v1 else "tissue_positions.csv"
    path = f"{plan.section_id}/outs/spatial/{name}"
    header = [] if v1 else ["barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres"]
    table = np.column_stack([in_tissue.astype(np.int64), row_col, xy_px[:, ::-1].astype(np.int64)]).tolist()
    lines = [",".join([barcode, *map(str, row)]) for barcode, row in zip(barcodes.tolist(), table, strict=True)]
    files.write_bytes(folder / path, ("\n".join([*header, *lines]) + "\n").encode())
    return {"positions": path}


def _write_mex(
    folder: Path, plan: SectionPlan, genes: DemoGenes, barcodes: NDArray[np.str_], counts: NDArray[np.int32]
) -> dict[str, str]:
    """Market exchange format: features x barcodes, one-based, gzipped."""
    base = f"{plan.section_id}/outs/filtered_feature_bc_matrix"
    roles = {
        "matrix": f"{base}/matrix.mtx.gz",
        "features": f"{base}/features.tsv.gz",
        "barcodes": f"{base}/barcodes.tsv.gz",
    }
    spot, gene = np.nonzero(counts)
    entries = np.column_stack([gene + 1, spot + 1, counts[spot, gene]])
    head = (
        "%%MatrixMarket matrix coordinate integer general\n"
        '%metadata_json: {"format_version": 2, "software_version": "spaceranger-1.2.0"}\n'
        f"{counts.shape[1]} {counts.shape[0]} {len(entries)}\n"
    )
    body = "\n".join(map("%d %d %d".__mod__, map(tuple, entries.tolist())))
    rows = zip(genes.ensembl_ids, genes.names(plan.era), strict=True)
    features = "".join(f"{ensembl}\t{name}\tGene Expression\n" for ensembl, name in rows)
    files.write_bytes(folder / roles["matrix"], gzip_bytes((head + body + "\n").encode()))
    files.write_bytes(folder / roles["features"], gzip_bytes(features.encode()))
    files.write_bytes(folder / roles["barcodes"], gzip_bytes(("\n".join(barcodes.tolist()) + "\n").encode()))
    return roles


def _write_h5(
    folder: Path, plan: SectionPlan, genes: DemoGenes, barcodes: NDArray[np.str_], counts: NDArray[np.int32]
) -> dict[str, str]:
    from scipy.sparse import csr_matrix

    path = f"{plan.section_id}/outs/filtered_feature_bc_matrix.h5"
    chemistry, software = "Spatial 3' v1", "spaceranger-2.0.1"
    write_h5(folder / path, plan, genes, barcodes, csr_matrix(counts), chemistry=chemistry, software=software)
    return {"counts": path}


def write_h5(
    path: Path,
    plan: SectionPlan,
    genes: DemoGenes,
    barcodes: NDArray[np.str_],
    counts: csr_matrix,
    *,
    chemistry: str,
    software: str,
) -> None:
    """Write 10x HDF5, version 3 layout: a column-compressed matrix of features x barcodes."""
    import h5py

    n_genes = len(genes.ensembl_ids)
    arrays: dict[str, NDArray[Any]] = {
        "matrix/barcodes": barcodes.astype("S"),
        "matrix/data": counts.data.astype(np.int32),
        "matrix/indices": counts.indices.astype(np.int64),
        "matrix/indptr": counts.indptr.astype(np.int64),
        "matrix/shape": np.array([n_genes, len(barcodes)], np.int32),
        "matrix/features/id": np.array(genes.ensembl_ids, "S"),
        "matrix/features/name": np.array(genes.names(plan.era), "S"),
        "matrix/features/feature_type": np.full(n_genes, b"Gene Expression"),
        "matrix/features/genome": np.full(n_genes, b"GRCh38"),
        "matrix/features/_all_tag_keys": np.array([b"genome"]),
    }

    def save(partial: Path) -> None:
        with h5py.File(partial, "w", track_order=False) as store:
            store.attrs["chemistry_description"] = chemistry
            store.attrs["filetype"] = "matrix"
            store.attrs["library_ids"] = np.array([plan.section_id], "S")
            store.attrs["original_gem_groups"] = np.array([1], np.int64)
            store.attrs["software_version"] = software
            store.attrs["version"] = np.int64(2)
            for name, values in arrays.items():
                packed = "gzip" if values.size > 1000 else None
                store.create_dataset(name, data=values, compression=packed, track_times=False)

    files.write_with(path, save)
