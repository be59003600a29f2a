"""Small studies for tests: a catalog, a recipe and a mirror made from given files, in the project's own formats."""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from humanst.demo.layout import SectionPlan, StudyPlan, atlas_layout

ST_RECIPE: dict[str, Any] = {
    "schema": "humanst.recipe/1",
    "platform": "st",
    "gene_id_type": "symbol",
    "targeted": False,
    "absent_genes": "zero",
    "lattice": {"kind": "square", "pitch_um": 200.0, "spot_diameter_um": 100.0},
    "labels": {"join": {"x": "new_x", "y": "new_y"}, "round": 3, "column": "label"},
}
VISIUM_RECIPE: dict[str, Any] = {
    "schema": "humanst.recipe/1",
    "platform": "visium",
    "gene_id_type": "ensembl",
    "targeted": False,
    "absent_genes": "unmeasured",
    "lattice": {"kind": "hex", "pitch_um": 100.0, "spot_diameter_um": 55.0},
}
SAMPLE_COLUMNS = tuple(
    """
    sample_id section_id organism organism_ontology_term_id assay assay_ontology_term_id tissue
    tissue_ontology_term_id organ disease disease_ontology_term_id disease_state oncotree_code donor_id
    donor_id_source block_id section_serial sex preservation stain exclusion_groups known_duplicates release_added
    status xref_hest notes
    """.split()
)


@dataclass(frozen=True)
class World:
    """A folder with ``catalog.yaml``, ``curation/`` and ``mirror/``, as ``run_humanst(atlas=...)`` wants it."""

    folder: Path

    @property
    def mirror(self) -> Path:
        return self.folder / "mirror"


def sample_row(study: str, section: str, donor: str) -> dict[str, str]:
    row = dict.fromkeys(SAMPLE_COLUMNS, "unknown")
    row |= {
        "sample_id": f"{study}_{section}",
        "section_id": section,
        "organism": "Homo sapiens",
        "organism_ontology_term_id": "NCBITaxon:9606",
        "organ": "breast",
        "disease_state": "tumor",
        "donor_id": donor,
        "donor_id_source": "unknown" if donor == "unknown" else "paper",
        "stain": "H&E",
        "exclusion_groups": "",
        "known_duplicates": "",
        "release_added": "0.1.0",
        "status": "active",
        "xref_hest": "",
        "notes": "",
    }
    return row


def write_world(
    folder: Path,
    studies: Mapping[str, Mapping[str, Mapping[str, Path]]],
    recipes: Mapping[str, Mapping[str, Any]],
    *,
    gene_sets: Path,
    section_options: Mapping[str, Mapping[str, Any]] | None = None,
) -> World:
    """Write a world: ``studies`` maps study -> section -> role -> file (copied into the mirror and pinned)."""
    entries: dict[str, Any] = {}
    for study, sections in studies.items():
        entries[study] = {
            "title": f"Test study {study}",
            "platform": recipes[study]["platform"],
            "license": "CC-BY-4.0",
            "license_source": "made for a test",
            "citation": "None",
            "hosts": [],
            "sections": {
                section: {
                    "files": {
                        role: _copy(path, folder / "mirror" / study, f"{section}/{path.name}")
                        for role, path in files.items()
                    },
                    **({"options": dict(section_options[section])} if section in (section_options or {}) else {}),
                }
                for section, files in sections.items()
            },
        }
        curation = folder / "curation" / study
        curation.mkdir(parents=True, exist_ok=True)
        (curation / "recipe.yaml").write_text(yaml.safe_dump(dict(recipes[study])))
        with (curation / "samples.csv").open("w", newline="") as handle:
            writer = csv.DictWriter(handle, SAMPLE_COLUMNS)
            writer.writeheader()
            writer.writerows(sample_row(study, section, f"{study}_{section}") for section in sections)
    sets = _copy(gene_sets, folder / "mirror" / "gene_sets", gene_sets.name)
    resource = {
        "title": "Gene sets of the test",
        "license": "CC-BY-4.0",
        "default": gene_sets.name,
        "hosts": [],
        "files": [sets],
    }
    content = {"schema": "humanst.catalog/1", "studies": entries, "resources": {"gene_sets": resource}, "releases": {}}
    (folder / "catalog.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return World(folder)


def _copy(source: Path, root: Path, name: str) -> dict[str, Any]:
    target = root / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    data = target.read_bytes()
    return {"path": name, "url": None, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def little_studies(*sections: str, by: float = 0.58) -> tuple[StudyPlan, ...]:
    """Sections of the mini atlas, ``by`` as wide and high: a third of the spots and pixels, and all else as it is."""
    return tuple(
        replace(study, sections=tuple(_smaller(plan, by) for plan in study.sections))
        for study in atlas_layout(sections)
    )


# At least one of every study kind: what is compared across platforms, and with the truth, needs many spots; A1 is the
# one with room beside its tissue.
WHOLE_SECTIONS = (
    *("demo_visium_V1", "demo_visium_v1_P2", "demo_st_A1", "demo_st_E1"),
    *("demo_xenium_X1", "demo_hd_H1", "demo_hd_H2"),
)


def demo_studies(*sections: str) -> tuple[StudyPlan, ...]:
    """The mini atlas with all its sections, or those named: some of them whole, the others on half their area."""
    return tuple(
        replace(
            study,
            sections=tuple(plan if plan.sample_id in WHOLE_SECTIONS else _smaller(plan) for plan in study.sections),
        )
        for study in atlas_layout(sections or None)
    )


def _smaller(plan: SectionPlan, by: float = 0.7) -> SectionPlan:
    return replace(plan, width_um=plan.width_um * by, height_um=plan.height_um * by)
