"""Checks of a harmonized section before its store is written: schema, conservation, places, tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from humanst.findings import Findings
from humanst.harmonize.section import Section
from humanst.schemas import check_table

if TYPE_CHECKING:
    import pandas as pd

MAX_OUTSIDE_IMAGE = 0.20
WARN_OUTSIDE_IMAGE = 0.01
MIN_TISSUE_FRACTION = 0.15
MIN_ON_TISSUE = 0.5
BUG = "This is a bug in humanst: please report it with the section"


def validate_section(section: Section) -> None:
    """Run all checks; faults are added to ``section.findings`` as refusals or warnings."""
    findings = section.findings
    check_table(section.spots.reset_index(), "spots", findings)
    check_table(section.genes.reset_index(), "genes", findings)
    spots_lost = sum(drop.n for drop in section.drops if drop.what == "spots")
    counts_lost = sum(drop.counts for drop in section.drops)
    tell_lost("counts", section.counts_in, int(section.counts.sum()), counts_lost, findings)
    tell_lost("spots", section.spots_in, len(section.spots), spots_lost, findings)
    _check_shapes(section)
    _check_places(section)
    if section.picture is not None:
        size_px = (section.picture.width_px, section.picture.height_px)
        xy_px = section.spots[["x_px", "y_px"]].to_numpy()
        tell_outside(xy_px, size_px, findings, file=section.picture.source_name)
    tell_off_tissue(section.spots, findings, has_mask=section.tissue is not None)


def tell_lost(what: str, n_in: int, n_out: int, n_dropped: int, findings: Findings) -> None:
    """Refuse where ``what`` (counts or spots) in differ from out plus named drops, to the integer."""
    if n_in == n_out + n_dropped:
        return
    findings.refuse(
        f"{what}-not-conserved",
        f"{what.capitalize()} were lost without a name",
        field=what,
        expected=f"{n_in:,} in = out + named drops",
        found=f"{n_out:,} out + {n_dropped:,} dropped by name",
        todo=BUG,
    )


def _check_shapes(section: Section) -> None:
    """The table, its axes and its measures describe the same spots, and no spot or place occurs twice."""
    findings, spots = section.findings, section.spots
    if section.counts.shape != (len(spots), len(section.genes)):
        found = f"{section.counts.shape} for {len(spots)} spots and {len(section.genes)} genes"
        findings.refuse(
            "shape", "Table and axes differ", field="counts", expected="equal lengths", found=found, todo=BUG
        )
        return
    totals = np.asarray(section.counts.sum(axis=1)).ravel()
    detected = np.asarray((section.counts > 0).sum(axis=1)).ravel()
    for field, values in (("n_counts", totals), ("n_genes", detected)):
        wrong = np.flatnonzero(values != spots[field].to_numpy())
        # Genes are counted before the table is put on the study's axis, which adds none and takes none.
        if len(wrong):
            found = f"{len(wrong)} spots differ, such as {spots.index[wrong[0]]}"
            findings.refuse(
                field.replace("_", "-"), f"{field} is not that of the table", field=field, found=found, todo=BUG
            )
    places = spots[["row", "col"]].to_numpy()
    if len(np.unique(places, axis=0)) != len(places):
        findings.refuse(
            "duplicate-place",
            "Two spots have one place of the lattice",
            field="row, col",
            expected="each place once",
            found=f"{len(places) - len(np.unique(places, axis=0))} places more than once",
        )


def _check_places(section: Section) -> None:
    """Positions are finite, and um are pixels times the scale."""
    spots = section.spots
    um, px = spots[["x_um", "y_um"]].to_numpy(), spots[["x_px", "y_px"]].to_numpy()
    if not np.isfinite(px).all() or not 0 < section.um_per_pixel < np.inf:
        section.findings.refuse(
            "positions-invalid",
            "Positions or scale are not finite",
            field="x_px, y_px",
            expected="finite pixels and um per pixel > 0",
            found=f"{int((~np.isfinite(px)).any(axis=1).sum())} spots without, {section.um_per_pixel} um per pixel",
        )
    elif not np.allclose(um, px * section.um_per_pixel, rtol=1e-9, atol=1e-6):
        section.findings.refuse(
            "places-differ", "Positions in um are not pixels times the scale", field="x_um, y_um", todo=BUG
        )


def tell_outside(xy_px: NDArray[np.float64], size_px: tuple[int, int], findings: Findings, *, file: str) -> None:
    """Warn where more than 1 % of the centres lie outside the image, refuse beyond 20 %."""
    outside = (xy_px < 0).any(axis=1) | (xy_px[:, 0] >= size_px[0]) | (xy_px[:, 1] >= size_px[1])
    share = float(outside.mean()) if len(outside) else 0.0
    if share <= WARN_OUTSIDE_IMAGE:
        return
    tell = findings.refuse if share > MAX_OUTSIDE_IMAGE else findings.warn
    tell(
        "spots-off-image",
        "Spot centres lie outside the image",
        file=file,
        field="x_px, y_px",
        expected=f"at most {WARN_OUTSIDE_IMAGE:.0%} outside {size_px[0]} x {size_px[1]} px",
        found=f"{int(outside.sum())} of {len(outside)} spots ({share:.1%})",
        todo="Check that the image belongs to this section and has the size the positions were made for",
    )


def tell_off_tissue(spots: pd.DataFrame, findings: Findings, *, has_mask: bool) -> None:
    """Refuse where less than half of the spots lie on tissue."""
    if not has_mask or not len(spots):
        return
    on_tissue = float((spots["tissue_fraction"].to_numpy() >= MIN_TISSUE_FRACTION).mean())
    if on_tissue < MIN_ON_TISSUE:
        findings.refuse(
            "spots-off-tissue",
            "Most spots do not lie on tissue",
            field="tissue_fraction",
            expected="at least half of the kept spots on tissue",
            found=f"{on_tissue:.0%}",
            todo="Check orientation and that image and positions belong together",
        )
