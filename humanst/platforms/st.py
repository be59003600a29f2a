"""Legacy Spatial Transcriptomics: a count table, where its spots lie, an H&E image if there is one.

The recipe says what the files are: columns, separators, which way round the count table is, whether array coordinates
are whole numbers. Array coordinates are the lattice and the join key; fitted coordinates that some spot files carry
beside them (``new_x``, ``new_y``) are an affine copy of the pixels and therefore no witness of scale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.catalog import Recipe
from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.findings import Drop, Findings
from humanst.platforms import GeneColumns, RawSection
from humanst.platforms.labels import label_name, tell_missing, tell_unmatched
from humanst.platforms.st_spots import SpotIds, SpotTable, read_spots, spelled
from humanst.platforms.tables import (
    counts_from_values,
    dense_to_csr,
    missing_columns,
    read_column_names,
    read_count_table,
    read_row_names,
    read_table,
    refuse_duplicates,
)

if TYPE_CHECKING:
    import pandas as pd

# More count rows without a position than this means the two files do not belong together.
MAX_UNPLACED_SHARE = 0.05


def read(files: LocalFiles, recipe: Recipe) -> RawSection:
    """Read one legacy ST section.

    Parameters
    ----------
    files
        Roles ``counts`` and ``spots`` (no ``spots`` with ``options.array_from_ids``); ``image`` and ``labels`` where
        the section has them.
    recipe
        Its options, each explained in ``schemas/recipe.yaml``: ``spots``, ``spots_separator`` and ``spots_header`` for
        the spot file, ``counts_separator``, ``transposed`` and ``counts_of_whole_array`` for the count table,
        ``spot_id`` for how that table spells an array position, ``array_from_ids``, ``round_array``, ``affine``, and
        ``image_scale``, the pixels of the image per pixel of the positions.

    Returns
    -------
    RawSection
        Without pixels and without an image, ``xy_px`` are array coordinates times the pitch, in um.

    Raises
    ------
    DataError
        With every fault of the section's files named; nothing is mended.
    """
    findings = Findings(study=files.study_id, section=files.section_id)
    ids = SpotIds(recipe.options.get("spot_id", "{x}x{y}"))
    counts, barcodes, genes = _read_counts(files, recipe, findings)
    spots = read_spots(files, recipe, ids, barcodes, findings)
    findings.raise_if_refused()
    if spots is None or counts is None:  # pragma: no cover - a refusal above always says why
        raise DataError("The section could not be read", study=files.study_id, section=files.section_id)
    whole_array = bool(recipe.options.get("counts_of_whole_array", False))
    rows, where, drops = _join(ids, barcodes, genes, counts, spots, files, findings, whole_array=whole_array)
    labels = _labels(files, recipe, spots, where, findings)
    findings.raise_if_refused()
    return RawSection(
        study_id=files.study_id,
        section_id=files.section_id,
        platform="st",
        counts=dense_to_csr(counts[rows]),
        spot_ids=barcodes[rows],
        gene_names=genes,
        gene_ids=genes if recipe.gene_id_type == "ensembl" else None,
        feature_types=None,
        xy_px=spots.xy_px[where],
        row_col=spots.row_col[where],
        in_tissue=spots.selected[where],
        all_xy_px=spots.xy_px,
        all_row_col=spots.row_col,
        all_in_tissue=spots.selected,
        lattice=recipe.lattice,
        image_path=files.paths.get("image"),
        image_name=files.names.get("image", ""),
        image_scale=float(recipe.options.get("image_scale", 1.0)),
        um_per_pixel_witnesses={},
        files=files,
        findings=findings,
        labels=labels,
        drops=drops,
    )


def read_genes(files: LocalFiles, recipe: Recipe) -> GeneColumns:
    """The gene names at the head of the count table's columns (of its rows, where it lies on its side)."""
    findings = Findings(study=files.study_id, section=files.section_id)
    _require_counts(files, findings)
    findings.raise_if_refused()
    name, sep = files.names["counts"], recipe.options.get("counts_separator", "\t")
    if recipe.options.get("transposed", False):
        genes = read_row_names(files.paths["counts"], name=name, sep=sep)
    else:
        genes = read_column_names(files.paths["counts"], name=name, sep=sep)
    return GeneColumns(genes, genes if recipe.gene_id_type == "ensembl" else None, None)


def _require_counts(files: LocalFiles, findings: Findings) -> bool:
    if "counts" in files.paths:
        return True
    findings.refuse(
        "no-counts",
        "The section has no count table",
        field="counts",
        expected="a table of spots and genes",
        found=f"files for {', '.join(sorted(files.paths)) or 'nothing'}",
    )
    return False


def _read_counts(
    files: LocalFiles, recipe: Recipe, findings: Findings
) -> tuple[NDArray[np.int64] | None, NDArray[np.str_], NDArray[np.str_]]:
    """Counts spots-first, sorted by spot id (``None`` where a finding refuses them); spot ids; genes as in the file."""
    empty = np.array([], dtype=str)
    if not _require_counts(files, findings):
        return None, empty, empty
    name = files.names["counts"]
    rows, columns, values = read_count_table(
        files.paths["counts"], name=name, sep=recipe.options.get("counts_separator", "\t")
    )
    if not len(columns):
        findings.refuse(
            "counts-empty",
            "The count table has a single column",
            file=name,
            expected="a column a gene",
            found=f"{len(rows)} rows such as {rows[0][:40]!r}" if len(rows) else "nothing",
            todo="Name its field separator in the recipe as `counts_separator`",
        )
        return None, empty, empty
    barcodes, genes = (columns, rows) if recipe.options.get("transposed", False) else (rows, columns)
    values = values.T if recipe.options.get("transposed", False) else values
    refuse_duplicates(barcodes, name=name, field="spot ids", findings=findings)
    order = np.argsort(barcodes, kind="stable")
    counts = counts_from_values(values[order], name=name, findings=findings)
    return counts, barcodes[order], genes


