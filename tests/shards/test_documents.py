"""The documents of a release: what its manifest says and nothing else, whatever the texts in it hold."""

from __future__ import annotations

import copy
import csv
import io
import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from humanst.shards.documents import DOCUMENTS, documents
from humanst.shards.documents.facts import read_tables
from humanst.shards.seal import seal
from humanst.shards.verify import verify_release
from tests.fetch.small_release import SECTIONS, sha, write_release

HOSTILE = (
    'A "title": }} with { | pipes, # <b>, [x](http://evil), `code`, $ % & ~ ^ \\ _\n---\n# head\tand\r\ntabs: - *end*'
)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies, one of them under a licence with NC; an empty test split. Read only."""
    path = tmp_path_factory.mktemp("documents") / "1.2.3"
    write_release(path)
    return path


@pytest.fixture
def manifest(release: Path) -> dict[str, Any]:
    return json.loads((release / "MANIFEST.json").read_bytes())


@pytest.fixture
def hostile(manifest: dict[str, Any]) -> dict[str, Any]:
    """Every text that somebody else writes is as bad as it can be."""
    for study in manifest["studies"]:
        study |= {"title": HOSTILE, "citation": f"{HOSTILE} {study['study_id']}", "license_source": HOSTILE}
    for section in manifest["sections"]:
        section["metadata"] = {"disease": HOSTILE, "exclusion_groups": "hest_bench;a|b"}
    manifest["changes"] = [{"version": HOSTILE, "notes": [HOSTILE]}]
    manifest["pathways"] |= {"set": HOSTILE, "normalisation": HOSTILE}
    manifest["version"] = HOSTILE
    return manifest


def written(manifest: dict[str, Any], release: Path) -> dict[str, str]:
    return documents(manifest, read_tables(release, manifest))


def head_of(card: str) -> dict[str, Any]:
    lines = card.splitlines()
    assert lines[0] == "---"
    return yaml.safe_load("\n".join(lines[1 : lines.index("---", 1)]))


def tables_of(card: str) -> list[list[list[str]]]:
    """The tables of a card: cells by rows, as a reader of Markdown splits them."""
    found: list[list[list[str]]] = []
    before = ""
    for line in card.splitlines():
        if line.startswith("| "):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            if not before.startswith("| "):
                found.append([])
            found[-1].append([cell.strip() for cell in cells])
        before = line
    return found


def test_the_same_manifest_gives_the_same_text(hostile: dict[str, Any], release: Path) -> None:
    """Read back, with its keys in any order, and every number of a list of its kind."""

    def shuffled(value: Any, rng: random.Random) -> Any:
        if isinstance(value, dict):
            items = list(value.items())
            rng.shuffle(items)
            return {key: shuffled(item, rng) for key, item in items}
        return [shuffled(item, rng) for item in value] if isinstance(value, list) else value

    expected = written(hostile, release)
    for seed in range(5):
        other = json.loads(json.dumps(shuffled(hostile, random.Random(seed))))
        assert written(other, release) == expected


def test_card_of_hostile_texts_is_still_one(hostile: dict[str, Any], release: Path) -> None:
    card = written(hostile, release)["README.md"]
    head = head_of(card)
    assert head["pretty_name"] == f"humanst {HOSTILE}"
    assert [config["config_name"] for config in head["configs"]] == ["samples", "pairs"]
    tables = tables_of(card)
    assert len(tables) >= 6
    for rows in tables:
        assert {len(row) for row in rows} == {len(rows[0])}
    headings = [line for line in card.splitlines() if line.startswith("#")]
    assert len([line for line in headings if not re.match(r"# humanst|##", line)]) == 0
    # Without the code, where nothing is markup, and without what is escaped.
    body = re.sub(r"``.*?``(?!`)|`[^`]*`|\\.", "", card.split("\n---\n", 1)[1])
    assert "](http://evil)" not in body, "no link of somebody else's making"
    assert "<b>" not in body


def test_licence_table_of_hostile_texts(hostile: dict[str, Any], release: Path) -> None:
    text = written(hostile, release)["LICENSES.tsv"]
    rows = list(csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE, strict=True))
    assert {row["sample_id"]: row["license"] for row in rows} == {name: row[4] for name, row in SECTIONS.items()}
    assert {row["sample_id"] for row in rows if row["redistributable"] == "true"} == {"open_A1", "open_B1", "open_D1"}
    assert all(row[None] is None for row in [{None: None, **row} for row in rows]), "no cell too many"
    assert all(row["attribution"].endswith(row["study_id"]) for row in rows)


def test_bibliography_of_hostile_texts(hostile: dict[str, Any], release: Path) -> None:
    """Braces balance in every entry, and nothing follows the last but the end."""
    text = written(hostile, release)["CITATION.bib"]
    assert re.findall(r"^@\w+\{([^,]+),", text, re.MULTILINE) == ["open", "shut", "humanst"]
    depth, entries = 0, 0
    for character in re.sub(r"\\[{}]", "", text):
        depth += (character == "{") - (character == "}")
        entries += character == "}" and depth == 0
        assert depth >= 0
    assert (depth, entries) == (0, 3)


def test_two_unpublished_studies_are_two_entries(manifest: dict[str, Any], release: Path) -> None:
    for study in manifest["studies"]:
        study |= {"doi": None, "url": None, "citation": "unpublished", "title": f"Folder {study['study_id']}"}
    text = written(manifest, release)["CITATION.bib"]
    assert re.findall(r"^@\w+\{([^,]+),", text, re.MULTILINE) == ["open", "shut", "humanst"]


def test_card_counts_what_the_sections_count(manifest: dict[str, Any], release: Path) -> None:
    card = written(manifest, release)["README.md"]
    (licences,) = [rows for rows in tables_of(card) if rows[0][0] == "licence"]
    found = {tuple(row[1:]) for row in licences[2:]}
    assert found == {("`open`", "3", "31", "31"), ("`shut`", "1", "6", "0")}
    (splits,) = [rows for rows in tables_of(card) if rows[0][0] == "split"]
    assert [row[:3] for row in splits[2:]] == [["train", "32", "3"], ["val", "5", "1"], ["test", "0", "0"]]
    assert "1 sections may not be passed on" in card
    assert "10.1234/open" in card
    assert "10.1234/shut" in card


@pytest.mark.parametrize(
    ("licenses", "told"),
    [
        (["CC-BY-4.0"], {"license": "cc-by-4.0"}),
        (["CC-BY-NC-ND-4.0"], {"license": "cc-by-nc-nd-4.0"}),
        (["LicenseRef-unknown"], {"license": "other", "license_name": "by-section", "license_link": "LICENSES.tsv"}),
        (["CC-BY-4.0", "MIT"], {"license": "other", "license_name": "by-section", "license_link": "LICENSES.tsv"}),
    ],
)
def test_licence_of_the_card(
    manifest: dict[str, Any], release: Path, licenses: list[str], told: dict[str, str]
) -> None:
    """One that the Hub knows, when all sections are under it; a second one on a single section is enough for other."""
    for section in manifest["sections"]:
        section["license"], section["licenses"] = licenses[0], licenses[:1]
    manifest["sections"][-1]["licenses"] = licenses
    head = head_of(written(manifest, release)["README.md"])
    assert {key: value for key, value in head.items() if key.startswith("license")} == told


@pytest.mark.parametrize(
    ("n_pairs", "category"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (1_800_000, "1M<n<10M"), (10**10, "10B<n<100B")],
)
def test_size_category(manifest: dict[str, Any], release: Path, n_pairs: int, category: str) -> None:
    for split in manifest["splits"].values():
        split["n_pairs"] = 0
    manifest["splits"]["val"]["n_pairs"] = n_pairs
    assert head_of(written(manifest, release)["README.md"])["size_categories"] == [category]


def test_an_empty_split_has_no_file_and_no_place(manifest: dict[str, Any], release: Path) -> None:
    found = written(manifest, release)
    assert {name for name in found if name.startswith("data/")} == {
        "data/_info.json",
        "data/index.json",
        *(f"data/{split}/{name}.json" for split in ("train", "val") for name in ("sizes", "index")),
    }
    assert found.keys() <= DOCUMENTS
    assert set(json.loads(found["data/_info.json"])["splits"]) == {"train", "val"}
    (pairs,) = [one for one in head_of(found["README.md"])["configs"] if one["config_name"] == "pairs"]
    assert [entry["split"] for entry in pairs["data_files"]] == ["train", "val"]


def test_nothing_of_a_split_stays_when_it_empties(release: Path, tmp_path: Path) -> None:
    """As in a takedown: the release is sealed again without its validation pairs."""
    shutil.copytree(release, tmp_path / "out")
    manifest = json.loads((release / "MANIFEST.json").read_bytes())
    seal(tmp_path / "out", manifest)
    assert (tmp_path / "out/data/val/sizes.json").is_file()
    left = copy.deepcopy(manifest)
    left["splits"]["val"] |= {"n_pairs": 0, "shards": []}
    left["sections"] = [section for section in left["sections"] if section["split"] != "val"]
    sealed = seal(tmp_path / "out", left)
    assert not (tmp_path / "out/data/val/sizes.json").exists()
    assert not (tmp_path / "out/data/val/index.json").exists()
    assert "data/val/sizes.json" not in (tmp_path / "out/SHA256SUMS").read_text()
    assert sealed["sha256sums"] == sha((tmp_path / "out/SHA256SUMS").read_bytes())
    assert "open_D1" not in (tmp_path / "out/LICENSES.tsv").read_text()


def test_a_study_without_sections_is_not_told_of(manifest: dict[str, Any], release: Path) -> None:
    manifest["sections"] = [section for section in manifest["sections"] if section["study_id"] == "open"]
    found = written(manifest, release)
    for name in ("README.md", "CITATION.bib", "LICENSES.tsv", "croissant.json"):
        assert "shut" not in found[name], name
        assert "CC-BY-NC" not in found[name], name


def sealed_with(release: Path, folder: Path, name: str, text: str) -> Path:
    """The release with another text in one document, all hashes right again."""
    shutil.copytree(release, folder)
    manifest = seal(folder, json.loads((release / "MANIFEST.json").read_bytes()))
    assert not verify_release(folder).findings.refused
    before, sums = (folder / name).read_text(), (folder / "SHA256SUMS").read_text()
    (folder / name).write_text(text)
    (folder / "SHA256SUMS").write_text(sums.replace(sha(before.encode()), sha(text.encode())))
    manifest |= {"sha256sums": sha((folder / "SHA256SUMS").read_bytes())}
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("data/train/sizes.json", '"train-00001.tar": 16', '"train-00001.tar": 15'),
        ("data/val/index.json", '"nsamples": 5', '"nsamples": 4'),
        ("data/index.json", "val/val-00000.tar", "val/val-00001.tar"),
        ("data/_info.json", '"num_samples": 32', '"num_samples": 31'),
        ("data/_info.json", '"num_samples": 32', '"num_samples": '),
        ("LICENSES.tsv", "shut_C1\tshut\tCC-BY-NC-4.0", "shut_C2\tshut\tCC-BY-NC-4.0"),
        ("LICENSES.tsv", "false", "true"),
    ],
)
def test_verify_sees_a_document_that_says_something_else(
    release: Path, tmp_path: Path, name: str, old: str, new: str
) -> None:
    shutil.copytree(release, tmp_path / "good")
    seal(tmp_path / "good", json.loads((release / "MANIFEST.json").read_bytes()))
    text = (tmp_path / "good" / name).read_text()
    assert old in text
    folder = sealed_with(release, tmp_path / "bad", name, text.replace(old, new))
    found = [(finding.facts.code, finding.facts.file) for finding in verify_release(folder).findings]
    assert found == [("document", name)]
