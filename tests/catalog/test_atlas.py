"""The atlas on record: how much of it there is, that nothing in it is made up, and that no duplicate is overlooked."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pytest

from humanst.catalog import Catalog, Section, Source, Study, load_catalog, read_yaml
from humanst.catalog.terms import known_terms
from humanst.findings import Findings
from humanst.platforms import reader_for
from humanst.settings import data_path
from humanst.shards.grouping import section_member
from humanst.splits import group_sections

TENX_HOSTS = {"cf.10xgenomics.com", "s3-us-west-2.amazonaws.com"}
# Files seen in public repositories at a fixed commit, which the collected facts do not repeat.
REPOSITORIES = (
    "https://raw.githubusercontent.com/almaan/her2st/85df7411b987a7dec3feff9718b869a7a82091ec/",
    "https://raw.githubusercontent.com/LieberInstitute/HumanPilot/39ed906fad38095e3d7005e1b47f48c00b846371/10X/",
)
# Terms with their labels as EFO 3.90.0, UBERON 2026-04-01, MONDO 2026-05-05 and PATO 2025-02-01 have them.
LABELS = {
    "EFO:0010961": "Visium Spatial Gene Expression",
    "EFO:0022615": "10x Xenium",
    "EFO:0022857": "Visium Spatial Gene Expression V1",
    "EFO:0022858": "Visium CytAssist Spatial Gene Expression V2",
    "EFO:0022859": "Visium CytAssist Spatial Gene Expression, 6.5mm",
    "EFO:0022860": "Visium CytAssist Spatial Gene Expression, 11mm",
    "EFO:0030005": "spatial transcriptomics by high-throughput sequencing",
    "EFO:0920058": "Visium HD",
    "UBERON:0000002": "uterine cervix",
    "UBERON:0000029": "lymph node",
    "UBERON:0000059": "large intestine",
    "UBERON:0000310": "breast",
    "UBERON:0000948": "heart",
    "UBERON:0000955": "brain",
    "UBERON:0000981": "femur",
    "UBERON:0000992": "ovary",
    "UBERON:0001155": "colon",
    "UBERON:0001264": "pancreas",
    "UBERON:0002037": "cerebellum",
    "UBERON:0002048": "lung",
    "UBERON:0002097": "skin of body",
    "UBERON:0002107": "liver",
    "UBERON:0002113": "kidney",
    "UBERON:0002367": "prostate gland",
    "UBERON:0002371": "bone marrow",
    "UBERON:0002372": "tonsil",
    "UBERON:0002435": "striatum",
    "UBERON:0009834": "dorsolateral prefrontal cortex",
    "MONDO:0001657": "brain cancer",
    "MONDO:0002271": "colon adenocarcinoma",
    "MONDO:0002691": "liver cancer",
    "MONDO:0002974": "cervical cancer",
    "MONDO:0004953": "invasive ductal breast carcinoma",
    "MONDO:0004967": "acute lymphoblastic leukemia",
    "MONDO:0005008": "colorectal adenocarcinoma",
    "MONDO:0005051": "invasive lobular breast carcinoma",
    "MONDO:0005082": "prostate adenocarcinoma",
    "MONDO:0005096": "squamous cell carcinoma",
    "MONDO:0005105": "melanoma",
    "MONDO:0005575": "colorectal cancer",
    "MONDO:0006256": "invasive breast carcinoma",
    "MONDO:0007254": "breast cancer",
    "MONDO:0008170": "ovarian cancer",
    "MONDO:0008315": "prostate cancer",
    "MONDO:0008903": "lung cancer",
    "MONDO:0009831": "malignant pancreatic neoplasm",
    "MONDO:0017884": "papillary renal cell carcinoma",
    "MONDO:0018177": "glioblastoma",
    "PATO:0000461": "normal",
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(data_path("catalog.yaml"))


@pytest.fixture(scope="module")
def everything(catalog: Catalog) -> list[tuple[Study, Section]]:
    return [(study, section) for study in catalog.studies.values() for section in study.sections]


@pytest.fixture(scope="session")
def facts_folder(real_data: Path) -> Path:
    """What was collected before the catalog was written, with the source of each value."""
    folder = real_data.parent / "facts"
    if not folder.is_dir():
        pytest.skip("needs the collected facts beside the real sections")
    return folder


@pytest.fixture(scope="session")
def facts(facts_folder: Path) -> dict[str, Any]:
    collected: dict[str, Any] = read_yaml(facts_folder / "catalog_facts.yaml")
    return collected


def fact_files(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Url -> the file, of every file in the facts."""
    owners = (*facts["tenx"], *facts["tenx_other"], *facts["studies"])
    return {file["url"]: file for owner in owners for file in owner["files"] or ()}


