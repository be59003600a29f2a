"""Whom to cite, what may be done, and how large it is: for exactly the chosen sections, from the catalog alone."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from humanst.catalog.citing import Citation
from humanst.cli import humanst
from tests.helpers import ROOT, run_humanst

WHERE = "tissue == 'breast' and platform in ('visium', 'xenium')"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(humanst, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def shipped() -> dict[str, Any]:
    content: dict[str, Any] = yaml.load((ROOT / "catalog.yaml").read_text(), Loader=yaml.CSafeLoader)
    return content


def samples(entry: dict[str, Any], study: str) -> list[dict[str, str]]:
    """The study's rows of samples.csv, read without humanst."""
    folder = ROOT / "curation" / entry.get("curation", study)
    with (folder / "samples.csv").open() as handle:
        return [row for row in csv.DictReader(handle) if row["section_id"] in entry["sections"]]


def bibtex(text: str) -> dict[str, dict[str, str]]:
    """Entries of a BibTeX file, with every brace accounted for."""
    entries: dict[str, dict[str, str]] = {}
    for block in re.findall(r"@(\w+)\{([^,\s]+),\n(.*?)\n\}", text, re.DOTALL):
        kind, key, body = block
        assert key not in entries
        plain = re.sub(r"\\[{}]", "", body)
        assert plain.count("{") == plain.count("}")
        fields = dict(re.findall(r"^  (\w+) = \{(.*)\},$", body, re.MULTILINE))
        assert len(fields) == len(body.splitlines()), body
        entries[key] = {"kind": kind, **fields}
    assert text.count("@") == len(entries)
    return entries


def test_no_address_of_a_stranger_ends_its_field() -> None:
    for field in ("doi", "url"):
        entry = Citation("a", "dataset", "T", "T", **{field: "10.1/a}, note = {mine"}).bibtex()
        assert not set("{}") & set(bibtex(entry)["a"][field])


def test_bibtex_names_the_papers_and_data_sets_of_the_chosen_sections_alone() -> None:
    content = shipped()["studies"]
    wanted = {
        study
        for study, entry in content.items()
        if entry["platform"] in ("visium", "xenium") and any(row["tissue"] == "breast" for row in samples(entry, study))
    }
    dois = {content[study]["doi"].lower() for study in wanted if content[study].get("doi")}
    entries = bibtex(run("cite", "--where", WHERE))
    named = {
        study.replace("\\_", "_")
        for entry in entries.values()
        for study in re.split(", ", entry.get("note", "humanst: ")[9:])
    }
    assert named - {""} == wanted
    papers = {
        entry["doi"].lower()
        for entry in entries.values()
        if "doi" in entry and not entry["title"].startswith("{Data of")
    }
    assert papers == dois
    assert "humanst" in entries


def test_an_article_has_what_is_on_record_and_its_data_set_stands_beside() -> None:
    entries = bibtex(run("cite", "her2st"))
    paper = entries["her2st"]
    assert (paper["kind"], paper["journal"], paper["year"]) == ("article", "Nature Communications", "2021")
    assert paper["author"] == "Andersson and others"
    assert entries["her2st_zenodo"]["doi"] == "10.5281/zenodo.4751624"
    assert set(entries) == {"her2st", "her2st_zenodo", "humanst"}


def test_apa_gives_the_citation_on_record() -> None:
    lines = run("cite", "her2st", "--format", "apa").splitlines()
    assert " ".join(shipped()["studies"]["her2st"]["citation"].split()) in lines
    own = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert own["title"] in lines[-1]
    assert own["version"] in lines[-1]


def test_two_studies_of_one_paper_are_cited_once() -> None:
    rows = json.loads(run("cite", "janesick2023", "--json"))["citations"]
    papers = [row for row in rows if row["doi"] == "10.1038/s41467-023-43458-x"]
    studies = {study for study, entry in shipped()["studies"].items() if entry.get("curation") == "janesick2023"}
    assert len(papers) == 1
    assert set(papers[0]["studies"]) == studies
    assert len(studies) > 1


def test_what_is_only_listed_can_be_cited() -> None:
    entries = bibtex(run("cite", "asp2019_heart"))
    assert entries["asp2019_heart"]["doi"] == shipped()["listed"]["asp2019_heart"]["doi"]


