"""Encrypted archives whose authors publish the password: opened with it, and named without it."""

from __future__ import annotations

import gzip
import io
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from humanst.catalog import load_catalog
from humanst.catalog.checking import check_catalog
from humanst.errors import DataError, HumanstError, UsageError
from humanst.fetch import LocalFiles, fetch_section, sevenzips
from humanst.fetch.archives import read_member
from tests.fetch.conftest import BODY, on_disk, study
from tests.fetch.packing import LOCKED, PASSWORD, crypto_zip, seven_zip
from tests.fetch.test_archives import TABLE, archived
from tests.helpers import output_json, run_humanst
from tests.studies import ST_RECIPE, write_world

MEMBERS = {"data/wanted.h5": BODY, "data/positions.tif.gz": gzip.compress(TABLE, mtime=0), "data/WANTED.txt": b"x"}


def fetched(mirror: Path, body: bytes, password: str | None, member: str = "data/wanted.h5") -> LocalFiles:
    sources = archived(mirror, body, ("counts", member), name="locked.bin")
    return fetch_section(*study(*(replace(source, password=password) for source in sources)))


@pytest.mark.parametrize("kind", LOCKED)
class TestLocked:
    def test_the_published_password_opens_it(self, mirror: Path, kind: str) -> None:
        body = LOCKED[kind](MEMBERS)
        assert fetched(mirror, body, PASSWORD).paths["counts"].read_bytes() == BODY
        assert fetched(mirror, body, PASSWORD, "data/positions.tif.gz").paths["counts"].read_bytes() == TABLE

    def test_the_recipe_finds_its_members(self, mirror: Path, kind: str) -> None:
        sources = archived(mirror, LOCKED[kind](MEMBERS), ("archive", None), name="locked.bin")
        made, section = study(*(replace(source, password=PASSWORD) for source in sources))
        made = replace(made, recipe=replace(made.recipe, options={"members": {"counts": "data/w*.h5"}}))
        assert fetch_section(made, section).paths["counts"].read_bytes() == BODY

    @pytest.mark.parametrize("password", [None, "not it"])
    def test_without_the_right_one_it_is_named_and_nothing_unpacked(
        self, mirror: Path, cache: Path, kind: str, password: str | None
    ) -> None:
        with pytest.raises(DataError) as caught:
            fetched(mirror, LOCKED[kind](MEMBERS), password)
        facts = caught.value.facts
        assert facts.code == ("archive-encrypted" if password is None else "archive-password")
        assert kind.split(",")[0] in f"{facts.expected} {facts.found}"
        assert str(facts.file).startswith("locked.bin")
        assert facts.todo
        assert on_disk(cache) == {"sources/tiny/locked.bin"}


def test_a_wrong_password_that_passes_the_check_byte_gives_no_file(mirror: Path, cache: Path) -> None:
    """ZipCrypto tells by one byte: of 256 wrong passwords about one goes on to unpack nonsense."""
    body = crypto_zip({"wanted": BODY})
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        tried = (f"wrong{number}" for number in range(20_000))
        passing = next(word for word in tried if _opens(archive, word))
    with pytest.raises(DataError) as caught:
        fetched(mirror, body, passing, "wanted")
    assert caught.value.facts.code == "archive-password"
    assert on_disk(cache) == {"sources/tiny/locked.bin"}


def _opens(archive: zipfile.ZipFile, password: str) -> bool:
    try:
        archive.open("wanted", pwd=password.encode()).close()
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize(("kind", "library"), [("WinZip AES-256", "pyzipper"), ("7zAES-256", "py7zr")])
def test_without_the_library_the_error_says_what_to_install(
    mirror: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str, library: str
) -> None:
    body = LOCKED[kind]({"wanted": BODY})
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr(sevenzips, "find_spec", lambda _: None)
    with pytest.raises(UsageError) as caught:
        fetched(mirror, body, PASSWORD, "wanted")
    assert (caught.value.facts.code, caught.value.exit_code) == ("backend-missing", 2)
    assert library in str(caught.value)
    assert "humanst[archives]" in str(caught.value.facts.todo)
    assert on_disk(cache) == {"sources/tiny/locked.bin"}


@pytest.mark.parametrize(("method", "name"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "LZMA")])
def test_a_compression_that_cannot_be_bounded_is_refused(tmp_path: Path, method: int, name: str) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("wanted", BODY)
    with pytest.raises(DataError) as caught:
        list(read_member(path, "wanted", name="a.zip"))
    assert (caught.value.facts.code, caught.value.facts.found) == ("archive-method", name)


def world_of(folder: Path, body: bytes, archives: dict[str, Any]) -> Path:
    """A catalog whose one file is a member of an encrypted archive."""
    folder.mkdir()
    (folder / "locked.zip").write_bytes(body)
    world = write_world(
        folder / "world",
        {"tiny": {"S1": {"counts": folder / "locked.zip"}}},
        {"tiny": ST_RECIPE},
        gene_sets=folder / "locked.zip",
    )
    path = world.folder / "catalog.yaml"
    content = yaml.safe_load(path.read_text())
    content["studies"]["tiny"]["sections"]["S1"]["files"]["counts"]["member"] = "wanted"
    content["studies"]["tiny"]["archives"] = archives
    path.write_text(yaml.safe_dump(content))
    return world.folder


ENTRY = {"password": PASSWORD, "password_source": "the README of the study's repository"}


def test_the_command_opens_it_with_the_password_of_the_catalog(tmp_path: Path) -> None:
    atlas = world_of(tmp_path / "a", crypto_zip({"wanted": BODY}), {"S1/locked.zip": ENTRY})
    counts = load_catalog(atlas / "catalog.yaml").study("tiny").section("S1").source("counts")
    assert counts is not None
    assert counts.password == PASSWORD
    cache = tmp_path / "cache"
    result = run_humanst("fetch", "tiny", "--json", atlas=atlas, cache=cache)
    assert result.returncode == 0, result.stderr
    assert BODY in [path.read_bytes() for path in (cache / "unpacked").rglob("wanted")]
    wrong = world_of(tmp_path / "b", seven_zip({"wanted": BODY}, "other"), {"S1/locked.zip": ENTRY})
    result = run_humanst("fetch", "tiny", "--json", atlas=wrong, cache=cache)
    assert result.returncode == 5, result.stderr
    assert [row["code"] for row in output_json(result)["failures"]] == ["archive-password"]


@pytest.mark.parametrize(
    ("archives", "field"),
    [
        ({"S1/other.zip": ENTRY}, "studies.tiny.archives.S1/other.zip"),
        ({"S1/locked.zip": {"password": PASSWORD}}, "studies.tiny.archives.S1/locked.zip.password_source"),
        ({"S1/locked.zip": {**ENTRY, "password": ""}}, "studies.tiny.archives.S1/locked.zip.password"),
    ],
    ids=["of no file", "seen nowhere", "empty"],
)
def test_a_password_belongs_to_a_file_and_says_where_it_was_seen(
    tmp_path: Path, archives: dict[str, Any], field: str
) -> None:
    path = world_of(tmp_path / "a", crypto_zip({"wanted": BODY}), archives) / "catalog.yaml"
    with pytest.raises(HumanstError) as caught:
        load_catalog(path)
    assert caught.value.facts.field == field
    findings = [item for item in check_catalog(path).findings if item.finding.facts.file == "catalog.yaml"]
    assert [item.finding.facts.field for item in findings] == [field]
    line = path.read_text().splitlines()[(findings[0].line or 0) - 1]
    assert line.strip().startswith(("S1/locked.zip:", "S1/other.zip:", "password:"))
