"""``humanst fetch atlas`` over loopback: the release byte for byte, or exactly the pairs asked for, nothing wrong."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from humanst.catalog import load_catalog
from humanst.cli import humanst
from humanst.cli.output import run_and_exit
from humanst.errors import DataError
from humanst.shards.seal import document_names
from humanst.shards.verify import verify_release
from tests.cli.test_json import keep_promise
from tests.fetch.small_release import SECTIONS, pairs_of, sha, write_head, write_release
from tests.helpers import ROOT
from tests.server import FaultServer, serving

Command = Callable[..., tuple[int, dict[str, Any]]]
FEW = "n_counts in (1001, 1009, 1013, 1027) and disease == 'normal'"
FEW_KEYS = ["open_A1_1x7", "open_A1_13x7", "open_A1_27x7"]
ALL = ["--accept-license", "CC-BY-NC-4.0", "--with-sections"]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    path = tmp_path_factory.mktemp("release") / "1.2.3"
    write_release(path)
    return path


@pytest.fixture
def served(release: Path) -> Iterator[FaultServer]:
    """The release at ``/<fault>/atlas/1.2.3``; a test may change the bodies."""
    with serving() as server:
        for path in release.rglob("*"):
            if path.is_file():
                server.bodies[f"atlas/1.2.3/{path.relative_to(release).as_posix()}"] = path.read_bytes()
        yield server


def catalog(folder: Path, server: FaultServer, manifest: bytes, fault: str = "ranges") -> Path:
    """A catalog with one release on record."""
    entry = {
        "url": "https://nowhere.invalid/atlas/1.2.3",
        "manifest_sha256": sha(manifest),
        "hosts": [server.host],
        "license": "CC0-1.0",
        "bytes": None,
    }
    content = {"schema": "humanst.catalog/1", "studies": {}, "resources": {}, "releases": {"1.2.3": entry}}
    folder.mkdir(exist_ok=True)
    (folder / "catalog.yaml").write_text(yaml.safe_dump(content))
    return folder / "catalog.yaml"


@pytest.fixture
def command(
    release: Path,
    served: FaultServer,
    online: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """``humanst fetch atlas --json`` of the release on record, by way of a mirror that answers with ``fault``."""
    path = catalog(tmp_path / "record", served, (release / "MANIFEST.json").read_bytes())

    def run(*arguments: str, fault: str | None = "ranges", **environment: str) -> tuple[int, dict[str, Any]]:
        monkeypatch.setenv("HUMANST_CATALOG", str(path))
        monkeypatch.setenv("HUMANST_MIRROR", f"http://{served.host}/{fault}" if fault else "")
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            run_and_exit(humanst, ["fetch", "atlas", "--json", *arguments])
        return int(ended.value.code or 0), json.loads(capsys.readouterr().out or "{}")

    return run


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha(path.read_bytes()) for path in files}


def packed(folder: Path) -> dict[str, str]:
    """Path -> sha256 of all but the unpacked section stores."""
    return {name: digest for name, digest in digests(folder).items() if not re.search(r"\.zarr[/.](?!zip$)", name)}


def shard_bytes(server: FaultServer, below: str = "/") -> int:
    return sum(n for path, n in server.sent.items() if path.startswith(below) and path.endswith(".tar"))


def few_bytes(release: Path) -> int:
    """From the first byte of the jpg to the last of the npy of the few pairs, which lie far apart."""
    rows = {row["key"]: row for row in pq.read_table(release / "index/train.parquet").to_pylist()}
    return sum(rows[key]["npy_offset"] + rows[key]["npy_length"] - rows[key]["jpg_offset"] for key in FEW_KEYS)


def test_all_of_a_release_is_the_release(command: Command, release: Path, served: FaultServer, cache: Path) -> None:
    code, plan = command("--dry-run", *ALL)
    assert code == 0
    keep_promise("fetch atlas --dry-run", plan)
    tars = sum(path.stat().st_size for path in release.rglob("*.tar"))
    assert plan["everything"]
    assert plan["fetch_bytes"] == plan["whole_bytes"] == tars > plan["ranged_bytes"]
    assert plan["n_files"] == len(digests(release))
    assert {row["license"]: row["items"] for row in plan["licenses"]} == {"CC0-1.0": 4, "CC-BY-NC-4.0": 1}
    assert shard_bytes(served) == 0
    code, result = command(*ALL)
    assert code == 0
    keep_promise("fetch atlas", result)
    output = cache / "releases" / "1.2.3"
    assert result["output"] == str(output)
    assert plan["store_bytes"] == sum(path.stat().st_size for path in release.rglob("*.zarr.zip"))
    assert packed(output) == digests(release)
    assert not verify_release(output).findings.refused
    assert shard_bytes(served) == tars
    asked = sum(served.hits.values())
    code, result = command(*ALL)
    assert (code, result["already"]) == (0, True)
    assert sum(served.hits.values()) == asked, "a second call asks for nothing"
    (output / "data/val/val-00000.tar").write_bytes(b"damaged")
    code, result = command(*ALL)
    assert (code, result["already"]) == (0, False)
    assert packed(output) == digests(release)
    assert sum(served.hits.values()) == asked + 1, "and what is damaged is asked for alone"


def test_all_pairs_without_the_section_stores(command: Command, release: Path) -> None:
    code, result = command("--accept-license", "CC-BY-NC-4.0")
    assert (code, result["everything"], result["n_pairs"]) == (0, False, 37)
    output = Path(result["output"])
    assert verify_release(output).findings.to_list() == []
    own = {"MANIFEST.json", "SHA256SUMS", *document_names()}
    kept = {name: digest for name, digest in digests(release).items() if not name.startswith("sections/")}
    found = digests(output)
    assert found.keys() - own == kept.keys() - own
    assert {name for name, digest in kept.items() if name not in own and found[name] != digest} == set()
    assert "Made for tests" in (output / "CHANGES.md").read_text(), "documents follow from the manifest"
    manifest = json.loads((output / "MANIFEST.json").read_bytes())
    assert manifest["selection"]["left_out"] == [f"sections/{name}.zarr.zip" for name in sorted(SECTIONS)]
    assert command("--accept-license", "CC-BY-NC-4.0")[1]["already"]


def check_part(output: Path, release: Path, keys: list[str]) -> None:
    """The part holds these pairs to train on, each of its members as in the release, and nothing else."""
    verification = verify_release(output)
    assert verification.findings.to_list() == []
    assert verification.pairs == len(keys)
    before, after = pairs_of(release)["train"], pairs_of(output)
    assert list(after) == ["train"]
    assert list(after["train"]) == keys
    assert all(after["train"][key] == before[key] for key in keys)
    was = {row["key"]: row for row in pq.read_table(release / "index/train.parquet").to_pylist()}
    moved = ("shard", "jpg_offset", "json_offset", "npy_offset")
    for row in pq.read_table(output / "index/train.parquet").to_pylist():
        assert {k: v for k, v in row.items() if k not in moved} == {
            k: v for k, v in was[row["key"]].items() if k not in moved
        }
    assert pq.read_table(output / "index/val.parquet").schema.equals(
        pq.read_table(release / "index/val.parquet").schema
    )
    samples = {row["sample_id"]: row for row in pq.read_table(release / "samples.parquet").to_pylist()}
    counted = {sample: sum(key.startswith(sample) for key in keys) for sample in samples}
    assert pq.read_table(output / "samples.parquet").to_pylist() == [
        {**row, "pairs": counted[sample]} for sample, row in samples.items() if counted[sample]
    ]
    stats = pq.read_table(output / "targets/pathway_stats.parquet")["sample_id"].to_pylist()
    assert set(stats) == {sample for sample, n in counted.items() if n}


def test_a_few_pairs_are_read_by_their_ranges(
    command: Command, release: Path, served: FaultServer, cache: Path
) -> None:
    code, plan = command("--split", "train", "--where", FEW, "--dry-run")
    assert code == 0
    assert (plan["n_pairs"], plan["shards"], plan["ranged_shards"], plan["requests"]) == (3, 2, 2, 3)
    assert plan["fetch_bytes"] == plan["ranged_bytes"] == few_bytes(release) < 0.2 * plan["whole_bytes"]
    assert shard_bytes(served) == 0
    code, result = command("--split", "train", "--where", FEW)
    assert (code, result["n_pairs"], result["sections"]) == (0, 3, ["open_A1"])
    assert shard_bytes(served) == plan["fetch_bytes"]
    output = Path(result["output"])
    assert output.parent == cache / "releases"
    check_part(output, release, FEW_KEYS)
    manifest = json.loads((output / "MANIFEST.json").read_bytes())
    assert manifest["selection"] == {
        "version": "1.2.3",
        "manifest_sha256": sha((release / "MANIFEST.json").read_bytes()),
        "splits": ["train"],
        "where": FEW,
        "sections": None,
        "n_pairs": 3,
        "left_out": [
            *(name for name in ("CITATION.bib", "README.md") if name not in document_names()),
            *(f"sections/{name}.zarr.zip" for name in sorted(("open_A1", "open_B1", "open_D1", "shut_C1"))),
        ],
    }
    assert "Made for tests" in (output / "CHANGES.md").read_text()
    assert not any("store" in row for row in manifest["sections"])
    assert manifest["accepted_licenses"] == {}
    drops = {row["sample_id"]: row["pair_drops"] for row in manifest["sections"]}
    total = sum(key.startswith("open_A1") for key in pairs_of(release)["train"])
    assert [(drop["reason"], drop["n"]) for drop in drops["open_A1"]] == [("not-selected", total - 3)]
    left = [path for path in (cache / "sources").rglob("*") if path.is_file() and "pieces" in path.parts]
    assert [path for path in left if path.suffix != ".lock"] == [], "what was fetched to be cut is gone"


def test_what_a_person_is_told(
    command: Command, release: Path, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    """Both byte counts, which is taken, and the free disk."""
    plan = command("--split", "train", "--where", FEW, "--dry-run")[1]
    with pytest.raises(SystemExit):
        run_and_exit(humanst, ["fetch", "atlas", "--split", "train", "--where", FEW, "--dry-run"])
    said = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert f" {plan['whole_bytes']:,} bytes" in said["whole"]
    assert f" {plan['ranged_bytes']:,} bytes" in said["ranged"]
    assert f" {plan['fetch_bytes']:,} bytes: 0 shards whole, 2 in 3 ranged reads" in said["fetch"]
    assert str(cache) in said["disk"]


def test_a_part_loads_like_any_release(command: Command, release: Path) -> None:
    from humanst.load import PairDataset, dataloader

    code, result = command("--split", "train,val", "--where", "organ == 'lung'", *ALL)
    assert code == 0
    output = Path(result["output"])
    assert not verify_release(output).findings.refused
    names = sorted(path.name for path in (output / "sections").iterdir())
    assert names == [f"open_{name}.zarr{end}" for name in ("B1", "D1") for end in ("", ".card.json", ".zip")]
    before = PairDataset(release, "train", where="sample_id == 'open_B1'")
    after = PairDataset(output, "train", check_members=True)
    assert len(after) == len(before) == 3
    for one, other in zip(before, after, strict=True):
        assert one["key"] == other["key"]
        assert (one["image"] == other["image"]).all()
        assert (one["pathways"] == other["pathways"]).all()
    assert (output / "data/val/val-00000.tar").read_bytes() == (release / "data/val/val-00000.tar").read_bytes()
    assert (output / "index/val.parquet").read_bytes() == (release / "index/val.parquet").read_bytes()
    pytest.importorskip("torch")
    batches = list(dataloader(output, batch_size=2, workers=1))
    assert sorted(key for batch in batches for key in batch["key"]) == sorted(pairs_of(output)["train"])


def test_the_way_bytes_come_leaves_no_trace(
    command: Command, release: Path, served: FaultServer, tmp_path: Path
) -> None:
    """By ranges, by ranges that are cut, by a host that knows none, and out of a folder: the same part, to the byte."""
    arguments = ["--split", "train", "--where", FEW]
    found = []
    for name, fault, more in (
        ("ranges", "ranges", {}),
        ("cut", "resume", {}),
        ("whole", "ok", {}),
        ("folder", None, {"HUMANST_MIRROR": str(tmp_path / "mirror"), "HUMANST_OFFLINE": "1"}),
    ):
        if fault is None:
            shutil.copytree(release, tmp_path / "mirror" / "atlas" / "1.2.3")
        output = tmp_path / name / "out"
        jobs = ["--jobs", "1" if fault == "ok" else "4"]
        code, _ = command(
            *arguments, *jobs, "-o", str(output), fault=fault, HUMANST_CACHE_DIR=str(tmp_path / name / "cache"), **more
        )
        assert code == 0
        check_part(output, release, FEW_KEYS)
        found.append(digests(output))
    assert found[0] == found[1] == found[2] == found[3]
    assert shard_bytes(served, "/ranges/") == shard_bytes(served, "/resume/") > 0
    asked_whole = [n for path, n in served.hits.items() if path.startswith("/ok/") and path.endswith(".tar")]
    assert sorted(asked_whole) == [1, 2], "one shard showed that the host knows no ranges"


def test_a_split_that_is_wanted_whole_keeps_its_shards(command: Command, release: Path, served: FaultServer) -> None:
    code, result = command("--split", "val")
    assert code == 0
    output = Path(result["output"])
    assert not verify_release(output).findings.refused
    for name in ("data/val/val-00000.tar", "data/val/val-00000.card.json", "index/val.parquet"):
        assert (output / name).read_bytes() == (release / name).read_bytes()
    assert pairs_of(output) == {"val": pairs_of(release)["val"]}
    assert not any("train" in path for path in served.hits), "nothing of another split was asked for"


def test_much_of_a_shard_is_cut_out_of_the_whole(command: Command, release: Path, served: FaultServer) -> None:
    code, plan = command("--sections", "A1", "--dry-run")
    assert (code, plan["ranged_shards"]) == (0, 0)
    assert plan["fetch_bytes"] == plan["whole_bytes"] > plan["ranged_bytes"]
    code, result = command("--sections", "A1")
    assert code == 0
    assert shard_bytes(served) == plan["whole_bytes"]
    keys = [key for key in pairs_of(release)["train"] if key.startswith("open_A1")]
    check_part(Path(result["output"]), release, keys)
    assert len(list(Path(result["output"]).glob("data/train/*.tar"))) == -(-len(keys) // 4)


def test_a_flipped_bit_places_nothing(
    command: Command, release: Path, served: FaultServer, tmp_path: Path, cache: Path
) -> None:
    row = next(r for r in pq.read_table(release / "index/train.parquet").to_pylist() if r["key"] == FEW_KEYS[1])
    name = f"atlas/1.2.3/data/train/{row['shard']}"
    body = bytearray(served.bodies[name])
    body[row["npy_offset"] + 130] ^= 1
    served.bodies[name] = bytes(body)
    arguments = ["--split", "train", "--where", FEW, "-o", str(tmp_path / "out")]
    code, error = command(*arguments)
    assert (code, error["code"]) == (6, "hash-differs")
    assert row["npy_hash"] in error["expected"]
    assert error["file"] == name.removeprefix("atlas/")
    assert not list((tmp_path / "out").rglob("*.tar"))
    assert not (tmp_path / "out" / "MANIFEST.json").exists()
    assert not [path for path in cache.rglob(f"{Path(row['shard']).stem}-*") if path.is_file()]
    # A flipped bit that nobody asked for is nobody's concern; in a whole shard it is.
    body[row["npy_offset"] + 130] ^= 1
    body[600] ^= 1
    served.bodies[name] = bytes(body)
    assert command(*arguments)[0] == 0
    check_part(tmp_path / "out", release, FEW_KEYS)
    code, error = command(*ALL)
    assert (code, error["code"]) == (6, "hash-differs")


@pytest.mark.parametrize(("turns", "code"), [("good", 0), ("bad", 6)])
def test_a_shard_that_changes_in_the_middle(
    command: Command, release: Path, served: FaultServer, tmp_path: Path, turns: str, code: int
) -> None:
    """Two halves of a run may be of two files: it is asked for once more from its beginning before it is refused."""
    row = next(r for r in pq.read_table(release / "index/train.parquet").to_pylist() if r["key"] == FEW_KEYS[2])
    name = f"atlas/1.2.3/data/train/{row['shard']}"
    good = served.bodies[name]
    bad = bytearray(good)
    bad[row["jpg_offset"] + (100 if turns == "good" else row["jpg_length"] - 100)] ^= 1
    served.bodies[name], served.changed[name] = (bytes(bad), good) if turns == "good" else (good, bytes(bad))
    arguments = ["--split", "train", "--where", "n_counts == 1027", "-o", str(tmp_path / "out")]
    assert command(*arguments, fault="resume")[0] == code
    assert served.hits[f"/resume/{name}"] == 3
    if code == 0:
        check_part(tmp_path / "out", release, FEW_KEYS[2:])
    else:
        assert not list((tmp_path / "out").rglob("*.tar"))


def test_a_whole_shard_and_an_index_that_disagree(command: Command, release: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(release, folder)
    index = folder / "index/train.parquet"
    rows = pq.read_table(index).to_pylist()
    for row in rows[:3]:
        row["json_hash"] = "0" * 16
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(index)), index)
    manifest = json.loads((folder / "MANIFEST.json").read_bytes())
    manifest["splits"]["train"]["index_sha256"] = sha(index.read_bytes())
    write_head(folder, manifest["splits"], manifest["sections"])
    code, error = command("--release", str(folder), "--sections", "A1", "-o", str(tmp_path / "out"), fault=None)
    assert (code, error["code"], error["expected"]) == (6, "hash-differs", f"blake2b {'0' * 16}")
    assert not list((tmp_path / "out").rglob("*.tar"))


@pytest.mark.parametrize("name", ["MANIFEST.json", "SHA256SUMS", "samples.parquet", "index/train.parquet"])
def test_a_head_that_is_not_the_one_on_record(command: Command, served: FaultServer, cache: Path, name: str) -> None:
    served.bodies[f"atlas/1.2.3/{name}"] += b" "
    code, error = command("--split", "train")
    assert (code, error["code"], error["file"]) == (6, "hash-differs", f"1.2.3/{name}")
    assert not (cache / "releases").exists()


def altered(release: Path, folder: Path, **changes: Any) -> Path:
    """A copy of the release whose manifest says something else."""
    shutil.copytree(release, folder)
    manifest = json.loads((folder / "MANIFEST.json").read_bytes())
    write_head(folder, manifest["splits"], manifest["sections"])
    manifest = json.loads((folder / "MANIFEST.json").read_bytes()) | changes
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    return folder


def test_a_release_that_contradicts_itself_or_would_leave_its_folder(
    command: Command, release: Path, tmp_path: Path
) -> None:
    good = json.loads((release / "MANIFEST.json").read_bytes())
    splits = json.loads(json.dumps(good["splits"]))
    splits["val"]["index_sha256"] = "0" * 64
    folder = altered(release, tmp_path / "one", splits=splits)
    code, error = command("--release", str(folder), "--split", "val", fault=None)
    assert (code, error["code"], error["file"]) == (6, "sums-differ", "index/val.parquet")
    folder = altered(release, tmp_path / "two")
    sums = (folder / "SHA256SUMS").read_text() + f"{'0' * 64}  ../outside\n"
    (folder / "SHA256SUMS").write_text(sums)
    manifest = good | {"sha256sums": sha(sums.encode())}
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    code, error = command("--release", str(folder), *ALL, fault=None)
    assert code == 8
    folder = altered(release, tmp_path / "four")
    pq.write_table(pq.read_table(folder / "samples.parquet").drop_columns(["disease"]), folder / "samples.parquet")
    write_head(folder, good["splits"], good["sections"])
    code, error = command("--release", str(folder), fault=None)
    assert (code, error["code"], error["expected"]) == (5, "missing-column", "columns disease")
    folder = altered(release, tmp_path / "three", schema="humanst.release/9")
    assert command("--release", str(folder), fault=None)[0] == 5


def test_an_address_that_is_not_on_record_needs_a_pin(
    command: Command, release: Path, served: FaultServer, cache: Path, tmp_path: Path
) -> None:
    arguments = ["--release", served.url("ranges", "atlas/1.2.3"), "--split", "val"]
    code, error = command(*arguments, fault=None)
    assert (code, error["code"]) == (6, "unpinned")
    assert served.hits.total() == 0
    assert command(*arguments, "--pin", fault=None)[0] == 0
    pins = json.loads((cache / "pins.lock.json").read_bytes())["pins"]
    assert [pin["sha256"] for pin in pins.values()] == [sha((release / "MANIFEST.json").read_bytes())]
    shutil.rmtree(cache / "sources")
    assert command(*arguments, "-o", str(tmp_path / "again"), fault=None)[0] == 0, "the pin holds without --pin"
    shutil.rmtree(cache / "sources")
    changed = served.bodies["atlas/1.2.3/MANIFEST.json"].replace(b"1.2.3", b"1.2.4")
    served.bodies["atlas/1.2.3/MANIFEST.json"] = changed
    code, error = command(*arguments, "--pin", "-o", str(tmp_path / "other"), fault=None)
    assert (code, error["code"]) == (6, "hash-differs")
    code, error = command("--release", served.url("redirect-file", "atlas/1.2.3"), "--pin", fault=None)
    assert code == 8


def test_offline(command: Command, release: Path) -> None:
    code, error = command("--split", "val", HUMANST_OFFLINE="1")
    assert (code, error["code"]) == (7, "offline")
    assert command("--split", "val", "--release", str(release), fault=None, HUMANST_OFFLINE="1")[0] == 0


def test_the_licence_gate(command: Command, served: FaultServer, cache: Path) -> None:
    code, error = command("--split", "train")
    assert (code, error["error"]) == (3, "LicenseError")
    assert "CC-BY-NC-4.0" in error["expected"]
    assert "shut_C1" in error["expected"]
    assert "open_A1" not in error["expected"]
    assert shard_bytes(served) == 0
    assert not (cache / "releases").exists()
    assert command("--split", "train", "--where", "license == 'CC0-1.0'")[0] == 0
    assert (
        command("--split", "train", "--where", "redistributable == False", "--accept-license", "CC-BY-NC-4.0")[0] == 0
    )
    rows = json.loads((cache / "licenses.json").read_bytes())["accepted"]
    assert [(row["license"], row["owner"]) for row in rows] == [("CC-BY-NC-4.0", "shut")]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--where", "organ = 'lung'"], "where"),
        (["--where", "__import__('os')"], "where"),
        (["--where", "colour == 'red'"], "where"),
        (["--where", "organ == 3"], "where-kinds"),
        (["--where", "organ == 'kidney'"], "empty-selection"),
        (["--split", "test"], "empty-selection"),
        (["--split", "train,other"], "unknown-split"),
        (["--sections", "Z9"], "usage"),
        (["--release", "9.9.9"], "unknown-release"),
        (["gene_sets"], "usage"),
        (["--list-urls"], "usage"),
    ],
)
def test_what_cannot_be_asked_for(command: Command, served: FaultServer, arguments: list[str], code: str) -> None:
    ended, error = command(*arguments)
    assert (ended, error["code"]) == (2, code)
    assert shard_bytes(served) == 0


def test_no_room(command: Command, served: FaultServer, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    assert command("--split", "train", "--where", FEW, "--dry-run")[0] == 0
    usage = shutil.disk_usage(cache)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=500_000))
    code, _ = command("--split", "train", "--where", FEW)
    assert code == 9
    assert shard_bytes(served) == 0


def test_a_folder_of_others_is_left_alone(command: Command, tmp_path: Path) -> None:
    thesis = tmp_path / "mine" / "thesis.tex"
    thesis.parent.mkdir()
    thesis.write_text("mine")
    assert command("--split", "val", "-o", str(thesis.parent))[0] == 2
    assert [path.name for path in thesis.parent.iterdir()] == ["thesis.tex"]
    assert command("--split", "val", "-o", str(tmp_path / "out"))[0] == 0
    before = digests(tmp_path / "out")
    code, error = command("--split", "train", "--where", FEW, "-o", str(tmp_path / "out"))
    assert (code, error["code"]) == (2, "other-release")
    assert digests(tmp_path / "out") == before


def test_atlas_names_nothing_else(tmp_path: Path, served: FaultServer) -> None:
    path = catalog(tmp_path / "record", served, b"")
    content = yaml.safe_load(path.read_text())
    entry = {"title": "t", "license": "CC0-1.0", "default": "a", "hosts": [], "files": [{"path": "a"}]}
    path.write_text(yaml.safe_dump(content | {"resources": {"atlases": entry}}))
    assert list(load_catalog(path).releases) == ["1.2.3"]
    path.write_text(yaml.safe_dump(content | {"resources": {"atlas": entry}}))
    with pytest.raises(DataError, match="atlas"):
        load_catalog(path)
    bad = {"1.2.3": content["releases"]["1.2.3"] | {"manifest_sha256": "unknown"}}
    path.write_text(yaml.safe_dump(content | {"releases": bad}))
    with pytest.raises(DataError, match=r"releases\.1\.2\.3\.manifest_sha256"):
        load_catalog(path)


@pytest.mark.parametrize("arguments", [["--split", "train", "--where", FEW], ALL])
def test_a_killed_fetch_goes_on_where_it_stopped(
    command: Command, release: Path, served: FaultServer, tmp_path: Path, cache: Path, arguments: list[str]
) -> None:
    served.pause_s = 0.01
    environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()} | {
        "PYTHONPATH": str(ROOT),
        "HUMANST_CATALOG": str(tmp_path / "record" / "catalog.yaml"),
        "HUMANST_MIRROR": f"http://{served.host}/slow",
        "HUMANST_CACHE_DIR": str(cache),
        "HUMANST_OFFLINE": "0",
        "HF_HUB_OFFLINE": "0",
        "HUMANST_ALLOW_LOOPBACK_HTTP": "1",
    }
    output = tmp_path / "out"
    call = [sys.executable, "-c", "from humanst.cli import main; main()", "fetch", "atlas", "-o", str(output)]
    call += ["--jobs", "2", *arguments]
    with subprocess.Popen(call, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        began = time.monotonic()
        while shard_bytes(served) < 150_000 and process.poll() is None and time.monotonic() - began < 60:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    time.sleep(0.1)
    here = sum(path.stat().st_size for root in (output, cache) for path in root.rglob("data") if path.is_file())
    assert here > 0
    assert not (output / "MANIFEST.json").exists()
    before = shard_bytes(served)
    served.pause_s = 0.0
    assert command("-o", str(output), *arguments, fault="slow")[0] == 0
    if arguments is ALL:
        total = sum(path.stat().st_size for path in release.rglob("*.tar"))
        assert packed(output) == digests(release)
    else:
        total = few_bytes(release)
        check_part(output, release, FEW_KEYS)
    assert shard_bytes(served) - before == total - here
    assert (
        hashlib.sha256((output / "SHA256SUMS").read_bytes()).hexdigest()
        == json.loads((output / "MANIFEST.json").read_bytes())["sha256sums"]
    )
    assert not [path.name for path in output.rglob(".*")]
