"""``humanst curate check``: one bad field is one finding, on its line; all of them in one run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from humanst.catalog.checking import check_catalog
from tests.helpers import ROOT, output_json, run_humanst

STUDIES = ("abalo2021_cscc", "vicari2023")
CATALOG = "catalog.yaml"
SAMPLES = "curation/abalo2021_cscc/samples.csv"
RECIPE = "curation/abalo2021_cscc/recipe.yaml"


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Two studies of the shipped catalog with their curation, in a folder of their own."""
    shipped = yaml.safe_load((ROOT / CATALOG).read_text())
    content = {
        "schema": shipped["schema"],
        "studies": {name: shipped["studies"][name] for name in STUDIES},
        "resources": {"gene_sets": shipped["resources"]["gene_sets"]},
        "releases": {},
    }
    (tmp_path / CATALOG).write_text(yaml.safe_dump(content, sort_keys=False, width=1000))
    for name in STUDIES:
        shutil.copytree(ROOT / "curation" / name, tmp_path / "curation" / name)
    shutil.copytree(ROOT / "curation" / "_recipes", tmp_path / "curation" / "_recipes")
    return tmp_path


def replace_first(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text, old
        return text.replace(old, new, 1)

    return change


def cell(column: str, value: str, row: int = 0) -> Callable[[str], str]:
    """Another value in one cell of a samples table without quoted commas before it."""

    def change(text: str) -> str:
        lines = text.splitlines()
        cells = lines[row + 1].split(",")
        cells[lines[0].split(",").index(column)] = value
        lines[row + 1] = ",".join(cells)
        return "\n".join(lines) + "\n"

    return change


def repeat(text: str) -> str:
    """The second row gets the sample id of the first."""
    rows = text.splitlines()
    return cell("sample_id", rows[1].split(",")[0], 1)(text)


def cut_row(text: str) -> str:
    lines = text.splitlines()
    lines[2] = ",".join(lines[2].split(",")[:-3])
    return "\n".join(lines) + "\n"


# name: file, change, code of the one finding
FAULTS: dict[str, tuple[str, Callable[[str], str], str]] = {
    "licence": (CATALOG, replace_first("license: CC-BY-4.0", "license: CC BY 4.0"), "bad-value"),
    "doi": (CATALOG, replace_first("doi: 10.1038", "doi: http://10.1038"), "bad-value"),
    "misspelled field": (CATALOG, replace_first("license_source:", "licence_source:"), "unknown-field"),
    "host": (CATALOG, replace_first("hosts:\n    - ", "hosts:\n    - https://"), "bad-value"),
    "negative size": (CATALOG, replace_first("bytes: ", "bytes: -"), "bad-value"),
    "leaves its folder": (CATALOG, replace_first("path: ", "path: ../"), "hostile"),
    "platform": (CATALOG, replace_first("platform: visium", "platform: xenium"), "platform-differs"),
    "no such recipe": (
        CATALOG,
        replace_first("    platform: visium\n", "    platform: visium\n    recipe: none\n"),
        "file-missing",
    ),
    "default": (CATALOG, replace_first("default: ", "default: not_"), "unknown-file"),
    "ontology": (SAMPLES, cell("tissue_ontology_term_id", "UBERON:12"), "bad-value"),
    "sex": (SAMPLES, cell("sex", "f", 2), "bad-value"),
    "blank": (SAMPLES, cell("tissue", "", 1), "bad-value"),
    "an id twice": (SAMPLES, repeat, "duplicate-value"),
    "section id": (SAMPLES, cell("section_id", "nowhere", 1), "sections-differ"),
    "status": (SAMPLES, cell("status", "listed", 1), "status-differs"),
    "cut row": (SAMPLES, cut_row, "row-length"),
    "recipe": (RECIPE, replace_first("gene_id_type: ", "gene_id_type: en"), "bad-value"),
}
ELSEWHERE = {
    "no such recipe": "curation/_recipes/none.yaml",
    "status": CATALOG,
    "platform": CATALOG,
}


def changed_lines(before: str, after: str) -> list[int]:
    old, new = before.splitlines(), after.splitlines()
    return [n for n, line in enumerate(new, 1) if n > len(old) or old[n - 1] != line][:1]


def test_the_shipped_catalog_has_no_findings() -> None:
    report = check_catalog(ROOT)
    assert [item.text() for item in report.findings] == []
    assert report.files > 30


def test_a_right_world_has_none(world: Path) -> None:
    assert [item.text() for item in check_catalog(world).findings] == []


@pytest.mark.parametrize("name", FAULTS)
def test_one_bad_field_is_one_finding_on_its_line(world: Path, name: str) -> None:
    file, change, code = FAULTS[name]
    before = (world / file).read_text()
    after = change(before)
    (world / file).write_text(after)
    findings = check_catalog(world).findings
    said = [item.text() for item in findings]
    if name == "cut row":
        # The section of the row that was cut has lost its row, which is told as well.
        findings = tuple(item for item in findings if item.finding.facts.code != "sections-differ")
    assert len(findings) == 1, said
    (found,) = findings
    assert (found.finding.severity, found.finding.facts.code) == ("refuse", code), said
    assert found.finding.facts.file == ELSEWHERE.get(name, file)
    if name not in ELSEWHERE:
        assert [found.line] == changed_lines(before, after), said


def test_all_faults_are_told_at_once(world: Path) -> None:
    """Faults of the catalog, a table and a recipe, each once."""
    names = ["doi", "host", "ontology", "sex", "default", "recipe"]
    for name in names:
        file, change, _ = FAULTS[name]
        (world / file).write_text(change((world / file).read_text()))
    found = check_catalog(world).findings
    assert sorted(item.finding.facts.code for item in found) == sorted(FAULTS[name][2] for name in names)
    assert {item.finding.facts.file for item in found} == {CATALOG, SAMPLES, RECIPE}
    assert len({(item.finding.facts.file, item.line) for item in found}) == len(names)


def test_a_misspelled_licence_is_a_warning(world: Path) -> None:
    text = (world / CATALOG).read_text()
    (world / CATALOG).write_text(text.replace("license: CC-BY-4.0", "license: CC-BY-4", 1))
    (found,) = check_catalog(world).findings
    assert (found.finding.severity, found.finding.facts.code) == ("warn", "license-unread")
    assert (world / CATALOG).read_text().splitlines()[(found.line or 0) - 1].strip() == "license: CC-BY-4"


def test_two_studies_may_not_share_a_sample_id(world: Path) -> None:
    other = world / "curation" / "vicari2023" / "samples.csv"
    lines = other.read_text().splitlines()
    taken = lines[1].split(",")[0]
    (world / SAMPLES).write_text(cell("sample_id", taken, 1)((world / SAMPLES).read_text()))
    (found,) = check_catalog(world).findings
    assert found.finding.facts.code == "duplicate-id"
    assert taken in str(found.finding.facts.found)


def test_a_folder_nobody_names_and_missing_notes(world: Path) -> None:
    shutil.copytree(world / "curation" / "vicari2023", world / "curation" / "stray")
    (world / "curation" / "abalo2021_cscc" / "NOTES.md").unlink()
    found = {item.finding.facts.code: item.finding.severity for item in check_catalog(world).findings}
    assert found == {"unused-folder": "refuse", "duplicate-id": "refuse", "no-notes": "warn"} or found == {
        "unused-folder": "refuse",
        "no-notes": "warn",
    }


def test_the_command_prints_file_and_line_and_ends_with_5(world: Path) -> None:
    text = (world / CATALOG).read_text()
    (world / CATALOG).write_text(text.replace("license: CC-BY-4.0", "license: 4", 1))
    result = run_humanst("curate", "check", str(world))
    assert result.returncode == 5, result.stderr
    line = next(
        n for n, said in enumerate((world / CATALOG).read_text().splitlines(), 1) if said.strip() == "license: 4"
    )
    assert result.stdout.startswith(f"catalog.yaml:{line}: refuse wrong-type ")
    content = output_json(run_humanst("curate", "check", str(world / CATALOG), "--json"))
    assert (content["schema"], content["ok"]) == ("humanst.curate-check/1", False)
    assert [row["line"] for row in content["findings"]] == [line]


def test_yaml_that_cannot_be_read_is_named_by_line(world: Path) -> None:
    (world / RECIPE).write_text("schema: humanst.recipe/1\nplatform: visium\nplatform: st\n")
    (found,) = check_catalog(world).findings
    assert (found.finding.facts.code, found.finding.facts.file, found.line) == ("duplicate-key", RECIPE, 3)