def sources_of(everything: list[tuple[Study, Section]]) -> list[tuple[Study, Section, Source]]:
    return [(study, section, source) for study, section in everything for source in section.sources]


def test_the_atlas_is_as_large_as_it_has_to_be(catalog: Catalog, everything: list[tuple[Study, Section]]) -> None:
    assert len(catalog.studies) + len(catalog.listed) >= 100
    assert sum(section.fetchable for _, section in everything) >= 200
    pinned = [
        section
        for study, section in everything
        if set(study.hosts) & TENX_HOSTS and all(source.pinned and source.bytes for source in section.sources)
    ]
    assert len([section for section in pinned if section.sources]) >= 32


def test_every_address_is_https_at_a_host_the_study_allows(everything: list[tuple[Study, Section]]) -> None:
    for study, section, source in sources_of(everything):
        if source.url is None:
            assert (section.sample_id, source.role) == ("her2st_A1", "image")
            continue
        address = urlsplit(source.url)
        assert (address.scheme, address.netloc in study.hosts) == ("https", True), (section.sample_id, source.url)
        assert source.md5 is None or re.fullmatch("[0-9a-f]{32}", source.md5)
        assert source.sha256 is None or re.fullmatch("[0-9a-f]{64}", source.sha256)
    for study in {study.study_id: study for study, _ in everything}.values():
        used = {urlsplit(str(source.url)).netloc for section in study.sections for source in section.sources}
        assert set(study.hosts) == used - {""}, study.study_id


def test_sections_are_human_and_none_is_fluorescence(everything: list[tuple[Study, Section]]) -> None:
    for _, section in everything:
        assert section.metadata["organism_ontology_term_id"] == "NCBITaxon:9606"
        assert section.metadata["stain"] in ("H&E", "unknown")


def test_ontology_ids_carry_their_own_labels(everything: list[tuple[Study, Section]]) -> None:
    for _, section in everything:
        row = section.metadata
        for name in ("assay", "tissue", "disease"):
            term = row[f"{name}_ontology_term_id"]
            assert term == "unknown" or row[name] == LABELS[term], (section.sample_id, name, term)
        assert (row["disease_ontology_term_id"] == "PATO:0000461") == (row["disease_state"] == "normal")


def test_the_list_of_terms_has_what_is_in_use_and_nothing_else(everything: list[tuple[Study, Section]]) -> None:
    names = ("organism", "assay", "tissue", "disease")
    used = {section.metadata[f"{name}_ontology_term_id"] for _, section in everything for name in names}
    assert known_terms() == {**LABELS, "NCBITaxon:9606": "Homo sapiens"}
    assert set(known_terms()) == used - {"unknown"}


def test_donors_are_named_after_a_study(catalog: Catalog, everything: list[tuple[Study, Section]]) -> None:
    heads = {*catalog.studies, "janesick2023", "batiuk2022"}
    for _, section in everything:
        row = section.metadata
        assert (row["donor_id"] == "unknown") == (row["donor_id_source"] == "unknown"), section.sample_id
        if row["donor_id"] != "unknown":
            assert any(row["donor_id"].startswith(f"{head}_") for head in heads), row["donor_id"]


def test_every_study_has_a_reader_and_roles_that_it_knows(catalog: Catalog) -> None:
    needed = {
        "visium": {"positions", "scalefactors"},
        "visium_hd": {"counts", "positions", "scalefactors"},
        "xenium": {"transcripts", "counts", "experiment"},
        "st": {"counts", "spots"},
    }
    for study in catalog.studies.values():
        assert callable(reader_for(study.platform))
        for section in study.sections:
            if not section.sources or section.source("adata"):
                continue
            members = study.recipe.for_section(section).options.get("members", {})
            archives = any(source.role.startswith("archive") for source in section.sources)
            roles = {source.role for source in section.sources} | (set(members) if archives else set())
            assert needed[study.platform] <= roles, section.sample_id
            assert {"counts", "matrix"} & roles, section.sample_id


