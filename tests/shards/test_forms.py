"""``humanst export card|croissant|datasheet``: the document of a release, for somewhere else."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from humanst.cli import humanst
from humanst.errors import HumanstError
from humanst.shards.documents import documents
from humanst.shards.documents.datasheet_page import datasheet_page
from humanst.shards.documents.facts import read_tables
from humanst.shards.seal import seal
from humanst.shards.verify import verify_release
from tests.cli.test_json import keep_promise
from tests.fetch.small_release import write_release
from tests.shards.drawn_release import Drawn, write_drawn
from tests.shards.test_documents import HOSTILE, tables_of


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    folder = tmp_path_factory.mktemp("forms") / "1.2.3"
    write_release(folder)
    return folder


def run(*arguments: str) -> Any:
    return CliRunner().invoke(humanst, ["export", *arguments], standalone_mode=False)


def failure(*arguments: str) -> HumanstError:
    error = run(*arguments).exception
    assert isinstance(error, HumanstError)
    return error


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with all documents. Read only."""
    folder = tmp_path_factory.mktemp("whole") / "release"
    write_drawn(folder, {"train": [[Drawn(1, "train", 1, False), Drawn(5, "train", 5, True)]], "val": [], "test": []})
    seal(folder, json.loads((folder / "MANIFEST.json").read_bytes()))
    return folder


@pytest.mark.parametrize(("form", "name"), [("card", "README.md"), ("croissant", "croissant.json")])
def test_what_the_release_holds_has_its_bytes(whole: Path, tmp_path: Path, form: str, name: str) -> None:
    file = tmp_path / "deep" / "file"
    said = []
    for earlier in ("none", "same", "other"):
        if earlier == "other":
            file.write_text("mine")
        result = run(form, str(whole), "-o", str(file), "--json")
        assert result.exception is None, result.output
        content = json.loads(result.stdout)
        keep_promise("export of a document", content)
        said.append(content["earlier"])
        assert file.read_bytes() == (whole / name).read_bytes()
    assert said == ["none", "same", "other"]
    assert (content["document"], content["sha256"]) == (name, hashlib.sha256(file.read_bytes()).hexdigest())
    assert content["bytes"] == file.stat().st_size
    verify_release(whole).raise_if_bad()


def test_what_the_release_lacks_is_made(release: Path, tmp_path: Path) -> None:
    """Another program wrote it, without documents for others: what the builder would have written."""
    result = run("croissant", str(release), "-o", str(tmp_path / "c.json"), "--json")
    assert json.loads(result.stdout)["document"] is None
    manifest = json.loads((release / "MANIFEST.json").read_bytes())
    expected = documents(manifest, read_tables(release, manifest))["croissant.json"]
    assert (tmp_path / "c.json").read_text() == expected


def test_datasheet_counts_what_the_release_holds(release: Path, tmp_path: Path) -> None:
    result = run("datasheet", str(release), "-o", str(tmp_path / "sheet.md"))
    assert result.exception is None
    text = (tmp_path / "sheet.md").read_text()
    manifest = json.loads((release / "MANIFEST.json").read_bytes())
    assert manifest["version"] in result.stdout
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    for heading in ("Motivation", "Composition", "Collection", "Preprocessing", "Distribution", "Maintenance"):
        assert heading in headings
    n_pairs = sum(pq.read_metadata(index).num_rows for index in (release / "index").glob("*.parquet"))
    assert f"**How many:** {n_pairs:,} pairs of {len(manifest['sections'])} sections" in text
    assert "**Ethical review and consent:** Not on record." in text
    assert "**Paid by:** Not on record." in text
    for study in manifest["studies"]:
        assert study["study_id"] in text
    run("datasheet", str(release), "-o", str(tmp_path / "again.md"))
    assert (tmp_path / "again.md").read_text() == text


def test_table_for_multiqc_has_a_row_a_section(release: Path, tmp_path: Path) -> None:
    """The head is commented YAML; pairs of each section are those of the index."""
    result = run("mqc", str(release), "-o", str(tmp_path / "humanst_mqc.tsv"), "--json")
    assert result.exception is None, result.exception
    assert json.loads(result.stdout)["document"] is None
    lines = (tmp_path / "humanst_mqc.tsv").read_text().splitlines()
    head = yaml.safe_load("\n".join(line.removeprefix("#") for line in lines if line.startswith("#")))
    assert head["plot_type"] == "table"
    body = [line for line in lines if not line.startswith("#")]
    rows = {row["Section"]: int(row["pairs"]) for row in csv.DictReader(body, delimiter="\t")}
    pairs: Counter[str] = Counter()
    for index in (release / "index").glob("*.parquet"):
        pairs.update(pq.read_table(index, columns=["sample_id"])["sample_id"].to_pylist())
    assert rows == dict(pairs)


def test_datasheet_of_a_part_says_so(release: Path) -> None:
    manifest = json.loads((release / "MANIFEST.json").read_bytes())
    assert "recipe-only" not in datasheet_page(manifest)
    manifest["recipe_only"] = [{"pairs": 7}, {"pairs": 5}]
    manifest["selection"] = {"version": "9.9.9", "where": "organ == 'lung'", "n_pairs": 3}
    text = datasheet_page(manifest)
    assert "2 sections (12 pairs) are recipe-only" in text
    assert "part of release 9.9.9 where `organ == 'lung'`, 3 pairs" in text


def test_hostile_texts_stay_text(release: Path) -> None:
    manifest = json.loads((release / "MANIFEST.json").read_bytes())
    for study in manifest["studies"]:
        study |= {"title": HOSTILE, "citation": HOSTILE, "doi": HOSTILE, "accessions": {HOSTILE: HOSTILE}}
    manifest |= {"version": HOSTILE, "humanst_version": HOSTILE, "changes": [{"version": HOSTILE, "notes": [HOSTILE]}]}
    text = datasheet_page(manifest)
    for rows in tables_of(text):
        assert {len(row) for row in rows} == {len(rows[0])}
    body = re.sub(r"``.*?``(?!`)|`[^`]*`|\\.", "", text)
    assert "](http://evil)" not in body
    assert "<b>" not in body
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1


def test_refusals(release: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert failure("card", str(release), "-o", out, "--redistributable").exit_code == 2
    assert failure("datasheet", str(release), "-o", out, "--without", "open_A1").exit_code == 2
    assert failure("card", str(release), "-o", str(tmp_path)).exit_code == 2
    assert failure("card", str(release), "-o", str(release / "CARD.md")).exit_code == 2
    other = tmp_path / "other" / "MANIFEST.json"
    other.parent.mkdir()
    shutil.copy(release / "MANIFEST.json", other)
    assert failure("card", str(release), "-o", str(other.with_name("README.md"))).exit_code == 2
    os.mkfifo(tmp_path / "pipe")
    assert failure("card", str(release), "-o", str(tmp_path / "pipe")).exit_code == 2
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert failure("poster", str(release), "-o", out).exit_code == 2
    assert failure("card", str(tmp_path), "-o", out).exit_code == 5
    damaged = tmp_path / "damaged"
    shutil.copytree(release, damaged)
    (damaged / "README.md").write_text("other")
    assert failure("card", str(damaged), "-o", out).exit_code == 6
    assert not Path(out).exists()
    (tmp_path / "file").write_text("mine")
    assert failure(str(release), "-o", str(tmp_path / "file"), "--redistributable").exit_code == 2
    assert (tmp_path / "file").read_text() == "mine"
