"""Write a Xenium section as the instrument's software 3 lays it out, with an H&E image that lies turned on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from humanst import files
from humanst.demo.expression import draw_counts
from humanst.demo.genes import DemoGenes, load_genes
from humanst.demo.paint import paint
from humanst.demo.seeding import named_rng
from humanst.demo.tissue import PROGRAMME_NAMES
from humanst.demo.truth import SpotTruth
from humanst.demo.vendor import write_pyramid
from humanst.demo.xenium_files import segment, write_cells, write_experiment, write_matrix, write_transcripts

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from humanst.demo.layout import SectionPlan
    from humanst.demo.tissue import Tissue

DAPI_UM_PER_PIXEL = 0.2125
SQUARE_UM = 112.0
PANEL_GENES = 300
MEMBERS_ON_PANEL = 16
# Too few of these on the panel to score them: a loader must see them as unmeasured.
THIN_SETS = {"DEMO_GLAND_SECRETION": 6, "DEMO_CONTROL_B": 5}
CUSTOM_GENES = 3
# A reporter of the lab: a custom codeword that stands for no human gene.
REPORTER = "DEMO_REPORTER"
CONTROLS = (
    ("negative_control_probe", "NegControlProbe_{:05d}", 20),
    ("negative_control_codeword", "NegControlCodeword_{:04d}", 40),
    ("unassigned_codeword", "UnassignedCodeword_{:04d}", 60),
    ("deprecated_codeword", "DeprecatedCodeword_{:04d}", 12),
)
CELL_STEP_UM = 20.0
TYPICAL_SIZE = 240.0
LOW_QUALITY_SHARE = 0.12
STRAY_TRANSCRIPTS = 1500
CONTROL_TRANSCRIPTS = 600
REPORTER_TRANSCRIPTS = 200
REGION_MARGIN_UM = 40.0


@dataclass(frozen=True, slots=True)
class Panel:
    """What the instrument can decode: ``names``, ``category`` and ``ids`` of each feature (Ensembl ids for genes).

    Attributes
    ----------
    gene_index
        (300,) positions of the panel's genes in the demo gene list; they are the first features.
    """

    names: NDArray[np.str_]
    category: NDArray[np.str_]
    ids: NDArray[np.str_]
    gene_index: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Painted:
    """Transcripts where they were painted: in um of the H&E image, before any alignment.

    Attributes
    ----------
    xy_um
        (n, 2) float64; a few stray ones lie outside the image.
    feature
        (n,) positions in ``Panel.names``.
    qv
        (n,) float32.
    """

    xy_um: NDArray[np.float64]
    feature: NDArray[np.int64]
    qv: NDArray[np.float32]


def write_xenium(folder: Path, plan: SectionPlan, tissue: Tissue, *, seed: int) -> tuple[dict[str, str], SpotTruth]:
    """Write one section's files below ``folder``.

    Returns
    -------
    roles
        Role of each file -> path below ``folder``.
    spots
        The truth of every whole square of 112 um of the image.
    """
    genes = load_genes()
    panel = make_panel(genes, plan)
    matrix = alignment_matrix(plan)
    painted, library = paint_transcripts(tissue, plan, panel, genes=genes, seed=seed)
    roles = {
        "transcripts": "transcripts.parquet",
        "cells": "cells.parquet",
        "counts": "cell_feature_matrix.h5",
        "experiment": "experiment.xenium",
        "alignment": f"{plan.section_id}_he_imagealignment.csv",
        "image": f"{plan.section_id}_he_image.tif",
    }
    roles = {role: f"{plan.section_id}/{name}" for role, name in roles.items()}
    write_pyramid(folder / roles["image"], paint(tissue, plan, seed=seed), um_per_pixel=plan.um_per_pixel)
    lines = [",".join(map(repr, row)) for row in [*matrix.tolist(), [0, 0, 1]]]
    files.write_bytes(folder / roles["alignment"], ("\n".join(lines) + "\n").encode())
    write_experiment(
        folder / roles["experiment"], plan, n_transcripts=len(painted.qv), n_genes=PANEL_GENES, n_custom=CUSTOM_GENES
    )
    cells = segment(tissue, plan, painted.xy_um, seed=seed)
    cells = replace(cells, centre_um=to_dapi_um(cells.centre_um, plan, matrix))
    dapi_um = to_dapi_um(painted.xy_um, plan, matrix)
    write_transcripts(folder / roles["transcripts"], painted, dapi_um, panel, cells, plan=plan, seed=seed)
    write_cells(folder / roles["cells"], cells)
    write_matrix(folder / roles["counts"], painted, panel, cells)
    return roles, _square_truth(plan, tissue, painted, library)


def make_panel(genes: DemoGenes, plan: SectionPlan) -> Panel:
    """The panel of the study: 16 genes of most sets, few of two, others at random; the last three are custom genes."""
    rng = named_rng(0, plan.study_id, "panel")
    chosen: list[int] = []
    for name in genes.set_names:
        chosen += rng.choice(genes.members(name), THIN_SETS.get(name, MEMBERS_ON_PANEL), replace=False).tolist()
    symbols = np.array(genes.symbols)
    free = (np.array(genes.gene_sets) == "") & ~np.char.startswith(symbols, "MT-")
    chosen += rng.choice(np.flatnonzero(free), PANEL_GENES - len(chosen), replace=False).tolist()
    index = np.array(chosen, dtype=np.int64)
    symbols_of_era = genes.names(plan.era)
    names = [*(symbols_of_era[i] for i in chosen), REPORTER]
    category = ["predesigned_gene"] * (PANEL_GENES - CUSTOM_GENES) + ["custom_gene"] * (CUSTOM_GENES + 1)
    for kind, pattern, n in CONTROLS:
        names += [pattern.format(number) for number in range(n)]
        category += [kind] * n
    ids = [*(genes.ensembl_ids[i] for i in chosen), *names[PANEL_GENES:]]
    return Panel(np.array(names), np.array(category), np.array(ids), index)


def alignment_matrix(plan: SectionPlan) -> NDArray[np.float64]:
    """(2, 3) affine from H&E pixels to DAPI pixels: a turn by ``plan.turn_degrees``, a scale, a shift."""
    angle = np.deg2rad(plan.turn_degrees)
    scale = plan.um_per_pixel / DAPI_UM_PER_PIXEL
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    width, height = plan.size_px
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=np.float64)
    x = turn[0, 0] * corners[:, 0] + turn[0, 1] * corners[:, 1]
    y = turn[1, 0] * corners[:, 0] + turn[1, 1] * corners[:, 1]
    shift = REGION_MARGIN_UM / DAPI_UM_PER_PIXEL - np.array([x.min(), y.min()])
    return np.column_stack([turn, shift])


def to_dapi_um(xy_um: NDArray[np.float64], plan: SectionPlan, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2) um of the H&E image -> um of the DAPI image, as transcript tables have them."""
    x, y = xy_um[:, 0] / plan.um_per_pixel, xy_um[:, 1] / plan.um_per_pixel
    rows = [row[0] * x + row[1] * y + row[2] for row in matrix]
    return np.stack(rows, axis=1) * DAPI_UM_PER_PIXEL


