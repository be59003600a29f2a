"""Where the spots of a legacy ST section lie: from a spot file, or from the spot ids themselves.

Pixels come from the spot file, else from array coordinates through the recipe's affine. A section without an image may
have neither: its positions are array coordinates times the pitch then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from humanst.catalog import Recipe
from humanst.fetch import LocalFiles
from humanst.findings import Findings
from humanst.platforms.tables import missing_columns, read_table, refuse_duplicates

if TYPE_CHECKING:
    import pandas as pd

SPOT_COLUMNS = {
    "array_x": "x",
    "array_y": "y",
    "pixel_x": "pixel_x",
    "pixel_y": "pixel_y",
    "selected": "selected",
}
# Count tables spell measured array coordinates with three decimals.
ID_DECIMALS = 3
_NUMBER = r"[-+]?\d+(?:\.\d+)?"

Key = tuple[float, float]


class SpotIds:
    """How a count table spells an array position: ``{x}x{y}`` reads ``13.064x6.086`` and ``10x13``."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        pieces = re.split(r"(\{x\}|\{y\})", pattern)
        spelled = {"{x}": f"(?P<x>{_NUMBER})", "{y}": f"(?P<y>{_NUMBER})"}
        self._expression = re.compile("".join(spelled.get(piece) or re.escape(piece) for piece in pieces))

    def key(self, spot_id: str) -> Key | None:
        """Array (x, y) of a spot id, to three decimals; ``None`` for what is no spot id."""
        match = self._expression.fullmatch(spot_id)
        return None if match is None else rounded(float(match["x"]), float(match["y"]))


def rounded(x: float, y: float) -> Key:
    """The join key of an array position."""
    return round(x, ID_DECIMALS) + 0.0, round(y, ID_DECIMALS) + 0.0


def spelled(key: Key) -> str:
    """An array position for messages, with all the decimals that tell it from its neighbours."""
    return "x".join(f"{value:.{ID_DECIMALS}f}".rstrip("0").rstrip(".") for value in key)


@dataclass(frozen=True, slots=True)
class SpotTable:
    """The positions of a section.

    Attributes
    ----------
    keys
        Array (x, y) of each, unique, sorted.
    row_col
        ``(n, 2)`` int64 lattice indices.
    xy_px
        ``(n, 2)`` float64 pixels of the image, or um where there is neither.
    selected
        ``(n,)`` whether a spot lies under tissue; all true where nothing says so.
    table
        The spot file, for labels that join by its columns.
    """

    keys: tuple[Key, ...]
    row_col: NDArray[np.int64]
    xy_px: NDArray[np.float64]
    selected: NDArray[np.bool_]
    table: pd.DataFrame


def read_spots(
    files: LocalFiles, recipe: Recipe, ids: SpotIds, barcodes: NDArray[np.str_], findings: Findings
) -> SpotTable | None:
    """Read the positions; ``None`` with the refusals that say why there are none.

    Parameters
    ----------
    files
        Role ``spots``, or none with ``options.array_from_ids``.
    ids, barcodes
        The count table's spelling and its spot ids.
    findings
        Gets ``no-positions``, ``missing-column``, ``positions-invalid``, ``lattice-not-integer``, ``lattice-twice``,
        ``affine-invalid``, ``duplicate-spot-ids``; the warning ``no-pixel-positions``.
    """
    columns = {**SPOT_COLUMNS, **recipe.options.get("spots", {})}
    table = _table(files, recipe, columns, ids, barcodes, findings)
    if table is None:
        return None
    name = files.names.get("spots", files.names.get("counts", ""))
    array = _numbers(table, [columns["array_x"], columns["array_y"]], name, findings)
    if array is None:
        return None
    lattice = _lattice(array, recipe, name, columns["array_x"], findings)
    xy_px = _pixels(table, array, files, recipe, columns, findings)
    if lattice is None or xy_px is None:
        return None
    keys = [rounded(x, y) for x, y in array.tolist()]
    refuse_duplicates([spelled(key) for key in keys], name=name, field=columns["array_x"], findings=findings)
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
    selected = _selected(table, columns["selected"], name, findings)
    return SpotTable(
        keys=tuple(keys[number] for number in order),
        row_col=lattice[order],
        xy_px=xy_px[order],
        selected=selected[order],
        table=table.iloc[order],
    )


def _table(
    files: LocalFiles,
    recipe: Recipe,
    columns: dict[str, str],
    ids: SpotIds,
    barcodes: NDArray[np.str_],
    findings: Findings,
) -> pd.DataFrame | None:
    import pandas as pd

    if recipe.options.get("array_from_ids", False):
        found = [key for key in map(ids.key, barcodes.tolist()) if key is not None]
        return pd.DataFrame(found, columns=[columns["array_x"], columns["array_y"]], dtype=np.float64)
    if "spots" not in files.paths:
        findings.refuse(
            "no-positions",
            "The section has no spot file",
            field="spots",
            expected="a table of array and pixel positions, or `array_from_ids: true` in the recipe",
        )
        return None
    header = "infer" if recipe.options.get("spots_header", True) else None
    separator = recipe.options.get("spots_separator", "\t")
    table = read_table(files.paths["spots"], name=files.names["spots"], sep=separator, header=header)
    table.columns = table.columns.astype(str)
    if "spot_id" in columns and not _spell_out(table, columns, ids, files.names["spots"], findings):
        return None
    needed = [columns["array_x"], columns["array_y"]]
    return None if missing_columns(table.columns, needed, name=files.names["spots"], findings=findings) else table


