"""Every check over a harmonized section, all findings at once. Nothing is mended and nothing is written."""

from __future__ import annotations

import numpy as np

from humanst.harmonize.section import Section
from humanst.schemas import check_table

MAX_OUTSIDE_IMAGE = 0.20
WARN_OUTSIDE_IMAGE = 0.01


def validate_section(section: Section) -> None:
    """Run all checks; faults are added to ``section.findings`` as refusals or warnings."""
    findings = section.findings
    check_table(section.spots.reset_index(), "spots", findings)
    check_table(section.genes.reset_index(), "genes", findings)
    _check_conservation(section)
    _check_shapes(section)
    _check_inside_image(section)
    _check_tissue(section)


def _check_conservation(section: Section) -> None:
    """Counts and spots in equal counts and spots out plus the named drops, to the integer."""
    lost = sum(drop.counts for drop in section.drops)
    out = int(section.counts.sum())
    if section.counts_in != out + lost:
        section.findings.refuse(
            "counts-not-conserved",
            "Transcripts were lost without a name",
            field="counts",
            expected=f"{section.counts_in:,} in = out + named drops",
            found=f"{out:,} out + {lost:,} dropped by name",
            todo="This is a bug in humanst: please report it with the section",
        )
    lost_spots = sum(drop.n for drop in section.drops if drop.what == "spots")
    if section.spots_in != len(section.spots) + lost_spots:
        section.findings.refuse(
            "spots-not-conserved",
            "Spots were lost without a name",
            field="spots",
            expected=f"{section.spots_in:,} in = out + named drops",
            found=f"{len(section.spots):,} out + {lost_spots:,} dropped by name",
            todo="This is a bug in humanst: please report it with the section",
        )


def _check_shapes(section: Section) -> None:
    """The table, its axes and its measures describe the same spots."""
    totals = np.asarray(section.counts.sum(axis=1)).ravel()
    if section.counts.shape != (len(section.spots), len(section.genes)):
        section.findings.refuse("shape", "Table and axes differ", field="counts", found=str(section.counts.shape))
    elif not np.array_equal(totals, section.spots["n_counts"].to_numpy()):
        section.findings.refuse("n-counts", "n_counts is not the row sum of the table", field="n_counts")


def _check_inside_image(section: Section) -> None:
    picture = section.picture
    if picture is None:
        return
    xy = section.spots[["x_px", "y_px"]].to_numpy()
    outside = (xy < 0).any(axis=1) | (xy[:, 0] >= picture.width_px) | (xy[:, 1] >= picture.height_px)
    share = float(outside.mean()) if len(outside) else 0.0
    if share > WARN_OUTSIDE_IMAGE:
        tell = section.findings.refuse if share > MAX_OUTSIDE_IMAGE else section.findings.warn
        tell(
            "spots-off-image",
            "Spot centres lie outside the image",
            file=picture.source_name,
            field="x_px, y_px",
            expected=f"at most {WARN_OUTSIDE_IMAGE:.0%} outside {picture.width_px} x {picture.height_px} px",
            found=f"{int(outside.sum())} of {len(outside)} spots ({share:.1%})",
            todo="Check that the image belongs to this section and has the size the positions were made for",
        )


def _check_tissue(section: Section) -> None:
    if section.tissue is None or not len(section.spots):
        return
    on_tissue = float((section.spots["tissue_fraction"].to_numpy() >= 0.15).mean())
    if on_tissue < 0.5:
        section.findings.refuse(
            "spots-off-tissue",
            "Most spots do not lie on tissue",
            field="tissue_fraction",
            expected="at least half of the kept spots on tissue",
            found=f"{on_tissue:.0%}",
            todo="Check orientation and that image and positions belong together",
        )
