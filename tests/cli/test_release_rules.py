"""Rules of a release that a user would miss: whose files may go, what splits and targets depend on, what stops what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata
import h5py
import pyarrow.parquet as pq
import pytest

from humanst.catalog import load_catalog
from tests.helpers import output_json, run_humanst
from tests.shards.conftest import Made
from tests.shards.conftest import made as made
from tests.studies import ST_RECIPE, VISIUM_RECIPE, World, write_world


def files_of(atlas: Path, study: str, section: str) -> dict[str, Path]:
    entry = load_catalog(atlas / "catalog.yaml").study(study).section(section)
    return {source.role: atlas / "mirror" / study / source.path for source in entry.sources}


def gene_sets(atlas: Path) -> Path:
    return next((atlas / "mirror" / "gene_sets").glob("*.gmt"))


def manifest_of(release: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((release / "MANIFEST.json").read_bytes())
    return content


def test_a_folder_with_other_files_is_refused_and_left_alone(little_atlas: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    kept = {"data/raw/mine.csv": "a,b", "thesis.txt": "years of work", "data/train/notes.tar": "x"}
    for name, text in kept.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    result = run_humanst("build-shards", "--sections", "demo_st_A1", "-o", str(out), atlas=little_atlas)
    assert result.returncode == 2, result.stderr
    assert "thesis.txt" in result.stderr
    assert {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*") if path.is_file()} == kept


@pytest.mark.parametrize("work", ["out", "out/work", "."])
def test_work_inside_the_release_is_refused(work: str, little_atlas: Path, tmp_path: Path) -> None:
    arguments = ["-o", str(tmp_path / "out"), "--work", str(tmp_path / work)]
    result = run_humanst("build-shards", "--sections", "demo_st_A1", *arguments, atlas=little_atlas)
    assert result.returncode == 2, result.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def mixed(little_atlas: Path, demo_atlas: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """ST: one good section, one without an image. Visium: one whose matrix lacks a dataset."""
    folder = tmp_path_factory.mktemp("mixed")
    good = files_of(little_atlas, "demo_st", "A1")
    blind = {role: path for role, path in files_of(little_atlas, "demo_st", "B1").items() if role != "image"}
    odd = files_of(demo_atlas, "demo_visium", "V1")
    changed = folder / "matrix.h5"
    changed.write_bytes(odd["counts"].read_bytes())
    with h5py.File(changed, "r+") as handle:
        del handle["matrix/features/feature_type"]
    studies = {"one": {"good": good, "blind": blind}, "two": {"odd": {**odd, "counts": changed}}}
    recipes = {"one": ST_RECIPE, "two": VISIUM_RECIPE}
    return write_world(folder / "world", studies, recipes, gene_sets=gene_sets(little_atlas))


def test_a_section_without_an_image_is_listed_and_the_rest_released(mixed: World, tmp_path: Path) -> None:
    result = run_humanst("build-shards", "-o", str(tmp_path / "out"), "--json", atlas=mixed.folder)
    assert result.returncode == 4, result.stderr
    content = output_json(result)
    assert [row["sample_id"] for row in content["sections"]] == ["one_good"]
    assert {row["item"]: row["code"] for row in content["failures"]} == {
        "one_blind": "no-image",
        "two_odd": "matrix-unreadable",
    }
    blind = tmp_path / "out.work" / "sections" / "one_blind.zarr"
    table = anndata.io.read_zarr(blind / "tables" / "table")
    assert table.n_obs > 0, "its store is built all the same"
    assert table.obs["tissue_fraction"].isna().all(), "nobody knows how much tissue there is: missing, not 0"
    assert run_humanst("validate", str(blind)).returncode == 0
    assert run_humanst("verify", str(tmp_path / "out")).returncode == 0


def test_a_study_named_twice_is_built_once(mixed: World, tmp_path: Path) -> None:
    arguments = ["one", "one", "--sections", "good", "-o", str(tmp_path / "out")]
    assert run_humanst("build-shards", *arguments, atlas=mixed.folder).returncode == 0
    keys = [
        key for path in (tmp_path / "out/index").glob("*.parquet") for key in pq.read_table(path)["key"].to_pylist()
    ]
    assert len(keys) == len(set(keys)) > 0


def test_split_and_axis_of_a_section_do_not_depend_on_what_else_is_asked(little_atlas: Path, tmp_path: Path) -> None:
    """The same section alone and beside others: same split, same group, same targets."""
    found = {}
    for name, sections in {"alone": "demo_st_B1", "beside": "demo_st_A1,demo_st_B1,demo_visium_v1_P1"}.items():
        arguments = ["--sections", sections, "-o", str(tmp_path / name)]
        result = run_humanst("build-shards", *arguments, atlas=little_atlas, cache=tmp_path / "cache")
        assert result.returncode == 0, result.stderr
        row = next(row for row in manifest_of(tmp_path / name)["sections"] if row["sample_id"] == "demo_st_B1")
        index = pq.read_table(tmp_path / name / "index" / f"{row['split']}.parquet").to_pandas()
        mine = index[index["sample_id"] == "demo_st_B1"].set_index("uid").sort_index()
        facts = {key: row[key] for key in ("split", "group", "extract_inputs", "counts_in", "pairs")}
        found[name] = (facts, mine[["npy_hash", "jpg_hash", "donor_group"]])
    assert found["alone"][0] == found["beside"][0]
    assert found["alone"][1].equals(found["beside"][1])


def test_verify_does_not_believe_the_manifest(made: Made, tmp_path: Path) -> None:
    import shutil

    def spoil(change: Any) -> int:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(made.release, copy)
        manifest = manifest_of(copy)
        change(manifest)
        (copy / "MANIFEST.json").write_text(json.dumps(manifest))
        return run_humanst("verify", str(copy)).returncode

    shards = next(name for name, split in manifest_of(made.release)["splits"].items() if split["shards"])

    def fewer_pairs(manifest: dict[str, Any]) -> None:
        row = manifest["sections"][0]
        row["pairs"] -= 3
        row["pair_drops"].append({"what": "pairs", "reason": "made-up", "n": 3, "counts": 0, "examples": []})

    def other_side(manifest: dict[str, Any]) -> None:
        row = manifest["sections"][0]
        row["split"] = "val" if row["split"] != "val" else "test"

    changes = [
        lambda manifest: manifest["splits"][shards]["shards"][0].update(sha256="0" * 64),
        lambda manifest: manifest["splits"][shards].update(index_sha256="0" * 64),
        lambda manifest: manifest["totals"].update(pairs=10**6),
        fewer_pairs,
        other_side,
    ]
    assert spoil(lambda manifest: None) == 0
    assert [spoil(change) for change in changes] == [6] * len(changes)


def test_a_damaged_shard_is_packed_again_and_not_blessed(mixed: World, tmp_path: Path) -> None:
    arguments = ["build-shards", "one", "--sections", "good", "-o", str(tmp_path / "out")]
    assert run_humanst(*arguments, atlas=mixed.folder).returncode == 0
    shard = next((tmp_path / "out").glob("data/*/*.tar"))
    whole = shard.read_bytes()
    shard.write_bytes(whole.replace(b"unknown, st", b"unknowm, st", 1))
    assert shard.read_bytes() != whole
    assert run_humanst("verify", str(tmp_path / "out")).returncode == 6
    assert run_humanst(*arguments, atlas=mixed.folder).returncode == 0
    assert shard.read_bytes() == whole
    assert run_humanst("verify", str(tmp_path / "out")).returncode == 0


def test_a_store_that_lost_a_chunk_is_built_again(mixed: World, tmp_path: Path) -> None:
    arguments = ["build", "one", "--sections", "good", "-o", str(tmp_path / "store"), "--json"]
    assert run_humanst(*arguments, atlas=mixed.folder).returncode == 0
    again = output_json(run_humanst(*arguments, atlas=mixed.folder))["sections"][0]
    assert again["reused"]
    assert "scale-one-witness" in {finding["code"] for finding in again["findings"]}, "warnings stay on a rerun"
    chunk = next(path for path in (tmp_path / "store/sections/one_good.zarr/images/he/s0").rglob("*") if path.is_file())
    chunk.unlink()
    assert not output_json(run_humanst(*arguments, atlas=mixed.folder))["sections"][0]["reused"]


@pytest.mark.parametrize("spoil", [b"donor_id,split\ngodot,val\n", b"donor_id,split\none_good,val\none_good,test\n"])
def test_an_assignment_of_strangers_or_contradictions_is_refused(spoil: bytes, mixed: World, tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_bytes(spoil)
    arguments = ["one", "--sections", "good", "-o", str(tmp_path / "out"), "--assign", str(path)]
    assert run_humanst("build-shards", *arguments, atlas=mixed.folder).returncode == 2
