"""Draft recipes for a folder. Nothing is refused here: what could not be told is said, in the draft and beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from humanst.builder.matching import list_files
from humanst.curate import guesses
from humanst.curate.labels import LabelFile, find_labels
from humanst.curate.layouts import Bundle, bin_um, find_bundles, full_image, group_alike, is_histology, name_sections
from humanst.curate.records import RECIPE_SCHEMA, Draft, finish_draft, put_files
from humanst.curate.sheet import Sheet
from humanst.curate.spots import draft_spots
from humanst.curate.tables import find_spot_folder
from humanst.platforms.visium import FIDUCIAL_DIAMETER_UM

TARGET_SIDE_UM = 112.0
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
MEX = ("matrix", "features", "barcodes")
ROLES_OF = {
    "visium": ("counts", *MEX, "positions", "scalefactors", "image", "hires", "lowres", "labels"),
    "visium_hd": ("counts", *MEX, "positions", "scalefactors", "image", "hires", "lowres"),
    "xenium": ("transcripts", "counts", "panel", "cells", "experiment", "image", "alignment"),
}
LATTICES = {
    "visium": ({"kind": "hex", "pitch_um": 100.0, "spot_diameter_um": 55.0}, "the lattice of every Visium slide"),
    "xenium": (
        {"kind": "square", "pitch_um": TARGET_SIDE_UM, "spot_diameter_um": TARGET_SIDE_UM},
        "squares as wide as a patch; 55 and 100 um are the other choices (options.target_side_um)",
    ),
}


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a folder seems to hold.

    Attributes
    ----------
    drafts
        One for every kind of section, the one with the most sections first; at least one, though it may be empty.
    loose
        Count matrices that belong to no section, for they have no positions.
    """

    drafts: tuple[Draft, ...]
    loose: tuple[str, ...]


def propose(folder: Path) -> Proposal:
    """Draft recipes for a folder.

    A folder that holds nothing humanst knows gives one draft without a platform.
    """
    # Pipes and devices are no data, and a link may lead nowhere.
    paths = [path for path in list_files(folder) if (folder / path).is_file()]
    sizes = {path: (folder / path).stat().st_size for path in paths}
    bundles, loose = find_bundles(paths)
    drafts = [_draft_bundles(folder, group, paths, sizes) for group in group_alike(bundles)]
    if not drafts and (spots := find_spot_folder(folder, paths, sizes)) is not None:
        drafts = [draft_spots(folder, spots, paths)]
    drafts = drafts or [_draft_nothing(folder, paths)]
    drafts.sort(key=lambda draft: -len(draft.sections))
    matrices = (bundle.files.get("counts") or bundle.files["matrix"] for bundle in loose)
    return Proposal(tuple(drafts), tuple(sorted(matrices)))


def _draft_nothing(folder: Path, paths: list[str]) -> Draft:
    sheet = Sheet()
    shown = ", ".join(paths[:6]) or "no files"
    pictures = [path for path in paths if is_histology(path)]
    if pictures:
        sheet.cannot_tell(f"which counts belong to {pictures[0]}: no count matrix and no transcripts beside it")
    for archive in [path for path in paths if path.endswith(ARCHIVES)][:3]:
        sheet.cannot_tell(f"what {archive} holds: unpack it, or give a recipe with `archive` and `options.members`")
    sheet.cannot_tell(f"the platform: no vendor's file names and no table of spots by genes among {shown}")
    sheet.put("schema", RECIPE_SCHEMA)
    sheet.put("platform", "unknown")
    return Draft(None, sheet.text(f"A folder called {folder.name}"), (), sheet.guesses, tuple(sheet.unknown))


def _draft_bundles(folder: Path, group: list[Bundle], paths: list[str], sizes: Mapping[str, int]) -> Draft:
    sheet, platform = Sheet(), group[0].platform or "unknown"
    sections = name_sections(group)
    for section, bundle in sections.items():
        _choose_files(folder, section, bundle, sizes, sheet)
    first = next(iter(sections.values()))
    ids = guesses.feature_ids(folder, first.files)
    sheet.put("schema", RECIPE_SCHEMA)
    named = ", ".join(
        sorted({Path(first.files[role]).name for role in ("transcripts", "positions") if role in first.files})
    )
    sheet.put("platform", platform, f"{named or 'the vendor names'} as this platform has")
    _put_genes(sheet, platform, ids)
    for section, bundle in sections.items():
        _tell_species(sheet, f" of section {section}" if section else "", guesses.feature_ids(folder, bundle.files))
    _put_lattice(sheet, platform, first)
    _put_scale(sheet, platform, folder, first)
    sheet.put("orientation", "as_given")
    if platform == "visium_hd":
        sheet.put(
            "options", {"bin_um": bin_um(first), "target_side_um": TARGET_SIDE_UM}, "the bins of this folder's name"
        )
    elif platform == "xenium":
        sheet.put("options", {"target_side_um": TARGET_SIDE_UM}, "pooled to squares as wide as a patch")
    if platform == "visium":
        _put_labels(sheet, folder, sections, paths)
    files = {
        role: {section: bundle.files[role] for section, bundle in sections.items() if role in bundle.files}
        for role in ROLES_OF[platform]
    }
    put_files(sheet, {role: found for role, found in files.items() if found}, len(sections), paths)
    place = os.path.commonpath([f"/{bundle.root}" for bundle in group]).strip("/")
    return finish_draft(sheet, platform, folder, tuple(sections), place)