@pytest.mark.real
def test_no_address_size_or_digest_is_made_up(everything: list[tuple[Study, Section]], facts: dict[str, Any]) -> None:
    known = fact_files(facts)
    for study, section, source in sources_of(everything):
        if source.url is None or source.url.startswith(REPOSITORIES):
            continue
        assert source.url in known, (study.study_id, section.section_id, source.url)
        file = known[source.url]
        assert source.bytes == file.get("bytes"), source.url
        assert source.md5 == file.get("md5"), source.url
        assert source.sha256 in (None, file.get("sha256")), source.url


@pytest.mark.real
def test_every_published_digest_of_a_bright_field_section_is_used(
    everything: list[tuple[Study, Section]], facts: dict[str, Any]
) -> None:
    wanted = {
        file["url"]
        for page in facts["tenx"]
        if page["is_he"] is not False
        for file in page["files"]
        if file["md5"] and file["role"] in ("counts_filtered_h5", "spatial", "image_fullres")
    }
    assert len(wanted) == 32 * 3
    assert wanted <= {source.url for _, _, source in sources_of(everything) if source.pinned}


@pytest.mark.real
def test_pages_say_what_the_facts_say(everything: list[tuple[Study, Section]], facts: dict[str, Any]) -> None:
    pages = {file["url"]: page for page in facts["tenx"] for file in page["files"]}
    seen = 0
    for study, section in everything:
        page = next((pages[source.url] for source in section.sources if source.url in pages), None)
        if page is None:
            assert section.spots_under_tissue is None
            continue
        seen += 1
        assert section.spots_under_tissue == page["spots_under_tissue"]
        assert section.slide == (page["slide_serial"] or page["xenium_slide"])
        assert study.accessions["page"] == page["dataset_page"]
        # Only what somebody else than HEST read from the page is a licence.
        free = page["license_source"] == "sdb_cur" and "Attribution 4.0" in page["license"]
        assert study.license == ("CC-BY-4.0" if free or section.status == "deprecated" else "LicenseRef-unknown")
        assert section.metadata["preservation"] == page["preservation"]
        assert page["is_he"] is not False
        assert section.metadata["xref_hest"] in ["", *page["hest_ids_same_page"]]
    assert seen == sum(page["is_he"] is not False for page in facts["tenx"])


def groups_of(everything: list[tuple[Study, Section]]) -> dict[str, str]:
    """sample_id -> the split group it would be in."""
    members = [section_member(study, section) for study, section in everything]
    groups = group_sections(members, Findings())
    return {member.sample_id: anchor for anchor, group in groups.items() for member in group}


