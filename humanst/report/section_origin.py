"""How a section was made, as its page says it: sums and drops, files, settings, whom to cite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from humanst.catalog.citing import citations, own_citation
from humanst.report.histograms import number
from humanst.shards.documents.bibliography import cited_study

if TYPE_CHECKING:
    from humanst.report.atlas_source import AtlasSource


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


def sums_of(attrs: Mapping[str, Any], facts: Mapping[str, Any], in_release: bool) -> tuple[Sum, ...]:
    """Spots, transcripts and, in a release, pairs: in, out and dropped by name."""
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


def files_of(attrs: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """Role, path and sha256 of the files a section was made from, its image of record last."""
    named = ((attrs.get("provenance") or {}).get("files") or {}).items()
    found = [(str(role), str(about["path"]), str(about["sha256"])) for role, about in sorted(named)]
    picture = attrs.get("picture")
    if picture:
        found.append(("image of record", str(picture["name"]), str(picture["sha256"])))
    return tuple(found)


def provenance_of(
    source: AtlasSource, attrs: Mapping[str, Any], facts: Mapping[str, Any]
) -> tuple[tuple[str, str], ...]:
    """Name and text of what else is on record of how a section was made."""
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


def bibtex_of(source: AtlasSource, study: Mapping[str, Any]) -> str:
    """BibTeX of the study of a section, as far as it is on record, and of humanst itself."""
    version = source.manifest.get("humanst_version")
    cited = [cited_study(study)] if "citation" in study else []
    return "\n".join(f"{entry.bibtex()}\n" for entry in citations(cited, own=own_citation(version)))
