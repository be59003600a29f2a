"""Write a legacy ST section: count table, spot file, labels and a plain JPEG, as public repositories have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from humanst import files
from humanst.demo.expression import draw_counts
from humanst.demo.genes import CLONE_NAME, DemoGenes, load_genes
from humanst.demo.paint import paint
from humanst.demo.seeding import named_rng
from humanst.demo.tissue import CLASS_NAMES, Tissue
from humanst.demo.truth import SpotTruth
from humanst.demo.vendor import gzip_bytes, write_jpeg

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from humanst.demo.layout import SectionPlan

PITCH_UM = 200.0
SPOT_DIAMETER_UM = 100.0
# Real spot files scatter by 8 % of a pitch around the integer lattice.
JITTER_PITCHES = 0.08
MARGIN_UM = 200.0
TYPICAL_SIZE = 2400.0
WITHOUT_COUNTS = 2
# Label files of this kind carry array coordinates times this, with y turned over: not image pixels.
LABEL_PIXELS_PER_ARRAY_UNIT = 125.0

_LABELS = {
    "background": "undetermined",
    "tumour": "invasive cancer",
    "stroma": "connective tissue",
    "adipose": "adipose tissue",
    "immune": "immune infiltrate",
    "necrosis": "undetermined",
    "gland": "breast glands",
}


def write_st(folder: Path, plan: SectionPlan, tissue: Tissue, *, seed: int) -> tuple[dict[str, str], SpotTruth]:
    """Write one section's files below ``folder``.

    Returns
    -------
    roles
        Role of each file -> path below ``folder``.
    spots
        The spot truth, one row a line of the spot file.
    """
    genes = load_genes()
    array_xy, new_xy, xy_px = _spots(plan, tissue, seed=seed)
    xy_um = xy_px * plan.um_per_pixel
    drawn = draw_counts(tissue, plan, xy_um, genes=genes, seed=seed, typical_size=TYPICAL_SIZE)
    rng = named_rng(seed, plan.sample_id, "missing")
    has_counts = np.ones(len(xy_px), dtype=bool)
    has_counts[rng.choice(len(xy_px), WITHOUT_COUNTS, replace=False)] = False
    clone = rng.poisson(0.2, len(xy_px)).astype(np.int32)
    spot_ids = np.array([f"{x}x{y}" for x, y in array_xy.tolist()])
    roles = {
        "counts": f"data/ST-cnts/{plan.section_id}.tsv.gz",
        "spots": f"data/ST-spotfiles/{plan.section_id}_selection.tsv",
        "image": f"data/ST-imgs/{plan.section_id[0]}/{plan.section_id}/HE_{plan.section_id}.jpg",
    }
    write_jpeg(folder / roles["image"], paint(tissue, plan, seed=seed))
    files.write_bytes(folder / roles["spots"], _spot_file(array_xy, new_xy, xy_px))
    kept = np.flatnonzero(has_counts)
    table = _count_table(spot_ids[kept], drawn.counts[kept], clone[kept], plan, genes)
    files.write_bytes(folder / roles["counts"], gzip_bytes(table))
    if plan.labelled:
        roles["labels"] = f"data/ST-pat/lbl/{plan.section_id}_labeled_coordinates.tsv"
        labels = [_LABELS[CLASS_NAMES[k]] for k in tissue.class_at(xy_um).tolist()]
        files.write_bytes(folder / roles["labels"], _label_file(new_xy[kept], [labels[k] for k in kept]))
    inside = np.ones(len(xy_px), dtype=bool)
    return roles, SpotTruth(spot_ids, xy_px, inside, has_counts, drawn.activity, drawn.library_factor)


def _spots(
    plan: SectionPlan, tissue: Tissue, *, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Spots on tissue: integer array (x, y), fitted array (x, y), and (x, y) in full-resolution pixels."""
    rng = named_rng(seed, plan.sample_id, "lattice")
    first = rng.integers(2, 6, 2)
    n_x = int((plan.width_um - 2 * MARGIN_UM) // PITCH_UM) + 1
    n_y = int((plan.height_um - 2 * MARGIN_UM) // PITCH_UM) + 1
    y, x = np.meshgrid(np.arange(n_y), np.arange(n_x)[::-1], indexing="ij")
    array_xy = np.stack([x.ravel(), y.ravel()], axis=1) + first
    jitter = rng.normal(0.0, JITTER_PITCHES, array_xy.shape).clip(-0.25, 0.25)
    new_xy = np.round(array_xy + jitter, 3)
    origin_um = MARGIN_UM + rng.uniform(0.0, 40.0, 2)
    xy_px = np.round((origin_um + (new_xy - first) * PITCH_UM) / plan.um_per_pixel, 2)
    on_tissue = tissue.covered(xy_px * plan.um_per_pixel, SPOT_DIAMETER_UM)
    return array_xy[on_tissue], new_xy[on_tissue], xy_px[on_tissue]


def _spot_file(array_xy: NDArray[np.int64], new_xy: NDArray[np.float64], xy_px: NDArray[np.float64]) -> bytes:
    lines = ["x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected"]
    for (x, y), (new_x, new_y), (pixel_x, pixel_y) in zip(
        array_xy.tolist(), new_xy.tolist(), xy_px.tolist(), strict=True
    ):
        lines.append(f"{x}\t{y}\t{new_x}\t{new_y}\t{pixel_x}\t{pixel_y}\t1")
    return ("\n".join(lines) + "\n").encode()


def _count_table(
    spot_ids: NDArray[np.str_],
    counts: NDArray[np.int32],
    clone: NDArray[np.int32],
    plan: SectionPlan,
    genes: DemoGenes,
) -> bytes:
    """Spots x symbols, only genes seen in the section, one clone name that stands for no gene in front."""
    seen = np.flatnonzero(counts.sum(axis=0) > 0)
    names = genes.names(plan.era)
    order = np.argsort(spot_ids, kind="stable")
    values = np.column_stack([clone, counts[:, seen]])[order].tolist()
    lines = ["\t".join(["", CLONE_NAME, *(names[i] for i in seen)])]
    lines += ["\t".join([spot, *map(str, row)]) for spot, row in zip(spot_ids[order].tolist(), values, strict=True)]
    return ("\n".join(lines) + "\n").encode()


def _label_file(new_xy: NDArray[np.float64], labels: list[str]) -> bytes:
    lines = ["Row.names\tx\ty\tpixel_x\tpixel_y\tlabel"]
    for (x, y), label in zip(new_xy.tolist(), labels, strict=True):
        pixel_x = round((x - 1.0) * LABEL_PIXELS_PER_ARRAY_UNIT, 3)
        pixel_y = round((35.0 - y) * LABEL_PIXELS_PER_ARRAY_UNIT, 3)
        lines.append(f"{int(pixel_x)}x{round(pixel_y)}\t{x}\t{y}\t{pixel_x}\t{pixel_y}\t{label}")
    return ("\n".join(lines) + "\n").encode()
