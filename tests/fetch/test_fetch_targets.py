"""Target sets of a release that is fetched in part: every pair keeps its row, every section its lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.sparse import load_npz

from humanst.cli import humanst
from humanst.cli.output import run_and_exit
from humanst.shards.verify import verify_release
from tests.fetch.small_release import add_targets, sha, write_release


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    path = tmp_path_factory.mktemp("targets") / "release"
    write_release(path)
    add_targets(path)
    return path


def fetch(release: Path, output: Path, *arguments: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as ended:
        run_and_exit(humanst, ["fetch", "atlas", "--release", str(release), "-o", str(output), *arguments])
    assert ended.value.code in (0, None)
    manifest: dict[str, Any] = json.loads((output / "MANIFEST.json").read_bytes())
    return manifest


def check_rows(output: Path, manifest: dict[str, Any]) -> int:
    """Row i of every target file is the i-th pair of its shard; returns how many rows there are."""
    n = 0
    for split, entry in manifest["splits"].items():
        index = pq.read_table(output / entry["index"]).to_pylist()
        for shard in entry["shards"]:
            stem = Path(shard["path"]).stem
            totals = [row["n_counts"] for row in index if row["shard"] == f"{stem}.tar"]
            values = np.load(output / f"targets/values/{stem}.npy")
            counts = load_npz(output / f"targets/counts/{stem}.npz")
            assert values[:, 0].tolist() == totals, split
            assert np.isnan(values[:, 1]).all()
            assert counts.sum(axis=1).ravel().tolist() == [totals]
            assert counts.indices.tolist() == [total % 40 for total in totals]
            assert counts.shape == (shard["n_pairs"], 40)
            n += len(totals)
    for name in ("values", "counts"):
        files = manifest["targets"][name]["files"]
        assert sum(file["n_rows"] for file in files) == n
        found = sorted(path.name for path in (output / "targets" / name).glob("*.np?"))
        assert found == sorted(Path(file["path"]).name for file in files)
    return n


def test_rows_are_cut_as_the_pairs_are(release: Path, tmp_path: Path) -> None:
    """Pairs of two shards to train on in local shards of four, all pairs to validate on as they are."""
    asked = ("--where", "organ == 'lung' or tissue_fraction > 0.5", "--sections", "open_A1,open_B1,open_D1")
    manifest = fetch(release, tmp_path / "out", *asked)
    assert len(manifest["splits"]["train"]["shards"]) >= 3
    assert check_rows(tmp_path / "out", manifest) == manifest["selection"]["n_pairs"] < 37
    assert not verify_release(tmp_path / "out").findings.refused
    names = {"open_A1", "open_B1", "open_D1"}
    stats = pq.read_table(tmp_path / "out/targets/values/stats.parquet")
    measured = pq.read_table(tmp_path / "out/targets/counts/measured.parquet")
    assert set(stats["sample_id"].to_pylist()) == set(measured["sample_id"].to_pylist()) == names
    genes = pq.read_table(tmp_path / "out/targets/counts/genes.parquet")
    assert set(genes["n_sections_measured"].to_pylist()) == {3}
    for name in ("values/val-00000.npy", "counts/val-00000.npz", "values/columns.parquet"):
        assert sha((tmp_path / "out/targets" / name).read_bytes()) == sha((release / "targets" / name).read_bytes())
    assert not any(name.startswith("targets/") for name in manifest["selection"]["left_out"])
    kept = [path for path in (tmp_path / "cache").rglob("*.np?") if path.is_file()]
    assert kept == [], "what was fetched to be cut is gone"


def test_the_same_part_again_is_there_already(release: Path, tmp_path: Path) -> None:
    arguments = ("--split", "train", "--where", "n_counts < 1010", "--accept-license", "CC-BY-NC-4.0")
    manifest = fetch(release, tmp_path / "out", *arguments)
    assert check_rows(tmp_path / "out", manifest) == 10
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert fetch(release, tmp_path / "out", *arguments) == manifest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_a_whole_split_and_a_whole_release_keep_their_targets(release: Path, tmp_path: Path) -> None:
    manifest = fetch(release, tmp_path / "val", "--split", "val")
    assert check_rows(tmp_path / "val", manifest) == 5
    assert not verify_release(tmp_path / "val").findings.refused
    manifest = fetch(release, tmp_path / "all", "--accept-license", "CC-BY-NC-4.0")
    assert check_rows(tmp_path / "all", manifest) == 37
    assert not verify_release(tmp_path / "all").findings.refused