def _spell_out(table: pd.DataFrame, columns: dict[str, str], ids: SpotIds, name: str, findings: Findings) -> bool:
    """Add array coordinates from the column of spot ids; false with a refusal where one cannot be read."""
    if missing_columns(table.columns, [columns["spot_id"]], name=name, findings=findings):
        return False
    spelled = table[columns["spot_id"]].astype(str).tolist()
    keys = [ids.key(spot_id) for spot_id in spelled]
    wrong = [spot_id for spot_id, key in zip(spelled, keys, strict=True) if key is None]
    if wrong:
        findings.refuse(
            "positions-invalid",
            "Spot ids of the spot file cannot be read",
            file=name,
            field=columns["spot_id"],
            expected=f"ids spelled {ids.pattern}",
            found=f"{len(wrong)} others, such as {', '.join(wrong[:3])}",
        )
        return False
    table[columns["array_x"]] = [key[0] for key in keys if key is not None]
    table[columns["array_y"]] = [key[1] for key in keys if key is not None]
    return True


def _numbers(table: pd.DataFrame, columns: list[str], name: str, findings: Findings) -> NDArray[np.float64] | None:
    values = table[columns].to_numpy()
    if values.dtype.kind not in "iuf" or not np.isfinite(values.astype(np.float64)).all():
        findings.refuse(
            "positions-invalid",
            "Spot positions are not all numbers",
            file=name,
            field=columns[0],
            expected="finite numbers in every row",
            found="missing or non-numeric values",
        )
        return None
    return values.astype(np.float64)


def _selected(table: pd.DataFrame, column: str, name: str, findings: Findings) -> NDArray[np.bool_]:
    """Whether a spot lies under tissue; all do where the spot file has no such column."""
    if column not in table.columns:
        return np.ones(len(table), dtype=bool)
    values = table[column].to_numpy()
    if values.dtype.kind not in "iufb" or not np.isin(values, (0, 1)).all():
        findings.refuse(
            "selected-invalid",
            "The column that says which spots lie under tissue holds something else",
            file=name,
            field=column,
            expected="0 or 1 in every row",
            found=", ".join(sorted({str(value) for value in values})[:4]),
        )
        return np.ones(len(table), dtype=bool)
    selected: NDArray[np.bool_] = values != 0
    return selected


def _lattice(
    array: NDArray[np.float64], recipe: Recipe, name: str, field: str, findings: Findings
) -> NDArray[np.int64] | None:
    """Lattice indices (row, column) of array positions (x, y)."""
    nearest = np.rint(array)
    off = (array != nearest).any(axis=1)
    if off.any() and not recipe.options.get("round_array", False):
        findings.refuse(
            "lattice-not-integer",
            "Array coordinates are not whole numbers",
            file=name,
            field=field,
            expected="the integer lattice, or `round_array: true` in the recipe",
            found=f"{array[off][0].tolist()} in one of {int(off.sum())} rows",
        )
        return None
    lattice = nearest[:, ::-1].astype(np.int64)
    if off.any():
        n_nodes = len(np.unique(lattice, axis=0))
        if n_nodes < len(lattice):
            findings.refuse(
                "lattice-twice",
                "Two spots have one lattice index after rounding",
                file=name,
                field=field,
                expected=f"{len(lattice)} different indices",
                found=f"{n_nodes}",
            )
            return None
    return lattice


def _pixels(
    table: pd.DataFrame,
    array: NDArray[np.float64],
    files: LocalFiles,
    recipe: Recipe,
    columns: dict[str, str],
    findings: Findings,
) -> NDArray[np.float64] | None:
    """Spot centres in pixels of the image: of the spot file or through the affine; in um where there is no image."""
    scale = float(recipe.options.get("image_scale", 1.0))
    name = files.names.get("spots", files.names.get("counts", ""))
    pixel = [columns["pixel_x"], columns["pixel_y"]]
    if "affine" in recipe.options:
        xy = through_affine(array, recipe.options["affine"], findings)
        return None if xy is None else xy * scale
    spoken_of = set(pixel) & set(table.columns) or {"pixel_x", "pixel_y"} & set(recipe.options.get("spots", {}))
    if spoken_of or "image" in files.paths:
        if missing_columns(table.columns, pixel, name=name, findings=findings):
            return None
        numbers = _numbers(table, pixel, name, findings)
        return None if numbers is None else numbers * scale
    findings.warn(
        "no-pixel-positions",
        "Nothing says where the spots lie in an image",
        file=name,
        field=pixel[0],
        expected="pixel columns in the spot file, or `affine` in the recipe",
        found=f"columns {', '.join(map(str, table.columns[:12]))}",
        done="Positions are array coordinates times the pitch, in um",
    )
    return array * recipe.lattice.pitch_um


def through_affine(
    array: NDArray[np.float64], rows: list[list[float]], findings: Findings
) -> NDArray[np.float64] | None:
    """Array positions ``(n, 2)`` in pixels; ``None`` (and ``affine-invalid``) for what is no affine of the plane.

    Parameters
    ----------
    rows
        2 x 3, or 3 x 3 with a last row of 0, 0, 1: ``(x_px, y_px) = M (x, y, 1)``.
    """
    matrix = np.asarray(rows, dtype=np.float64)
    square = len(matrix) == 3
    determinant = matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]
    if not np.isfinite(matrix).all() or determinant == 0 or (square and matrix[2].tolist() != [0.0, 0.0, 1.0]):
        findings.refuse(
            "affine-invalid",
            "The affine is not one that takes the array to pixels",
            file="recipe.yaml",
            field="options.affine",
            expected="two rows of three numbers that can be undone, and 0, 0, 1 where there is a third",
            found=str(rows),
        )
        return None
    x, y = array[:, :1], array[:, 1:]
    return x * matrix[:2, 0] + y * matrix[:2, 1] + matrix[:2, 2]