def test_special_characters_are_safe_in_latex(tmp_path: Path) -> None:
    folder = tmp_path / "atlas"
    folder.mkdir()
    (folder / "curation").symlink_to(ROOT / "curation")
    content = shipped()
    content["studies"]["her2st"]["title"] = "50% of A_B & C# {x}"
    (folder / "catalog.yaml").write_text(yaml.dump(content, Dumper=yaml.CSafeDumper))
    entries = bibtex(run("cite", "her2st", "--catalog", str(folder / "catalog.yaml")))
    assert entries["her2st"]["title"] == r"{50\% of A\_B \& C\# \{x\}}"


def test_licenses_count_sections_files_and_bytes() -> None:
    content = shipped()["studies"]
    rows = {row["license"]: row for row in json.loads(run("licenses", "--json"))["licenses"]}
    assert set(rows) == {entry["license"] for entry in content.values()}
    for license_id, row in rows.items():
        mine = {study: entry for study, entry in content.items() if entry["license"] == license_id}
        sections = [section for entry in mine.values() for section in entry["sections"].values()]
        files = {
            (study, file["path"]): file.get("bytes")
            for study, entry in mine.items()
            for section in entry["sections"].values()
            for file in section["files"].values()
        }
        assert (row["studies"], row["sections"], row["files"]) == (len(mine), len(sections), len(files))
        assert row["bytes"] == sum(size or 0 for size in files.values())
        assert row["unknown_sizes"] == sum(size is None for size in files.values())
    assert rows["CC-BY-4.0"]["redistributable"] is True
    unknown = rows["LicenseRef-unknown"]
    assert (unknown["redistributable"], unknown["needs_acceptance"]) == (False, True)
    assert len(unknown["not_accepted_for"]) == unknown["studies"]


def test_licenses_know_what_was_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUMANST_ACCEPT_LICENSES", "LicenseRef-unknown")
    rows = {row["license"]: row for row in json.loads(run("licenses", "--json"))["licenses"]}
    assert rows["LicenseRef-unknown"]["not_accepted_for"] == []
    assert rows["LicenseRef-unknown"]["gate"] == "accepted"


def test_list_as_csv_and_json_say_the_same() -> None:
    rows = list(csv.DictReader(io.StringIO(run("list", "--where", WHERE, "--format", "csv"))))
    content = json.loads(run("list", "--where", WHERE, "--format", "json"))
    assert [row["sample_id"] for row in rows] == [row["sample_id"] for row in content["sections"]]
    assert all(row["tissue"] == "breast" and row["platform"] in ("visium", "xenium") for row in rows)
    assert [int(row["bytes"]) for row in rows] == [row["bytes"] for row in content["sections"]]


def test_an_archive_of_several_sections_is_downloaded_once() -> None:
    """Its bytes count once in the size of a study, though every section needs it."""
    sizes = {
        study: [file for section in entry["sections"].values() for file in section["files"].values()]
        for study, entry in shipped()["studies"].items()
    }
    shared = {study: {file["path"]: file.get("bytes") or 0 for file in files} for study, files in sizes.items()}
    study, once = next(
        (study, once) for study, once in shared.items() if len(once) < len(sizes[study]) and sum(once.values())
    )
    content = json.loads(run("list", study, "--json"))
    assert content["bytes"] == sum(once.values())
    assert content["bytes"] < sum(row["bytes"] for row in content["sections"])
    assert json.loads(run("info", study, "--json"))["bytes_on_record"] == sum(once.values())


def test_info_can_show_some_sections() -> None:
    content = json.loads(run("info", "her2st", "--where", "section_id in ('B4', 'C2')", "--json"))
    assert [row["section_id"] for row in content["section_rows"]] == ["B4", "C2"]
    assert (content["sections"], content["sections_of_the_study"]) == (2, 36)
    rows = csv.DictReader(io.StringIO(run("info", "her2st", "--sections", "B4", "--format", "csv")))
    assert [row["sample_id"] for row in rows] == ["her2st_B4"]


def test_a_listing_needs_little_time() -> None:
    """CPU seconds of a whole command, against reading the catalog's YAML text alone: no work that grows faster."""
    began = time.process_time()
    shipped()
    reading = time.process_time() - began
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = run_humanst("list", "--format", "csv")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 12 * reading + 1.0, (spent, reading)
