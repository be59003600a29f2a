"""Everything that the page of a section says, gathered from its release and its store; what is not there is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.errors import DataError
from humanst.report.frame import Frame, empty_frame, picture_frame
from humanst.report.gallery import Shot, shots_of
from humanst.report.histograms import Histogram, histogram
from humanst.report.overlay import QUALITY, Layer, Spots, pathway_layers, quality_layers, spots_of
from humanst.report.section_origin import Sum, bibtex_of, files_of, provenance_of, sums_of
from humanst.report.verdicts import REASONS
from humanst.report.witnesses import Witness, orientation_witnesses, scale_witnesses

if TYPE_CHECKING:
    import pandas as pd

    from humanst.report.atlas_source import AtlasSource
    from humanst.store import StoredSection

_IN_LOG10 = "n_counts"
_HISTOGRAMS = (_IN_LOG10, "n_genes", "mt_fraction", "tissue_fraction", "blur")


@dataclass(frozen=True, slots=True)
class SectionFacts:
    """What the page of a section says.

    Attributes
    ----------
    head
        Name and text of what stands at the top: donor, organ, disease, split, platform, geometry, scale.
    license, redistributable
        ``redistributable`` is ``None`` where no licence is on record.
    notices
        What is missing and why, a sentence each.
    normalisation
        What pathway scores are, in words; empty where it is not on record.
    drops, findings
        As the store or the manifest has them.
    provenance
        Name and text.
    files
        Role, path and sha256 of what it was made from.
    patch_um
        How wide a patch is; ``None`` where there are none.
    bibtex, cite
        Whom to cite; the command that says so too.
    """

    sample_id: str
    study_id: str
    study_title: str
    head: tuple[tuple[str, str], ...]
    license: str
    redistributable: bool | None
    notices: tuple[str, ...]
    frame: Frame
    spots: Spots
    layers: tuple[Layer, ...]
    normalisation: str
    scale: tuple[Witness, ...]
    orientation: tuple[Witness, ...]
    histograms: tuple[Histogram, ...]
    shots: tuple[Shot, ...]
    patch_um: float | None
    sums: tuple[Sum, ...]
    drops: tuple[Mapping[str, Any], ...]
    findings: tuple[Mapping[str, Any], ...]
    provenance: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str, str], ...]
    bibtex: str
    cite: str

    @property
    def pathways(self) -> tuple[Layer, ...]:
        """The layers of pathways."""
        return tuple(layer for layer in self.layers if layer.group == "pathway")

    @property
    def quality(self) -> tuple[Layer, ...]:
        """The layers of quality."""
        return tuple(layer for layer in self.layers if layer.group == "quality")


def section_facts(source: AtlasSource, sample_id: str) -> SectionFacts:
    """Gather the page of a section.

    A store, a picture, pairs or pathways that are not there become notices. What is there and damaged is an error.

    Raises
    ------
    UsageError
        When there is no such section.
    IntegrityError, DataError
        When a shard, an index or a store is not as it was written.
    """
    facts = source.facts(sample_id)
    samples = source.samples()
    row: dict[str, Any] = samples[samples["sample_id"] == sample_id].to_dict("records")[0]  # type: ignore[assignment]
    pairs = source.pairs(sample_id)
    notices: list[str] = []
    with ExitStack() as stack:
        stored = _opened(source, sample_id, stack, notices)
        attrs = facts if stored is None else stored.attrs
        table = _spot_table(stored, pairs)
        frame = _frame(stored, table, notices)
    target = attrs.get("target") or {}
    fit = (attrs.get("provenance") or {}).get("lattice_fit") or {}
    spots = spots_of(
        table,
        shape=str(target.get("shape", "circle")),
        side_um=float(target.get("side_um") or 100.0),
        turn_degrees=float(fit.get("rotation_degrees", 0.0)) if target.get("shape") == "square" else 0.0,
    )
    pathways = _pathways(source, sample_id, spots.ids, notices)
    _tell_of_pairs(source, pairs, len(table), notices)
    study = source.study(sample_id)
    findings = tuple(attrs.get("findings") or ())
    return SectionFacts(
        sample_id=sample_id,
        study_id=str(facts["study_id"]),
        study_title=str(study.get("title", facts["study_id"])),
        head=_head(row, attrs, len(table)),
        license=str(row["license"]),
        redistributable=None if row["redistributable"] is None else bool(row["redistributable"]),
        notices=tuple(notices),
        frame=frame,
        spots=spots,
        layers=(*pathways, *quality_layers(table)),
        normalisation=source.normalisation if pathways else "",
        scale=scale_witnesses(attrs),
        orientation=orientation_witnesses(attrs, findings),
        histograms=_histograms(table),
        shots=shots_of(source, sample_id, pairs),
        patch_um=_patch_um(source.manifest),
        sums=sums_of(attrs, facts, source.kind == "release"),
        drops=(*(attrs.get("drops") or ()), *(facts.get("pair_drops") or ())),
        findings=findings,
        provenance=provenance_of(source, attrs, facts),
        files=files_of(attrs),
        bibtex=bibtex_of(source, study),
        cite=f"humanst cite {facts['study_id']}",
    )


def _opened(source: AtlasSource, sample_id: str, stack: ExitStack, notices: list[str]) -> StoredSection | None:
    try:
        return stack.enter_context(source.store(sample_id))
    except DataError as error:
        if error.facts.code != "no-store":
            raise
        notices.append(
            "The section store is not at hand: there is no picture, outline or provenance here, and spots are those of "
            "the pairs. Fetch the release with its section stores to see them."
        )
        return None


def _spot_table(stored: StoredSection | None, pairs: pd.DataFrame) -> pd.DataFrame:
    """The spots of the store with what the pairs know besides; of the pairs alone without a store."""
    if stored is None:
        return pairs.set_index("spot_id").sort_index()
    table = stored.spots.copy()
    table.index = table.index.astype(str)
    if len(pairs):
        table["blur"] = pairs.set_index("spot_id")["blur"].reindex(table.index)
    return table


def _frame(stored: StoredSection | None, table: pd.DataFrame, notices: list[str]) -> Frame:
    found = None if stored is None else picture_frame(stored)
    if found is not None:
        return found
    why = "no store at hand" if stored is None else "its store carries none"
    if stored is not None:
        notices.append("This section has no picture: its store carries none. Spots are shown on an empty field.")
    return empty_frame(table[["x_um", "y_um"]].to_numpy(np.float64), why, stored)


def _pathways(source: AtlasSource, sample_id: str, ids: Sequence[str], notices: list[str]) -> list[Layer]:
    scored, names, scores = source.scores(sample_id)
    if not names:
        notices.append(
            "No pathways were scored: section stores hold counts. A release, or a file of gene sets, has them."
        )
        return []
    masked = source.facts(sample_id).get("masked_pathways") or {}
    reasons = {name: REASONS.get(why, str(why)) for name, why in masked.items()}
    # A release of before that was on record has z.
    is_z = "z per section" in (source.normalisation or "z per section")
    layers = pathway_layers(ids, scored.tolist(), names, scores, is_z=is_z, reasons=reasons)
    if not any(layer.n for layer in layers):
        notices.append(f"None of the {len(layers)} pathways is measured in this section; the menu says why of each.")
    return layers


def _tell_of_pairs(source: AtlasSource, pairs: pd.DataFrame, n_spots: int, notices: list[str]) -> None:
    if source.kind == "stores":
        notices.append("This is a section store alone: it has no pairs, no patches and no split.")
    elif not len(pairs):
        notices.append("This section has no pairs in the release: there are no patches and no scores of it.")
    elif len(pairs) < n_spots:
        notices.append(
            f"{len(pairs):,} of {n_spots:,} spots have a pair. The others are drawn as spots without a value; why they "
            "have none stands below."
        )


def _head(row: Mapping[str, Any], attrs: Mapping[str, Any], n_spots: int) -> tuple[tuple[str, str], ...]:
    target, tissue = attrs.get("target") or {}, attrs.get("tissue") or {}
    side, scale = target.get("side_um"), attrs.get("um_per_pixel")
    found = {
        "study": row.get("study_id"),
        "section": row.get("section_id"),
        "donor": row.get("donor_id"),
        "organ": row.get("organ"),
        "disease": row.get("disease"),
        "split": row.get("split") or "none",
        "platform": row.get("platform"),
        "panel": "targeted" if attrs.get("targeted") else "whole transcriptome",
        "spots, pairs": f"{n_spots:,}, {int(row.get('pairs', 0)):,}",
        "target": f"{target.get('shape', 'unknown')} of {float(side):g} um" if side else "unknown",
        "scale": f"{float(scale):.4f} um per pixel" if scale else "unknown",
        "tissue": f"{float(tissue['area_mm2']):.2f} mm2, by {tissue['source']}" if tissue else "not known",
    }
    return tuple((name, "unknown" if text is None else str(text)) for name, text in found.items())


def _patch_um(manifest: Mapping[str, Any]) -> float | None:
    patch = manifest.get("patch")
    return None if patch is None else float(patch["side_px"]) * float(patch["um_per_pixel"])


def _histograms(table: pd.DataFrame) -> tuple[Histogram, ...]:
    found = []
    for column in _HISTOGRAMS:
        if column == _IN_LOG10 and column in table.columns:
            counts = np.log10(np.maximum(table[column].to_numpy(np.float64), 1))
            found.append(histogram("Library size", counts, "log10 transcripts"))
        elif column in table.columns:
            name, unit = QUALITY[column]
            values = table[column].to_numpy(np.float64)
            limits = (0.0, 1.0) if column == "tissue_fraction" else None
            if column == "mt_fraction":
                # Many a table has no mitochondrial gene: a share of 0 is no range from -0.5 to 0.5.
                limits = (0.0, max(0.1, float(np.nanmax(values, initial=0.0))))
            found.append(histogram(name, values, unit, limits))
    return tuple(found)
