"""Visium HD: one binning of ``binned_outputs`` (``square_008um``), pooled to squares that are whole numbers of bins.

Roles: ``counts`` (HDF5) or ``matrix``/``features``/``barcodes``; ``positions`` (``tissue_positions.parquet``);
``scalefactors``; and the finest image of ``image`` (full resolution), ``hires``, ``lowres``. Recipe options:
``bin_um``, the binning of these files, and ``target_side_um``, the side of a square. The scale has two witnesses: the
pitch of the bins and ``microns_per_pixel``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.catalog import Lattice, Recipe
from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.findings import Findings
from humanst.platforms import GeneColumns, RawSection
from humanst.platforms.bin_positions import Bins, read_bins, text
from humanst.platforms.bins import (
    IN_TISSUE_RULE,
    BinPool,
    PooledBins,
    SquarePlan,
    fit_bins,
    plan_squares,
    pooling_drops,
)
from humanst.platforms.scalefactors import finest_image, image_scales, read_scalefactors
from humanst.platforms.sides import DEFAULT_SIDE_UM, SIDES_OF_BIN_UM, bin_um_of
from humanst.platforms.tenx import read_features
from humanst.platforms.tenx_blocks import BlockMatrix, open_matrix

MAX_EXAMPLES = 3


def allowed_sides_um(bin_um: float) -> tuple[float, ...]:
    """Sides of a square in um that bins of this size are pooled to; none for a binning that is not read."""
    return SIDES_OF_BIN_UM.get(bin_um, ())


def read(files: LocalFiles, recipe: Recipe) -> RawSection:
    """Read one Visium HD section and pool its bins.

    Raises
    ------
    DataError
        With every fault of the section's files named; nothing is mended. Counts are read when the rest is sound.
    """
    findings = Findings(study=files.study_id, section=files.section_id)
    factors = read_scalefactors(files, findings)
    image_role, image_scale = finest_image(files, factors, findings)
    bin_um, side_um = _sizes(files, recipe, factors, findings)
    bins = read_bins(files, findings)
    try:
        matrix = open_matrix(files, findings)
    except DataError as error:
        findings.absorb(error)
        matrix = None
    where = _join(matrix, bins, files, findings) if matrix is not None and bins is not None else None
    findings.raise_if_refused()
    if bins is None or matrix is None or where is None:  # pragma: no cover - a refusal above always says why
        raise DataError("The section could not be read", study=files.study_id, section=files.section_id)
    plan = plan_squares(bins.row_col, bins.in_tissue, bins_a_side=round(side_um / bin_um))
    centres = _centres(bins, plan, files, findings)
    pooled = _pool(matrix, where, plan, files, findings)
    lattice = Lattice("square", bin_um, side_um)
    findings.raise_if_refused()
    return RawSection(
        study_id=files.study_id,
        section_id=files.section_id,
        platform="visium_hd",
        counts=pooled.counts,
        spot_ids=plan.spot_ids,
        gene_names=matrix.feature_names,
        gene_ids=matrix.feature_ids if recipe.gene_id_type == "ensembl" else None,
        feature_types=matrix.feature_types,
        xy_px=centres * image_scale,
        row_col=plan.row_col,
        in_tissue=np.ones(len(plan.spot_ids), dtype=bool),
        all_xy_px=bins.xy_px * image_scale,
        all_row_col=bins.row_col,
        all_in_tissue=bins.in_tissue,
        lattice=lattice,
        image_path=files.paths.get(image_role) if image_role else None,
        image_name=files.names.get(image_role, "") if image_role else "",
        image_scale=image_scale,
        image_scales=image_scales(factors),
        um_per_pixel_witnesses=_witnesses(factors, image_scale),
        files=files,
        findings=findings,
        drops=pooling_drops(plan, pooled),
        target_shape="square",
        facts=_facts(plan, bins, where, lattice),
        counts_in=pooled.n_transcripts,
    )


def read_genes(files: LocalFiles, recipe: Recipe) -> GeneColumns:
    """The features of the count matrix."""
    ids, names, types = read_features(files)
    return GeneColumns(names, ids if recipe.gene_id_type == "ensembl" else None, types)


def _witnesses(factors: Mapping[str, float], image_scale: float) -> dict[str, float]:
    stated = factors.get("microns_per_pixel")
    return {} if stated is None else {"microns_per_pixel": stated / image_scale}


def _sizes(files: LocalFiles, recipe: Recipe, factors: Mapping[str, float], findings: Findings) -> tuple[float, float]:
    """The bin and the square in um; what recipe and files say must agree, and the square must be whole bins."""
    bin_um = bin_um_of(recipe)
    side_um = float(recipe.options.get("target_side_um", DEFAULT_SIDE_UM))
    if (recipe.lattice.kind, recipe.lattice.pitch_um) != ("square", bin_um):
        findings.refuse(
            "recipe-lattice",
            "The recipe's lattice is not that of the bins",
            file="recipe.yaml",
            field="lattice",
            expected=f"a square lattice of {bin_um:g} um pitch",
            found=f"{recipe.lattice.kind}, {recipe.lattice.pitch_um:g} um",
        )
    if "scalefactors" in files.paths and factors.get("bin_size_um") != bin_um:
        findings.refuse(
            "bin-size-differs",
            "The files are of another binning than the recipe says",
            file=files.names["scalefactors"],
            field="bin_size_um",
            expected=f"{bin_um:g}, from the recipe",
            found=f"{factors['bin_size_um']:g}" if "bin_size_um" in factors else "nothing",
            todo="Set bin_um in the recipe, or give the files of one square_*um folder",
        )
    _check_side(bin_um, side_um, findings)
    return bin_um, side_um


def _check_side(bin_um: float, side_um: float, findings: Findings) -> None:
    sides = allowed_sides_um(bin_um)
    if not sides:
        findings.refuse(
            "bin-size-refused",
            "Bins of this size are not pooled",
            file="recipe.yaml",
            field="options.bin_um",
            expected=f"{' or '.join(f'{size:g}' for size in SIDES_OF_BIN_UM)} um",
            found=f"{bin_um:g} um",
            todo="Give the files of square_008um or square_016um of the same section",
        )
    elif side_um not in sides:
        findings.refuse(
            "side-not-a-multiple",
            "Bins of this size are not pooled to a square of this side",
            file="recipe.yaml",
            field="options.target_side_um",
            expected=f"a whole multiple of {bin_um:g} um: {' or '.join(f'{side:g}' for side in sides)}",
            found=f"{side_um:g}",
            todo="Choose one of these sides, or another binning of the same section",
        )


def _join(matrix: BlockMatrix, bins: Bins, files: LocalFiles, findings: Findings) -> NDArray[np.int64] | None:
    """Position of every barcode of the matrix in the positions file: ``(n_barcodes,)``; ``None`` after a refusal."""
    import pyarrow.compute as pc

    found = pc.index_in(matrix.barcodes, value_set=bins.barcodes)
    if found.null_count:
        lost = matrix.barcodes.filter(pc.is_null(found))
        findings.refuse(
            "barcodes-without-position",
            "Barcodes of the matrix have no position",
            file=files.names["positions"],
            field="barcode",
            expected=f"a position for each of {len(matrix.barcodes):,} barcodes",
            found=f"{len(lost):,} without, such as {', '.join(text(one) for one in lost[:MAX_EXAMPLES])}",
            todo="Check that matrix and positions are of the same square_*um folder",
        )
        return None
    where: NDArray[np.int64] = found.to_numpy(zero_copy_only=False).astype(np.int64)
    times = np.bincount(where, minlength=len(bins.in_tissue))
    if (twice := np.flatnonzero(times > 1)).size:
        examples = ", ".join(text(bins.barcodes[int(one)]) for one in twice[:MAX_EXAMPLES])
        findings.refuse(
            "duplicate-spot-ids",
            "Bins occur more than once in the matrix",
            file=_counts_name(files),
            field="barcodes",
            expected="each barcode once",
            found=f"{len(twice):,} more than once, such as {examples}",
            todo="Correct the file; humanst does not choose between two rows",
        )
        return None
    return where


def _counts_name(files: LocalFiles) -> str | None:
    return files.names.get("counts", files.names.get("matrix"))


def _pool(
    matrix: BlockMatrix, where: NDArray[np.int64], plan: SquarePlan, files: LocalFiles, findings: Findings
) -> PooledBins:
    pool, n_faults = BinPool(plan, len(matrix.feature_names)), len(findings.of("refuse"))
    for first, counts in matrix.blocks():
        pool.add(where[first : first + counts.shape[0]], counts)
    pooled = pool.result()
    sound = len(findings.of("refuse")) == n_faults
    if sound and not pooled.counts.nnz and not any(lost.any() for lost in pooled.lost.values()):
        findings.refuse(
            "counts-empty",
            "The count matrix holds no transcript",
            file=_counts_name(files),
            field="counts",
            expected="transcripts",
            found=f"{len(where):,} bins without any",
            todo="Give the matrix of the whole section",
        )
    return pooled


def _centres(bins: Bins, plan: SquarePlan, files: LocalFiles, findings: Findings) -> NDArray[np.float64]:
    """Centres of the squares in full-resolution pixels, from the lattice of all bins."""
    lattice = fit_bins(bins.row_col, bins.xy_px)
    low, high = bins.row_col.min(axis=0), bins.row_col.max(axis=0)
    extent = f"rows {low[0]} to {high[0]}, columns {low[1]} to {high[1]}"
    if lattice is None:
        findings.refuse(
            "lattice-too-small",
            "Too few bins to find the scale",
            file=files.names["positions"],
            expected="bins that do not lie on one line",
            found=extent,
        )
        return np.zeros((0, 2))
    if not len(plan.spot_ids):
        findings.refuse(
            "no-squares",
            "No whole square of the array is in tissue",
            file=files.names["positions"],
            field="in_tissue",
            expected=f"{plan.bins_a_side} x {plan.bins_a_side} bins, half of them in tissue",
            found=f"{int(bins.in_tissue.sum()):,} of {len(bins.in_tissue):,} bins in tissue, {extent}",
            todo="Check that the positions are of the whole section",
        )
    return lattice.centres(plan)


def _facts(plan: SquarePlan, bins: Bins, where: NDArray[np.int64], lattice: Lattice) -> dict[str, Any]:
    return {
        "pooling": {
            "bin_um": lattice.pitch_um,
            "bins_a_side": plan.bins_a_side,
            "side_um": lattice.spot_diameter_um,
            "in_tissue_rule": IN_TISSUE_RULE,
            "bins": len(bins.in_tissue),
            "bins_in_tissue": int(bins.in_tissue.sum()),
            "bins_in_matrix": len(where),
        }
    }
