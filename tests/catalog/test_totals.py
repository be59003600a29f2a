"""The size of the atlas: counted by hand on a small one, and counted again on the one that ships."""

from __future__ import annotations

import csv
from typing import Any

import pytest

from humanst.catalog import Lattice, ListedStudy, Recipe, Section, Source, Study, read_yaml
from humanst.catalog.totals import BY, Totals, totals
from humanst.settings import data_path
from tests.helpers import output_json, run_humanst

RECIPE = Recipe("visium", "ensembl", False, "unmeasured", Lattice("hex", 100.0, 55.0))


def study(study_id: str, platform: str, license_id: str, *sections: Section) -> list[tuple[Study, Section]]:
    made = Study(study_id, study_id, platform, license_id, None, "seen", None, "cited", (), RECIPE, sections)
    return [(made, section) for section in sections]


def section(
    name: str, organ: str, n_spots: int | None = None, *, status: str = "active", same: str = "", address: bool = True
) -> Section:
    files = (Source("counts", f"{name}.h5", f"https://host/{name}.h5"),) if address else ()
    row = {"organ": organ, "known_duplicates": same}
    return Section("study", name, name, status, files, row, spots_under_tissue=n_spots)


PAIRS = [
    *study(
        "free",
        "visium",
        "CC-BY-4.0",
        section("a", "breast", 1000),
        section("b", "breast", 2000, same="humanst:a"),
        section("old", "breast", 999, status="deprecated", same="humanst:a"),
        section("c", "lung"),
    ),
    *study("nc", "xenium", "CC-BY-NC-4.0", section("d", "lung", 500), section("e", "lung", 50, same="hest:X1")),
    *study(
        "other", "visium", "LicenseRef-x", section("f", "lung", same="hest:X1", status="listed", address=False)
    ),
]  # fmt: skip
LISTED = [
    ListedStudy("l1", "One", "visium", "lung", "CC-BY-4.0", "seen", 7, "a table"),
    ListedStudy("l2", "Two", "unknown", "eye", "LicenseRef-unknown", "not seen", None, "a link"),
]


def row(counted: dict[str, tuple[Totals, ...]], by: str, value: str) -> dict[str, Any]:
    return next(one for one in counted[by] if one.value == value).to_dict()


def test_counts_are_those_of_a_hand_count() -> None:
    counted = totals(PAIRS, LISTED)
    assert row(counted, "all", "all") == {
        "value": "all", "studies": 3, "sections": 6, "distinct_sections": 4, "fetchable_sections": 5,
        "expected_pairs": 3550, "sections_without_number": 2,
        "redistributable_sections": 3, "redistributable_pairs": 3000,
        "listed_studies": 2, "listed_sections": 7, "listed_without_number": 1,
    }  # fmt: skip
    assert row(counted, "platform", "visium") | {"value": ""} == {
        "value": "", "studies": 2, "sections": 4, "distinct_sections": 3, "fetchable_sections": 3,
        "expected_pairs": 3000, "sections_without_number": 2,
        "redistributable_sections": 3, "redistributable_pairs": 3000,
        "listed_studies": 1, "listed_sections": 7, "listed_without_number": 0,
    }  # fmt: skip
    lung = row(counted, "organ", "lung")
    assert (lung["sections"], lung["expected_pairs"], lung["redistributable_sections"]) == (4, 550, 1)
    assert row(counted, "license", "CC-BY-NC-4.0")["redistributable_pairs"] == 0
    assert [one.value for one in counted["platform"]] == ["visium", "xenium", "unknown"]


def test_sections_joined_by_a_third_are_one_piece_of_tissue() -> None:
    chain = study(
        "s", "visium", "MIT",
        section("a", "lung", same="x:1"), section("b", "lung", same="x:2"), section("c", "lung", same="x:1;x:2"),
        section("d", "lung", same="humanst:a"),
    )  # fmt: skip
    assert row(totals(chain), "all", "all")["distinct_sections"] == 1
    assert row(totals(chain[:2]), "all", "all")["distinct_sections"] == 2


def test_nothing_gives_no_rows() -> None:
    assert totals([])["all"] == ()


@pytest.fixture(scope="module")
def shipped() -> list[tuple[dict[str, Any], dict[str, Any], dict[str, str]]]:
    """Study, section and samples row of every section, read without the catalog's own code."""
    document = read_yaml(data_path("catalog.yaml"))
    rows = []
    for study_id, entry in document["studies"].items():
        with data_path("curation", entry.get("curation", study_id), "samples.csv").open(encoding="utf-8") as handle:
            table = {line["section_id"]: line for line in csv.DictReader(handle)}
        rows += [(entry, one, table[section_id]) for section_id, one in entry["sections"].items()]
    return rows


def test_the_command_counts_what_ships(
    shipped: list[tuple[dict[str, Any], dict[str, Any], dict[str, str]]],
) -> None:
    counted = output_json(run_humanst("list", "--totals", "--json"))
    assert counted["schema"] == "humanst.totals/1"
    living = [item for item in shipped if item[2]["status"] != "deprecated"]
    for by in BY:
        values = [{"platform": s["platform"], "organ": r["organ"], "license": s["license"]}[by] for s, _, r in living]
        assert {one["value"]: one["sections"] for one in counted[by] if one["sections"]} == {
            value: values.count(value) for value in values
        }
        for name, total in counted["all"].items():
            if name not in ("value", "studies", "distinct_sections"):
                assert sum(one[name] for one in counted[by]) == total, (by, name)
    assert counted["all"]["expected_pairs"] == sum(one.get("spots_under_tissue", 0) for _, one, _ in living)
    assert counted["all"]["sections_without_number"] == sum("spots_under_tissue" not in one for _, one, _ in living)
    free = [one for entry, one, _ in living if entry["license"].startswith("CC-BY-4")]
    assert counted["all"]["redistributable_sections"] == len(free)
    assert counted["all"]["redistributable_pairs"] == sum(one.get("spots_under_tissue", 0) for one in free)


def test_a_choice_is_counted_alone() -> None:
    choice = ("list", "tenx", "--where", "platform == 'xenium'", "--json")
    counted = output_json(run_humanst(*choice, "--totals"))
    assert [one["value"] for one in counted["platform"]] == ["xenium"]
    assert counted["all"]["listed_studies"] == 0
    rows = output_json(run_humanst(*choice))["sections"]
    assert counted["all"]["sections"] == len(rows) > 20
    assert {row["platform"] for row in rows} == {"xenium"}


def test_the_printed_view_says_what_it_leaves_out() -> None:
    text = run_humanst("list", "--totals").stdout
    assert "state no number of spots" in text
    assert "are on record alone" in text
    assert "redistributable" in text.splitlines()[0]


def test_a_listed_study_is_shown_and_not_fetched() -> None:
    shown = output_json(run_humanst("info", "kuppe2022_mi", "--json"))
    assert shown["doi"] == "10.1038/s41586-022-05060-x"
    assert shown["section_rows"] == []
    assert run_humanst("fetch", "kuppe2022_mi").returncode == 2
