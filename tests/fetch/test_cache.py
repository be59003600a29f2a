"""Cache, stamps, folder mirrors, pins, offline, hostile names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from humanst import files
from humanst.catalog import Resource, load_catalog
from humanst.errors import HostileError, IntegrityError, NetworkError, NoRoomError, UsageError
from humanst.fetch import fetch_resource, fetch_section
from humanst.fetch.pins import PINS_NAME, read_pins, record_pin
from tests.fetch.conftest import BODY, NAME, on_disk, source, study
from tests.helpers import ROOT
from tests.server import FaultServer

OTHER = BODY[::-1]


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder mirror that holds the one file of the study."""
    folder = tmp_path / "mirror"
    (folder / "tiny" / NAME).parent.mkdir(parents=True)
    (folder / "tiny" / NAME).write_bytes(BODY)
    monkeypatch.setenv("HUMANST_MIRROR", str(folder))
    return folder


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_folder_mirror_serves_offline(mirror: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setenv("HUMANST_MIRROR", form.format(mirror))
    local = fetch_section(*study(source()))
    assert local.paths["counts"].read_bytes() == BODY
    assert local.names == {"counts": NAME}
    assert local.sha256 == {"counts": source().sha256}


def test_mirrors_are_taken_in_order(tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tmp_path / "first" / "tiny" / NAME
    first.parent.mkdir(parents=True)
    first.write_bytes(BODY)
    monkeypatch.setenv("HUMANST_MIRROR", f"{tmp_path / 'first'},{mirror}")
    fetch_section(*study(source(body=None)), pin=True)
    pins = json.loads((tmp_path / "cache" / PINS_NAME).read_text())["pins"]
    assert pins[f"tiny/{NAME}"]["origin"] == str(tmp_path / "first")


def test_wrong_file_in_a_mirror_is_refused(mirror: Path, cache: Path) -> None:
    (mirror / "tiny" / NAME).write_bytes(OTHER)
    with pytest.raises(IntegrityError) as caught:
        fetch_section(*study(source()))
    assert caught.value.facts.code == "hash-differs"
    assert on_disk(cache) == set()


@pytest.mark.parametrize("mirror_setting", ["ftp://host/x", "s3://bucket", "file://otherhost/x"])
def test_unusable_mirror_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, mirror_setting: str) -> None:
    monkeypatch.setenv("HUMANST_MIRROR", mirror_setting)
    with pytest.raises(UsageError, match="mirror"):
        fetch_section(*study(source()))


def test_unchanged_file_is_not_hashed_again(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_section(*study(source()))

    def hashed(path: Path) -> str:
        pytest.fail(f"hashed {path} again")

    monkeypatch.setattr(files, "sha256_file", hashed)
    assert fetch_section(*study(source())).paths["counts"].read_bytes() == BODY


def test_rot_in_the_cache_is_found_and_mended(mirror: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = fetch_section(*study(source())).paths["counts"]
    path.write_bytes(OTHER)
    os.utime(path, ns=(0, 0))
    assert fetch_section(*study(source())).paths["counts"].read_bytes() == BODY
    assert f"tiny/{NAME}" in caplog.text


def test_rot_without_a_place_to_mend_it_from_is_never_served(mirror: Path) -> None:
    path = fetch_section(*study(source())).paths["counts"]
    path.write_bytes(OTHER)
    (mirror / "tiny" / NAME).unlink()
    with pytest.raises(NetworkError):
        fetch_section(*study(source()))


def test_touched_file_with_right_bytes_is_kept(mirror: Path) -> None:
    path = fetch_section(*study(source())).paths["counts"]
    (mirror / "tiny" / NAME).unlink()
    os.utime(path, ns=(0, 0))
    assert fetch_section(*study(source())).paths["counts"] == path


def test_stale_stamp_of_another_record_is_not_believed(mirror: Path) -> None:
    fetch_section(*study(source()))
    (mirror / "tiny" / NAME).write_bytes(OTHER)
    assert fetch_section(*study(source(body=OTHER))).paths["counts"].read_bytes() == OTHER


def test_damaged_stamp_only_costs_a_hash(mirror: Path) -> None:
    path = fetch_section(*study(source())).paths["counts"]
    path.with_name(f"{path.name}.stamp").write_text("{")
    assert fetch_section(*study(source())).paths["counts"].read_bytes() == BODY


def test_offline_names_every_missing_file(mirror: Path) -> None:
    missing = [source("https://data.example.org/a", path=f"data/{name}.tsv", role=name) for name in ("spots", "image")]
    with pytest.raises(NetworkError) as caught:
        fetch_section(*study(source(), *missing, hosts=("data.example.org",)))
    facts = caught.value.facts
    assert (facts.code, caught.value.exit_code, facts.section) == ("offline", 7, "S1")
    assert facts.file == "data/spots.tsv, data/image.tsv"


def test_file_without_address_says_where_a_mirror_must_hold_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HUMANST_OFFLINE", "0")
    monkeypatch.setenv("HUMANST_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(NetworkError) as caught:
        fetch_section(*study(source()))
    assert caught.value.facts.code == "no-address"
    assert f"tiny/{NAME}" in str(caught.value)
    assert str(tmp_path / "nowhere") in str(caught.value)


def test_roles_choose_files(mirror: Path) -> None:
    other = source("https://data.example.org/a", path="data/image.tif", role="image")
    assert set(fetch_section(*study(source(), other), roles={"counts", "labels"}).paths) == {"counts"}


def test_unpinned_file_is_refused_and_named(mirror: Path, cache: Path) -> None:
    unpinned = [source(body=None), source(body=None, path="data/S1.txt", role="spots")]
    with pytest.raises(IntegrityError) as caught:
        fetch_section(*study(*unpinned))
    facts = caught.value.facts
    assert (facts.code, caught.value.exit_code) == ("unpinned", 6)
    assert facts.file == f"{NAME}, data/S1.txt"
    assert "--pin" in str(facts.todo)
    assert on_disk(cache) == set()


def test_pinned_once_then_checked(mirror: Path, cache: Path) -> None:
    made = study(source(body=None))
    fetch_section(*made, pin=True)
    assert fetch_section(*made).paths["counts"].read_bytes() == BODY
    (cache / "sources" / "tiny" / NAME).unlink()
    (mirror / "tiny" / NAME).write_bytes(OTHER)
    for pin in (False, True):
        with pytest.raises(IntegrityError) as caught:
            fetch_section(*made, pin=pin)
        assert caught.value.facts.code == "hash-differs"
    assert on_disk(cache) == {PINS_NAME}


def test_catalog_digest_goes_before_a_pin(mirror: Path) -> None:
    fetch_section(*study(source(body=None)), pin=True)
    with pytest.raises(IntegrityError):
        fetch_section(*study(source(body=OTHER)))


def test_html_page_is_never_pinned(server: FaultServer, online: None, cache: Path) -> None:
    made = study(source(server.url("html", NAME), body=None), hosts=(server.host,))
    with pytest.raises(IntegrityError) as caught:
        fetch_section(*made, pin=True)
    assert caught.value.facts.code == "html-page"
    assert on_disk(cache) == set()


def test_two_first_uses_that_disagree_are_an_error(cache: Path) -> None:
    record_pin(cache, "tiny/a", sha256="1" * 64, n_bytes=3, origin="here")
    record_pin(cache, "tiny/a", sha256="1" * 64, n_bytes=3, origin="there")
    with pytest.raises(IntegrityError, match="pinned"):
        record_pin(cache, "tiny/a", sha256="2" * 64, n_bytes=3, origin="there")


def test_unreadable_pins_are_not_taken_for_none(mirror: Path, cache: Path) -> None:
    cache.mkdir()
    (cache / PINS_NAME).write_text("{")
    with pytest.raises(IntegrityError) as caught:
        fetch_section(*study(source(body=None)), pin=True)
    assert caught.value.facts.code == "pins-unreadable"


@pytest.mark.parametrize(
    "name",
    ["../up", "a/../../up", "/abs", "C:/drive", "a\\..\\..\\up", "nul", "a/con.txt", "trail.", "a\x00b", "a\nb", ""],
)
def test_names_that_would_leave_the_cache(mirror: Path, tmp_path: Path, name: str) -> None:
    before = on_disk(tmp_path)
    with pytest.raises(HostileError):
        fetch_section(*study(source(path=name)))
    with pytest.raises(HostileError):
        fetch_section(*study(source(), study_id=name))
    assert on_disk(tmp_path) == before


def test_progress_counts_up_to_the_whole_file(mirror: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    fetch_section(*study(source()), progress=lambda *step: seen.append(step))
    assert seen[-1] == (f"tiny/{NAME}", len(BODY), len(BODY))


def test_leftovers_of_a_killed_fetch_are_swept(mirror: Path, cache: Path) -> None:
    folder = cache / "sources" / "tiny" / "data"
    folder.mkdir(parents=True)
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    partial = files.partial_path(folder / "S1.tsv")
    partial = partial.with_name(partial.name.replace(f"-{os.getpid()}-", f"-{dead.stdout.strip()}-"))
    partial.write_bytes(b"half")
    fetch_section(*study(source()))
    assert not partial.exists()


_CHILD = """
import contextlib, sys
from humanst import files
if sys.argv[1] == "unlocked":
    files.locked = lambda *args, **more: contextlib.nullcontext()
from humanst.fetch import fetch_section
from tests.fetch.conftest import BODY, NAME, source, study
made = study(source(sys.argv[2]), hosts=(sys.argv[3],))
print(fetch_section(*made).paths["counts"].read_bytes() == BODY)
"""


@pytest.mark.parametrize(("lock", "asked"), [("locked", 1), ("unlocked", 3)])
def test_processes_at_once_are_right_with_and_without_the_lock(
    server: FaultServer, online: None, cache: Path, lock: str, asked: int
) -> None:
    command = [sys.executable, "-c", _CHILD, lock, server.url("ok", NAME), server.host]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    children = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [child.communicate(timeout=60)[0].strip() for child in children] == ["True"] * 3
    assert 1 <= sum(server.hits.values()) <= asked
    assert on_disk(cache) == {f"sources/tiny/{NAME}"}


def test_resource_default_and_named_file(mirror: Path) -> None:
    resource = Resource("tiny", "Tiny", "CC0-1.0", NAME, (source(),))
    assert fetch_resource(resource).read_bytes() == BODY
    assert fetch_resource(resource, NAME).read_bytes() == BODY
    with pytest.raises(UsageError):
        fetch_resource(resource, "other.gmt")


def test_real_sections_and_resources_come_from_the_shared_folder(
    real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUMANST_MIRROR", str(real_data))
    catalog = load_catalog()
    her2st = catalog.study("her2st")
    for section_id in ("A1", "C3"):
        section = her2st.section(section_id)
        local = fetch_section(her2st, section)
        assert set(local.paths) == {source.role for source in section.sources}
        for role, path in local.paths.items():
            assert files.sha256_file(path) == files.sha256_file(real_data / "her2st" / local.names[role])
    hallmark = fetch_resource(catalog.resource("gene_sets"))
    assert len(hallmark.read_text().splitlines()) == 50
    with pytest.raises(IntegrityError, match="--pin"):
        fetch_section(her2st, her2st.section("A2"))


def test_of_two_that_pin_at_once_the_second_is_told(cache: Path) -> None:
    """Both looked before either had written: the later one must not put its hash in the place of the first."""
    record_pin(cache, "tiny/a", sha256="1" * 64, n_bytes=1, origin="one")
    record_pin(cache, "tiny/a", sha256="1" * 64, n_bytes=1, origin="another")
    with pytest.raises(IntegrityError) as caught:
        record_pin(cache, "tiny/a", sha256="2" * 64, n_bytes=1, origin="two")
    assert caught.value.facts.code == "pin-differs"
    assert read_pins(cache) == {"tiny/a": {"sha256": "1" * 64, "bytes": 1, "origin": "one"}}


def test_room_for_a_single_file_is_asked_for_first(mirror: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mirror / NAME).parent.mkdir(parents=True, exist_ok=True)
    (mirror / NAME).write_bytes(BODY)
    resource = Resource("tiny", "Tiny", "CC0-1.0", NAME, (source(),))
    usage = files.shutil.disk_usage("/")._replace(free=len(BODY) - 1)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(NoRoomError):
        fetch_resource(resource)
    assert on_disk(cache) == set()
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage._replace(free=len(BODY)))
    assert fetch_resource(resource).read_bytes() == BODY
