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
from humanst.platforms import GeneColumns, RawSection, require_roles
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
    require_roles(files, "counts", "spots")
    findings = Findings(study=files.study_id, section=files.section_id)
    columns = {**SPOT_COLUMNS, **recipe.options.get("spots", {})}
    spots = _read_spots(files, columns, recipe, findings)
    counts, barcodes, genes = _read_counts(files, findings)
    findings.raise_if_refused()
    if spots is None or counts is None:  # pragma: no cover - a refusal above always says why
        raise DataError("The section could not be read", study=files.study_id, section=files.section_id)
    selected = _selected(spots, columns, files, findings)
    rows, drops = _join(barcodes, counts, spots.index.to_numpy(str), selected, files, findings)
    findings.raise_if_refused()
    placed = spots.loc[barcodes[rows].tolist()]
    scale = float(recipe.options.get("image_scale", 1.0))
    xy = spots[[columns["pixel_x"], columns["pixel_y"]]].to_numpy(np.float64) * scale
    lattice_rc = spots[[columns["array_y"], columns["array_x"]]].to_numpy(np.int64)
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


def read_genes(files: LocalFiles, recipe: Recipe) -> GeneColumns:
    """The gene columns of the count table's header."""
    genes = _header(files)
    return GeneColumns(genes, genes if recipe.gene_id_type == "ensembl" else None, None)


def _selected(
    spots: pd.DataFrame, columns: Mapping[str, str], files: LocalFiles, findings: Findings
) -> NDArray[np.bool_]:
    if columns["selected"] not in spots.columns:
        return np.ones(len(spots), dtype=bool)
    values = spots[columns["selected"]].to_numpy()
    if values.dtype.kind not in "iufb" or not np.isin(values, (0, 1)).all():
        findings.refuse(
            "selected-invalid",
            "The column that says which spots lie under tissue holds something else",
            file=files.names["spots"],
            field=columns["selected"],
            expected="0 or 1 in every row",
            found=", ".join(sorted({str(value) for value in values})[:4]),
        )
        return np.ones(len(spots), dtype=bool)
    selected: NDArray[np.bool_] = values != 0
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


def _header(files: LocalFiles) -> NDArray[np.str_]:
    # The header is read apart: pandas would rename a gene that occurs twice, and its counts would leave under a
    # name that is in no file.
    name = files.names["counts"]
    first = read_table(files.paths["counts"], name=name, sep="\t", header=None, nrows=1, dtype=str)
    return first.iloc[0, 1:].fillna("").to_numpy(str)


def _read_counts(
    files: LocalFiles, findings: Findings
) -> tuple[NDArray[np.int64] | None, NDArray[np.str_], NDArray[np.str_]]:
    name = files.names["counts"]
    genes = _header(files)
    how = {"sep": "\t", "header": None, "skiprows": 1, "index_col": 0, "low_memory": False}
    table = read_table(files.paths["counts"], name=name, **how)
    if table.shape[1] != len(genes) or not len(table):
        found = f"{len(genes)} column names over {len(table)} rows of {table.shape[1]} values"
        expected = "a name for every column, and at least one spot"
        findings.refuse("table-shape", "The count table is not one", file=name, expected=expected, found=found)
        return None, np.empty(0, dtype=str), genes
    barcodes = table.index.to_numpy(str)
    refuse_duplicates(barcodes, name=name, field="row names", findings=findings)
    order = np.argsort(barcodes, kind="stable")
    counts = counts_from_values(table.to_numpy()[order], name=name, findings=findings)
    return counts, barcodes[order], genes


def _join(
    barcodes: NDArray[np.str_],
    counts: NDArray[np.int64],
    places: NDArray[np.str_],
    selected: NDArray[np.bool_],
    files: LocalFiles,
    findings: Findings,
) -> tuple[NDArray[np.int64], tuple[Drop, ...]]:
    placed = np.isin(barcodes, places)
    under_tissue = np.isin(barcodes, places[selected])
    drops = []
    for reason, gone in (("no-position", ~placed), ("out-of-tissue", placed & ~under_tissue)):
        rows = np.flatnonzero(gone)
        if len(rows):
            names = tuple(map(str, barcodes[rows][:5]))
            drops.append(Drop("spots", reason, len(rows), int(counts[rows].sum()), names))
    if n_lost := int((~placed).sum()):
        tell = findings.refuse if n_lost > MAX_UNPLACED_SHARE * len(barcodes) else findings.warn
        tell(
            "no-position",
            "Count rows have no row in the spot file",
            file=files.names["spots"],
            expected=f"a position for each of {len(barcodes)} count rows",
            found=f"{n_lost} without, such as {', '.join(drops[0].examples[:3])}",
        )
    without = sorted(set(places.tolist()) - set(barcodes.tolist()))
    if without:
        findings.note(
            "spot-without-counts",
            "Positions without a count row are left out",
            file=files.names["counts"],
            found=f"{len(without)}: {', '.join(without[:5])}",
        )
    return np.flatnonzero(under_tissue), tuple(drops)


def _labels(files: LocalFiles, recipe: Recipe, placed: pd.DataFrame, findings: Findings) -> dict[str, NDArray[np.str_]]:
    rule: Mapping[str, Any] | None = recipe.labels
    if rule is None or "labels" not in files.paths:
        return {}
    if "join" not in rule:
        findings.refuse("labels-rule", "The recipe does not say how labels join", field="labels.join")
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
