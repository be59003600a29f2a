"""Visium: Space Ranger ``outs`` of any generation.

Space Ranger 1 (``tissue_positions_list.csv``) to 4 (``tissue_positions.csv``), slides of 6.5 and 11 mm with or without
CytAssist. Roles: ``counts`` (HDF5) or ``matrix``/``features``/``barcodes``; ``positions``; ``scalefactors``; and the
finest image of ``image`` (full resolution), ``hires``, ``lowres``. Of a raw matrix the spots outside tissue leave by
name. The join over barcodes must be total: a left join would give spots without a place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from humanst.catalog import Recipe
from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.findings import Findings
from humanst.platforms import GeneColumns, RawSection
from humanst.platforms.barcodes import renamed, total_join, without_suffix
from humanst.platforms.labels import label_name, tell_missing, tell_unmatched
from humanst.platforms.scalefactors import finest_image, image_scales, read_scalefactors
from humanst.platforms.tables import missing_columns, read_table, refuse_duplicates
from humanst.platforms.tenx import read_features, read_matrix

if TYPE_CHECKING:
    import pandas as pd

POSITION_COLUMNS = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
# The fiducial ring is 105 um wide on every real folder measured; the spot diameter is off by 8-21 % and no witness.
FIDUCIAL_DIAMETER_UM = 105.0


def read(files: LocalFiles, recipe: Recipe) -> RawSection:
    """Read one Visium section.

    Raises
    ------
    DataError
        With every fault of the section's files named; nothing is mended.
    """
    findings = Findings(study=files.study_id, section=files.section_id)
    factors = read_scalefactors(files, findings)
    image_role, image_scale = finest_image(files, factors, findings)
    fiducial = factors.get("fiducial_diameter_fullres", 0.0)
    witnesses = {"fiducial_diameter_fullres": FIDUCIAL_DIAMETER_UM / fiducial / image_scale} if fiducial > 0 else {}
    try:
        matrix = read_matrix(files, findings)
    except DataError as error:
        findings.absorb(error)
        matrix = None
    positions = _read_positions(files, findings)
    if positions is None or matrix is None:
        findings.raise_if_refused()
        raise DataError("The section could not be read", study=files.study_id, section=files.section_id)
    matrix = renamed(matrix, positions, files, recipe, findings)
    findings.raise_if_refused()
    rows, drops = total_join(matrix, positions, files, findings)
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
        image_scales=image_scales(factors),
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


def _read_positions(files: LocalFiles, findings: Findings) -> pd.DataFrame | None:
    """Positions with or without a header line, indexed by barcode."""
    if "positions" not in files.paths:
        findings.refuse(
            "no-positions",
            "The section has no positions file",
            field="positions",
            expected="tissue_positions.csv or tissue_positions_list.csv",
            found=f"files for {', '.join(sorted(files.paths)) or 'nothing'}",
            todo="Add the file of the same run's spatial folder to the catalog or the folder",
        )
        return None
    name = files.names["positions"]
    table = read_table(files.paths["positions"], name=name, header=None, dtype=str)
    if str(table.iloc[0, 0]).strip() == "barcode":
        table.columns = table.iloc[0].str.strip()
        table = table.iloc[1:]
    elif table.shape[1] == len(POSITION_COLUMNS):
        table.columns = list(POSITION_COLUMNS)
    if missing_columns(table.columns, POSITION_COLUMNS, name=name, findings=findings):
        return None
    if table.empty:
        findings.refuse(
            "positions-empty",
            "The positions file has no spots",
            file=name,
            expected="a row a spot",
            found="a header alone",
            todo="Get the file again",
        )
        return None
    numbers = table[list(POSITION_COLUMNS[1:])].apply(lambda column: _numbers(column))
    bad = ~np.isfinite(numbers.to_numpy(np.float64)).all(axis=1)
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
    _refuse_other_than(
        np.isin(numbers["in_tissue"], (0, 1)), numbers, "in_tissue", "positions-invalid", "0 or 1", name, findings
    )
    for field in ("array_row", "array_col"):
        whole = numbers[field] == np.rint(numbers[field])
        _refuse_other_than(whole, numbers, field, "lattice-not-integer", "whole numbers", name, findings)
    return None if findings.refused else numbers


def _refuse_other_than(
    good: NDArray[np.bool_] | pd.Series[bool],
    positions: pd.DataFrame,
    field: str,
    code: str,
    expected: str,
    name: str,
    findings: Findings,
) -> None:
    bad = positions.loc[~np.asarray(good, dtype=bool), field]
    if len(bad):
        findings.refuse(
            code,
            "Spot positions are not what they should be",
            file=name,
            field=field,
            expected=expected,
            found=f"{len(bad)} rows, such as {bad.iloc[0]:g} for {bad.index[0]}",
        )


def _numbers(column: pd.Series[str]) -> pd.Series[float]:
    import pandas as pd

    return pd.to_numeric(column, errors="coerce")


def _xy(positions: pd.DataFrame) -> NDArray[np.float64]:
    return positions[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(np.float64)


def _row_col(positions: pd.DataFrame) -> NDArray[np.int64]:
    return positions[["array_row", "array_col"]].to_numpy(np.float64).astype(np.int64)


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
    if missing_columns(table.columns, [rule["key"], *wanted], name=name, findings=findings):
        return {}
    suffixes: Mapping[str, str] = recipe.options.get("barcode_suffix", {})
    table = table.dropna(subset=[rule["key"]])
    keys = table[rule["key"]].to_numpy(str)
    if "labels" in suffixes:
        ending = suffixes.get("positions", "")
        keys = np.array([key + ending for key in without_suffix(keys, suffixes["labels"], name, findings)], dtype=str)
    refuse_duplicates(keys, name=name, field=rule["key"], findings=findings)
    if findings.refused:
        return {}
    tell_unmatched(
        set(keys.tolist()) - set(barcodes.tolist()), len(keys), name=name, field=rule["key"], findings=findings
    )
    by_barcode = table.set_index(keys).reindex(barcodes)
    for column in wanted:
        n_missing = int(by_barcode[column].isna().sum())
        tell_missing(n_missing, len(barcodes), name=name, field=column, findings=findings)
    return {label_name(rule, wanted, column): by_barcode[column].fillna("").to_numpy(str) for column in wanted}
