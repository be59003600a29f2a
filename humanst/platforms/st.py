"""Legacy Spatial Transcriptomics: a count table, a spot file with pixel centres, an H&E image.

The recipe names the columns. Array coordinates are the integer lattice and the join key; fitted coordinates that some
spot files carry beside them (``new_x``, ``new_y``) are an affine copy of the pixels and therefore no witness of scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.catalog import Recipe
from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.findings import Drop, Findings
from humanst.platforms import RawSection
from humanst.platforms.tables import (
    counts_from_values,
    dense_to_csr,
    missing_columns,
    read_table,
    refuse_duplicates,
)

if TYPE_CHECKING:
    import pandas as pd

SPOT_COLUMNS = {
    "array_x": "x",
    "array_y": "y",
    "pixel_x": "pixel_x",
    "pixel_y": "pixel_y",
    "selected": "selected",
}
# More count rows without a position than this means the two files do not belong together.
MAX_UNPLACED_SHARE = 0.05


def read(files: LocalFiles, recipe: Recipe) -> RawSection:
    """Read one legacy ST section.

    Parameters
    ----------
    files
        Roles ``counts`` and ``spots``; ``image`` and ``labels`` where the section has them.
    recipe
        ``options.spots`` renames columns (see :data:`SPOT_COLUMNS`), ``options.spot_id`` is the join key of the count
        table built from array coordinates, ``options.image_scale`` the pixels of the image per spot-file pixel.

    Raises
    ------
    DataError
        With every fault of the section's files named; nothing is mended.
    """
    findings = Findings(study=files.study_id, section=files.section_id)
    columns = {**SPOT_COLUMNS, **recipe.options.get("spots", {})}
    spots = _read_spots(files, columns, recipe, findings)
    counts, barcodes, genes = _read_counts(files, findings)
    findings.raise_if_refused()
    if spots is None or counts is None:  # pragma: no cover - a refusal above always says why
        raise DataError("The section could not be read", study=files.study_id, section=files.section_id)
    rows, drops = _join(barcodes, counts, spots, files, findings)
    findings.raise_if_refused()
    placed = spots.loc[barcodes[rows].tolist()]
    scale = float(recipe.options.get("image_scale", 1.0))
    xy = spots[[columns["pixel_x"], columns["pixel_y"]]].to_numpy(np.float64) * scale
    lattice_rc = spots[[columns["array_y"], columns["array_x"]]].to_numpy(np.int64)
    selected = _selected(spots, columns)
    where = spots.index.get_indexer(placed.index)
    return RawSection(
        study_id=files.study_id,
        section_id=files.section_id,
        platform="st",
        counts=dense_to_csr(counts[rows]),
        spot_ids=barcodes[rows],
        gene_names=genes,
        gene_ids=genes if recipe.gene_id_type == "ensembl" else None,
        feature_types=None,
        xy_px=xy[where],
        row_col=lattice_rc[where],
        in_tissue=selected[where],
        all_xy_px=xy,
        all_row_col=lattice_rc,
        all_in_tissue=selected,
        lattice=recipe.lattice,
        image_path=files.paths.get("image"),
        image_name=files.names.get("image", ""),
        image_scale=scale,
        um_per_pixel_witnesses={},
        files=files,
        findings=findings,
        labels=_labels(files, recipe, placed, findings),
        drops=drops,
    )


def _selected(spots: pd.DataFrame, columns: Mapping[str, str]) -> NDArray[np.bool_]:
    if columns["selected"] not in spots.columns:
        return np.ones(len(spots), dtype=bool)
    selected: NDArray[np.bool_] = spots[columns["selected"]].to_numpy() != 0
    return selected


def _read_spots(
    files: LocalFiles, columns: Mapping[str, str], recipe: Recipe, findings: Findings
) -> pd.DataFrame | None:
    name = files.names["spots"]
    spots = read_table(files.paths["spots"], name=name, sep=recipe.options.get("spots_separator", "\t"))
    needed = [columns[key] for key in ("array_x", "array_y", "pixel_x", "pixel_y")]
    if missing_columns(spots, needed, name=name, findings=findings):
        return None
    numbers = spots[needed].to_numpy()
    if numbers.dtype.kind not in "iuf" or not np.isfinite(numbers.astype(np.float64)).all():
        findings.refuse(
            "positions-invalid",
            "Spot positions are not all numbers",
            file=name,
            field=columns["pixel_x"],
            expected="finite numbers in every row",
            found="missing or non-numeric values",
        )
        return None
    array = spots[[columns["array_x"], columns["array_y"]]].to_numpy(np.float64)
    if not (array == np.rint(array)).all():
        findings.refuse(
            "lattice-not-integer",
            "Array coordinates are not whole numbers",
            file=name,
            field=columns["array_x"],
            expected="the integer lattice",
            found=f"{array[(array != np.rint(array)).any(axis=1)][0].tolist()}",
        )
        return None
    pattern = recipe.options.get("spot_id", "{x}x{y}")
    spots.index = [pattern.format(x=int(x), y=int(y)) for x, y in array]
    refuse_duplicates(spots.index.to_numpy(str), name=name, field=columns["array_x"], findings=findings)
    return spots.sort_index()


def _read_counts(
    files: LocalFiles, findings: Findings
) -> tuple[NDArray[np.int64] | None, NDArray[np.str_], NDArray[np.str_]]:
    name = files.names["counts"]
    table = read_table(files.paths["counts"], name=name, sep="\t", index_col=0, low_memory=False)
    barcodes, genes = table.index.to_numpy(str), table.columns.to_numpy(str)
    refuse_duplicates(barcodes, name=name, field="row names", findings=findings)
    order = np.argsort(barcodes, kind="stable")
    counts = counts_from_values(table.to_numpy()[order], name=name, findings=findings)
    return counts, barcodes[order], genes


def _join(
    barcodes: NDArray[np.str_],
    counts: NDArray[np.int64],
    spots: pd.DataFrame,
    files: LocalFiles,
    findings: Findings,
) -> tuple[NDArray[np.int64], tuple[Drop, ...]]:
    placed = np.isin(barcodes, spots.index.to_numpy(str))
    lost = np.flatnonzero(~placed)
    drops = []
    if len(lost):
        names = tuple(map(str, barcodes[lost][:5]))
        drops.append(Drop("spots", "no-position", len(lost), int(counts[lost].sum()), names))
        tell = findings.refuse if len(lost) > MAX_UNPLACED_SHARE * len(barcodes) else findings.warn
        tell(
            "no-position",
            "Count rows have no row in the spot file",
            file=files.names["spots"],
            expected=f"a position for each of {len(barcodes)} count rows",
            found=f"{len(lost)} without, such as {', '.join(names[:3])}",
        )
    without = sorted(set(spots.index) - set(barcodes.tolist()))
    if without:
        findings.note(
            "spot-without-counts",
            "Positions without a count row are left out",
            file=files.names["counts"],
            found=f"{len(without)}: {', '.join(without[:5])}",
        )
    return np.flatnonzero(placed), tuple(drops)


def _labels(files: LocalFiles, recipe: Recipe, placed: pd.DataFrame, findings: Findings) -> dict[str, NDArray[np.str_]]:
    rule: Mapping[str, Any] | None = recipe.labels
    if rule is None or "labels" not in files.paths:
        return {}
    name = files.names["labels"]
    table = read_table(files.paths["labels"], name=name, sep=rule.get("separator", "\t"))
    join: Mapping[str, str] = rule["join"]
    if missing_columns(table, [*join, rule["column"]], name=name, findings=findings):
        return {}
    digits = int(rule.get("round", 3))
    table = table.dropna(subset=[*join, rule["column"]])
    keys = zip(*(table[column].round(digits) for column in join), strict=True)
    label_of = dict(zip(keys, table[rule["column"]].astype(str), strict=True))
    spot_keys = list(zip(*(placed[column].round(digits) for column in join.values()), strict=True))
    values = np.array([label_of.get(key, "") for key in spot_keys], dtype=str)
    unmatched = len(set(label_of) - set(spot_keys))
    if unmatched:
        findings.warn(
            "labels-unmatched",
            "Some labels belong to no spot of the count table",
            file=name,
            expected=f"all {len(label_of)} labels joined",
            found=f"{unmatched} left over",
        )
    return {f"label_{rule.get('name', rule['column'])}": values}
