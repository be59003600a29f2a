"""Caches of others, stamps, `humanst cache`, the dry run, lists of addresses, and addresses beyond http."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from humanst import files
from humanst.errors import HostileError, NetworkError, UsageError
from humanst.fetch import fetch_section
from humanst.fetch.backends import resolved_url
from humanst.fetch.cached import cached_owners, collect_garbage, damaged_files, remove_owner
from humanst.fetch.jobs import plan
from humanst.fetch.local import wanted_files
from humanst.settings import settings
from tests.fetch.conftest import BODY, NAME, on_disk, source, study
from tests.helpers import output_json, run_humanst
from tests.server import FaultServer


@pytest.fixture
def filled(tmp_path: Path, cache: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that has the file, while no mirror does any more."""
    (mirror / NAME).parent.mkdir(parents=True, exist_ok=True)
    (mirror / NAME).write_bytes(BODY)
    fetch_section(*study(source()))
    shutil.rmtree(mirror)
    return cache


@pytest.fixture
def shared(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as somebody else's, read-only, beside an empty cache of our own."""
    theirs = tmp_path / "theirs"
    filled.rename(theirs)
    monkeypatch.setenv("HUMANST_SHARED_CACHE", f"{tmp_path / 'gone'},{theirs}")
    return theirs


def listing(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def no_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    def hashed(*_: object) -> str:
        pytest.fail("a file was hashed")

    monkeypatch.setattr(files, "sha256_file", hashed)
    monkeypatch.setattr(hashlib, "file_digest", hashed)


@pytest.mark.parametrize("stamped", [True, False])
def test_shared_cache_is_used_in_place_and_never_written(
    shared: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, stamped: bool
) -> None:
    if not stamped:
        (shared / "sources" / "tiny" / f"{NAME}.stamp").unlink()
    before = listing(shared)
    assert fetch_section(*study(source())).paths["counts"] == shared / "sources" / "tiny" / NAME
    no_hashing(monkeypatch)
    assert fetch_section(*study(source())).paths["counts"] == shared / "sources" / "tiny" / NAME
    assert listing(shared) == before
    assert on_disk(cache) == set()


def test_wrong_file_in_a_shared_cache_is_passed_by(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    (shared / "sources" / "tiny" / NAME).write_bytes(BODY[::-1])
    with pytest.raises(NetworkError):
        fetch_section(*study(source()))
    assert str(shared) in caplog.text


def test_second_call_hashes_nothing_where_the_record_is_md5(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mirror / NAME).parent.mkdir(parents=True, exist_ok=True)
    (mirror / NAME).write_bytes(BODY)
    fetch_section(*study(source(md5=True)))
    no_hashing(monkeypatch)
    assert fetch_section(*study(source(md5=True))).paths["counts"].read_bytes() == BODY


def test_files_and_folders_can_be_read_by_the_group(mirror: Path, cache: Path) -> None:
    (mirror / NAME).parent.mkdir(parents=True, exist_ok=True)
    (mirror / NAME).write_bytes(BODY)
    cache.mkdir(mode=0o700)
    before = os.umask(0o077)
    try:
        path = fetch_section(*study(source())).paths["counts"]
    finally:
        os.umask(before)
    for entry in (path, path.with_name(f"{path.name}.stamp"), path.parent, path.parent.parent, cache / "sources"):
        assert entry.stat().st_mode & stat.S_IRGRP, entry
        assert not entry.stat().st_mode & stat.S_IRWXO, entry
    assert cache.stat().st_mode & 0o777 == 0o700, "whose cache it is decides on its folder"


def test_cache_ls_and_rm(filled: Path) -> None:
    assert [(owner.owner_id, owner.n_files, owner.n_bytes) for owner in cached_owners(filled)] == [
        ("tiny", 1, len(BODY))
    ]
    with pytest.raises(HostileError):
        remove_owner(filled, "../tiny")
    with pytest.raises(HostileError):
        remove_owner(filled, "tiny/data")
    assert remove_owner(filled, "tiny") >= len(BODY)
    assert cached_owners(filled) == []


def test_verify_finds_rot_that_size_and_time_hide(filled: Path) -> None:
    path = filled / "sources" / "tiny" / NAME
    assert damaged_files(filled) == (1, [])
    times = path.stat().st_mtime_ns
    path.write_bytes(bytes([BODY[0] ^ 1]) + BODY[1:])
    os.utime(path, ns=(times, times))
    n_files, damaged = damaged_files(filled)
    assert (n_files, [error.facts.file for error in damaged]) == (1, [f"tiny/{NAME}"])
    with pytest.raises(NetworkError):
        fetch_section(*study(source()))


def test_gc_removes_what_nobody_needs_and_nothing_else(filled: Path) -> None:
    folder = filled / "sources" / "tiny" / "data"
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    host = files._host()
    for name in (".a.part", f".b.part-{host}-{dead.stdout.strip()}-01234567", f".c.part-{host}-{os.getpid()}-01234567"):
        (folder / name).mkdir()
        (folder / name / "data").write_bytes(b"12345")
    sha256 = hashlib.sha256(BODY).hexdigest()
    for name in (sha256, "f" * 64):
        (filled / "unpacked" / name / "plain").mkdir(parents=True)
        (filled / "unpacked" / name / "plain" / "x").write_bytes(b"1234567")
    found = collect_garbage(filled)
    assert (found.n_entries, found.n_bytes) == (3, 5 + 5 + 7)
    assert sorted(path.name for path in folder.glob(".*part*")) == [f".c.part-{host}-{os.getpid()}-01234567"]
    assert [path.name for path in (filled / "unpacked").iterdir()] == [sha256]
    assert (folder / "S1.tsv").read_bytes() == BODY


def test_plan_counts_what_is_here_shared_and_begun(filled: Path, tmp_path: Path) -> None:
    part = filled / "sources" / "tiny" / "data" / ".two.part"
    part.mkdir()
    (part / "data").write_bytes(BODY[:100])
    others = [
        source("https://data.example.org/2", path="data/two", role="spots"),
        source("https://data.example.org/3", body=None, path="data/three", role="image"),
    ]
    planned = plan(wanted_files(*study(source(), *others, hosts=("data.example.org",)), pin=True), settings())
    assert [(item.state, item.bytes, item.missing_bytes, item.pinned) for item in planned] == [
        ("cached", len(BODY), 0, True),
        ("missing", len(BODY), len(BODY) - 100, True),
        ("missing", None, None, False),
    ]


def test_dry_run_and_cache_commands(demo_atlas: Path, tmp_path: Path) -> None:
    cache = tmp_path / "own"
    mirror = demo_atlas / "mirror"
    whole = sum(path.stat().st_size for path in (mirror / "demo_st").rglob("*") if path.is_file())
    options: dict[str, Any] = {"atlas": demo_atlas, "cache": cache}
    dry = output_json(run_humanst("fetch", "demo_st", "--dry-run", "--json", **options))
    assert (dry["fetch_bytes"], dry["cached_files"], dry["unknown_size_files"]) == (whole, 0, 0)
    assert dry["free_bytes"] > 0
    assert not cache.exists(), "a dry run writes nothing"
    assert run_humanst("fetch", "demo_st", "--jobs", "2", **options).returncode == 0
    dry = output_json(run_humanst("fetch", "demo_st", "--dry-run", "--json", **options))
    assert (dry["fetch_bytes"], dry["missing_files"], dry["cached_files"]) == (0, 0, dry["n_files"])
    listed = output_json(run_humanst("cache", "ls", "--json", **options))
    assert (listed["bytes"], [row["id"] for row in listed["owners"]]) == (whole, ["demo_st"])
    rotten = next(path for path in (cache / "sources" / "demo_st").rglob("*") if path.suffix == ".gz")
    rotten.write_bytes(b"rot")
    assert run_humanst("cache", "verify", **options).returncode == 6
    assert run_humanst("cache", "rm", **options).returncode == 2
    assert run_humanst("cache", "rm", "nothing", **options).returncode == 2
    assert output_json(run_humanst("cache", "rm", "demo_st", "--json", **options))["removed"] == ["demo_st"]
    assert output_json(run_humanst("cache", "gc", "--json", **options)) == {
        "schema": "humanst.cache-gc/1",
        "entries": 0,
        "bytes": 0,
    }


def test_lists_of_addresses_fill_a_mirror(tmp_path: Path) -> None:
    """What aria2 and curl are told to write is what a folder mirror holds."""
    arguments = ("fetch", "her2st", "--sections", "A1", "--list-urls")
    rows = output_json(run_humanst(*arguments, "--json", cache=tmp_path / "c"))
    assert rows["without_address_files"] == 1
    urls = [row["url"] for row in rows["urls"]]
    assert len(urls) == 3
    assert all(url.startswith("https://") for url in urls)
    assert run_humanst(*arguments, cache=tmp_path / "c").stdout.split() == urls
    aria2 = run_humanst(*arguments, "--url-format", "aria2", cache=tmp_path / "c").stdout.splitlines()
    first = rows["urls"][0]
    assert aria2[:3] == [first["url"], f"  out={first['path']}", f"  checksum=sha-256={first['sha256']}"]
    curl = run_humanst(*arguments, "--url-format", "curl", cache=tmp_path / "c").stdout.splitlines()
    assert curl[:2] == [f'url = "{first["url"]}"', f'output = "{first["path"]}"']
    assert first["path"].startswith("her2st/data/")


class TestBackends:
    def test_hf_address_is_fetched_like_any_other(
        self, server: FaultServer, online: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("huggingface_hub")
        monkeypatch.setenv("HF_ENDPOINT", f"http://{server.host}")
        url = "hf://datasets/lab/tissue@v1/data/S1.tsv"
        assert resolved_url(url) == f"http://{server.host}/datasets/lab/tissue/resolve/v1/data/S1.tsv"
        with pytest.raises(HostileError):
            fetch_section(*study(source(url), hosts=("huggingface.co",)))
        with pytest.raises(NetworkError) as caught:
            fetch_section(*study(source(url), hosts=(server.host,)))
        assert caught.value.facts.code == "not-found"
        assert list(server.hits) == ["/datasets/lab/tissue/resolve/v1/data/S1.tsv"]

    def test_s3_address_is_read_through_fsspec(
        self, tmp_path: Path, online: None, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fsspec = pytest.importorskip("fsspec")
        from fsspec.implementations.memory import MemoryFileSystem

        class Store(MemoryFileSystem):  # type: ignore[misc]
            protocol = "s3"
            store: dict[str, Any] = {}  # noqa: RUF012
            pseudo_dirs = [""]  # noqa: RUF012

            @classmethod
            def _strip_protocol(cls, path: str) -> str:
                return str(super()._strip_protocol(path.replace("s3://", "memory://")))

        known = dict(fsspec.registry)
        fsspec.register_implementation("s3", Store, clobber=True)
        try:
            with Store().open("/bucket/S1.tsv", "wb") as handle:
                handle.write(BODY)
            made = study(source("s3://bucket/S1.tsv"), hosts=("s3://bucket",))
            with pytest.raises(HostileError):
                fetch_section(*study(source("s3://bucket/S1.tsv"), hosts=("bucket",)))
            assert fetch_section(*made).paths["counts"].read_bytes() == BODY
            with pytest.raises(NetworkError) as caught:
                fetch_section(*study(source("s3://bucket/other", path="x"), hosts=("s3://bucket",)))
            assert caught.value.facts.code == "not-found"
        finally:
            fsspec.register_implementation("s3", known.get("s3", "s3fs.S3FileSystem"), clobber=True)

    @pytest.mark.parametrize(
        ("url", "module"), [("hf://datasets/a/b@c/d", "huggingface_hub"), ("s3://bucket/key", "fsspec")]
    )
    def test_without_the_library_the_refusal_says_what_to_install(
        self, online: None, monkeypatch: pytest.MonkeyPatch, url: str, module: str
    ) -> None:
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UsageError) as caught:
            fetch_section(*study(source(url), hosts=("huggingface.co", "s3://bucket")))
        assert f"pip install {module}" in str(caught.value)

    def test_offline_asks_no_store(self) -> None:
        with pytest.raises(NetworkError) as caught:
            fetch_section(*study(source("s3://bucket/key"), hosts=("s3://bucket",)))
        assert caught.value.facts.code == "offline"


def test_an_unfinished_download_of_a_living_process_is_left_alone(cache: Path) -> None:
    path = cache / "x"
    with files.write_part(path) as part:
        part.remember({"url": "a"})
        part.write(b"first")
        with files.write_part(path) as other:
            assert other.take_up() == 0
            other.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert [entry.name for entry in cache.iterdir()] == ["x"]
    assert json.dumps(part.note) == '{"url": "a"}'