def _join(
    ids: SpotIds,
    barcodes: NDArray[np.str_],
    genes: NDArray[np.str_],
    counts: NDArray[np.int64],
    spots: SpotTable,
    files: LocalFiles,
    findings: Findings,
    *,
    whole_array: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[Drop, ...]]:
    """Rows of the count table under tissue, their rows in the spot table, and the others as named drops."""
    keys = [ids.key(barcode) for barcode in barcodes.tolist()]
    place = {key: number for number, key in enumerate(spots.keys)}
    name = files.names["counts"]
    taken = [spelled(key) for key in keys if key is not None]
    refuse_duplicates(taken, name=name, field="spot ids", findings=findings)
    where = np.array([-1 if key is None else place.get(key, -1) for key in keys], dtype=np.int64)
    # A spot file of those under tissue alone says of every other spot of the array where it lies: outside.
    outside = (where < 0) & np.array([whole_array and key is not None for key in keys], dtype=bool)
    lost = np.flatnonzero((where < 0) & ~outside)
    under_tissue = where >= 0
    under_tissue[under_tissue] = spots.selected[where[under_tissue]]
    outside |= (where >= 0) & ~under_tissue
    drops = []
    for reason, gone in (("no-position", (where < 0) & ~outside), ("out-of-tissue", outside)):
        left = np.flatnonzero(gone)
        if len(left):
            names = tuple(map(str, barcodes[left][:5]))
            drops.append(Drop("spots", reason, len(left), int(counts[left].sum()), names))
    if len(lost):
        tell = findings.refuse if len(lost) > MAX_UNPLACED_SHARE * len(barcodes) else findings.warn
        sideways = sum(ids.key(gene) is not None for gene in genes.tolist()) > len(genes) / 2
        tell(
            "no-position",
            "Count rows have no row in the spot file",
            file=files.names.get("spots", name),
            expected=f"a position for each of {len(barcodes)} count rows",
            found=f"{len(lost)} without, such as {', '.join(map(str, barcodes[lost][:3]))}",
            todo="Its columns look like spots: say `transposed: true` in the recipe" if sideways else None,
        )
    without = sorted(set(range(len(spots.keys))) - set(where.tolist()))
    if without:
        findings.note(
            "spot-without-counts",
            "Positions without a count row are left out",
            file=name,
            found=f"{len(without)}: {', '.join(spelled(spots.keys[number]) for number in without[:5])}",
        )
    rows = np.flatnonzero(under_tissue)
    return rows, where[rows], tuple(drops)


def _labels(
    files: LocalFiles, recipe: Recipe, spots: SpotTable, where: NDArray[np.int64], findings: Findings
) -> dict[str, NDArray[np.str_]]:
    rule: Mapping[str, Any] | None = recipe.labels
    if rule is None or "labels" not in files.paths:
        return {}
    if "join" not in rule:
        findings.refuse("labels-rule", "The recipe does not say how labels join", field="labels.join")
        return {}
    name = files.names["labels"]
    table = read_table(files.paths["labels"], name=name, sep=rule.get("separator", "\t"))
    join: Mapping[str, str] = rule["join"]
    wanted = [rule["column"]] if isinstance(rule["column"], str) else list(rule["column"])
    placed = spots.table.iloc[where]
    if missing_columns(table.columns, [*join, *wanted], name=name, findings=findings) or missing_columns(
        placed.columns, join.values(), name=files.names.get("spots", name), findings=findings
    ):
        return {}
    digits = int(rule.get("round", 3))
    spot_keys = _join_keys(placed, join.values(), digits)
    labels = {}
    for column in wanted:
        told = table.dropna(subset=[*join, column])
        keys = _join_keys(told, join, digits)
        refuse_duplicates(
            ["/".join(map(str, key)) for key in keys], name=name, field=next(iter(join)), findings=findings
        )
        label_of = dict(zip(keys, told[column].astype(str), strict=True))
        labels[label_name(rule, wanted, column)] = np.array([label_of.get(key, "") for key in spot_keys], dtype=str)
        n_missing = sum(key not in label_of for key in spot_keys)
        tell_missing(n_missing, len(spot_keys), name=name, field=column, findings=findings)
        tell_unmatched(set(label_of) - set(spot_keys), len(label_of), name=name, field=column, findings=findings)
    return labels


def _join_keys(table: pd.DataFrame, columns: Iterable[str], digits: int) -> list[tuple[Any, ...]]:
    """Rows as tuples of these columns; numbers are rounded, for two files may write other decimals."""
    values = [table[column] for column in columns]
    spoken = [one.round(digits) if one.dtype.kind in "iuf" else one.astype(str).str.strip() for one in values]
    return list(zip(*spoken, strict=True))
