"""What a person looks at before saying yes to a section: its picture, its spots, and the figures that witness them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.builder.folders import section_files
from humanst.builder.sections import section_choices
from humanst.builder.steps import harmonize_files, section_recipe
from humanst.catalog import Section, Study
from humanst.harmonize.spots import SpotQC
from humanst.store import open_section, read_picture
from humanst.store.elements import section_attrs
from humanst.tiles import thumbnail

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

PICTURE_PX = 1100
_PLACING = ("orientation", "placement", "lattice-sign", "alignment", "spots-outside", "scale")


@dataclass(frozen=True, slots=True)
class Portrait:
    """Everything that is drawn of one section.

    Attributes
    ----------
    attrs
        The record of the section, as its store keeps it.
    spots
        Columns of ``schemas/spots.yaml``.
    rgb
        ``(h, w, 3)`` uint8, the whole image at ``um_per_px``; ``None`` for a section without an image.
    um_per_px
        Of ``rgb``.
    tissue
        ``(h, w)`` bool mask of the whole image at a scale of its own, or ``None``.
    """

    attrs: Mapping[str, Any]
    spots: pd.DataFrame
    rgb: NDArray[np.uint8] | None
    um_per_px: float
    tissue: NDArray[np.bool_] | None

    @property
    def title(self) -> str:
        """The section's id in the atlas."""
        return str(self.attrs["sample_id"])

    def figures(self) -> Iterator[tuple[str, str]]:
        """Name and value of every figure, in the order a reader wants them."""
        attrs, proof = self.attrs, self.attrs["provenance"]
        yield "section", f"{attrs['section_id']} of {attrs['study_id']}, {attrs['platform']}"
        picture = attrs["picture"]
        if picture is None:
            yield "image", "none"
        else:
            yield "image", f"{picture['source_name']}, {picture['width_px']:,} x {picture['height_px']:,} px"
        yield "scale", f"{attrs['um_per_pixel']:.4f} um per pixel, by {proof.get('um_per_pixel_source', 'unknown')}"
        for name, value in proof.get("um_per_pixel_witnesses", {}).items():
            yield "witness", f"{_figure(value)} um per pixel, by {name}"
        yield from _lattice(proof)
        target = attrs["target"]
        yield "target", f"{target['shape']} of {target['side_um']:g} um"
        yield "spots", f"{attrs['spots_in']:,} in, {attrs['spots_out']:,} out{_drops(attrs, 'spots')}"
        yield "transcripts", f"{attrs['counts_in']:,} in, {attrs['counts_out']:,} out"
        if attrs["tissue"] is not None:
            yield "tissue", f"{attrs['tissue']['area_mm2']:.2f} mm2, by {attrs['tissue']['source']}"
        if len(self.spots):
            yield (
                "per spot",
                (
                    f"median {int(self.spots['n_counts'].median()):,} transcripts, "
                    f"{int(self.spots['n_genes'].median()):,} genes"
                ),
            )

    def findings(self) -> Iterator[tuple[str, str]]:
        """Severity and sentence of what places the spots, then of all that is no mere note."""
        items = self.attrs["findings"]
        placing = [item for item in items if item["code"].startswith(_PLACING)]
        rest = [item for item in items if item not in placing and item["severity"] != "note"]
        for item in [*placing, *rest]:
            found = f": {item['found']}" if item["found"] else ""
            yield item["severity"], textwrap.shorten(f"{item['what']}{found}", 230, placeholder=" ...")


def portrait_of_store(store: Path) -> Portrait:
    """The portrait of a finished section store.

    Raises
    ------
    DataError, IntegrityError
        When it is none, or not as it was written.
    """
    section = open_section(store)
    found = read_picture(store, section.attrs, PICTURE_PX)
    rgb, um_per_px = (None, float(section.attrs["um_per_pixel"])) if found is None else found
    return Portrait(section.attrs, section.spots, rgb, um_per_px, section.tissue)


def portrait_of_section(study: Study, section: Section, *, pin: bool = False) -> Portrait:
    """The portrait of a section as a build would read it; what a build would refuse stands in its findings.

    Raises
    ------
    HumanstError
        When its files cannot be had, or its scale or genes cannot be told.
    """
    recipe = section_recipe(study, section)
    qc = SpotQC.for_recipe(targeted=recipe.targeted, overrides={})
    harmonized, record = harmonize_files(
        section_files(study, section, pin=pin),
        recipe,
        choices=section_choices(section, qc, None),
        outline=None,
        record_path=None,
    )
    rgb, um_per_px = None, harmonized.um_per_pixel
    if record is not None:
        shrink = max(1.0, max(record.width_px, record.height_px) / PICTURE_PX)
        rgb = thumbnail(record.path, um_per_px, um_per_px * shrink)
        um_per_px *= record.width_px / rgb.shape[1]
    tissue = None if harmonized.tissue is None else harmonized.tissue.mask
    return Portrait(section_attrs(harmonized), harmonized.spots, rgb, um_per_px, tissue)


def _lattice(proof: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    lattice, fit = proof.get("lattice"), proof.get("lattice_fit")
    if not lattice or not fit:
        return
    yield (
        "lattice",
        (
            f"{lattice['kind']}, {lattice['pitch_um']:g} um pitch; positions differ by "
            f"{100 * fit['residual_of_pitch']:.1f} % of it (rms)"
        ),
    )
    yield (
        "orientation",
        (
            f"turned by {fit['rotation_degrees']:.2f} degrees, stretched by {100 * fit['stretch']:.2f} %; "
            f"columns and rows turn with sign {fit['handedness']:+d}"
        ),
    )


def _drops(attrs: Mapping[str, Any], what: str) -> str:
    told = [f"{drop['n']:,} {drop['reason']}" for drop in attrs["drops"] if drop["what"] == what]
    return f" (dropped: {', '.join(told)})" if told else ""


def _figure(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
