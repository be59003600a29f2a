"""Visium: Space Ranger ``outs`` of any generation.

Roles: ``counts`` (HDF5) or ``matrix``/``features``/``barcodes``; ``positions``; ``scalefactors``; and the finest image
of ``image`` (full resolution), ``hires``, ``lowres``. The join over barcodes must be total: a left join would give
spots without a place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from humanst.catalog import Recipe
from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.findings import Drop, Findings
from humanst.platforms import GeneColumns, RawSection
from humanst.platforms.tables import missing_columns, read_table, refuse_duplicates
from humanst.platforms.tenx import TenxMatrix, read_features, read_matrix

if TYPE_CHECKING:
    import pandas as pd

POSITION_COLUMNS = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
# The fiducial ring is 105 um wide on every real folder measured; the spot diameter is off by 8-21 % and no witness.
FIDUCIAL_DIAMETER_UM = 105.0
IMAGE_ROLES = {"image": None, "hires": "tissue_hires_scalef", "lowres": "tissue_lowres_scalef"}


def read(files: LocalFiles, recipe: Recipe) -> RawSection:
    """Read one Visium section.

    Raises
    ------
    DataError
        With every fault of the section's files named; nothing is mended.
    """
    findings = Findings(study=files.study_id, section=files.section_id)
    image_role, image_scale, witnesses = _image_and_scale(files, findings)
    try:
        matrix = read_matrix(files, findings)
    except DataError as error:
        findings.absorb(error)
        matrix = None
    positions = _read_positions(files, findings)
    if positions is None or matrix is None:
        findings.raise_if_refused()
        raise DataError("The section could not be read", study=files.study_id, section=files.section_id)
    rows, drops = _join(matrix, positions, files, findings)
    labels = _labels(files, recipe, matrix.barcodes[rows], findings)
    findings.raise_if_refused()
    placed = positions.loc[matrix.barcodes[rows].tolist()]
    return RawSection(
        study_id=files.study_id,
        section_id=files.section_id,
        platform="visium",
        counts=matrix.counts[rows],
        spot_ids=matrix.barcodes[rows],
        gene_names=matrix.feature_names,
        gene_ids=matrix.feature_ids if recipe.gene_id_type == "ensembl" else None,
        feature_types=matrix.feature_types,
        xy_px=_xy(placed) * image_scale,
        row_col=_row_col(placed),
        in_tissue=placed["in_tissue"].to_numpy() == 1,
        all_xy_px=_xy(positions) * image_scale,
        all_row_col=_row_col(positions),
        all_in_tissue=positions["in_tissue"].to_numpy() == 1,
        lattice=recipe.lattice,
        image_path=files.paths.get(image_role) if image_role else None,
        image_name=files.names.get(image_role, "") if image_role else "",
        image_scale=image_scale,
        um_per_pixel_witnesses=witnesses,
        files=files,
        findings=findings,
        labels=labels,
        drops=drops,
    )


def read_genes(files: LocalFiles, recipe: Recipe) -> GeneColumns:
    """The features of the count matrix."""
    ids, names, types = read_features(files)
    return GeneColumns(names, ids if recipe.gene_id_type == "ensembl" else None, types)


def _image_and_scale(files: LocalFiles, findings: Findings) -> tuple[str | None, float, dict[str, float]]:
    """The finest image's role, its pixels per full-resolution pixel, and the scale the fiducials tell for it."""
    name = files.names.get("scalefactors", "scalefactors_json.json")
    factors = _read_scalefactors(files.paths.get("scalefactors"), name, findings)
    role = next((role for role in IMAGE_ROLES if role in files.paths), None)
    key = IMAGE_ROLES[role] if role else None
    scale = 1.0 if key is None else factors.get(key, float("nan"))
    if not np.isfinite(scale) or scale <= 0:
        findings.refuse(
            "scalefactor-missing",
            f"No scale factor for the {role} image",
            file=name,
            field=key,
            expected="a positive number",
            found=f"keys {', '.join(sorted(factors)) or 'none'}",
        )
        scale = 1.0
    fiducial = factors.get("fiducial_diameter_fullres", 0.0)
    witnesses = {"fiducial_diameter_fullres": FIDUCIAL_DIAMETER_UM / fiducial / scale} if fiducial > 0 else {}
    return role, scale, witnesses


def _read_scalefactors(path: Path | None, name: str, findings: Findings) -> Mapping[str, float]:
    if path is None:
        return {}
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        findings.refuse("scalefactors-unreadable", "Scale factors are not JSON", file=name, found=str(error))
        return {}
    if not isinstance(content, dict):
        findings.refuse("scalefactors-unreadable", "Scale factors are not a JSON object", file=name)
        return {}
    return {str(key): float(value) for key, value in content.items() if isinstance(value, int | float)}


