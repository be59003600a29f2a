"""Write the data side of the mini atlas: ``catalog.yaml`` and ``curation/``, laid out like the real ones.

``schemas/catalog.yaml``, ``schemas/recipe.yaml`` and ``schemas/samples.yaml`` say what every field means.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from humanst import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from humanst.demo.layout import SectionPlan, StudyPlan

LICENSE = "CC0-1.0"
LICENSE_URL = "https://creativecommons.org/publicdomain/zero/1.0/"
CITATION = "humanst demo atlas: synthetic sections with known truth, written by humanst.demo"

_VISIUM_RECIPE: dict[str, Any] = {
    "schema": "humanst.recipe/1",
    "platform": "visium",
    "gene_id_type": "ensembl",
    "targeted": False,
    "absent_genes": "zero",
    "lattice": {"kind": "hex", "pitch_um": 100.0, "spot_diameter_um": 55.0},
}
_VISIUM_FILES = {
    "image": "{section}/image.tif",
    "hires": "{section}/outs/spatial/tissue_hires_image.png",
    "lowres": "{section}/outs/spatial/tissue_lowres_image.png",
    "scalefactors": "{section}/outs/spatial/scalefactors_json.json",
}
_RECIPES: dict[str, dict[str, Any]] = {
    "visium": _VISIUM_RECIPE
    | {
        "files": _VISIUM_FILES
        | {
            "counts": "{section}/outs/filtered_feature_bc_matrix.h5",
            "positions": "{section}/outs/spatial/tissue_positions.csv",
        }
    },
    "visium_v1": _VISIUM_RECIPE
    | {
        "files": _VISIUM_FILES
        | {
            "matrix": "{section}/outs/filtered_feature_bc_matrix/matrix.mtx.gz",
            "features": "{section}/outs/filtered_feature_bc_matrix/features.tsv.gz",
            "barcodes": "{section}/outs/filtered_feature_bc_matrix/barcodes.tsv.gz",
            "positions": "{section}/outs/spatial/tissue_positions_list.csv",
        }
    },
    "st": {
        "schema": "humanst.recipe/1",
        "platform": "st",
        "gene_id_type": "symbol",
        "targeted": False,
        "absent_genes": "zero",
        "lattice": {"kind": "square", "pitch_um": 200.0, "spot_diameter_um": 100.0},
        "options": {"spot_id": "{x}x{y}"},
        "labels": {"join": {"x": "new_x", "y": "new_y"}, "round": 3, "column": "label"},
        "files": {
            "counts": "data/ST-cnts/{section}.tsv.gz",
            "spots": "data/ST-spotfiles/{section}_selection.tsv",
            "image": "data/ST-imgs/*/{section}/*.jpg",
            "labels": "data/ST-pat/lbl/{section}_labeled_coordinates.tsv",
        },
    },
    "visium_hd": _VISIUM_RECIPE
    | {
        "platform": "visium_hd",
        "lattice": {"kind": "square", "pitch_um": 8.0, "spot_diameter_um": 8.0},
        "options": {"bin_um": 8.0, "target_side_um": 112.0},
        "files": {
            "image": "{section}/image.tif",
            "counts": "{section}/outs/binned_outputs/square_008um/filtered_feature_bc_matrix.h5",
            "positions": "{section}/outs/binned_outputs/square_008um/spatial/tissue_positions.parquet",
            "scalefactors": "{section}/outs/binned_outputs/square_008um/spatial/scalefactors_json.json",
            "hires": "{section}/outs/binned_outputs/square_008um/spatial/tissue_hires_image.png",
            "lowres": "{section}/outs/binned_outputs/square_008um/spatial/tissue_lowres_image.png",
        },
    },
    "xenium": {
        "schema": "humanst.recipe/1",
        "platform": "xenium",
        "gene_id_type": "ensembl",
        "targeted": True,
        "absent_genes": "unmeasured",
        "lattice": {"kind": "square", "pitch_um": 112.0, "spot_diameter_um": 112.0},
        "files": {
            "transcripts": "{section}/transcripts.parquet",
            "cells": "{section}/cells.parquet",
            "counts": "{section}/cell_feature_matrix.h5",
            "experiment": "{section}/experiment.xenium",
            "alignment": "{section}/*_he_imagealignment.csv",
            "image": "{section}/*_he_image.tif",
        },
    },
}
_BREAST = {
    "tissue": "breast",
    "tissue_ontology_term_id": "UBERON:0000310",
    "organ": "breast",
    "disease": "invasive breast carcinoma",
    "disease_ontology_term_id": "MONDO:0006256",
    "disease_state": "tumor",
    "oncotree_code": "BRCA",
}
_PANCREAS = {
    "tissue": "pancreas",
    "tissue_ontology_term_id": "UBERON:0001264",
    "organ": "pancreas",
    "disease": "pancreatic ductal adenocarcinoma",
    "disease_ontology_term_id": "MONDO:0005184",
    "disease_state": "tumor",
    "oncotree_code": "PAAD",
}
_VISIUM_ASSAY = {"assay": "Visium Spatial Gene Expression V1", "assay_ontology_term_id": "EFO:0022857"}
_ST_ASSAY = {
    "assay": "spatial transcriptomics by high-throughput sequencing",
    "assay_ontology_term_id": "EFO:0030005",
}
_VISIUM_HD_ASSAY = {"assay": "Visium HD Spatial Gene Expression", "assay_ontology_term_id": "EFO:0920058"}
_XENIUM_ASSAY = {"assay": "10x Xenium", "assay_ontology_term_id": "EFO:0022615"}
# Two organs, so that organ labels, filters and totals have something to tell apart.
_SAMPLES: dict[str, dict[str, str]] = {
    "visium": _BREAST | _VISIUM_ASSAY,
    "visium_v1": _PANCREAS | _VISIUM_ASSAY,
    "st": _BREAST | _ST_ASSAY,
    "visium_hd": _BREAST | _VISIUM_HD_ASSAY,
    "xenium": _BREAST | _XENIUM_ASSAY,
}
_COLUMNS = (
    "sample_id",
    "section_id",
    "organism",
    "organism_ontology_term_id",
    "assay",
    "assay_ontology_term_id",
    "tissue",
    "tissue_ontology_term_id",
    "organ",
    "disease",
    "disease_ontology_term_id",
    "disease_state",
    "oncotree_code",
    "donor_id",
    "donor_id_source",
    "block_id",
    "section_serial",
    "sex",
    "preservation",
    "stain",
    "exclusion_groups",
    "known_duplicates",
    "release_added",
    "status",
    "xref_hest",
    "notes",
)


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One file on disk: role, path below its study's folder, size in bytes, hex sha256."""

    role: str
    path: str
    n_bytes: int
    sha256: str

    def entry(self) -> dict[str, Any]:
        """Give the file as the catalog lists it."""
        return {"path": self.path, "bytes": self.n_bytes, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class WrittenSection:
    """One section on disk: its plan, its files sorted by role, and its number of spots with counts."""

    plan: SectionPlan
    files: tuple[WrittenFile, ...]
    n_spots: int


def write_catalog(
    folder: Path, studies: tuple[StudyPlan, ...], sections: list[WrittenSection], *, gene_sets: WrittenFile
) -> Path:
    """Write ``curation/`` and then ``catalog.yaml``; returns the path of the catalog."""
    listed = {}
    for study in studies:
        written = [section for section in sections if section.plan.study_id == study.study_id]
        _write_curation(folder / "curation" / study.study_id, study, written)
        listed[study.study_id] = _study_entry(study, written)
    catalog = {
        "schema": "humanst.catalog/1",
        "studies": listed,
        "resources": {"gene_sets": _gene_sets_entry(gene_sets)},
        "releases": {},
    }
    head = b"# The embedded mini atlas. Written by humanst.demo; the sections are synthetic.\n"
    files.write_bytes(folder / "catalog.yaml", head + _yaml(catalog))
    return folder / "catalog.yaml"


def _study_entry(study: StudyPlan, written: list[WrittenSection]) -> dict[str, Any]:
    sections = {
        section.plan.section_id: {"files": {file.role: file.entry() for file in section.files}} for section in written
    }
    return {
        "title": study.title,
        "platform": _RECIPES[study.kind]["platform"],
        "license": LICENSE,
        "license_url": LICENSE_URL,
        "license_source": "written by humanst itself",
        "doi": None,
        "citation": CITATION,
        "hosts": [],
        "sections": sections,
    }


def _gene_sets_entry(gene_sets: WrittenFile) -> dict[str, Any]:
    return {
        "title": "Gene sets of the demo programmes, and two random control sets",
        "license": LICENSE,
        "default": gene_sets.path,
        "hosts": [],
        "files": [gene_sets.entry()],
    }


def _write_curation(folder: Path, study: StudyPlan, written: list[WrittenSection]) -> None:
    files.write_bytes(folder / "recipe.yaml", _yaml(_RECIPES[study.kind]))
    files.write_bytes(folder / "samples.csv", _samples(study, written))
    spots = sum(section.n_spots for section in written)
    notes = (
        f"# {study.study_id}\n\n{study.title}. {len(written)} sections, {spots} spots with counts.\n\n"
        "Synthetic: painted and counted by `humanst.demo` from one seed, so that every claim about the pipeline can\n"
        "be held against a known truth (`truth/` beside the catalog). Not tissue of any person; licence CC0-1.0.\n"
    )
    files.write_bytes(folder / "NOTES.md", notes.encode())


def _samples(study: StudyPlan, written: list[WrittenSection]) -> bytes:
    buffer = io.StringIO(newline="")
    table = csv.DictWriter(buffer, _COLUMNS, lineterminator="\n")
    table.writeheader()
    for section in written:
        table.writerow(_sample_row(study, section.plan))
    return buffer.getvalue().encode()


def _sample_row(study: StudyPlan, plan: SectionPlan) -> Mapping[str, str]:
    return _SAMPLES[study.kind] | {
        "sample_id": plan.sample_id,
        "section_id": plan.section_id,
        "organism": "Homo sapiens",
        "organism_ontology_term_id": "NCBITaxon:9606",
        "donor_id": plan.donor_id,
        "donor_id_source": "repository",
        "block_id": plan.block,
        "section_serial": "1",
        "sex": "unknown",
        "preservation": "Fresh Frozen",
        "stain": "H&E",
        "exclusion_groups": "",
        "known_duplicates": "",
        "release_added": "0.1.0",
        "status": "active",
        "xref_hest": "",
        "notes": "synthetic",
    }


def _yaml(value: Any) -> bytes:
    import yaml

    class PlainDumper(yaml.SafeDumper):
        """Writes shared values in full: the catalog's reader takes no aliases."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    text: str = yaml.dump(value, Dumper=PlainDumper, sort_keys=False, allow_unicode=True, width=120)
    return text.encode()
