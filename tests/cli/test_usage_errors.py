"""Command lines that cannot be read, and choices that leave nothing: exit 2, and an object where JSON was asked for."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from humanst.catalog import load_catalog
from humanst.cli import humanst
from humanst.cli.output import run_and_exit
from humanst.errors import UsageError
from humanst.fetch import fetch_section, fetch_sections

ERROR_KEYS = {"schema", "error", "exit_code", "code", "what", "message", "field", "expected", "found", "done", "todo"}
# On record without files, all of it; and one of tenx, whose other studies have some.
LISTED, MIXED = "villacampa2021_geo", "tenx_hd_ovary_discovery"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run a command line to its end: exit code, stdout, stderr."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("HUMANST_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HUMANST_OFFLINE", "1")

    def act(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            run_and_exit(humanst, arguments)
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return act


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("list", "--json", "--bogus"), "--bogus"),
        (("list", "--format", "xml", "--json"), "xml"),
        (("list", "--bogus", "--format", "json"), "--bogus"),
        (("list", "--bogus", "--format=json"), "--bogus"),
        (("fetch", "--json"), "NAMES"),
        (("nosuch", "--json"), "nosuch"),
        (("curate", "nosuch", "--json"), "nosuch"),
        (("build", "her2st", "-o", "x", "--workers", "none", "--json"), "none"),
        (("list", "--catalog", "nowhere.yaml", "--json"), "nowhere.yaml"),
    ],
)
def test_what_click_refuses_is_an_object_too(run: Any, arguments: tuple[str, ...], named: str) -> None:
    code, out, err = run(*arguments)
    content = json.loads(out)
    assert next(iter(content)) == "schema"
    assert content["schema"] == "humanst.error/1"
    assert set(content) >= ERROR_KEYS
    assert code == content["exit_code"] == 2
    assert named in content["what"]
    assert named in err
    assert "--help" in content["todo"]


@pytest.mark.parametrize("arguments", [("list", "--bogus"), ("list", "--bogus", "--", "--json"), ("nosuch",)])
def test_nothing_is_on_stdout_where_no_json_was_asked_for(run: Any, arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Error:" in err


@pytest.mark.parametrize("option", [("--where", ""), ("--where", "  "), ("--sections", ""), ("--sections", " ,")])
@pytest.mark.parametrize("command", [("list",), ("fetch", "her2st"), ("cite",)])
def test_an_empty_choice_is_not_all(run: Any, command: tuple[str, ...], option: tuple[str, str]) -> None:
    """What a script with an unset variable would ask for."""
    code, out, err = run(*command, *option)
    assert (code, out) == (2, "")
    assert option[0] in err


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--list-urls",), ("--accept-license", "LicenseRef-unknown")])
def test_a_study_without_files_is_not_fetched_in_silence(run: Any, tmp_path: Path, more: tuple[str, ...]) -> None:
    code, out, err = run("fetch", LISTED, "--json", *more)
    content = json.loads(out)
    assert (code, content["code"], content["study"]) == (2, "listed-section", LISTED)
    assert "villacampa_geo_kidney_organoid_1" in err
    # Nobody is asked to accept a licence of what cannot be had.
    assert not (tmp_path / "cache" / "licenses.json").exists()


@pytest.mark.parametrize("more", ["--dry-run", "--list-urls"])
def test_sections_without_files_are_named_beside_the_others(run: Any, more: str) -> None:
    code, out, err = run(
        "fetch", "tenx", more, "--where", "study_id in ('tenx_hd_ovary_discovery', 'tenx_heart')", "--json"
    )
    content = json.loads(out)
    book = load_catalog()
    left = [section.sample_id for section in book.study(MIXED).sections]
    assert code == 0
    assert content["sections_without_files"] == left
    assert all(name in err for name in left)
    assert content["files" if more == "--dry-run" else "urls"]


def test_the_library_refuses_them_one_by_one() -> None:
    study = load_catalog().study(LISTED)
    with pytest.raises(UsageError, match="No file of this section") as caught:
        fetch_section(study, study.sections[0])
    assert caught.value.facts.code == "listed-section"
    outcomes = fetch_sections([(study, section) for section in study.sections])
    assert [getattr(one, "exit_code", 0) for one in outcomes] == [2] * len(study.sections)


def test_a_name_that_several_studies_share_has_an_info(run: Any) -> None:
    code, out, _ = run("info", "tenx", "--json")
    content = json.loads(out)
    studies = load_catalog().folders()["tenx"]
    files = {
        (study.study_id, source.path) for study in studies for section in study.sections for source in section.sources
    }
    assert code == 0
    assert content["sections"] == len(content["section_rows"]) == sum(len(study.sections) for study in studies)
    assert content["files"] == len(files)
    assert {row["study_id"] for row in content["section_rows"]} == {study.study_id for study in studies}


def test_an_archive_of_seventeen_sections_is_one_file_of_its_study(run: Any) -> None:
    _, out, _ = run("info", "erickson2022", "--json")
    content = json.loads(out)
    assert (content["sections"], content["files"], content["unknown_sizes"]) == (17, 1, 1)
    assert content["accessions"]["mendeley"].startswith("svw96g68dv")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{}", '{"accepted": null}', '{"accepted": [1]}', '{"accepted": [{"license": "MIT"}]}', "\x00"],
)
def test_a_record_of_licences_that_is_none_is_told_by_every_command(run: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "cache").mkdir()
    record = tmp_path / "cache" / "licenses.json"
    record.write_text(text)
    for arguments in (
        ("licenses", "erickson2022"),
        ("fetch", "erickson2022", "--accept-license", "LicenseRef-unknown"),
    ):
        code, _, err = run(*arguments)
        assert code == 5
        assert "licenses.json" in err
    assert record.read_text() == text
