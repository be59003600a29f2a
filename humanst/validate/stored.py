"""Checks of a store that humanst wrote: its record against its arrays, and the checks of its section once more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.catalog import Lattice
from humanst.errors import Facts
from humanst.findings import Finding, Findings
from humanst.harmonize.space import AGREE_WITHIN, check_residual, fit_lattice
from humanst.schemas import check_table
from humanst.validate.pictures import levels
from humanst.validate.report import not_checkable
from humanst.validate.section import tell_lost, tell_off_tissue, tell_outside

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix
    from spatialdata import SpatialData

OWN_SCHEMA = "humanst.section/1"
COORDINATES = "um"
ATTRS = (
    *("sample_id", "study_id", "section_id", "platform", "um_per_pixel", "targeted", "target", "counts_in"),
    *("counts_out", "spots_in", "spots_out", "drops", "findings", "picture", "tissue", "provenance"),
)
LINKS = ("region", "instance_id")
PLACE_UM = 1e-3


def check_own(
    sdata: SpatialData, table: AnnData, counts: csr_matrix, attrs: Mapping[str, Any], findings: Findings
) -> None:
    """Check a section store of ours; what its build had to say comes along."""
    missing = [name for name in ATTRS if name not in attrs]
    if missing or attrs.get("schema") != OWN_SCHEMA:
        findings.refuse(
            "attrs-incomplete",
            "The record of the section is not complete",
            file="zarr.json",
            field=missing[0] if missing else "schema",
            expected=f"schema {OWN_SCHEMA} with {', '.join(ATTRS)}",
            found=f"schema {attrs.get('schema')}, without {', '.join(missing) or 'nothing'}",
            todo="Build the section again",
        )
        return
    findings.study, findings.section = findings.study or attrs["study_id"], findings.section or attrs["section_id"]
    spots, genes = _plain(table.obs.drop(columns=[name for name in LINKS if name in table.obs])), _plain(table.var)
    for name, content in (("spots", spots), ("genes", genes)):
        part = Findings(study=findings.study, section=findings.section, file="tables")
        check_table(content, name, part)
        findings.extend(part)
    _check_totals(table, counts, attrs, findings)
    if not findings.refused:
        _check_geometry(sdata, spots, attrs, findings)
        _check_lattice(spots, attrs, findings)
        tell_off_tissue(spots, findings, has_mask=attrs["tissue"] is not None)
    _check_systems(sdata, attrs, findings)
    findings.extend(_carried(attrs))


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Categories back as text: anndata stores text so."""
    return table.astype({name: str for name in table.columns if table[name].dtype.name == "category"})


def _carried(attrs: Mapping[str, Any]) -> list[Finding]:
    """What the build of the store found and wrote down."""
    known = set(Facts.__slots__)
    return [
        Finding(item["severity"], Facts(**{key: value for key, value in item.items() if key in known}))
        for item in attrs["findings"]
    ]


def _check_totals(table: AnnData, counts: csr_matrix, attrs: Mapping[str, Any], findings: Findings) -> None:
    out, spots = int(counts.sum()), table.n_obs
    for field, said, found in (("counts_out", attrs["counts_out"], out), ("spots_out", attrs["spots_out"], spots)):
        if said != found:
            findings.refuse(
                "totals-differ",
                "The table is not the one on record",
                file="tables/table",
                field=field,
                expected=f"{said:,}",
                found=f"{found:,}",
                todo="Build the section again",
            )
    drops = attrs["drops"]
    tell_lost("counts", attrs["counts_in"], out, sum(drop["counts"] for drop in drops), findings)
    tell_lost("spots", attrs["spots_in"], spots, sum(drop["n"] for drop in drops if drop["what"] == "spots"), findings)
    rows = np.asarray(counts.sum(axis=1)).ravel()
    if "n_counts" in table.obs and not np.array_equal(rows, table.obs["n_counts"].to_numpy()):
        findings.refuse("n-counts", "n_counts is not the row sum of the table", file="tables/table", field="n_counts")