def paint_transcripts(
    tissue: Tissue, plan: SectionPlan, panel: Panel, *, genes: DemoGenes, seed: int
) -> tuple[Painted, NDArray[np.float64]]:
    """Draw all transcripts; those of genes lie on tissue but for a few strays.

    Returns
    -------
    painted
    library
        (h, w) expected library size over the typical one, of cells of ``CELL_STEP_UM``; 0 off the tissue.
    """
    rng = named_rng(seed, plan.sample_id, "transcripts")
    shape = (int(plan.height_um // CELL_STEP_UM), int(plan.width_um // CELL_STEP_UM))
    row, column = (axis.ravel() for axis in np.indices(shape))
    centres = np.stack([column + 0.5, row + 0.5], axis=1) * CELL_STEP_UM
    inside = tissue.class_at(centres) > 0
    drawn = draw_counts(tissue, plan, centres[inside], genes=genes, seed=seed, typical_size=TYPICAL_SIZE)
    library = np.zeros(len(centres))
    library[inside] = drawn.library_factor
    cell, gene = np.nonzero(drawn.counts[:, panel.gene_index])
    repeats = drawn.counts[:, panel.gene_index][cell, gene]
    xy_um = np.repeat(centres[inside][cell], repeats, axis=0)
    xy_um = xy_um + rng.uniform(-CELL_STEP_UM / 2, CELL_STEP_UM / 2, xy_um.shape)
    feature = np.repeat(gene, repeats).astype(np.int64)
    on_tissue = tissue.class_at(xy_um) > 0
    strays = _strays(plan, panel, rng)
    xy_um = np.concatenate([xy_um[on_tissue], strays[0]])
    feature = np.concatenate([feature[on_tissue], strays[1]])
    is_control = feature > PANEL_GENES
    poor = rng.uniform(size=len(feature)) < np.where(is_control, 0.85, LOW_QUALITY_SHARE)
    good_qv = np.minimum(rng.uniform(20.0, 75.0, len(feature)), 40.0)
    qv = np.where(poor, rng.uniform(5.0, 19.9, len(feature)), good_qv)
    order = rng.permutation(len(feature))
    return Painted(xy_um[order], feature[order], qv[order].astype(np.float32)), library.reshape(shape)


def _strays(plan: SectionPlan, panel: Panel, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Genes anywhere in and round the image, the reporter, and controls."""
    n = STRAY_TRANSCRIPTS + REPORTER_TRANSCRIPTS + CONTROL_TRANSCRIPTS
    edge = REGION_MARGIN_UM / 2
    x = rng.uniform(-edge, plan.width_um + edge, n)
    y = rng.uniform(-edge, plan.height_um + edge, n)
    feature = np.concatenate(
        [
            rng.integers(PANEL_GENES, size=STRAY_TRANSCRIPTS),
            np.full(REPORTER_TRANSCRIPTS, PANEL_GENES),
            rng.integers(PANEL_GENES + 1, len(panel.names), size=CONTROL_TRANSCRIPTS),
        ]
    )
    return np.stack([x, y], axis=1), feature.astype(np.int64)


def _square_truth(plan: SectionPlan, tissue: Tissue, painted: Painted, library: NDArray[np.float64]) -> SpotTruth:
    """Truth of every whole square of the image, row by row: activity and library size are means over the square."""
    n_rows, n_columns = int(plan.height_um // SQUARE_UM), int(plan.width_um // SQUARE_UM)
    row, column = (axis.ravel() for axis in np.indices((n_rows, n_columns)))
    centre_um = np.stack([column + 0.5, row + 0.5], axis=1) * SQUARE_UM
    steps = (np.arange(4) - 1.5) * SQUARE_UM / 4
    activity = np.zeros((len(row), len(PROGRAMME_NAMES)), dtype=np.float64)
    size = np.zeros(len(row))
    for dx in steps:
        for dy in steps:
            at = centre_um + np.array([dx, dy])
            activity += tissue.at(tissue.activity, at) / len(steps) ** 2
            cell = np.minimum((at / CELL_STEP_UM).astype(np.int64), np.array(library.shape)[::-1] - 1)
            size += library[cell[:, 1], cell[:, 0]] / len(steps) ** 2
    counted = (painted.feature < PANEL_GENES) & (painted.qv >= 20.0)
    square = np.floor(painted.xy_um[counted] / SQUARE_UM).astype(np.int64)
    within = (square >= 0).all(axis=1) & (square < (n_columns, n_rows)).all(axis=1)
    has_counts = np.zeros((n_rows, n_columns), dtype=bool)
    has_counts[square[within, 1], square[within, 0]] = True
    return SpotTruth(
        spot_ids=np.array([f"r{r}c{c}" for r, c in zip(row.tolist(), column.tolist(), strict=True)]),
        xy_px=centre_um / plan.um_per_pixel,
        in_tissue=tissue.covered(centre_um, SQUARE_UM),
        has_counts=has_counts.ravel(),
        activity=activity.astype(np.float32),
        library_factor=size.astype(np.float32),
    )
