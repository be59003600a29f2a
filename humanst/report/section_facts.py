"""Everything that the page of a section says, gathered from its release and its store; what is not there is said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.catalog.citing import citations, own_citation
from humanst.errors import DataError
from humanst.report.frame import Frame, empty_frame, picture_frame
from humanst.report.gallery import Shot, shots_of
from humanst.report.histograms import Histogram, histogram, number
from humanst.report.overlay import QUALITY, Layer, Spots, pathway_layers, quality_layers, spots_of
from humanst.report.verdicts import REASONS
from humanst.report.witnesses import Witness, orientation_witnesses, scale_witnesses
from humanst.shards.documents.bibliography import cited_study

if TYPE_CHECKING:
    import pandas as pd

    from humanst.report.atlas_source import AtlasSource
    from humanst.store import StoredSection

_IN_LOG10 = "n_counts"
_HISTOGRAMS = (_IN_LOG10, "n_genes", "mt_fraction", "tissue_fraction", "blur")


@dataclass(frozen=True, slots=True)
class Sum:
    """What went in, and what became of it: ``came_in`` is ``went_out`` and what was dropped by name, or it is not even.

    Attributes
    ----------
    what
        ``spots``, ``transcripts`` or ``pairs``.
    """

    what: str
    came_in: int
    went_out: int
    dropped: int

    @property
    def even(self) -> bool:
        """Whether nothing was lost in silence."""
        return self.came_in == self.went_out + self.dropped


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
    is_z
        Whether pathway scores are z within the section.
    drops, findings
        As the store or the manifest has them.
    provenance
        Name and text.
    files
        Role, path and sha256 of what it was made from.
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
    scale: tuple[Witness, ...]
    orientation: tuple[Witness, ...]
    histograms: tuple[Histogram, ...]
    shots: tuple[Shot, ...]
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
    row = source.samples().set_index("sample_id").loc[sample_id] if sample_id in source.sample_ids else None
    facts = source.facts(sample_id)
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
        head=_head({} if row is None else row.to_dict(), attrs, len(table)),
        license="unknown" if row is None else str(row["license"]),
        redistributable=None if row is None or row["redistributable"] is None else bool(row["redistributable"]),
        notices=tuple(notices),
        frame=frame,
        spots=spots,
        layers=(*pathways, *quality_layers(table)),
        scale=scale_witnesses(attrs),
        orientation=orientation_witnesses(attrs, findings),
        histograms=_histograms(table),
        shots=shots_of(source, sample_id, pairs),
        sums=_sums(attrs, facts, source.kind == "release"),
        drops=(*(attrs.get("drops") or ()), *(facts.get("pair_drops") or ())),
        findings=findings,
        provenance=_provenance(source, attrs, facts),
        files=_files(attrs),
        bibtex=_bibtex(source, study),
        cite=f"humanst cite {facts['study_id']}",
    )


def _opened(source: AtlasSource, sample_id: str, stack: ExitStack, notices: list[str]) -> StoredSection | None:
    try:
        return stack.enter_context(source.store(sample_id))
    except DataError as error:
        if error.facts.code not in ("no-store", "not-a-section"):
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
        notices.append("No pathways were scored: section stores hold counts. A release, or a file of gene sets, has them.")
        return []
    masked = source.facts(sample_id).get("masked_pathways") or {}
    reasons = {name: REASONS.get(why, str(why)) for name, why in masked.items()}
    is_z = "z per section" in str(source.manifest.get("pathways", {}).get("normalisation", "z per section"))
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
            f"{len(pairs):,} of {n_spots:,} spots have a pair. The others are drawn as spots without a value; why their "
            "patches were dropped stands below."
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


def _histograms(table: pd.DataFrame) -> tuple[Histogram, ...]:
    found = []
    for column in _HISTOGRAMS:
        if column == _IN_LOG10 and column in table.columns:
            counts = np.log10(np.maximum(table[column].to_numpy(np.float64), 1))
            found.append(histogram("Library size", counts, "log10 transcripts"))
        elif column in table.columns:
            name, unit = QUALITY[column]
            limits = (0.0, 1.0) if column == "tissue_fraction" else None
            found.append(histogram(name, table[column].to_numpy(np.float64), unit, limits))
    return tuple(found)


def _sums(attrs: Mapping[str, Any], facts: Mapping[str, Any], in_release: bool) -> tuple[Sum, ...]:
    drops = list(attrs.get("drops") or ())
    n_spots = sum(int(drop["n"]) for drop in drops if drop["what"] == "spots")
    n_counts = sum(int(drop["counts"]) for drop in drops)
    found = [
        Sum("spots", int(attrs["spots_in"]), int(attrs.get("spots_out", attrs["spots_in"] - n_spots)), n_spots),
        Sum("transcripts", int(attrs["counts_in"]), int(attrs["counts_out"]), n_counts),
    ]
    if in_release:
        n_pairs = sum(int(drop["n"]) for drop in facts.get("pair_drops") or ())
        found.append(Sum("pairs", found[0].went_out, int(facts["pairs"]), n_pairs))
    return tuple(found)


def _files(attrs: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    named = ((attrs.get("provenance") or {}).get("files") or {}).items()
    found = [(str(role), str(about["path"]), str(about["sha256"])) for role, about in sorted(named)]
    picture = attrs.get("picture")
    if picture:
        found.append(("image of record", str(picture["name"]), str(picture["sha256"])))
    return tuple(found)


def _provenance(
    source: AtlasSource, attrs: Mapping[str, Any], facts: Mapping[str, Any]
) -> tuple[tuple[str, str], ...]:
    about, manifest = attrs.get("provenance") or {}, source.manifest
    found: dict[str, Any] = {}
    if manifest:
        found["release"] = f"{source.version}, by humanst {manifest['humanst_version']}"
        found["codecs"] = manifest.get("codecs")
        found["pathways"] = {key: manifest["pathways"].get(key) for key in ("set", "sha256", "scorer", "normalisation")}
        found["patch"] = manifest["patch"]
    if "store" in facts:
        found["store"] = {key: facts["store"][key] for key in ("path", "bytes", "sha256", "tree_sha256", "inputs")}
    picture = attrs.get("picture")
    if picture:
        found["picture"] = {key: picture.get(key) for key in ("width_px", "height_px", "um_per_pixel", "derived")}
        found["picture was made from"] = {key: picture.get(key) for key in ("source_name", "source_sha256")}
    for name in ("gene_id_type", "gene_table", "measured", "oddities", "lattice", "image_scale", "spot_qc", "facts"):
        found[name.replace("_", " ")] = about.get(name)
    if "unmapped_genes" in about:
        found["genes without an id"] = f"{len(about['unmapped_genes']):,}"
    return tuple((name, _said(value)) for name, value in found.items() if value not in (None, {}, []))


def _said(value: Any) -> str:
    """Text of plain data; keys and values of a mapping one by one."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_said(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value)) if all(isinstance(part, str) for part in value) else json.dumps(value)
    return number(value, 6) if isinstance(value, float) else str(value)


def _bibtex(source: AtlasSource, study: Mapping[str, Any]) -> str:
    version = source.manifest.get("humanst_version")
    cited = [cited_study(study)] if "citation" in study else []
    return "\n".join(f"{entry.bibtex()}\n" for entry in citations(cited, own=own_citation(version)))