def _read_positions(files: LocalFiles, findings: Findings) -> pd.DataFrame | None:
    """Positions with or without a header line, indexed by barcode."""
    if "positions" not in files.paths:
        findings.refuse("no-positions", "The section has no positions file", expected="tissue_positions(_list).csv")
        return None
    name = files.names["positions"]
    table = read_table(files.paths["positions"], name=name, header=None, dtype=str)
    if str(table.iloc[0, 0]).strip() == "barcode":
        table.columns = table.iloc[0].str.strip()
        table = table.iloc[1:]
    elif table.shape[1] == len(POSITION_COLUMNS):
        table.columns = list(POSITION_COLUMNS)
    if missing_columns(table, POSITION_COLUMNS, name=name, findings=findings):
        return None
    numbers = table[list(POSITION_COLUMNS[1:])].apply(lambda column: _numbers(column))
    bad = numbers.isna().any(axis=1)
    if bad.any():
        findings.refuse(
            "positions-invalid",
            "Spot positions are not all numbers",
            file=name,
            field="pxl_col_in_fullres",
            expected="finite numbers in every row",
            found=f"{int(bad.sum())} rows, such as {table.loc[bad, 'barcode'].iloc[0]}",
        )
        return None
    numbers.index = table["barcode"].to_numpy(str)
    refuse_duplicates(numbers.index.to_numpy(str), name=name, field="barcode", findings=findings)
    return None if findings.refused else numbers


def _numbers(column: pd.Series[str]) -> pd.Series[float]:
    import pandas as pd

    return pd.to_numeric(column, errors="coerce")


def _xy(positions: pd.DataFrame) -> NDArray[np.float64]:
    return positions[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(np.float64)


def _row_col(positions: pd.DataFrame) -> NDArray[np.int64]:
    return positions[["array_row", "array_col"]].to_numpy(np.float64).astype(np.int64)


def _join(
    matrix: TenxMatrix, positions: pd.DataFrame, files: LocalFiles, findings: Findings
) -> tuple[NDArray[np.int64], tuple[Drop, ...]]:
    """Every barcode of the matrix needs a position; a filtered matrix holds every in-tissue barcode."""
    known = set(positions.index)
    lost = [barcode for barcode in matrix.barcodes if barcode not in known]
    if lost:
        findings.refuse(
            "barcodes-without-position",
            "Barcodes of the matrix have no position",
            file=files.names["positions"],
            field="barcode",
            expected=f"a position for each of {len(matrix.barcodes):,} barcodes",
            found=f"{len(lost):,} without, such as {', '.join(lost[:3])}",
            todo="Check the barcode suffix and that both files are of this section",
        )
        return np.arange(0), ()
    with_counts = set(matrix.barcodes)
    tissue = positions.index[positions["in_tissue"] == 1]
    silent = [barcode for barcode in tissue if barcode not in with_counts]
    if silent:
        findings.warn(
            "in-tissue-without-counts",
            "In-tissue positions are not in the matrix",
            file=files.names.get("counts", files.names.get("matrix")),
            expected=f"all {len(tissue):,} in-tissue barcodes",
            found=f"{len(silent):,} missing, such as {', '.join(silent[:3])}",
        )
    outside = (positions["in_tissue"].loc[matrix.barcodes.tolist()] != 1).to_numpy()
    rows = np.flatnonzero(~outside)
    if not outside.any():
        return rows, ()
    gone = np.flatnonzero(outside)
    names = tuple(map(str, matrix.barcodes[gone][:5]))
    return rows, (Drop("spots", "out-of-tissue", len(gone), int(matrix.counts[gone].sum()), names),)


def _labels(
    files: LocalFiles, recipe: Recipe, barcodes: NDArray[np.str_], findings: Findings
) -> dict[str, NDArray[np.str_]]:
    """Labels by barcode: the recipe names the key column and the columns to carry."""
    rule = recipe.labels
    if rule is None or "labels" not in files.paths:
        return {}
    if "key" not in rule:
        findings.refuse("labels-rule", "The recipe does not say which column holds the barcode", field="labels.key")
        return {}
    name = files.names["labels"]
    table = read_table(files.paths["labels"], name=name, sep=rule.get("separator", "\t"), dtype=str)
    wanted = [rule["column"]] if isinstance(rule["column"], str) else list(rule["column"])
    if missing_columns(table, [rule["key"], *wanted], name=name, findings=findings):
        return {}
    by_barcode = table.drop_duplicates(rule["key"]).set_index(rule["key"]).reindex(barcodes)
    return {f"label_{column}": by_barcode[column].fillna("").to_numpy(str) for column in wanted}
