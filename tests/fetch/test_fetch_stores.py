"""Section stores of a release: fetched, unpacked beside their zips, verified; hostile zips place nothing."""

from __future__ import annotations

import json
import os
import shutil
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from humanst.cli import humanst
from humanst.cli.output import run_and_exit
from humanst.errors import HumanstError
from humanst.shards.unpack import unpack_stores
from humanst.shards.verify import verify_release
from tests.fetch.small_release import SECTIONS, sha, store_files, write_head, write_release, write_store

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("fetch-stores")

Command = Callable[..., tuple[int, dict[str, Any]]]
ALL = ["--accept-license", "CC-BY-NC-4.0", "--with-sections"]
TABLE = "tables/table/obs"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    path = tmp_path_factory.mktemp("stores") / "release"
    write_release(path)
    return path


@pytest.fixture
def command(release: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """``humanst fetch atlas --json`` of the release in its folder."""

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        with pytest.raises(SystemExit) as ended:
            run_and_exit(humanst, ["fetch", "atlas", "--json", "--release", str(release), *arguments])
        return int(ended.value.code or 0), json.loads(capsys.readouterr().out or "{}")

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rows_of(release: Path) -> dict[str, dict[str, Any]]:
    rows = json.loads((release / "MANIFEST.json").read_bytes())["sections"]
    return {row["sample_id"]: row for row in rows}


def test_stores_are_unpacked_beside_their_zips(command: Command, release: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command(*ALL, "-o", str(out))[0] == 0
    for sample, row in rows_of(release).items():
        folder = out / "sections" / f"{sample}.zarr"
        assert contents(folder) == store_files(sample, row["spots_out"])
        assert json.loads(folder.with_name(f"{sample}.zarr.card.json").read_bytes()) == {
            "schema": "humanst.section-card/1",
            "sample_id": sample,
            **{key: row["store"][key] for key in ("inputs", "n_files", "n_bytes", "tree_sha256")},
        }
    assert (out / "SHA256SUMS").read_bytes() == (release / "SHA256SUMS").read_bytes()
    assert not verify_release(out).findings.refused
    assert command(*ALL, "-o", str(out))[1]["already"] is True


def test_what_is_not_unpacked_yet_is_unpacked_and_what_somebody_changed_stays(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command(*ALL, "-o", str(out))[0] == 0
    whole = contents(out)
    # A run that was killed: one store without its card, one that is not there, one half written aside.
    (out / "sections" / "open_A1.zarr.card.json").unlink()
    shutil.rmtree(out / "sections" / "open_B1.zarr")
    partial = out / "sections" / f".open_B1.zarr.partial-{os.uname().nodename}-999999999-00000000"
    (partial / "tables").mkdir(parents=True)
    (partial / "zarr.json").write_text("{")
    code, result = command(*ALL, "-o", str(out))
    assert (code, result["already"]) == (0, False)
    assert contents(out) == whole
    mine = out / "sections" / "open_D1.zarr" / "my_labels.json"
    mine.write_text("months of work")
    code, error = command(*ALL, "-o", str(out))
    assert (code, error["code"], error["section"]) == (2, "store-changed", "open_D1")
    assert mine.read_text() == "months of work"
    found = verify_release(out).findings.to_list()
    assert [(row["code"], row["file"]) for row in found] == [("store", "sections/open_D1.zarr")]
    (out / "MANIFEST.json").unlink()
    assert command(*ALL, "-o", str(out))[0] == 2, "interrupted elsewhere, it is looked at all the same"
    mine.unlink()
    assert command(*ALL, "-o", str(out))[0] == 0
    assert contents(out) == whole


def test_a_part_takes_the_stores_of_its_sections_later_too(command: Command, tmp_path: Path) -> None:
    part = ["--sections", "open_A1,open_D1"]
    assert command(*part, "-o", str(tmp_path / "later"))[0] == 0
    assert not (tmp_path / "later" / "sections").exists()
    assert not any("store" in row for row in rows_of(tmp_path / "later").values())
    for name in ("later", "at once"):
        assert command(*part, "--with-sections", "-o", str(tmp_path / name))[0] == 0
    assert contents(tmp_path / "later") == contents(tmp_path / "at once")
    assert sorted(path.name for path in (tmp_path / "later" / "sections").glob("*.zarr")) == [
        "open_A1.zarr",
        "open_D1.zarr",
    ]
    manifest = json.loads((tmp_path / "later" / "MANIFEST.json").read_bytes())
    assert manifest["totals"]["store_bytes"] == sum(
        path.stat().st_size for path in (tmp_path / "later").glob("sections/*.zip")
    )
    assert not verify_release(tmp_path / "later").findings.refused
    code, error = command(*part, "-o", str(tmp_path / "later"))
    assert (code, error["code"]) == (2, "other-release"), "nothing that is there is taken away"


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


# Members behind those of a right store, and the code that refuses the zip.
HOSTILE: dict[str, tuple[list[zipfile.ZipInfo | str], str]] = {
    "above": (["../../outside"], "hostile"),
    "absolute": (["/outside/file"], "hostile"),
    "drive": (["C:/outside"], "hostile"),
    "backslash": (["..\\outside"], "hostile"),
    "link": ([link("tables/etc")], "unsafe-member"),
    "folder": (["tables/empty/"], "unsafe-member"),
    "twice": (["zarr.json"], "member-twice"),
    "case": (["ZARR.json"], "member-twice"),
    "in the place of a folder": (["tables/table"], "unsafe-member"),
    "too many": (["more", "and more"], "archive-members"),
}


def hostile_release(folder: Path, extra: list[zipfile.ZipInfo | str], **about: int) -> dict[str, Any]:
    """A manifest of one section and the zip it promises, but for members that no store of ours has."""
    row = write_store(folder, "open_A1", 5)
    path = folder / row["path"]
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore", UserWarning)
        for member in extra:
            archive.writestr(member, b"bad")
    row |= {"bytes": path.stat().st_size, "sha256": sha(path.read_bytes()), **about}
    return {"sections": [{"sample_id": "open_A1", "study_id": "open", "store": row}]}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_zip_places_nothing(name: str, tmp_path: Path) -> None:
    extra, code = HOSTILE[name]
    count = 4 if name == "too many" else 4 + len(extra)
    manifest = hostile_release(tmp_path / "release", extra, n_files=count, n_bytes=1 << 20)
    before = contents(tmp_path)
    with pytest.raises(HumanstError) as caught:
        unpack_stores(tmp_path / "release", manifest)
    assert (caught.value.exit_code, caught.value.facts.code) == (8, code)
    assert caught.value.facts.section == "open_A1"
    assert contents(tmp_path) == before
    assert [path.name for path in (tmp_path / "release" / "sections").iterdir()] == ["open_A1.zarr.zip"]


def test_a_zip_of_more_or_of_other_bytes_than_promised_places_nothing(tmp_path: Path) -> None:
    more = hostile_release(tmp_path / "more", ["extra"], n_files=5)
    other = hostile_release(tmp_path / "other", ["extra"], n_files=5, n_bytes=1 << 30)
    damaged = hostile_release(tmp_path / "damaged", [])
    path = tmp_path / "damaged" / "sections" / "open_A1.zarr.zip"
    path.write_bytes(path.read_bytes().replace(b"open_A1open_A1", b"open_A1Open_A1", 1))
    for folder, manifest, code in (
        ("more", more, (8, "archive-bomb")),
        ("other", other, (6, "store-changed")),
        ("damaged", damaged, (6, "archive-cut")),
    ):
        with pytest.raises(HumanstError) as caught:
            unpack_stores(tmp_path / folder, manifest)
        assert (caught.value.exit_code, caught.value.facts.code) == code
        assert [found.name for found in (tmp_path / folder / "sections").iterdir()] == ["open_A1.zarr.zip"]


@pytest.fixture
def forged(release: Path, tmp_path: Path) -> Callable[[Callable[[Path, dict[str, Any]], None]], list[str]]:
    """Change a release, make its sums and its manifest fit, and verify it; gives the fields that are found wrong."""

    def forge(change: Callable[[Path, dict[str, Any]], None]) -> list[str]:
        folder = tmp_path / "forged"
        shutil.copytree(release, folder)
        manifest = json.loads((folder / "MANIFEST.json").read_bytes())
        row = next(row for row in manifest["sections"] if row["sample_id"] == "open_A1")
        change(folder, row)
        write_head(folder, manifest["splits"], manifest["sections"])
        found = verify_release(folder)
        with pytest.raises(HumanstError) as caught:
            found.raise_if_bad()
        assert caught.value.exit_code == 6
        assert {finding.facts.code for finding in found.findings} <= {"store", "missing-file"}
        return sorted({str(finding.facts.field or finding.facts.what) for finding in found.findings})

    return forge


def rezipped(folder: Path, row: dict[str, Any], **members: bytes) -> None:
    """A zip of other members, with a record whose size and hash fit, but not the digest of the tree."""
    tree = row["store"]["tree_sha256"]
    row["store"] = write_store(folder, "open_A1", row["spots_out"], **members) | {"tree_sha256": tree}


def test_verify_finds_a_store_that_is_not_the_one_that_was_built(forged: Any) -> None:
    def swap(folder: Path, row: dict[str, Any]) -> None:
        rezipped(folder, row, **{f"{TABLE}/spot_id/c/0": b"other spots"})

    assert forged(swap) == ["store.tree_sha256"]


def test_verify_finds_a_table_of_other_spots(forged: Any) -> None:
    def cut(folder: Path, row: dict[str, Any]) -> None:
        shape = json.dumps({"node_type": "array", "shape": [row["spots_out"] - 1]}).encode()
        row["store"] = write_store(folder, "open_A1", row["spots_out"], **{f"{TABLE}/spot_id/zarr.json": shape})

    assert forged(cut) == ["spots in the table"]


def test_verify_finds_the_store_of_another_section(forged: Any) -> None:
    def swap(folder: Path, row: dict[str, Any]) -> None:
        about = {"attributes": {"humanst": {"sample_id": "open_B1", "spots_out": row["spots_out"], "counts_out": 900}}}
        row["store"] = write_store(folder, "open_A1", row["spots_out"], **{"zarr.json": json.dumps(about).encode()})

    assert forged(swap) == ["sample_id"]


@pytest.mark.parametrize("name", ["../outside", "/outside/file", "a//b"])
def test_verify_finds_members_that_are_not_below_the_store(forged: Any, name: str) -> None:
    def add(folder: Path, row: dict[str, Any]) -> None:
        row["store"] = write_store(folder, "open_A1", row["spots_out"], **{name: b"bad"})

    assert forged(add) == ["store"]


def test_verify_finds_a_zip_that_is_none_one_that_is_missing_and_one_too_many(forged: Any) -> None:
    def change(folder: Path, row: dict[str, Any]) -> None:
        path = folder / row["store"]["path"]
        path.write_bytes(b"PK, but this is no zip archive at all")
        row["store"] |= {"bytes": path.stat().st_size, "sha256": sha(path.read_bytes())}
        (folder / "sections" / "open_B1.zarr.zip").rename(folder / "sections" / "gone_B9.zarr.zip")

    assert forged(change) == [
        "The store of a section is missing",
        "The store of a section that is not in the release",
        "The zip of a section store cannot be read",
    ]


def test_verify_finds_strangers_in_the_place_of_unpacked_stores(release: Path, tmp_path: Path) -> None:
    shutil.copytree(release, tmp_path / "out")
    for name in ("nobody_A1.zarr/zarr.json", "notes.txt"):
        (tmp_path / "out" / "sections" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / "sections" / name).write_text("{}")
    found = verify_release(tmp_path / "out").findings.to_list()
    assert [(row["code"], row["file"]) for row in found] == [
        ("stranger", "sections/nobody_A1.zarr/zarr.json"),
        ("stranger", "sections/notes.txt"),
    ]
    assert len(SECTIONS) == len(rows_of(release)) == 4
