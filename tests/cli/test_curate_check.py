"""``humanst curate check``: one bad field is one finding, on its line; all of them in one run."""

from __future__ import annotations

import csv
import io
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
LICENSES = "curation/_licenses.yaml"
TERMS = "curation/_terms.yaml"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies of the shipped catalog with their curation, in a folder of their own."""
    folder = tmp_path_factory.mktemp("pristine")
    shipped = yaml.load((ROOT / CATALOG).read_text(), Loader=yaml.CSafeLoader)
    content = {
        "schema": shipped["schema"],
        "studies": {name: shipped["studies"][name] for name in STUDIES},
        "resources": {"gene_sets": shipped["resources"]["gene_sets"]},
        "releases": {},
    }
    (folder / CATALOG).write_text(yaml.safe_dump(content, sort_keys=False, width=1000))
    for name in (*STUDIES, "_recipes"):
        shutil.copytree(ROOT / "curation" / name, folder / "curation" / name)
    for name in (LICENSES, TERMS):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def world(pristine: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pristine, tmp_path / "world")


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


def header(old: str, new: str) -> Callable[[str], str]:
    """Another first line, where that alone is what changes."""

    def change(text: str) -> str:
        first, rest = text.split("\n", 1)
        assert old in first
        return f"{first.replace(old, new, 1)}\n{rest}"

    return change


def without_column(column: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        rows = list(csv.reader(io.StringIO(text)))
        at = rows[0].index(column)
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([*row[:at], *row[at + 1 :]] for row in rows)
        return out.getvalue()

    return change


def more_column(column: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        first, *rows = text.splitlines()
        return "\n".join([f"{first},{column}", *(f"{row},unknown" for row in rows)]) + "\n"

    return change


def two_columns_swapped(text: str) -> str:
    rows = [line.split(",") for line in text.splitlines()]
    return "".join(",".join([row[1], row[0], *row[2:]]) + "\n" for row in rows)


def repeat(text: str) -> str:
    """The second row gets the sample id of the first."""
    rows = text.splitlines()
    return cell("sample_id", rows[1].split(",")[0], 1)(text)


def repeat_section(text: str) -> str:
    """The second row gets the section id of the first."""
    rows = text.splitlines()
    return cell("section_id", rows[1].split(",")[1], 1)(text)


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
        "unknown-recipe",
    ),
    "no such folder": (
        CATALOG,
        replace_first("    platform: visium\n", "    platform: visium\n    curation: abalo2021\n"),
        "unknown-folder",
    ),
    "study id": (CATALOG, replace_first("  abalo2021_cscc:", "  Abalo2021_cscc:"), "bad-value"),
    "host that is not allowed": (CATALOG, replace_first("hosts:\n    - ", "hosts:\n    - x."), "host-not-allowed"),
    "role": (CATALOG, replace_first("archive:", "arkive:"), "bad-value"),
    "yaml syntax": (CATALOG, replace_first("    license: ", "\tlicense: "), "yaml-unreadable"),
    "a key twice": (CATALOG, replace_first("    doi: ", "    title: x\n    doi: "), "duplicate-key"),
    "an alias": (CATALOG, replace_first("    title: ", "    title: *"), "yaml-bounds"),
    "misspelled option": (RECIPE, replace_first("options:\n", "options:\n  turned: true\n"), "unknown-field"),
    "table of licences": (LICENSES, replace_first("MIT: attribution", "MIT: atribution"), "unknown-family"),
    "gate that is no yes or no": (LICENSES, replace_first("gated: true", "gated: 'yes'"), "wrong-type"),
    "term of no ontology": (TERMS, replace_first("UBERON:", "UBEROM:"), "bad-value"),
    "default": (CATALOG, replace_first("default: ", "default: not_"), "unknown-file"),
    "id of another term": (SAMPLES, cell("assay_ontology_term_id", "EFO:0022615"), "term-differs"),
    "id of no term": (SAMPLES, cell("assay_ontology_term_id", "EFO:0999999"), "term-differs"),
    "label of another term": (SAMPLES, cell("organism", "Mus musculus", 1), "term-differs"),
    "normal and not": (SAMPLES, cell("disease_state", "normal"), "state-differs"),
    "donor without a source": (SAMPLES, cell("donor_id", "abalo2021_cscc_d1"), "donor-source"),
    "source without a donor": (SAMPLES, cell("donor_id_source", "paper"), "donor-source"),
    "no such source": (SAMPLES, cell("donor_id_source", "rumour"), "bad-value"),
    "column gone": (SAMPLES, without_column("sex"), "missing-column"),
    "key column gone": (SAMPLES, without_column("status"), "missing-column"),
    "column too many": (SAMPLES, more_column("colour"), "unknown-column"),
    "column twice": (SAMPLES, more_column("sex"), "duplicate-column"),
    "misspelled column": (SAMPLES, header("donor_id_source", "donor_source"), "unknown-column"),
    "columns swapped": (SAMPLES, two_columns_swapped, "column-order"),
    "semicolons": (SAMPLES, lambda text: text.replace(",", ";"), "table-unreadable"),
    "no rows": (SAMPLES, lambda text: text.splitlines()[0] + "\n", "table-empty"),
    "nothing": (SAMPLES, lambda _: "", "table-empty"),
    "no text": (SAMPLES, cell("notes", "a\x07b", 1), "bad-character"),
    "a quote": (SAMPLES, replace_first("\n", '\n"'), "table-unreadable"),
    "blank section id": (SAMPLES, cell("section_id", ""), "bad-value"),
    "section id twice": (SAMPLES, repeat_section, "duplicate-value"),
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
    assert len(findings) == 1, said
    (found,) = findings
    assert (found.finding.severity, found.finding.facts.code) == ("refuse", code), said
    assert found.finding.facts.file == ELSEWHERE.get(name, file)
    if name not in ELSEWHERE:
        assert [found.line] == (changed_lines(before, after) or [1]), said


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


def test_a_licence_spelled_another_way_and_one_of_a_file_are_warnings(world: Path) -> None:
    text = (world / CATALOG).read_text().replace("license: CC-BY-4.0", "license: cc-by-4.0", 1)
    (world / CATALOG).write_text(text.replace("path: ", "license: Own-1.0\n            path: ", 1))
    found = {item.finding.facts.code: item for item in check_catalog(world).findings}
    lines = (world / CATALOG).read_text().splitlines()
    assert {code: lines[(item.line or 0) - 1].strip() for code, item in found.items()} == {
        "license-spelling": "license: cc-by-4.0",
        "license-unread": "license: Own-1.0",
    }
    assert all(item.finding.severity == "warn" for item in found.values())
    assert found["license-spelling"].finding.facts.expected == "CC-BY-4.0"


def test_what_nobody_looked_up_is_a_warning(world: Path) -> None:
    """A term that is not on the list, a donor of no study, a duplicate in no catalog: strange, and perhaps right."""
    text = (world / SAMPLES).read_text()
    for column, value in {
        "tissue": "thyroid gland",
        "tissue_ontology_term_id": "UBERON:0002046",
        "donor_id": "patient1",
        "donor_id_source": "paper",
        "known_duplicates": "humanst:nobody_1;hest:SPA1",
    }.items():
        text = cell(column, value)(text)
    (world / SAMPLES).write_text(text)
    found = check_catalog(world).findings
    assert {item.finding.facts.code for item in found} == {"term-unread", "donor-name", "unknown-duplicate"}
    assert {(item.line, item.finding.severity) for item in found} == {(2, "warn")}


def test_bytes_that_are_no_utf8_are_named_by_line(world: Path) -> None:
    data = (world / SAMPLES).read_bytes().split(b"\n")
    data[2] += b"\xe9"
    (world / SAMPLES).write_bytes(b"\n".join(data))
    (found,) = check_catalog(world).findings
    assert (found.finding.facts.code, found.line) == ("table-unreadable", 3)


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
