"""The catalog that ships: what it says about her2st and the resources, against the files that are at hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from humanst.catalog import Catalog, load_catalog
from humanst.errors import UsageError
from humanst.findings import Findings
from humanst.schemas import check_table
from humanst.settings import data_path

COMMIT = "85df7411b987a7dec3feff9718b869a7a82091ec"
SECTIONS = [f"{p}{i}" for p in "ABCD" for i in range(1, 7)] + [f"{p}{i}" for p in "EFGH" for i in range(1, 4)]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(data_path("catalog.yaml"))


def test_all_36_sections_with_counts_and_spots(catalog: Catalog) -> None:
    study = catalog.study("her2st")
    assert [section.section_id for section in study.sections] == SECTIONS
    base = f"https://raw.githubusercontent.com/almaan/her2st/{COMMIT}/"
    for section in study.sections:
        roles = {source.role: source for source in section.sources}
        assert roles["counts"].url == f"{base}data/ST-cnts/{section.section_id}.tsv.gz"
        assert roles["spots"].url == f"{base}data/ST-spotfiles/{section.section_id}_selection.tsv"
    assert study.hosts == ("raw.githubusercontent.com",)
    assert study.redistributable


def test_images_and_labels_only_where_a_file_name_is_known(catalog: Catalog) -> None:
    sections = catalog.study("her2st").sections
    images = {section.section_id for section in sections if section.source("image")}
    labels = {section.section_id for section in sections if section.source("labels")}
    assert images == {"A1", "B4", "C2", "C3", "C4", "C5", "C6"}
    assert labels == {"A1", "B1", "C1", "D1", "E1", "F1", "G2", "H1"}
    for section in sections:
        image = section.source("image")
        patient = section.section_id[0]
        if image and section.section_id != "A1":
            assert image.path.startswith(f"data/ST-imgs/{patient}/{section.section_id}/")


def test_image_of_a1_has_its_scale_and_no_address(catalog: Catalog) -> None:
    study = catalog.study("her2st")
    a1 = study.section("A1")
    image = a1.source("image")
    assert image is not None
    assert image.url is None
    assert study.recipe.for_section(a1).options["image_scale"] == pytest.approx(2000 / 6954, rel=1e-12)
    assert "image_scale" not in study.recipe.for_section(study.section("B4")).options


def test_donors_are_the_patients(catalog: Catalog) -> None:
    sections = catalog.study("her2st").sections
    donors = pd.Series({section.section_id: section.metadata["donor_id"] for section in sections})
    assert all(donor == f"her2st_{section[0]}" for section, donor in donors.items())
    assert donors.value_counts().sort_index().tolist() == [6, 6, 6, 6, 3, 3, 3, 3]
    assert {section.metadata["exclusion_groups"] for section in sections} == {"her2st"}


def test_known_duplicates_are_the_twelve_sections_of_donors_e_to_h(catalog: Catalog) -> None:
    named = {
        section.section_id: section.metadata["known_duplicates"]
        for section in catalog.study("her2st").sections
        if section.metadata["known_duplicates"]
    }
    assert set(named) == {section for section in SECTIONS if section[0] in "EFGH"}
    assert set(named.values()) == {f"hest:SPA{number}" for number in range(93, 105)}


def test_samples_keep_their_contract(catalog: Catalog) -> None:
    for folder in sorted({study.curation for study in catalog.studies.values()}):
        path = data_path("curation", folder, "samples.csv")
        findings = Findings(file=path.name)
        check_table(pd.read_csv(path, dtype=str, keep_default_na=False), "samples", findings)
        assert [finding.line() for finding in findings] == []
        assert data_path("curation", folder, "NOTES.md").is_file()


def test_resources_have_the_default_sets(catalog: Catalog) -> None:
    assert catalog.resource("gene_sets").default == "msigdb_h.all.v2025.1.Hs.symbols.gmt"
    assert catalog.resource("gene_sets").source().license == "CC-BY-4.0"
    aliases = dict(catalog.resource("gene_sets").aliases)
    assert aliases["hallmark"] == catalog.resource("gene_sets").default
    assert catalog.resource("gene_sets").source(aliases["reactome"]).license == "CC0-1.0"
    assert catalog.resource("gene_sets").source(aliases["progeny"]).license == "Apache-2.0"
    assert all(source.pinned for resource in catalog.resources.values() for source in resource.sources)
    assert catalog.releases == {}


def test_unknown_names_come_with_near_ones(catalog: Catalog) -> None:
    with pytest.raises(UsageError, match="her2st") as caught:
        catalog.study("Her2ST")
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="B4"):
        catalog.study("her2st").section("b4")
    with pytest.raises(UsageError, match="gene_sets"):
        catalog.resource("gene_set")
    with pytest.raises(UsageError, match=r"v2025\.1"):
        catalog.resource("gene_sets").source("msigdb_h.all.v2025.2.Hs.symbols.gmt")


def test_records_equal_the_published_checksums(catalog: Catalog, real_data: Path) -> None:
    lines = (real_data / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    published = {path: digest for digest, path in (line.split("  ", 1) for line in lines)}
    study = catalog.study("her2st")
    owned = [(study.study_id, source) for section in study.sections for source in section.sources]
    owned += [(key, source) for key, resource in catalog.resources.items() for source in resource.sources]
    pinned = {f"{owner}/{source.path}": source for owner, source in owned if source.pinned}
    # Each file at hand is pinned, and nothing is pinned that is not at hand.
    at_hand = {
        path
        for path in published
        if path.startswith(("her2st/", "gene_sets/", "gene_ids/")) and "README" not in path and "scale.json" not in path
    }
    assert set(pinned) == at_hand
    for path, source in pinned.items():
        assert source.sha256 == published[path]
        assert source.bytes == (real_data / path).stat().st_size


def test_label_rule_joins_every_label(catalog: Catalog, real_data: Path) -> None:
    study = catalog.study("her2st")
    rule = study.recipe.labels
    assert rule is not None
    for section_id in ("A1", "B1", "C1"):
        section = study.section(section_id)
        labels, spots = (
            pd.read_csv(real_data / "her2st" / str(source.path), sep="\t")
            for source in (section.source("labels"), section.source("spots"))
            if source is not None
        )
        labels = labels.dropna(subset=[*rule["join"], rule["column"]])
        rounded = [spots[column].round(rule["round"]) for column in rule["join"].values()]
        known = set(zip(*rounded, strict=True))
        keys = zip(*(labels[column].round(rule["round"]) for column in rule["join"]), strict=True)
        assert len(labels) > 150
        assert all(key in known for key in keys)
        assert len(known) == len(spots)


def test_folder_patterns_of_the_recipe_find_the_catalog_paths(catalog: Catalog, real_data: Path) -> None:
    study = catalog.study("her2st")
    folder = real_data / "her2st"
    for section_id in ("B4", "C2", "C3"):
        for role, pattern in study.recipe.files.items():
            source = study.section(section_id).source(role)
            found = [str(path.relative_to(folder)) for path in folder.glob(pattern.format(section=section_id))]
            assert found == ([] if source is None else [source.path])