def human_pairs(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The pairs of HEST ids that are one section."""
    kinds = ("same section twice", "one image, two assays", "one section, two depths")
    groups = [group for group in facts["duplicates"] if group["kind"] in kinds]
    return [pair for group in groups for pair in zip(group["a"], group["b"], strict=True)]


@pytest.mark.real
def test_no_known_duplicate_is_split(
    everything: list[tuple[Study, Section]], facts: dict[str, Any], facts_folder: Path
) -> None:
    """27 pairs of human sections are published twice; a rule of title and patient parts 9.8 of them on average."""
    pairs = human_pairs(facts)
    assert len(pairs) == 27
    by_xref = {section.metadata["xref_hest"]: section for _, section in everything}
    group_of = groups_of(everything)
    parted = [pair for pair in pairs if len({group_of[by_xref[ident].sample_id] for ident in pair}) > 1]
    assert parted == []
    unnamed = [pair for pair in pairs if not by_xref[pair[0]].names & by_xref[pair[1]].names]
    assert unnamed == []
    # The table of pairs found by image size and spots: the human ones are all among the 27.
    with (facts_folder / "hest_crossstudy_dups.csv").open(encoding="utf-8") as handle:
        crossed = [(row["id_1"], row["id_2"]) for row in csv.DictReader(handle)]
    human = {frozenset(pair) for pair in crossed if set(pair) <= set(by_xref)}
    assert len(human) == 25
    assert human <= {frozenset(pair) for pair in pairs}


@pytest.mark.real
def test_identical_images_and_shared_donors_are_one_group(
    everything: list[tuple[Study, Section]], facts: dict[str, Any]
) -> None:
    group_of = groups_of(everything)
    by_md5: dict[str, list[str]] = {}
    by_xref: dict[str, list[str]] = {}
    for _, section in everything:
        image = section.source("image")
        if image and image.md5:
            by_md5.setdefault(image.md5, []).append(section.sample_id)
        by_xref.setdefault(section.metadata["xref_hest"], []).append(section.sample_id)
    same = [group for group in facts["duplicates"] if group["kind"] == "identical image file"]
    on_record = [by_md5[group["image_md5"]] for group in same if group["image_md5"] in by_md5]
    assert len(on_record) == 8
    assert all(len({group_of[name] for name in names}) == 1 and len(names) > 1 for names in on_record)
    for group in facts["duplicates"]:
        if group["kind"] in ("one donor block", "one donor"):
            names = [name for ident in (*group["a"], *group["b"]) for name in by_xref.get(ident, ())]
            assert len({group_of[name] for name in names}) == 1, group
    # The two replicates of one block whose HEST ids are not told apart here.
    assert all(group_of["janesick2023_rep1"] == group_of[f"janesick2023_{name}"] for name in ("rep2", "cytassist"))


def test_groups_are_no_larger_than_what_is_known_asks_for(everything: list[tuple[Study, Section]]) -> None:
    """Joining all would separate no duplicate either: different patients of a study stay apart."""
    members = [section_member(study, section) for study, section in everything]
    group_of = {
        member.sample_id: anchor for anchor, group in group_sections(members, Findings()).items() for member in group
    }
    assert len({group_of[f"her2st_{patient}1"] for patient in "ABCDEFGH"}) == 8
    assert len({group_of[name] for name in ("dlpfc_151507", "dlpfc_151669", "dlpfc_151673")}) == 3
    stnet = [name for name in group_of if name.startswith("stnet_")]
    assert len({group_of[name] for name in stnet}) == 23
    tenx = [group_of[f"tenx_{name}"] for name in ("heart", "lymph_node", "cerebellum", "breast_ffpe", "hd_colon")]
    assert len(set(tenx)) == 5


def test_exclusion_groups_name_the_test_sets(catalog: Catalog, everything: list[tuple[Study, Section]]) -> None:
    sizes = pd.Series(
        [name for _, section in everything for name in section.metadata["exclusion_groups"].split(";") if name]
    ).value_counts()
    # her2st: its 36 sections and the 12 of ST-Net that are the same tissue.
    assert sizes[["her2st", "dlpfc", "dawo", "erickson"]].to_dict() == {
        "her2st": 48, "dlpfc": 12, "dawo": 8, "erickson": 17,
    }  # fmt: skip
    assert set(sizes.index) == {"her2st", "dlpfc", "dawo", "erickson", "hest_bench"}
    assert catalog.listed["meylan2022_ccrcc"].exclusion_groups == ("hest_bench", "meylan_tls")


def test_listed_studies_lead_somewhere(catalog: Catalog) -> None:
    titles = [study.title.casefold() for study in catalog.listed.values()]
    assert len(titles) - len(set(titles)) <= 1
    for study in catalog.listed.values():
        assert study.doi or study.accessions or study.xref_hest, study.study_id
        assert study.title in study.citation
        assert study.license == "LicenseRef-unknown" or "survey" in study.license_source


@pytest.mark.real
def test_listed_sections_are_counted_by_somebody_who_may_be_copied(catalog: Catalog, facts: dict[str, Any]) -> None:
    slides = {group["n_slides"] for group in facts["stimage_1k4m_human"]}
    for study in catalog.listed.values():
        if study.source.startswith("STimage") and study.n_sections is not None:
            assert study.n_sections in slides | {8}, study.study_id
        if study.source.startswith("HEST"):
            assert study.n_sections is None, study.study_id
