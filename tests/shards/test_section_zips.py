"""Section stores in a release: zips that hold the store as built, whose bytes say nothing of when or where."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import zarr
from click.testing import Result

from humanst.errors import IntegrityError
from humanst.shards.store_zips import ZipTask, zip_section
from tests.shards.conftest import SECTIONS, SHARD_PAIRS, Made, digests

Run = Callable[[Sequence[str]], Result]


def manifest_of(release: Path) -> dict[str, dict[str, Any]]:
    rows = json.loads((release / "MANIFEST.json").read_bytes())["sections"]
    return {row["sample_id"]: row for row in rows}


def zip_of(release: Path, sample_id: str) -> Path:
    return release / "sections" / f"{sample_id}.zarr.zip"


@pytest.mark.parametrize("sample_id", SECTIONS)
def test_a_zip_holds_the_store_as_built(made: Made, sample_id: str) -> None:
    store = made.work / "sections" / f"{sample_id}.zarr"
    with zipfile.ZipFile(zip_of(made.release, sample_id)) as archive:
        held = {info.filename: archive.read(info) for info in archive.infolist()}
    assert held == {
        path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*") if path.is_file()
    }
    row = manifest_of(made.release)[sample_id]
    assert row["store"]["n_files"] == len(held)
    assert row["store"]["n_bytes"] == sum(map(len, held.values()))
    card = json.loads(store.with_name(f"{store.name}.card.json").read_bytes())
    assert {key: row["store"][key] for key in ("inputs", "tree_sha256")} == {
        key: card[key] for key in ("inputs", "tree_sha256")
    }
    packed = zip_of(made.release, sample_id).stat().st_size
    assert row["store"]["bytes"] == packed < 1.05 * row["store"]["n_bytes"] + 100_000


def test_zarr_opens_a_zip_without_unpacking_it(made: Made) -> None:
    root = zarr.open_group(zarr.storage.ZipStore(zip_of(made.release, "demo_st_A1"), mode="r"), mode="r")
    table = anndata.io.read_zarr(root["tables/table"])
    stored = anndata.io.read_zarr(made.work / "sections" / "demo_st_A1.zarr" / "tables" / "table")
    assert (table.X != stored.X).nnz == 0
    assert table.n_obs == manifest_of(made.release)["demo_st_A1"]["spots_out"] > 50
    assert np.asarray(root["images/he/0" if "images/he/0" in root else "images/he/s0"][...]).any()


@pytest.mark.parametrize("sample_id", SECTIONS)
def test_nothing_in_a_zip_says_where_when_or_by_whom_it_was_made(made: Made, sample_id: str) -> None:
    path = zip_of(made.release, sample_id)
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        assert [info.filename for info in infos] == sorted(info.filename for info in infos)
        assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
        assert {(info.create_system, info.external_attr, info.extra, info.comment) for info in infos} == {
            (3, 0o100644 << 16, b"", b"")
        }
        assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
        texts = b"".join(archive.read(info) for info in infos if info.filename.endswith("zarr.json"))
    here = {str(made.atlas.parent), str(Path.home()), socket.gethostname()} - {"/", ""}
    if len(getpass.getuser()) > 4:
        here.add(getpass.getuser())
    assert [word for word in here if word.encode() in texts] == []


@pytest.fixture
def task(made: Made, tmp_path: Path) -> ZipTask:
    """The task of one section, with its store copied by another hand at another time."""
    store = made.work / "sections" / "demo_visium_v1_P1.zarr"
    copied = tmp_path / "work" / "sections" / store.name
    shutil.copytree(store, copied, copy_function=shutil.copyfile)
    for path in sorted(copied.rglob("*"), reverse=True):
        path.chmod(0o700)
        os.utime(path, (2e9, 2e9))
    card = json.loads(store.with_name(f"{store.name}.card.json").read_bytes())
    return ZipTask("demo_visium_v1_P1", card, tmp_path / "staging", tmp_path / "out", tmp_path / "work")


def test_dates_and_modes_of_files_leave_no_trace(task: ZipTask, made: Made) -> None:
    zipped = zip_section(task)
    assert zipped.path.read_bytes() == zip_of(made.release, task.sample_id).read_bytes()
    assert zipped.row == manifest_of(made.release)[task.sample_id]["store"]


def test_a_store_that_changed_after_its_patches_were_cut_is_not_packed(task: ZipTask) -> None:
    victim = task.work / "sections" / "demo_visium_v1_P1.zarr" / "tables" / "table" / "zarr.json"
    victim.write_bytes(victim.read_bytes().replace(b"zarr_format", b"zarr_formaT"))
    with pytest.raises(IntegrityError) as caught:
        zip_section(task)
    assert (caught.value.facts.code, caught.value.facts.section) == ("store-changed", "demo_visium_v1_P1")
    assert [path for root in (task.staging, task.work / "zips") for path in root.rglob("*") if path.is_file()] == []


def test_a_zip_that_is_there_is_found_and_a_damaged_one_is_written_again(task: ZipTask) -> None:
    first = zip_section(task)
    whole, inode = first.path.read_bytes(), first.path.stat().st_ino
    assert zip_section(task) == first
    assert first.path.stat().st_ino == inode
    first.path.write_bytes(whole[:-1] + b"\1")
    assert zip_section(task) == first
    assert first.path.read_bytes() == whole
    # The zip of an earlier release is taken over by name, if it is the same.
    task.earlier.mkdir()
    shutil.move(task.staging / "sections", task.earlier / "sections")
    linked = zip_section(task)
    assert linked.path.stat().st_ino == (task.earlier / task.name).stat().st_ino
    other = replace(task, store=dict(task.store) | {"inputs": "0" * 64})
    assert zip_section(other).row["inputs"] == "0" * 64, "a store of other inputs has a card of its own"


@pytest.fixture
def copied(made: Made, tmp_path: Path) -> Path:
    """The release and what was built for it, under second names."""
    shutil.copytree(made.release, tmp_path / "out", copy_function=os.link)
    shutil.copytree(made.work, tmp_path / "out.work", copy_function=os.link)
    return tmp_path / "out"


def test_another_release_of_the_same_sections_takes_over_their_zips(copied: Path, humanst_here: Run) -> None:
    before = {name: zip_of(copied, name).stat().st_ino for name in SECTIONS}
    arguments = ["build-shards", "-o", str(copied), "--workers", "1", "--shard-pairs", SHARD_PAIRS, "--seed", "5"]
    assert humanst_here(arguments).exception is None
    assert {name: zip_of(copied, name).stat().st_ino for name in SECTIONS} == before
    assert humanst_here([*arguments, "--sections", "demo_st_A1"]).exception is None
    assert sorted(path.name for path in (copied / "sections").iterdir()) == ["demo_st_A1.zarr.zip"]
    assert humanst_here(["verify", str(copied)]).exception is None


def test_a_build_into_a_folder_with_unpacked_stores_is_refused(copied: Path, humanst_here: Run) -> None:
    """Somebody may work with them."""
    (copied / "sections" / "demo_st_A1.zarr").mkdir()
    (copied / "sections" / "demo_st_A1.zarr" / "mine.txt").write_text("annotated")
    before = digests(copied)
    arguments = ["build-shards", "-o", str(copied), "--workers", "1", "--seed", "5"]
    assert getattr(humanst_here(arguments).exception, "exit_code", None) == 2
    assert digests(copied) == before


def test_with_images_is_what_stores_are_built_with(humanst_here: Run, tmp_path: Path) -> None:
    for name in ("--with-images", "--embed-image"):
        assert humanst_here(["plan", "-o", str(tmp_path / f"{name}.json"), name]).exception is None
        assert json.loads((tmp_path / f"{name}.json").read_bytes())["build"]["embed_image"] is True
