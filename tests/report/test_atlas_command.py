"""``humanst report``: what it writes, the same bytes again, what it refuses, and what one damaged section does."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from humanst.errors import InterruptedRun, UsageError
from humanst.report import atlas
from humanst.report.atlas_facts import QUANTILES, atlas_facts
from humanst.report.atlas_sections import SectionTask, make_section, page_name
from humanst.report.atlas_source import open_source
from humanst.report.page import audit_page
from humanst.store import card_path
from tests.cli.test_json import keep_promise
from tests.helpers import run_humanst
from tests.report import test_page
from tests.report.atlas_world import LONG, SCRIPT, change_manifest, copy_release, report
from tests.shards.conftest import SECTIONS, Made, digests

pytestmark = pytest.mark.xdist_group("atlas-command")


@pytest.fixture(scope="module")
def site(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("command") / "site"
    before = digests(made.release)
    result = report(made.release, "-o", folder, "--folder")
    assert result.exception is None, result.exception
    assert result.stdout.splitlines()[-1] == f"open {folder}/index.html"
    assert digests(made.release) == before, "a release that is shown stays as it is"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["site"], "nothing is left beside"
    return folder


def test_the_folder_holds_a_page_a_section_and_a_card_that_counts_them(site: Path) -> None:
    assert set(digests(site)) == {
        "index.html", "humanst_mqc.tsv", "report.json", *(f"sections/{name}.html" for name in SECTIONS)
    }  # fmt: skip
    card = json.loads((site / "report.json").read_bytes())
    assert card["sections"] == {name: f"sections/{name}.html" for name in sorted(SECTIONS)}
    assert card["bytes"] == {name: (site / name).stat().st_size for name in digests(site) if name != "report.json"}


def test_the_same_release_gives_the_same_bytes_over_an_earlier_report(made: Made, site: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(site, again)
    (again / "index.html").write_text("older")
    (again / "sections" / "gone.html").write_text("a section that is no more")
    # From the zips here, from the stores of the work folder there; by two processes here, by one there.
    release = copy_release(made, tmp_path)
    result = run_humanst("report", str(release), "-o", str(again), "--folder", "--workers", "2", "--json")
    assert result.returncode == 0, result.stderr
    assert digests(again) == digests(site)
    printed = json.loads(result.stdout)
    keep_promise("report", printed)
    assert printed["totals"]["pairs"] == sum(
        pq.read_metadata(path).num_rows for path in (release / "index").glob("*.parquet")
    )


def test_totals_are_those_of_the_indices_and_boxes_those_of_the_spots(made: Made) -> None:
    source = open_source(made.release)
    done = {
        name: make_section(SectionTask(made.release, (("work", made.work),), name, None)) for name in source.sample_ids
    }
    facts = atlas_facts(source, done, [])
    index = [pq.read_table(path).to_pandas() for path in sorted((made.release / "index").glob("*.parquet"))]
    pairs = {str(name): part for table in index for name, part in table.groupby("sample_id")}
    assert facts.totals["pairs"] == sum(map(len, pairs.values()))
    assert facts.totals["bytes"] == sum(path.stat().st_size for path in made.release.rglob("*.tar"))
    assert facts.totals["store_bytes"] == sum(path.stat().st_size for path in made.release.rglob("*.zarr.zip"))
    manifest = json.loads((made.release / "MANIFEST.json").read_bytes())
    for bars, size in ((facts.section_bars, lambda row: 1), (facts.unit_bars, lambda row: row["pairs"])):
        found = {(bar.organ, platform): n for bar in bars for platform, n in bar.parts}
        wanted: dict[tuple[str, str], int] = {}
        for row in manifest["sections"]:
            place = (row["organ"], row["platform"])
            wanted[place] = wanted.get(place, 0) + size(row)
        assert found == wanted
        assert [bar.total for bar in bars] == sorted((bar.total for bar in bars), reverse=True)
    for box in facts.boxes:
        names = [
            r["sample_id"] for r in manifest["sections"] if (r["platform"], r["organ"]) == (box.platform, box.organ)
        ]
        genes = np.concatenate([pairs[name]["n_genes"].to_numpy() for name in names])
        assert box.quantiles == pytest.approx(np.percentile(genes, [100 * q for q in QUANTILES]))
        assert (box.n_spots, box.n_sections) == (len(genes), len(names))
    assert sum(box.n_spots for box in facts.boxes) == facts.totals["pairs"]
    assert sum(group.n for group in facts.findings) == sum(len(row["findings"]) for row in manifest["sections"]) + len(
        manifest["findings"]
    )
    assert sum(row.n_pairs for row in facts.splits.rows) == facts.totals["pairs"]
    assert facts.splits.groups_in_two == ()


def test_a_leak_between_splits_is_shown(made: Made, tmp_path: Path) -> None:
    release = copy_release(made, tmp_path)

    def leak(manifest: dict[str, Any]) -> None:
        one, other, _ = manifest["sections"]
        other["group"], other["donor_id"] = one["group"], one["donor_id"]
        one["split"], other["split"] = "train", "test"
        manifest["exclusion_groups"] = {"of_others": [one["sample_id"], other["sample_id"]]}

    rows = change_manifest(release, leak)["sections"]
    splits = atlas_facts(open_source(release), {}, []).splits
    assert splits.groups_in_two == (rows[0]["group"],)
    assert splits.donors_in_two == (rows[0]["donor_id"],)
    assert [(group.name, group.splits) for group in splits.excluded] == [("of_others", ("test", "train"))]


def test_multiqc_finds_its_table_with_a_typed_row_a_section(site: Path, made: Made, tmp_path: Path) -> None:
    """Read as MultiQC reads custom content: commented YAML, then cells, of which those in quotes are text."""
    lines = (site / "humanst_mqc.tsv").read_text().splitlines()
    head = yaml.safe_load("\n".join(line[1:] for line in lines if line.startswith("#")))
    assert (head["plot_type"], head["file_format"], head["pconfig"]["col1_header"]) == ("table", "tsv", "Section")
    names, *rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert set(head["headers"]) == set(names[1:])
    # What its manual has of custom content, of a table and of a column.
    assert set(head) == {"id", "section_name", "description", "file_format", "plot_type", "pconfig", "headers"}
    assert set(head["pconfig"]) <= {"id", "title", "col1_header", "no_violin", "sort_rows", "scale", "min"}
    assert set().union(*head["headers"].values()) <= {"title", "description", "format", "min", "max", "scale", "hidden"}
    assert head["pconfig"]["no_violin"] is True, "with more rows than 500 it is no table else"
    manifest = json.loads((made.release / "MANIFEST.json").read_bytes())
    assert [row[0] for row in rows] == [f'"{name}"' for name in sorted(SECTIONS)]
    assert {row[0].strip('"'): int(row[names.index("pairs")]) for row in rows} == {
        row["sample_id"]: row["pairs"] for row in manifest["sections"]
    }
    release = copy_release(made, tmp_path)
    change_manifest(release, lambda content: content["sections"][0].update(organ=f"a\tb\n{SCRIPT}", study_id="007"))
    result = run_humanst("report", str(release), "-o", str(tmp_path / "out"), "--workers", "1")
    assert result.returncode == 0, result.stderr
    hostile = [line.split("\t") for line in (tmp_path / "out" / "humanst_mqc.tsv").read_text().splitlines()]
    cells = [row for row in hostile if not row[0].startswith("#")]
    assert {len(row) for row in cells} == {len(names)}
    assert not any("<" in cell for row in cells for cell in row)
    assert any('"007"' in row for row in cells), "a name and no number"


def test_one_damaged_section_is_named_and_the_others_are_shown(made: Made, tmp_path: Path) -> None:
    release = copy_release(made, tmp_path)
    packed = release / "sections" / f"{SECTIONS[1]}.zarr.zip"
    data = bytearray(packed.read_bytes())
    data[len(data) // 2] ^= 0xFF
    packed.write_bytes(data)
    result = run_humanst("report", str(release), "-o", str(tmp_path / "site"), "--folder", "--json", "--workers", "1")
    assert result.returncode == 4, result.stderr
    printed = json.loads(result.stdout)
    assert [(row["item"], row["exit_code"]) for row in printed["failures"]] == [(SECTIONS[1], 6)]
    shown = {path.stem for path in (tmp_path / "site" / "sections").iterdir()}
    assert shown == set(SECTIONS) - {SECTIONS[1]}
    text = (tmp_path / "site" / "index.html").read_text()
    assert "1 of 3 sections could not be shown" in text
    assert f"sections/{SECTIONS[1]}.html" not in text
    assert f"<b>{SECTIONS[1]}</b>" in text
    assert SECTIONS[1] in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release", "site"]


def test_stores_are_shown_without_a_release_and_an_unfinished_one_is_named(made: Made, tmp_path: Path) -> None:
    stores = tmp_path / "stores"
    for name in SECTIONS[:2]:
        shutil.copytree(made.work / "sections" / f"{name}.zarr", stores / f"{name}.zarr")
    first, second = (stores / f"{name}.zarr" for name in SECTIONS[:2])
    shutil.copy(card_path(made.work / "sections" / first.name), card_path(first))
    sets = next((made.atlas / "mirror").rglob("*.gmt"))
    result = report(stores, "-o", tmp_path / "site", "--folder", "--sets", sets, "--json")
    printed = json.loads(result.stdout)
    assert result.return_value == 4
    assert [row["item"] for row in printed["failures"]] == [SECTIONS[1]]
    assert printed["kind"] == "stores"
    assert printed["totals"]["pairs"] is None
    assert (tmp_path / "site" / "sections" / f"{SECTIONS[0]}.html").is_file()
    text = (tmp_path / "site" / "index.html").read_text()
    assert "Splits and leakage" not in text
    assert "Section stores keep no licence, donor, organ or disease" in text
    assert second.name in text
    names = [line.split("\t")[0] for line in sets.read_text().splitlines()]
    assert all(name in (tmp_path / "site" / "sections" / f"{SECTIONS[0]}.html").read_text() for name in names[:3])


@pytest.mark.parametrize(
    "stranger", ["notes.txt", "sections/mine.csv", "index.html", "report.json", "sections", "sections/a.html/mine.txt"]
)
def test_a_folder_of_something_else_is_left_alone(made: Made, tmp_path: Path, stranger: str) -> None:
    path = tmp_path / "site" / stranger
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    result = report(made.release, "-o", tmp_path / "site")
    assert isinstance(result.exception, UsageError)
    assert result.exception.facts.code == "not-a-report"
    assert path.read_text() == "mine"
    assert len(digests(tmp_path)) == 1


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["-o", "{release}/site"], "-o"),
        (["--scorer", "ulm"], "--scorer"),
        (["--audit", "{release}"], "--audit"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    made: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    field: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = report(made.release, *(text.format(release=made.release) for text in arguments))
    assert isinstance(result.exception, UsageError)
    assert result.exception.facts.field == field
    assert list(tmp_path.iterdir()) == []
    assert not (made.release / "site").exists()


def test_a_report_that_is_stopped_leaves_the_earlier_one(
    made: Made,
    site: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(site, tmp_path / "site")

    def stop(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(atlas, "atlas_page", stop)
    result = report(made.release, "-o", tmp_path / "site", "--folder")
    assert isinstance(result.exception, InterruptedRun)
    assert "3 of 3 sections" in str(result.exception)
    assert digests(tmp_path / "site") == digests(site)
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_an_audit_of_the_same_release_goes_along_and_another_does_not(made: Made, tmp_path: Path) -> None:
    manifest = (made.release / "MANIFEST.json").read_bytes()
    title = f"release {json.loads(manifest)['version']}"
    mine, other = hashlib.sha256(manifest).hexdigest(), hashlib.sha256(b"another build of this version").hexdigest()
    page = tmp_path / "audit" / "index.html"
    page.parent.mkdir()
    cases: list[tuple[dict[str, Any], bool, str]] = [
        ({"title": title, "identity": mine, "is_release": True}, True, ""),
        ({"title": "release 99", "identity": mine, "is_release": True}, False, ""),
        ({"title": title, "identity": other, "is_release": True}, False, "an audit of another release"),
        # Of a humanst that did not say which.
        ({"title": title}, True, "does not say which manifest it is of"),
    ]
    for facts, goes, told in cases:
        page.write_text(audit_page({**test_page.FACTS, **facts}, test_page.made("A", "B")))
        result = report(made.release, "-o", tmp_path / "site")
        assert result.exception is None
        assert (tmp_path / "site" / "audit.html").exists() == goes
        text = (tmp_path / "site" / "index.html").read_text()
        assert ('href="audit.html"' in text) == goes
        assert told in (text if goes else result.stderr)
        assert ("audit" in result.stderr, "The audit " in text) == (bool(told) and not goes, bool(told) and goes)
    # Of another hand, it could run what it likes.
    page.write_text(f"<!doctype html><script>window.hacked = 1</script><title>Audit: {title}</title>")
    assert report(made.release, "-o", tmp_path / "site").exception is None
    assert not (tmp_path / "site" / "audit.html").exists()
    # One that is asked for is taken at its word, and said to be another's if it is.
    assert report(made.release, "-o", tmp_path / "site", "--audit", page.parent).exception is None
    assert (tmp_path / "site" / "audit.html").read_text() == page.read_text()
    page.write_text(audit_page({**test_page.FACTS, "title": title, "identity": other}, test_page.made("A", "B")))
    assert report(made.release, "-o", tmp_path / "site", "--audit", page).exception is None
    assert f"The audit is of another {title} than these pages" in (tmp_path / "site" / "index.html").read_text()


def test_a_process_that_shows_a_release_twice_shows_what_it_has_become(made: Made, tmp_path: Path) -> None:
    release = copy_release(made, tmp_path)
    for title in ("first title", "second title"):

        def rename(manifest: dict[str, Any], title: str = title) -> None:
            for study in manifest["studies"]:
                study["title"] = title

        change_manifest(release, rename)
        assert report(release, "-o", tmp_path / "site", "--folder").exception is None
        assert title in (tmp_path / "site" / "sections" / f"{SECTIONS[0]}.html").read_text()


def test_names_of_pages_are_safe_and_differ_where_names_do() -> None:
    assert page_name("her2st_B4") == "her2st_B4"
    wild = ["../../etc/passwd", "..-..-etc-passwd", LONG, f"{LONG}M", SCRIPT, "", "a/b", "a\\b"]
    made_of = [page_name(name) for name in wild]
    assert len(set(made_of)) == len(wild)
    assert all(len(name) <= 100 and set(name) <= set("-_") | set(map(chr, range(48, 123))) for name in made_of)
    assert not any("/" in name or "\\" in name or "." in name for name in made_of)


def test_more_than_sixty_sections_are_a_folder_unless_asked_otherwise(made: Made, tmp_path: Path) -> None:
    class Many:
        sample_ids = tuple(map(str, range(61)))

    many: Any = Many()
    assert not atlas.ReportRequest(many, tmp_path).is_single_file
    assert atlas.ReportRequest(many, tmp_path, single_file=True).is_single_file
    few = open_source(made.release)
    assert atlas.ReportRequest(few, tmp_path).is_single_file
    assert not atlas.ReportRequest(few, tmp_path, single_file=False).is_single_file
