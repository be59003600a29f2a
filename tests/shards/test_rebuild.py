"""What may not be passed on leaves a release, is built again from its sources, and both together are the whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from humanst.shards.verify import verify_release
from tests.fetch.small_release import pairs_of
from tests.helpers import output_json, run_humanst
from tests.shards.conftest import Made

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("rebuild")

CLOSED = "CC-BY-NC-4.0"
# Its organ is the second of the release, and would be the first of a build of its own.
STUDY = "demo_visium_v1"
SECTIONS = ("demo_visium_v1_P1",)
STORES = ("sections", "images", "genes")
PLACES = {f"{kind}_offset" for kind in ("jpg", "json", "npy")} | {"shard"}


@dataclass(frozen=True)
class Parts:
    """The whole release of an atlas with a closed study, and what may be passed on of it."""

    atlas: Path
    cache: Path
    whole: Path
    open: Path

    def run(self, *arguments: str) -> CompletedProcess[str]:
        return run_humanst(*arguments, atlas=self.atlas, cache=self.cache)

    def bring(self, folder: Path, *kinds: str) -> None:
        """Bring a part of the work folder of the whole release."""
        for kind in kinds:
            shutil.copytree(self.whole.with_name("whole.work") / kind, folder / "local.work" / kind)

    def rebuild(self, folder: Path, *arguments: str, like: Path | None = None) -> CompletedProcess[str]:
        """Build what is recipe-only in a release; by default in what was exported of the whole."""
        places = ["-o", str(folder / "local"), "--like", str(like or self.open), "--accept-license", CLOSED]
        return self.run("build-shards", *places, *arguments)


@pytest.fixture(scope="module")
def parts(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    folder = tmp_path_factory.mktemp("parts")
    atlas = folder / "atlas"
    shutil.copytree(made.atlas, atlas)
    path = atlas / "catalog.yaml"
    catalog = yaml.safe_load(path.read_text())
    catalog["studies"][STUDY]["license"] = CLOSED
    path.write_text(yaml.safe_dump(catalog))
    found = Parts(atlas, made.cache, folder / "whole", folder / "open")
    for name in (*STORES, "extract", "done"):
        shutil.copytree(made.work / name, folder / "whole.work" / name)
    # Parameters that are nobody's default: they have to come from the manifest.
    options = ["--seed", "7", "--shard-pairs", "20", "--release-version", "2.1"]
    result = found.run("build-shards", "-o", str(found.whole), "--accept-license", CLOSED, *options)
    assert result.returncode == 0, result.stderr
    result = found.run("export", str(found.whole), "--redistributable", "-o", str(found.open))
    assert result.returncode == 0, result.stderr
    return found


def rows_of(release: Path) -> list[dict[str, Any]]:
    tables = [pq.read_table(path) for path in sorted(release.glob("index/*.parquet"))]
    rows = pa.concat_tables(tables).to_pylist()
    return sorted(({k: v for k, v in row.items() if k not in PLACES} for row in rows), key=lambda row: row["uid"])


def members(*releases: Path) -> dict[str, dict[str, dict[str, bytes]]]:
    """Split -> key -> suffix -> bytes, over all of them; a key is in one alone."""
    found: dict[str, dict[str, dict[str, bytes]]] = {}
    for release in releases:
        for split, pairs in pairs_of(release).items():
            assert not found.get(split, {}).keys() & pairs.keys()
            found.setdefault(split, {}).update(pairs)
    return found


def manifest_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "MANIFEST.json").read_text())
    return content


def test_export_and_rebuild_are_the_whole(parts: Parts, tmp_path: Path) -> None:
    verify_release(parts.open).raise_if_bad()
    assert [entry["sample_id"] for entry in manifest_of(parts.open)["recipe_only"]] == list(SECTIONS)
    # Patches and targets are made anew.
    parts.bring(tmp_path, *STORES)
    result = parts.rebuild(tmp_path, "--json")
    assert result.returncode == 0, result.stderr
    assert [row["sample_id"] for row in output_json(result)["sections"]] == list(SECTIONS)
    local, whole = tmp_path / "local", manifest_of(parts.whole)
    verify_release(local).raise_if_bad()
    labels = {json.loads(pair["json"])["label"] for pairs in pairs_of(local).values() for pair in pairs.values()}
    assert labels == {whole["organs"]["pancreas"]} == {1}
    assert members(parts.open, local) == members(parts.whole)
    assert sorted([*rows_of(parts.open), *rows_of(local)], key=lambda row: row["uid"]) == rows_of(parts.whole)
    for folder in (parts.open, local):
        made = manifest_of(folder)
        for key in ("version", "organs", "seed", "shard_pairs", "patch", "pathways", "shares"):
            assert made[key] == whole[key], key
    assert "Built like release 2.1" in (local / "CHANGES.md").read_text()


def test_a_plan_like_a_release_gives_the_same(parts: Parts, tmp_path: Path) -> None:
    plan, local = tmp_path / "plan.json", tmp_path / "local"
    parts.bring(tmp_path, *STORES, "extract", "done")
    accept = ("--accept-license", CLOSED)
    one = ("--sections", SECTIONS[0])
    result = parts.run("plan", "--like", str(parts.open / "MANIFEST.json"), *one, "-o", str(plan), *accept)
    assert result.returncode == 0, result.stderr
    result = parts.run("build-shards", "--plan", str(plan), "-o", str(local), *accept)
    assert result.returncode == 0, result.stderr
    whole = {row["uid"]: row for row in rows_of(parts.whole)}
    rows = rows_of(local)
    assert rows == [row for row in whole.values() if row["sample_id"] == SECTIONS[0]]
    assert manifest_of(local)["organs"] == manifest_of(parts.whole)["organs"]


def changed(parts: Parts, folder: Path, **hashes: str) -> Path:
    """The manifest of the open release, with other hashes of the recipe-only sections."""
    content = manifest_of(parts.open)
    for entry in content["recipe_only"]:
        entry["hashes"] |= hashes
    path = folder / "MANIFEST.json"
    path.write_text(json.dumps(content))
    return path


def test_what_is_rebuilt_is_held_against_what_left(parts: Parts, tmp_path: Path) -> None:
    parts.bring(tmp_path, *STORES, "extract", "done")
    result = parts.rebuild(tmp_path, "--sections", SECTIONS[0], like=changed(parts, tmp_path, targets="0" * 64))
    assert result.returncode == 5
    assert "rebuilt" not in result.stdout
    assert "The targets of this section are not those" in result.stderr
    assert not (tmp_path / "local").exists()
    result = parts.rebuild(tmp_path, "--sections", SECTIONS[0], like=changed(parts, tmp_path, members="0" * 64))
    assert result.returncode == 0
    assert "members-differ" in result.stderr
    assert "members-differ" in {finding["code"] for finding in manifest_of(tmp_path / "local")["findings"]}
    shutil.rmtree(tmp_path / "local")
    result = parts.rebuild(tmp_path, "--sections", SECTIONS[0], like=changed(parts, tmp_path, uids="0" * 64))
    assert result.returncode == 5
    assert "uids of this section are not those" in result.stderr
    assert not (tmp_path / "local").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--seed", "7"], 2, "--seed"),
        (["--gene-sets", "{other}"], 2, "not the gene sets of that release"),
        (["--sections", "demo_st_A1"], 2, "not in that release"),
        (["demo_st"], 2, "None of these sections is recipe-only"),
    ],
)
def test_what_contradicts_the_release_is_refused(
    arguments: Sequence[str], code: int, said: str, parts: Parts, tmp_path: Path
) -> None:
    other = tmp_path / "other.gmt"
    other.write_text("SET\t-\tCD3E\tCD8A\n")
    content = manifest_of(parts.open)
    content["sections"] = [row for row in content["sections"] if row["sample_id"] != "demo_st_A1"]
    (tmp_path / "MANIFEST.json").write_text(json.dumps(content))
    places = ["-o", str(tmp_path / "out"), "--like", str(tmp_path / "MANIFEST.json"), "--accept-license", CLOSED]
    result = parts.run("build-shards", *places, *(argument.format(other=other) for argument in arguments))
    assert result.returncode == code
    assert said in result.stderr
    assert not (tmp_path / "out").exists()
