"""The draft for a legacy ST folder: tables of spots by genes, spot files, pictures."""

from __future__ import annotations

from pathlib import Path

from humanst.catalog import Lattice
from humanst.curate import guesses
from humanst.curate.records import RECIPE_SCHEMA, Draft, finish_draft, put_files
from humanst.curate.sheet import Sheet
from humanst.curate.tables import SpotFolder

ST_PITCH_UM, ST_SPOT_UM = 200.0, 100.0


def draft_spots(folder: Path, spots: SpotFolder, paths: list[str]) -> Draft:
    """Draft the recipe of a legacy ST folder: its tables tell columns and spellings, never the pitch."""
    sheet = Sheet()
    counts = spots.samples["counts"]
    genes = [counts.first[0]] if counts.transposed else [name for name in counts.header if name]
    sheet.put("schema", RECIPE_SCHEMA)
    sheet.put("platform", "st", f"{counts.path} has a row a spot, such as {counts.first[0]}, and a column a gene")
    if foreign := guesses.foreign_genes(genes):
        sheet.cannot_tell(f"whether the tissue is human: {foreign}; humanst refuses other species")
    sheet.put("gene_id_type", guesses.gene_id_type(genes), f"columns such as {', '.join(genes[:3])}")
    sheet.put("targeted", False, "legacy ST measures the whole transcriptome")
    sheet.put("absent_genes", "zero", "tables list only the genes they found")
    lattice = {"kind": "square", "pitch_um": ST_PITCH_UM, "spot_diameter_um": ST_SPOT_UM}
    sheet.put("lattice", lattice, "the 1k array; nothing in the files tells it from the 150 um of the 2k array")
    options = _put_spot_scale(sheet, folder, spots)
    sheet.put("orientation", "as_given")
    if counts.separator != "\t":
        options["counts_separator"] = counts.separator
    if counts.transposed:
        options["transposed"] = True
    if options:
        sheet.put("options", options, "the columns and spellings of the first files")
    _put_labels(sheet, spots)
    roles = ("counts", "spots", "image", "labels")
    files: dict[str, dict[str, str]] = {role: spots.files[role] for role in roles if role in spots.files}
    n_sections = len(spots.files["counts"])
    for role in ("spots", "image"):
        if missing := sorted(set(spots.files["counts"]) - set(spots.files.get(role, {}))):
            names = ", ".join(missing[:6]) if missing != [""] else "the section"
            sheet.cannot_tell(f"which file is the {role} of {names}")
    put_files(sheet, files, n_sections, paths)
    return finish_draft(sheet, "st", folder, tuple(spots.files["counts"]))


def _put_spot_scale(sheet: Sheet, folder: Path, spots: SpotFolder) -> dict[str, object]:
    """The scale by the spot file, and the reader's options for it."""
    table = spots.samples.get("spots")
    if table is None:
        sheet.put("um_per_pixel", None)
        sheet.cannot_tell("the scale: no spot file with array and pixel coordinates")
        options: dict[str, object] = {"array_from_ids": True}
        if "." in spots.samples["counts"].first[0]:
            options["round_array"] = True
        return options
    lattice = Lattice("square", ST_PITCH_UM, ST_SPOT_UM)
    fit = guesses.spot_scale(folder, table.path, dict(table.columns), table.separator, lattice)
    if fit is None:
        sheet.put("um_per_pixel", None)
        sheet.cannot_tell(f"the scale: the positions of {table.path} tell none")
    else:
        guess = (
            f"the lattice of {table.path} says {fit.um_per_pixel:.4f}, if the pitch is right; fitted when it is built"
        )
        sheet.put("um_per_pixel", None, guess)
    separator = {} if table.separator == "\t" else {"spots_separator": table.separator}
    return {"spots": dict(table.columns), **separator}


def _put_labels(sheet: Sheet, spots: SpotFolder) -> None:
    """Labels that join by fitted coordinates, where both files have them; else they are named and left out."""
    labels, table = spots.samples.get("labels"), spots.samples.get("spots")
    if labels is None or "labels" not in spots.files:
        return
    column = next((name for name in labels.header if name.lower() in ("label", "annotation", "region")), None)
    fitted = table is not None and {"new_x", "new_y"} <= set(table.header) and {"x", "y"} <= set(labels.header)
    if column is None or not fitted:
        sheet.cannot_tell(f"how the labels of {labels.path} join to the spots")
        del spots.files["labels"]
        return
    rule: dict[str, object] = {"join": {"x": "new_x", "y": "new_y"}, "round": 3, "column": column}
    if labels.separator != "\t":
        rule["separator"] = labels.separator
    sheet.put("labels", rule, f"{labels.path} has x and y with decimals, as new_x and new_y of the spot files")
