"""What 10x Genomics publishes, known by its file names: against the entries of the shipped catalog."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from humanst.catalog import Section, Study, load_catalog
from humanst.catalog.checking import check_catalog
from humanst.curate.addresses import propose_entry
from humanst.settings import Settings

OFFLINE = Settings(offline=True)
BASE = "https://cf.10xgenomics.com/samples/xenium/1.0.1/"


def entries() -> list[tuple[Study, Section]]:
    """Sections of the vendor's pages that were described by hand, each with an archive."""
    studies = load_catalog().folders()["tenx"]
    pairs = [(study, section) for study in studies for section in study.sections]
    return [(study, section) for study, section in pairs if section.source("archive")]


def test_every_section_that_was_described_by_hand_is_drafted_the_same() -> None:
    seen: dict[str, int] = {}
    for study, section in entries():
        files = {source.role: source.url for source in section.sources if source.url}
        draft = propose_entry(list(files.values()), "x2024", (), OFFLINE)
        content = yaml.safe_load(draft.files["catalog.yaml"])["studies"]["x2024"]
        (found,) = content["sections"].values()
        addresses = {
            role: file.get("url") or content["base_url"] + file["path"] for role, file in found["files"].items()
        }
        assert (draft.platform, addresses) == (study.platform, files), section.sample_id
        recipe = yaml.safe_load(draft.files["curation/x2024/recipe.yaml"])
        assert recipe["options"]["members"] == study.recipe.options["members"], section.sample_id
        seen[study.platform] = seen.get(study.platform, 0) + 1
    assert seen.keys() == {"visium", "visium_hd", "xenium"}
    assert min(seen.values()) >= 5


def test_long_names_stay_apart_and_what_is_missing_is_said(tmp_path: Path) -> None:
    """Two names of 42 and 43 characters with the same first 40."""
    names = [f"Xenium_V1_FFPE_Human_Breast_IDC_With_Addon{end}" for end in ("", "2")]
    draft = propose_entry(
        [f"{BASE}{name}/{name}_outs.zip" for name in names], "x2024_breast_cancer_of_long_name", (), OFFLINE
    )
    assert len(set(draft.sections)) == 2
    for name, text in draft.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert [item.text() for item in check_catalog(tmp_path).findings] == []
    said = "\n".join(draft.unknown)
    assert all(f"which file is the {role} beside {name}" in said for role in ("image", "alignment") for name in names)


@pytest.mark.parametrize("extra", ["_spatial.tar.gz", "_web_summary.html"])
def test_a_page_of_visium_hd_is_one_section(extra: str) -> None:
    urls = [f"{BASE}Colon/Colon{name}" for name in ("_binned_outputs.tar.gz", "_tissue_image.btf", extra)]
    draft = propose_entry(urls, "x2024", (), OFFLINE)
    assert (draft.platform, draft.sections) == ("visium_hd", ("Colon",))
    assert not any("study of their own" in sentence for sentence in draft.unknown)
    assert any(urlsplit(urls[2]).path.rsplit("/", 1)[1] in sentence for sentence in draft.unknown)


def test_pages_of_two_platforms_are_told_apart() -> None:
    urls = [f"{BASE}{name}" for name in ("A_outs.zip", "B_outs.zip", "C_spatial.tar.gz")]
    draft = propose_entry(urls, "x2024", (), OFFLINE)
    assert (draft.platform, draft.sections) == ("xenium", ("A", "B"))
    assert "1 sections of visium: draft them as a study of their own" in draft.unknown
