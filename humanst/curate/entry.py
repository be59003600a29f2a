"""Write a drafted study down: a small catalog of its own, its recipe, its samples table and its notes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from humanst.builder.matching import safe_id
from humanst.curate.draft import LATTICES, TARGET_SIDE_UM
from humanst.curate.records import RECIPE_SCHEMA
from humanst.curate.sheet import Sheet, as_yaml
from humanst.fetch.probe import Probe
from humanst.schemas import table_schema

BIN_UM = 8.0
SAMPLE_ID_CHARACTERS = 40
# Assay of each platform by the Experimental Factor Ontology; the general term where versions are not told apart.
_ASSAYS = {
    "visium": ("Visium Spatial Gene Expression", "EFO:0010961"),
    "visium_hd": ("Visium HD", "EFO:0920058"),
    "xenium": ("10x Xenium", "EFO:0022615"),
    "st": ("spatial transcriptomics by high-throughput sequencing", "EFO:0030005"),
}


@dataclass(slots=True)
class EntryDraft:
    """A drafted study: a catalog of its own with its curation folder, ready for `humanst curate check`.

    Attributes
    ----------
    files
        Relative path -> text: ``catalog.yaml`` and ``curation/<study>/``.
    sections
        Section ids.
    unknown
        What could not be told.
    """

    study_id: str
    platform: str
    files: dict[str, str]
    sections: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(slots=True)
class AddressedStudy:
    """What the addresses told of a study.

    Attributes
    ----------
    urls, probes
        Path below the study's folder -> its address, and what the host said of it.
    base_url
        What all addresses begin with, or ``None``.
    unknown
        What could not be told.
    """

    study_id: str
    urls: dict[str, str] = field(default_factory=dict)
    base_url: str | None = None
    probes: dict[str, Probe] = field(default_factory=dict)
    accessions: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def file(self, path: str) -> dict[str, Any]:
        """One file as the catalog writes it."""
        url, size = self.urls[path], self.probes[path].bytes
        plain = self.base_url is not None and url == self.base_url + quote(path)
        return {"path": path, **({} if plain else {"url": url}), **({} if size is None else {"bytes": size})}


def write_entry(
    study: AddressedStudy, sections: Mapping[str, Mapping[str, Any]], platform: str, options: Mapping[str, Any]
) -> EntryDraft:
    """The study as a catalog of its own and its curation folder.

    Parameters
    ----------
    sections
        Section id -> role -> file, as the catalog writes it.
    options
        Of the recipe.
    """
    unsized = sum(one.bytes is None for one in study.probes.values())
    if unsized:
        study.unknown.append(f"the size of {unsized} files: no host was asked, or it did not say")
    study.unknown.append(
        "hashes: no address tells one; `humanst fetch --pin` writes them down, or the host publishes them"
    )
    lines = ["# Drafted from addresses: read every line that says guess or unknown before you propose it."]
    lines += [f"# Could not tell {sentence}" for sentence in study.unknown]
    lines += ["schema: humanst.catalog/1", "studies:", f"  {study.study_id}:", *_entry_lines(study, platform)]
    lines.append("    sections:" if sections else "    sections: {}")
    for section_id, files in sections.items():
        lines += [f"      {as_yaml(section_id)}:", "        files:"]
        lines += [f"          {role}: {as_yaml(file)}" for role, file in files.items()]
    lines += ["resources: {}", "releases: {}", ""]
    folder = f"curation/{study.study_id}"
    texts = {
        "catalog.yaml": "\n".join(lines),
        f"{folder}/samples.csv": _samples(study.study_id, list(sections), platform),
        f"{folder}/recipe.yaml": _recipe(study.study_id, platform, options),
        f"{folder}/NOTES.md": _notes(study.study_id),
    }
    return EntryDraft(study.study_id, platform, texts, tuple(sections), tuple(study.unknown))


def _entry_lines(study: AddressedStudy, platform: str) -> Iterator[str]:
    """The fields of a study before its sections, each guess marked."""
    hosts = sorted({urlsplit(url).netloc.lower() for url in study.urls.values()})
    onward = sorted({one.sends_to for one in study.probes.values() if one.sends_to} - set(hosts))
    entry: dict[str, Any] = {
        "title": "unknown",
        "platform": platform,
        "license": "LicenseRef-unknown",
        "license_source": "not looked for yet",
        "doi": None,
        "citation": "unknown",
        "accessions": study.accessions,
        "hosts": [*hosts, *onward],
    }
    if study.base_url:
        entry["base_url"] = study.base_url
    guesses = {"platform": "by the files' names"} | ({"hosts": f"{', '.join(onward)} by redirect"} if onward else {})
    for name, value in entry.items():
        yield f"    {name}: {as_yaml(value)}" + (f"  # guess: {guesses[name]}" if name in guesses else "")


def _recipe(study_id: str, platform: str, options: Mapping[str, Any]) -> str:
    sheet = Sheet()
    targeted = platform == "xenium"
    lattice, why = LATTICES.get(
        platform, (LATTICES["visium"][0], "the lattice of a Visium slide, for want of a better")
    )
    if platform == "visium_hd":
        lattice, why = {"kind": "square", "pitch_um": BIN_UM, "spot_diameter_um": BIN_UM}, "bins of 8 um"
    sheet.put("schema", RECIPE_SCHEMA)
    sheet.put("platform", platform, "by the files' names")
    sheet.put("gene_id_type", "ensembl", "as the vendor's matrices have")
    sheet.put("targeted", targeted, "a panel" if targeted else "the whole transcriptome; true for a gene panel")
    sheet.put("absent_genes", "unmeasured", "the matrices list every gene of their reference")
    sheet.put("lattice", lattice, why)
    if options or platform in ("visium_hd", "xenium"):
        sheet.open("options")
    if platform == "visium_hd":
        sheet.put("bin_um", BIN_UM, "the vendor's usual bins", below="options")
    if platform in ("visium_hd", "xenium"):
        sheet.put("target_side_um", TARGET_SIDE_UM, "squares as wide as a patch", below="options")
    if options:
        sheet.lines.append("  members:")
        sheet.lines += [f"    {role}: {as_yaml(pattern)}" for role, pattern in options["members"].items()]
    return sheet.text(f"How to read {study_id}")


def _samples(study_id: str, sections: Sequence[str], platform: str) -> str:
    """One row a section: what the platform and the atlas say, and ``unknown`` for what the paper has to."""
    columns = list(table_schema("samples").columns)
    assay, assay_id = _ASSAYS.get(platform, ("unknown", "EFO:0030005"))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for section_id in sections:
        row = dict.fromkeys(columns, "unknown")
        row |= dict.fromkeys(("exclusion_groups", "known_duplicates", "xref_hest", "notes"), "")
        row |= {
            "sample_id": safe_id(f"{study_id}_{section_id}", SAMPLE_ID_CHARACTERS),
            "section_id": section_id,
            "status": "active",
        }
        row |= {"organism": "Homo sapiens", "organism_ontology_term_id": "NCBITaxon:9606"}
        row |= {"assay": assay, "assay_ontology_term_id": assay_id, "release_added": "0.1.0"}
        writer.writerow(row)
    return text.getvalue()


def _notes(study_id: str) -> str:
    return f"# {study_id}\n\nWhy it is in, where the licence was seen, what was left out: unknown\n"