def _check_geometry(sdata: SpatialData, spots: pd.DataFrame, attrs: Mapping[str, Any], findings: Findings) -> None:
    """Pixels times scale are um, and the shapes lie where the table says."""
    scale = float(attrs["um_per_pixel"])
    um, px = spots[["x_um", "y_um"]].to_numpy(), spots[["x_px", "y_px"]].to_numpy()
    if len(um) and float(np.abs(um - px * scale).max()) > PLACE_UM:
        findings.refuse(
            "places-differ",
            "Positions in um are not those in pixels times the scale",
            file="tables/table",
            field="x_um, y_um",
            expected=f"x_px * {scale}",
            found=f"up to {float(np.abs(um - px * scale).max()):.3g} um off",
        )
    if "spots" not in sdata.shapes:
        findings.refuse("no-shapes", "The store has no spots", file="shapes", expected="shapes/spots", found="none")
        return
    centre = sdata.shapes["spots"].geometry.centroid
    shape_um = np.stack([centre.x.to_numpy(), centre.y.to_numpy()], axis=1)
    if shape_um.shape != um.shape or (len(um) and float(np.abs(shape_um - um).max()) > PLACE_UM):
        findings.refuse(
            "places-differ", "The shapes do not lie where the table says", file="shapes/spots", field="geometry"
        )
    picture = attrs["picture"]
    if picture is not None:
        size_px = (picture["width_px"], picture["height_px"])
        tell_outside(px, size_px, findings, file=picture["source_name"])


def _check_lattice(spots: pd.DataFrame, attrs: Mapping[str, Any], findings: Findings) -> None:
    """The kept spots alone must tell the scale on record."""
    about = attrs["provenance"].get("lattice")
    row_col = spots[["row", "col"]].to_numpy(np.int64)
    if about is None:
        not_checkable(findings, "scale", "no lattice on record")
        return
    # Square targets tile the section: the pitch of their indices is their side, whatever they were pooled from.
    side_um = float(attrs["target"]["side_um"])
    pitch_um = side_um if attrs["target"]["shape"] == "square" else float(about["pitch_um"])
    lattice = Lattice(about["kind"], pitch_um, side_um)
    blank = Findings()
    fit = fit_lattice(row_col, spots[["x_px", "y_px"]].to_numpy(np.float64), lattice, blank)
    if fit is None:
        not_checkable(findings, "scale", "too few spots were kept")
        return
    scale = float(attrs["provenance"].get("image_scale", 1.0))
    check_residual(fit, lattice, findings, platform=str(attrs["platform"]), image_scale=scale)
    difference = abs(fit.um_per_pixel / float(attrs["um_per_pixel"]) - 1)
    if difference > AGREE_WITHIN:
        findings.refuse(
            "scale-disagrees",
            "The spots tell another scale than the one on record",
            file="zarr.json",
            field="um_per_pixel",
            expected=f"{attrs['um_per_pixel']:.4f} um per pixel within {AGREE_WITHIN:.0%}",
            found=f"{fit.um_per_pixel:.4f} from {len(spots)} spots",
        )


def _check_systems(sdata: SpatialData, attrs: Mapping[str, Any], findings: Findings) -> None:
    from spatialdata.transformations import get_transformation

    if list(sdata.coordinate_systems) != [COORDINATES]:
        findings.refuse(
            "coordinate-systems",
            "A section store has one coordinate system",
            file="zarr.json",
            expected=COORDINATES,
            found=", ".join(map(str, sdata.coordinate_systems)),
        )
        return
    picture = attrs["picture"]
    if picture is None or "he" not in sdata.images:
        return
    finest = levels(sdata.images["he"])[0]
    matrix = get_transformation(sdata.images["he"], COORDINATES).to_affine_matrix(("x", "y"), ("x", "y"))
    drawn = np.array([finest.sizes["x"] * matrix[0, 0], finest.sizes["y"] * matrix[1, 1]])
    wanted = np.array([picture["width_px"], picture["height_px"]]) * float(attrs["um_per_pixel"])
    if float(np.abs(drawn / wanted - 1).max()) > 1e-3:
        findings.refuse(
            "image-extent",
            "The image does not cover the field on record",
            file="images/he",
            field="transformation",
            expected=f"{wanted[0]:.1f} x {wanted[1]:.1f} um",
            found=f"{drawn[0]:.1f} x {drawn[1]:.1f} um",
        )