def _choose_files(folder: Path, section: str, bundle: Bundle, sizes: Mapping[str, int], sheet: Sheet) -> None:
    """One count matrix and one picture a section; what was passed over is said."""
    where = f" of section {section}" if section else ""
    if bundle.platform != "xenium":
        _choose_counts(where, bundle, sheet)
    image, others = full_image(bundle, sizes)
    if image is not None:
        bundle.files["image"] = image
    if others:
        found = f"{image} is the largest of {1 + len(others)}"
        sheet.cannot_tell(f"which picture{where} is the full-resolution H&E: {found}")
    if bundle.platform == "xenium":
        if image is None:
            sheet.cannot_tell(f"where the H&E image{where} is: without it the section builds without patches")
        elif "alignment" not in bundle.files:
            way_out = "options.registered and um_per_pixel, if it lies in their frame already"
            sheet.cannot_tell(f"how the H&E image{where} lies on the transcripts: no *imagealignment.csv ({way_out})")
    elif image is None:
        sheet.cannot_tell(f"where the full-resolution image{where} is: hires and lowres are too coarse for patches")
    picture = next((bundle.files[role] for role in ("image", "hires", "lowres") if role in bundle.files), None)
    if picture is not None and (fault := guesses.picture_fault(folder, picture)):
        sheet.cannot_tell(f"whether {picture} is H&E: {fault}")


def _choose_counts(where: str, bundle: Bundle, sheet: Sheet) -> None:
    """A filtered matrix before a raw one, HDF5 before Market Exchange."""
    has_mex = set(MEX) <= set(bundle.files)
    if Path(bundle.files.get("counts", "")).name.removeprefix(bundle.prefix).startswith("raw"):
        if has_mex and "filtered" in bundle.files["matrix"]:
            del bundle.files["counts"]
        else:
            sheet.cannot_tell(
                f"where the filtered matrix{where} is: the raw one also holds barcodes outside the tissue"
            )
    if "counts" in bundle.files or not has_mex:
        for role in MEX:
            bundle.files.pop(role, None)
    if not {"counts", "matrix"} & set(bundle.files):
        sheet.cannot_tell(f"where the count matrix{where} is: no filtered_feature_bc_matrix")


def _put_genes(sheet: Sheet, platform: str, ids: list[str]) -> None:
    kind = guesses.gene_id_type(ids)
    if not ids:
        sheet.cannot_tell("how the genes are named: no feature list could be read")
    why = f"so are most of {len(ids):,} features, {ids[0]} the first" if ids else "nothing could be read"
    sheet.put("gene_id_type", kind, why)
    targeted = platform == "xenium" or 0 < len(ids) < guesses.PANEL_BELOW
    panel = "Xenium measures a panel" if platform == "xenium" else f"{len(ids):,} features"
    sheet.put("targeted", targeted, panel if ids or targeted else "nothing could be read")
    sheet.put("absent_genes", "unmeasured", "the table lists all that it measured")


def _tell_species(sheet: Sheet, where: str, ids: list[str]) -> None:
    if foreign := guesses.foreign_genes(ids):
        sheet.cannot_tell(f"whether the tissue{where} is human: {foreign}; humanst refuses other species")


def _put_lattice(sheet: Sheet, platform: str, bundle: Bundle) -> None:
    if platform == "visium_hd":
        side = bin_um(bundle)
        lattice: dict[str, str | float] = {"kind": "square", "pitch_um": side, "spot_diameter_um": side}
        sheet.put("lattice", lattice, "the bins of this folder's name")
    else:
        value, why = LATTICES[platform]
        sheet.put("lattice", value, why)


def _put_labels(sheet: Sheet, folder: Path, sections: Mapping[str, Bundle], paths: list[str]) -> None:
    """Labels by barcode: one file a section, all with the columns of the first; the others are named."""
    chosen: LabelFile | None = None
    for section, bundle in sections.items():
        where = f" of section {section}" if section else ""
        for found in find_labels(folder, bundle, paths):
            if found.bare:
                way_out = "options.barcode_suffix"
                sheet.cannot_tell(f"how {found.path} joins: its barcodes{where} end otherwise ({way_out})")
            elif "labels" in bundle.files:
                sheet.cannot_tell(f"whether {found.path} holds labels too: {bundle.files['labels']} was taken")
            elif chosen is not None and found.rule() != chosen.rule():
                sheet.cannot_tell(f"how {found.path} joins: its columns are not those of {chosen.path}")
            else:
                chosen = chosen or found
                bundle.files["labels"] = found.path
    if chosen is not None:
        sheet.put("labels", chosen.rule(), f"{chosen.path} has the barcodes of the positions, and words that repeat")


def _put_scale(sheet: Sheet, platform: str, folder: Path, bundle: Bundle) -> None:
    if platform == "xenium":
        sheet.put("um_per_pixel", None, "transcripts are in um, and an alignment tells the scale of the H&E image")
        return
    factors = guesses.scale_factors(folder, bundle.files)
    readings = []
    fit = guesses.visium_scale(folder, bundle.files) if platform == "visium" else None
    if fit is not None:
        readings.append(f"the lattice says {fit.um_per_pixel:.4f}")
    if (ring := factors.get("fiducial_diameter_fullres", 0.0)) > 0 and platform == "visium":
        readings.append(f"the fiducials {FIDUCIAL_DIAMETER_UM / ring:.4f}")
    if "microns_per_pixel" in factors:
        readings.append(f"the header says {factors['microns_per_pixel']:.4f}")
    if readings:
        sheet.put("um_per_pixel", None, f"{', '.join(readings)} um per full-resolution pixel; fitted when it is built")
    else:
        sheet.put("um_per_pixel", None)
        sheet.cannot_tell("the scale of the image: it is fitted when it is built")
