"""The licence gate: what nobody accepted is not fetched or built, the good rest is, and a yes is kept with its date."""

from __future__ import annotations

import datetime as dt
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from humanst.catalog import terms_of
from humanst.cli import humanst
from tests.helpers import ROOT, output_json, run_humanst
from tests.studies import ST_RECIPE, write_world

NC = "CC-BY-NC-4.0"
FREE, CLOSED, UNKNOWN = "free", "closed", "unread"


@pytest.fixture
def atlas(tmp_path: Path) -> Path:
    """A free study, one under NC, one under an unknown licence, and one NC file in the free study; texts for files."""
    texts = tmp_path / "texts"
    texts.mkdir()
    studies: dict[str, dict[str, dict[str, Path]]] = {}
    for study in (FREE, CLOSED, UNKNOWN):
        for section in ("A1", "B1"):
            paths = {role: texts / f"{study}_{section}.{role}" for role in ("counts", "image")}
            for path in paths.values():
                path.write_text(path.name)
            studies.setdefault(study, {})[section] = paths
    sets = texts / "sets.gmt"
    sets.write_text("SET\tlink\tACTB\n")
    world = write_world(tmp_path / "atlas", studies, dict.fromkeys(studies, ST_RECIPE), gene_sets=sets)
    change(world.folder, CLOSED, NC)
    change(world.folder, UNKNOWN, "LicenseRef-unknown")
    content = yaml.safe_load((world.folder / "catalog.yaml").read_text())
    content["studies"][FREE]["sections"]["B1"]["files"]["image"]["license"] = "CC-BY-ND-4.0"
    (world.folder / "catalog.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return world.folder


def change(atlas: Path, study: str, license_id: str) -> None:
    content = yaml.safe_load((atlas / "catalog.yaml").read_text())
    content["studies"][study]["license"] = license_id
    (atlas / "catalog.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def sections_of(atlas: Path, study: str) -> list[str]:
    return sorted(yaml.safe_load((atlas / "catalog.yaml").read_text())["studies"][study]["sections"])


def fetch(atlas: Path, cache: Path, *arguments: str, env: dict[str, str] | None = None) -> Any:
    return run_humanst("fetch", *arguments, atlas=atlas, cache=cache, env=env)


def record(cache: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads((cache / "licenses.json").read_text())["accepted"]
    return rows


@pytest.mark.parametrize("command", [["fetch"], ["build", "-o", "out"], ["build-shards", "-o", "out"]])
def test_every_command_stops_with_3_and_says_how_to_go_on(atlas: Path, tmp_path: Path, command: list[str]) -> None:
    cache = tmp_path / "cache"
    result = run_humanst(*command, CLOSED, "--json", atlas=atlas, cache=cache, cwd=tmp_path)
    assert result.returncode == 3
    error = output_json(result)
    assert error["code"] == "licence-not-accepted"
    assert f"--accept-license {NC}" in error["todo"]
    assert error["study"] == CLOSED
    assert NC in result.stderr
    assert all(f"{CLOSED}_{section}" in error["expected"] for section in sections_of(atlas, CLOSED)[:4])
    assert not list(cache.rglob(f"{CLOSED}/*"))
    assert not (tmp_path / "out").exists()


def test_the_good_rest_is_done(atlas: Path, tmp_path: Path) -> None:
    result = fetch(atlas, tmp_path / "cache", FREE, CLOSED, "--json")
    assert result.returncode == 4
    content = output_json(result)
    failed = {row["item"]: row["exit_code"] for row in content["failures"]}
    closed = {f"{CLOSED}_{section}" for section in sections_of(atlas, CLOSED)} | {f"{FREE}_B1"}
    assert failed == dict.fromkeys(closed, 3)
    done = {row["item"] for row in content["files"]}
    assert done == {f"{FREE}_{section}" for section in sections_of(atlas, FREE)} - {f"{FREE}_B1"}
    ours = next(row for row in content["failures"] if row["item"] == f"{FREE}_B1")
    assert "--accept-license CC-BY-ND-4.0" in ours["todo"]


@pytest.mark.parametrize(
    "how",
    [
        (["--accept-license", f"{NC},LicenseRef-unknown"], {}),
        (["--accept-license", NC.lower(), "--accept-license", "licenseref-UNKNOWN"], {}),
        ([], {"HUMANST_ACCEPT_LICENSES": f"{NC}, LicenseRef-unknown"}),
    ],
    ids=["commas", "repeated, in any case", "environment"],
)
def test_a_yes_is_taken_and_kept_with_its_date(
    atlas: Path, tmp_path: Path, how: tuple[list[str], dict[str, str]]
) -> None:
    flags, env = how
    cache = tmp_path / "cache"
    before = dt.datetime.now(dt.UTC).date()
    result = fetch(atlas, cache, CLOSED, UNKNOWN, *flags, "--json", env=env)
    assert result.returncode == 0, result.stderr
    rows = record(cache)
    assert {(row["license"], row["owner"]) for row in rows} == {(NC, CLOSED), ("LicenseRef-unknown", UNKNOWN)}
    assert {row["how"] for row in rows} == {"environment" if env else "option"}
    assert all(dt.date.fromisoformat(row["date"]) >= before for row in rows)


def test_a_yes_on_record_holds_for_that_study_alone(atlas: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert fetch(atlas, cache, CLOSED, "--accept-license", NC).returncode == 0
    kept = record(cache)
    assert fetch(atlas, cache, CLOSED).returncode == 0
    change(atlas, UNKNOWN, NC)
    assert fetch(atlas, cache, UNKNOWN).returncode == 3
    # The licence of the study changed: what was accepted was another one.
    change(atlas, CLOSED, "CC-BY-NC-ND-4.0")
    assert fetch(atlas, cache, CLOSED).returncode == 3
    assert record(cache) == kept


def test_another_licence_opens_nothing(atlas: Path, tmp_path: Path) -> None:
    result = fetch(atlas, tmp_path / "cache", CLOSED, "--accept-license", "CC-BY-NC-SA-4.0")
    assert result.returncode == 3
    assert not (tmp_path / "cache" / "licenses.json").exists()


def test_a_damaged_record_is_named(atlas: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "licenses.json").write_text('{"accepted": [{"license": 3}]}')
    result = fetch(atlas, cache, CLOSED, "--accept-license", NC)
    assert result.returncode == 5
    assert "licenses.json" in result.stderr


def on_a_terminal(arguments: list[str], env: dict[str, str], answer: str) -> tuple[int, str]:
    """Run the command with a terminal for stdin and stderr, and answer its first question."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from humanst.cli import main; main()", *arguments]
    process = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    said, answered, until = "", False, time.monotonic() + 60
    while time.monotonic() < until:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                data = os.read(ours, 65536)
            except OSError:
                break
            said += data.decode(errors="replace")
        if not answered and "[y/N]" in said:
            os.write(ours, f"{answer}\n".encode())
            answered = True
        if process.poll() is not None and not select.select([ours], [], [], 0)[0]:
            break
    os.close(ours)
    return process.wait(timeout=30), said


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 3), ("", 3)])
def test_a_terminal_is_asked(atlas: Path, tmp_path: Path, answer: str, code: int) -> None:
    cache = tmp_path / "cache"
    env = {key: value for key, value in os.environ.items() if not key.startswith("HUMANST_")} | {
        "HUMANST_OFFLINE": "1",
        "HUMANST_CATALOG": str(atlas / "catalog.yaml"),
        "HUMANST_MIRROR": str(atlas / "mirror"),
        "HUMANST_CACHE_DIR": str(cache),
        "PYTHONPATH": str(ROOT),
    }
    found, said = on_a_terminal(["fetch", CLOSED], env, answer)
    assert found == code, said
    assert f"Do you accept {NC}?" in said
    assert [row["how"] for row in record(cache)] == ["prompt"] if code == 0 else not (cache / "licenses.json").exists()


def test_a_release_says_what_was_accepted_and_opens_nothing_for_the_next(
    little_atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built in this process, which saves a start; then asked for again by somebody who accepted nothing."""
    folder = tmp_path / "atlas"
    folder.mkdir()
    for name in ("curation", "mirror"):
        (folder / name).symlink_to(little_atlas / name)
    content = yaml.load((little_atlas / "catalog.yaml").read_text(), Loader=yaml.CSafeLoader)
    content["studies"]["demo_st"]["sections"]["B1"]["files"]["image"]["license"] = "CC-BY-ND-4.0"
    (folder / "catalog.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    monkeypatch.setenv("HUMANST_CATALOG", str(folder / "catalog.yaml"))
    monkeypatch.setenv("HUMANST_MIRROR", str(folder / "mirror"))
    out, work = tmp_path / "out", tmp_path / "work"
    chosen = ["--sections", "demo_st_B1"]
    release = ["build-shards", "-o", str(out), "--work", str(work), *chosen]
    result = CliRunner().invoke(humanst, [*release, "--accept-license", f"CC-BY-ND-4.0,{NC}"])
    assert result.exit_code == 0, result.output
    manifest = json.loads((out / "MANIFEST.json").read_text())
    # NC was accepted too, but nothing of it is here.
    assert manifest["accepted_licenses"] == {"CC-BY-ND-4.0": ["demo_st"]}
    (row,) = manifest["sections"]
    assert row["redistributable"] is False, "one file of the section may not be passed on"
    assert row["pairs"] > manifest["totals"]["pairs_redistributable"] == 0
    # The yes is on record, so that the same person is not asked again; somebody else is, though all is built.
    build = ["build", "-o", str(work), *chosen, "--json"]
    again = CliRunner().invoke(humanst, build)
    assert again.exit_code == 0
    assert [section["reused"] for section in json.loads(again.stdout)["sections"]] == [True]
    monkeypatch.setenv("HUMANST_CACHE_DIR", str(tmp_path / "another"))
    for command in (release, build):
        refused = CliRunner().invoke(humanst, command)
        assert getattr(refused.exception, "exit_code", 0) == 3, refused.output
    assert json.loads((out / "MANIFEST.json").read_text()) == manifest


def test_gene_sets_have_their_gate_too(atlas: Path, tmp_path: Path) -> None:
    """A free section, and a list of genes that nobody may pass on."""
    content = yaml.safe_load((atlas / "catalog.yaml").read_text())
    content["resources"]["gene_sets"]["license"] = "CC-BY-NC-SA-4.0"
    (atlas / "catalog.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    arguments = ["build-shards", FREE, "--sections", "A1", "-o", "out", "--json"]
    result = run_humanst(*arguments, atlas=atlas, cache=tmp_path / "cache", cwd=tmp_path)
    assert result.returncode == 3, result.stderr
    error = output_json(result)
    assert (error["code"], error["study"]) == ("licence-not-accepted", "gene_sets")
    assert "sets.gmt" in error["expected"]


def test_a_labs_own_folder_is_not_gated(tmp_path: Path) -> None:
    """It is read at once: what is wrong with it is its counts, not its licence."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "A1.tsv").write_text("no table\n")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(ST_RECIPE | {"files": {"counts": "{section}.tsv"}}))
    arguments = ["--recipe", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "out"), "--json"]
    result = run_humanst("build", str(folder), *arguments, cache=tmp_path / "cache")
    assert result.returncode == 5, result.stderr
    (failure,) = output_json(result)["failures"]
    assert failure["code"] != "licence-not-accepted"
    assert not (tmp_path / "cache" / "licenses.json").exists()


@pytest.mark.parametrize(
    ("license_id", "gated", "free"),
    [
        ("CC0-1.0", False, True),
        ("cc-by-4.0", False, True),
        ("CC-BY-SA-4.0", False, True),
        ("CC-BY-NC-4.0", True, False),
        ("CC-BY-NC-SA-3.0", True, False),
        ("CC-BY-ND-2.5", True, False),
        ("LicenseRef-unknown", True, False),
        ("LicenseRef-of-our-own", True, False),
        ("Some-Licence-1.0", True, False),
        ("LicenseRef-GENCODE-open-access", False, False),
    ],
)
def test_what_licences_allow(license_id: str, gated: bool, free: bool) -> None:
    terms = terms_of(license_id)
    assert (terms.gated, terms.redistributable) == (gated, free)


def test_every_licence_of_the_catalog_was_read_or_is_unknown() -> None:
    text = (ROOT / "catalog.yaml").read_text()
    named = set(re.findall(r"license: '?([A-Za-z0-9.+-]+)", text))
    assert {name for name in named if terms_of(name).family == "unread"} <= {"LicenseRef-unknown"}
