"""Xenium: transcripts put onto the H&E image first, then pooled on a square grid laid in its frame.

Roles: ``transcripts`` (parquet, csv of older versions, or the viewer's zarr archive); ``counts``
(cell_feature_matrix.h5) or ``panel`` (gene_panel.json) for the genes of the panel and their ids; ``experiment``
(experiment.xenium); ``cells`` (cells.parquet), only counted; ``image`` (H&E) with ``alignment``
(*imagealignment.csv), or in register already (recipe option ``registered``). Pooling in the assay's own frame and
turning the squares afterwards would give squares that no patch of the image covers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.catalog import Lattice, Recipe
from humanst.fetch import LocalFiles
from humanst.findings import Drop, Findings
from humanst.platforms import GeneColumns, RawSection
from humanst.platforms.pooling import PARTIAL, Pooled, SquareGrid, TranscriptPool
from humanst.platforms.sides import DEFAULT_SIDE_UM, XENIUM_SIDES_UM
from humanst.platforms.transcripts import read_transcripts
from humanst.platforms.xenium_bundle import Experiment, Panel, read_experiment, read_panel
from humanst.platforms.xenium_cells import count_cells
from humanst.platforms.xenium_frame import Frame, choose_frame

MIN_QV = 20.0
MAX_OFF_IMAGE, WARN_OFF_IMAGE = 0.50, 0.01
# A square with a tenth of a rich square's transcripts counts as tissue where the orientation of the image is checked.
RICH_QUANTILE, TISSUE_SHARE = 0.90, 0.10


def read(files: LocalFiles, recipe: Recipe) -> RawSection:
    """Read one Xenium section.

    Raises
    ------
    DataError
        With every fault of the section's files named; the transcripts are read when the small files are sound.
    """
    findings = Findings(study=files.study_id, section=files.section_id)
    side_um = _check_recipe(recipe, findings)
    _check_transcripts(files, findings)
    experiment = read_experiment(files, findings)
    panel = read_panel(files, findings)
    frame = choose_frame(files, recipe, experiment, findings)
    findings.raise_if_refused()
    grid = frame.grid(side_um)
    pool = TranscriptPool(grid, min_qv=_min_qv(recipe), identified=panel.identified, unidentified=panel.unidentified)
    for batch in read_transcripts(files.paths["transcripts"], name=files.names["transcripts"]):
        pool.add(batch)
    pooled = pool.result()
    _check_off_image(pooled, grid, files, findings)
    raw = _raw_section(files, pooled, grid, frame, panel, findings)
    findings.raise_if_refused()
    facts = _facts(experiment, panel, frame, recipe, len(raw.gene_names))
    cells = count_cells(files, grid, pooled.row_col, findings)
    return replace(raw, facts=facts if cells is None else {**facts, "cells": cells})


def read_genes(files: LocalFiles, recipe: Recipe) -> GeneColumns:
    """The genes of the panel that have an Ensembl id, by name (all of them where the bundle gives none)."""
    findings = Findings(study=files.study_id, section=files.section_id)
    panel = read_panel(files, findings)
    findings.raise_if_refused()
    kept = sorted(
        pair for pair in zip(panel.names.tolist(), panel.ids.tolist(), strict=True) if pair[0] not in panel.unidentified
    )
    names, ids = (np.array([pair[column] for pair in kept], dtype=str) for column in (0, 1))
    return GeneColumns(names, ids, None)


def _raw_section(
    files: LocalFiles, pooled: Pooled, grid: SquareGrid, frame: Frame, panel: Panel, findings: Findings
) -> RawSection:
    names, ids, counts = _gene_columns(pooled, panel, files, findings)
    all_row_col, rich = _positions(pooled, grid, findings)
    spot_ids = np.array([f"r{row}c{column}" for row, column in pooled.row_col.tolist()], dtype=str)
    order = np.argsort(spot_ids, kind="stable")
    row_col = pooled.row_col[order]
    has_image = frame.size_px is not None
    return RawSection(
        study_id=files.study_id,
        section_id=files.section_id,
        platform="xenium",
        counts=counts[order],
        spot_ids=spot_ids[order],
        gene_names=names,
        gene_ids=ids,
        feature_types=None,
        xy_px=grid.centres_um(row_col) / frame.um_per_pixel,
        row_col=row_col,
        in_tissue=np.ones(len(row_col), dtype=bool),
        all_xy_px=grid.centres_um(all_row_col) / frame.um_per_pixel,
        all_row_col=all_row_col,
        all_in_tissue=rich,
        lattice=Lattice("square", grid.side_um, grid.side_um),
        image_path=files.paths["image"] if has_image else None,
        image_name=files.names["image"] if has_image else "",
        image_scale=1.0,
        um_per_pixel_witnesses=frame.witnesses,
        files=files,
        findings=findings,
        drops=_drops(pooled),
        target_shape="square",
        counts_in=pooled.n_transcripts,
    )


def _min_qv(recipe: Recipe) -> float:
    return float(recipe.options.get("min_qv", MIN_QV))


def _check_recipe(recipe: Recipe, findings: Findings) -> float:
    """The side of a pseudo-spot in um; a recipe that does not fit the platform is refused."""
    side_um = float(recipe.options.get("target_side_um", DEFAULT_SIDE_UM))
    if side_um not in XENIUM_SIDES_UM:
        findings.refuse(
            "target-side",
            "Transcripts are not pooled to squares of this side",
            file="recipe.yaml",
            field="options.target_side_um",
            expected=f"one of {', '.join(f'{side:g}' for side in XENIUM_SIDES_UM)} um",
            found=f"{side_um:g} um",
        )
    if not recipe.targeted or recipe.absent_genes != "unmeasured":
        findings.refuse(
            "panel-is-targeted",
            "A gene that is not on the panel was not measured, and is no zero",
            file="recipe.yaml",
            field="targeted",
            expected="targeted: true and absent_genes: unmeasured",
            found=f"targeted: {str(recipe.targeted).lower()} and absent_genes: {recipe.absent_genes}",
        )
    return side_um


def _check_transcripts(files: LocalFiles, findings: Findings) -> None:
    if "transcripts" not in files.paths:
        findings.refuse(
            "no-counts",
            "The section has no transcripts",
            field="transcripts",
            expected="transcripts.parquet, transcripts.csv.gz or transcripts.zarr.zip",
            found=f"files for {', '.join(sorted(files.paths)) or 'nothing'}",
        )


def _check_off_image(pooled: Pooled, grid: SquareGrid, files: LocalFiles, findings: Findings) -> None:
    """Hold what fell off the image against what stayed: an alignment of another image shows here."""
    off, partial = (int(pooled.dropped[key].sum()) if key in pooled.dropped else 0 for key in (grid.outside, PARTIAL))
    share = off / max(off + partial + int(pooled.counts.sum()), 1)
    if share > WARN_OFF_IMAGE:
        tell = findings.refuse if share > MAX_OFF_IMAGE else findings.warn
        tell(
            "transcripts-off-image",
            "Transcripts lie outside the image",
            file=files.names.get("alignment", files.names["transcripts"]),
            expected=f"at most {WARN_OFF_IMAGE:.0%} of the transcripts that count",
            found=f"{off:,} ({share:.1%})",
            done="They were left out by name",
            todo="Check that image and alignment belong to this section",
        )


def _gene_columns(
    pooled: Pooled, panel: Panel, files: LocalFiles, findings: Findings
) -> tuple[NDArray[np.str_], NDArray[np.str_] | None, Any]:
    """Names, ids and counts of all genes of the panel, sorted by name; those without a transcript are zero columns.

    A gene of the panel that has no Ensembl id is no column: its transcripts left as ``custom-gene``.
    """
    from scipy.sparse import csr_matrix

    observed = pooled.features[pooled.is_gene]
    names = np.array(sorted({*observed.tolist(), *panel.names.tolist()} - panel.unidentified), dtype=str)
    strangers = sorted(set(observed.tolist()) - set(panel.names.tolist()))
    if strangers and panel.source != "transcripts":
        findings.warn(
            "panel-incomplete",
            "Genes of the transcripts are not on the panel",
            file=files.names[panel.source],
            expected=f"all {len(observed):,} genes seen",
            found=f"{len(strangers):,} missing, such as {', '.join(strangers[:3])}",
            done="They were kept under their names",
            todo="Check that the panel's file is of this section",
        )
    # Squares hold transcripts of kept genes only, so every column with counts has its name here.
    place = np.searchsorted(names, pooled.features)
    matrix = pooled.counts
    counts = csr_matrix((matrix.data, place[matrix.indices], matrix.indptr), shape=(matrix.shape[0], len(names)))
    counts.sort_indices()
    if panel.source == "transcripts":
        return names, None, counts
    id_of = dict(zip(panel.names.tolist(), panel.ids.tolist(), strict=True))
    return names, np.array([id_of.get(name, "") for name in names.tolist()], dtype=str), counts


def _positions(pooled: Pooled, grid: SquareGrid, findings: Findings) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """All squares ``(n, 2)`` of the region that the assay covered, and which of them are rich in transcripts.

    The region is the rectangle of all transcripts in the assay's frame, controls and poor ones too; squares with
    counts belong to it in any case.
    """
    x0, y0, x1, y1 = pooled.box_um
    corners = np.array([[x0, y0], [x0, y1], [x1, y0], [x1, y1]])
    low, high = (edge(grid.place(corners)[0], axis=0) for edge in (np.min, np.max))
    low = np.maximum(low, 0)
    if grid.shape is not None:
        high = np.minimum(high, np.array(grid.shape) - 1)
    spans = [np.arange(int(first), int(last) + 1) for first, last in zip(low, high, strict=True)]
    squares = np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, 2)
    x, y = grid.to_assay(grid.centres_um(squares)).T
    squares = squares[(x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)]
    squares = np.unique(np.concatenate([squares, pooled.row_col]), axis=0)
    # Both are sorted by row, then column, and every square with counts is among all squares.
    filled = np.zeros(len(squares))
    key, with_counts = (pairs @ np.array([1 << 32, 1]) for pairs in (squares, pooled.row_col))
    filled[np.searchsorted(key, with_counts)] = pooled.counts.sum(axis=1).A1
    _note_edge_squares(pooled, grid, findings)
    if not len(pooled.row_col):
        return squares, np.zeros(len(squares), dtype=bool)
    rich = TISSUE_SHARE * float(np.quantile(filled[filled > 0], RICH_QUANTILE))
    return squares, filled >= max(rich, 1.0)


def _note_edge_squares(pooled: Pooled, grid: SquareGrid, findings: Findings) -> None:
    """Say how many squares reach beyond the region of the assay: they hold what lies inside it, and that is less."""
    x0, y0, x1, y1 = pooled.box_um
    half = np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]) * grid.side_um
    corners = [grid.to_assay(grid.centres_um(pooled.row_col) + step) for step in half]
    beyond = [((xy < (x0, y0)) | (xy > (x1, y1))).any(axis=1) for xy in corners]
    n_beyond = int(np.any(beyond, axis=0).sum())
    if n_beyond:
        findings.note(
            "edge-squares",
            "Some squares reach beyond the region that was measured",
            field="spots",
            found=f"{n_beyond} of {len(pooled.row_col)} squares with counts",
            done="They were kept; their totals are of the part inside",
        )


def _drops(pooled: Pooled) -> tuple[Drop, ...]:
    """One drop a reason, with the features that lost most."""
    drops = []
    for reason, lost in pooled.dropped.items():
        most = np.argsort(-lost, kind="stable")[:5]
        names = tuple(map(str, pooled.features[most[lost[most] > 0]]))
        drops.append(Drop("counts", reason, int(lost.sum()), int(lost.sum()), names))
    return tuple(drops)


def _facts(experiment: Experiment, panel: Panel, frame: Frame, recipe: Recipe, n_genes: int) -> dict[str, Any]:
    """What goes to provenance: the panel and its size, the vendor's header, how transcripts were placed."""
    return {
        "experiment": dict(experiment.facts),
        "panel": {
            "name": experiment.facts.get("panel_name", "unknown"),
            "n_genes": n_genes,
            "source": panel.source,
        },
        "placement": {
            "frame": "assay" if frame.size_px is None else "image",
            "dapi_um_per_pixel": experiment.pixel_size_um,
            "image_to_dapi": None if frame.alignment is None else frame.alignment.matrix.tolist(),
        },
        "min_qv": _min_qv(recipe),
    }
