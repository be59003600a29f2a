"""Pairs of releases that lie at an address, over a loopback server that cuts connections."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from humanst.errors import DataError, HumanstError, IntegrityError, NetworkError, UsageError
from humanst.load import PairDataset, PairStream, dataloader, open_release
from tests.server import FaultServer, serving


@pytest.fixture
def server(uneven_release: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FaultServer]:
    monkeypatch.setenv("HUMANST_OFFLINE", "0")
    monkeypatch.setenv("HUMANST_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HUMANST_ALLOW_LOOPBACK_HTTP", "1")
    with serving() as server:
        for path in sorted(uneven_release.path.rglob("*")):
            if path.is_file():
                server.bodies[f"r/{path.relative_to(uneven_release.path).as_posix()}"] = path.read_bytes()
        yield server


@pytest.mark.parametrize(("fault", "workers"), [("ok", 2), ("resume", 0), ("no-range", 2)])
def test_every_pair_comes_once_though_connections_are_cut(
    torch: ModuleType, server: FaultServer, uneven_release: Any, fault: str, workers: int
) -> None:
    loader = dataloader(server.url(fault, "r"), 4, workers=workers, stream=True, seed=2)
    here = dataloader(uneven_release.path, 4, workers=0, stream=True, seed=2)
    for _ in range(2):
        batches = [batch["key"] for batch in loader]
        assert batches == [batch["key"] for batch in here]
        assert sorted(key for batch in batches for key in batch) == sorted(uneven_release.keys["train"])
    asked = {path: n for path, n in server.hits.items() if path.endswith(".tar")}
    assert len(asked) == 7
    assert set(asked.values()) == {1 if fault == "ok" else 2}, "each shard is fetched once, for both epochs and workers"


def test_a_shard_is_fetched_when_it_is_needed_and_the_next_one_meanwhile(
    server: FaultServer, uneven_release: Any
) -> None:
    stream = PairStream(server.url("ok", "r"), "train", shuffle=False, batch_size=2)
    assert not any(path.endswith(".tar") for path in server.hits)
    pairs = iter(stream)
    assert next(pairs)["key"] == uneven_release.keys["train"][0]
    asked = {path.rsplit("/", 1)[-1] for path in server.hits if path.endswith(".tar")}
    assert {"train-00000.tar"} <= asked <= {f"train-0000{n}.tar" for n in range(3)}
    assert PairDataset(server.url("ok", "r"), "train")[40]["key"] == uneven_release.keys["train"][40]


def test_what_is_not_the_bytes_on_record_is_never_read(server: FaultServer, uneven_release: Any) -> None:
    name = "r/data/train/train-00003.tar"
    server.bodies[name] = bytes(len(server.bodies[name]))
    seen = []
    with pytest.raises(IntegrityError, match=r"train-00003\.tar"):
        seen.extend(pair["key"] for pair in PairStream(server.url("ok", "r"), "train", shuffle=False, batch_size=1))
    assert seen == uneven_release.keys["train"][:23]


def test_a_manifest_is_believed_by_its_hash_or_as_it_first_came(server: FaultServer, uneven_release: Any) -> None:
    digest = hashlib.sha256((uneven_release.path / "MANIFEST.json").read_bytes()).hexdigest()
    address = server.url("ok", "r")
    with pytest.raises(IntegrityError):
        open_release(address, manifest_sha256="0" * 64)
    assert open_release(address, manifest_sha256=digest).version == "0.0.1"
    assert open_release(f"{address}/MANIFEST.json").version == "0.0.1"


def test_offline_says_so_and_what_is_here_still_reads(
    server: FaultServer, uneven_release: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = server.url("ok", "r")
    keys = [pair["key"] for pair in PairStream(address, "train")]
    monkeypatch.setenv("HUMANST_OFFLINE", "1")
    assert [pair["key"] for pair in PairStream(address, "train")] == keys
    with pytest.raises(NetworkError):
        open_release(server.url("ok", "other"))


def test_a_folder_may_be_given_as_an_address(uneven_release: Any) -> None:
    pairs = PairStream(uneven_release.path.as_uri(), "train", shuffle=False)
    assert [pair["key"] for pair in pairs] == uneven_release.keys["train"]
    with pytest.raises(DataError, match="not a release"):
        open_release((uneven_release.path / "data").as_uri())


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/r", "pipe://cat", "file://elsewhere/r", "http://"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(HumanstError) as caught:
        open_release(address)
    assert isinstance(caught.value, UsageError | NetworkError)
