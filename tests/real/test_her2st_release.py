"""The main job on real legacy ST sections, against independent readings of the same files."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from PIL import Image

from tests.helpers import output_json, run_humanst

SECTIONS = ("B4", "C2", "C3")
IMAGES = {
    "B4": "data/ST-imgs/B/B4/BT10737_D2_HE.jpg",
    "C2": "data/ST-imgs/C/C2/5714_HE_BT_C2.jpg",
    "C3": "data/ST-imgs/C/C3/5714_HE_BT_D1.jpg",
}
pytestmark = [pytest.mark.real, pytest.mark.xdist_group("her2st")]


@pytest.fixture(scope="session")
def built(real_data: Path, shared_tmp: Path) -> tuple[Path, dict[str, Any]]:
    """The release folder and what the command printed."""
    out = shared_tmp / "her2st_release"
    printed = shared_tmp / "her2st_release.json"
    with FileLock(shared_tmp / "her2st_release.lock"):
        if not printed.exists():
            result = run_humanst(
                "build-shards", "her2st", "--sections", ",".join(SECTIONS), "-o", str(out), "--json",
                mirror=real_data, cache=shared_tmp / "her2st_cache",
            )  # fmt: skip
            assert result.returncode == 0, result.stderr
            (shared_tmp / "her2st_release.stderr").write_text(result.stderr)
            printed.write_text(result.stdout)
    return out, json.loads(printed.read_text())


def manifest_of(release: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((release / "MANIFEST.json").read_bytes())
    return content


def section_of(release: Path, name: str) -> dict[str, Any]:
    return next(row for row in manifest_of(release)["sections"] if row["section_id"] == name)


def index_of(release: Path) -> pd.DataFrame:
    parts = [pq.read_table(path).to_pandas() for path in sorted((release / "index").glob("*.parquet"))]
    return pd.concat(parts, ignore_index=True)


def count_table(real_data: Path, name: str) -> pd.DataFrame:
    with gzip.open(real_data / f"her2st/data/ST-cnts/{name}.tsv.gz", "rt") as handle:
        return pd.read_csv(handle, sep="\t", index_col=0)


@pytest.mark.parametrize("name", SECTIONS)
def test_every_spot_of_the_count_table_is_a_pair_or_a_named_drop(
    built: tuple[Path, dict[str, Any]], real_data: Path, name: str
) -> None:
    release, _ = built
    section = section_of(release, name)
    table = count_table(real_data, name)
    pairs = index_of(release).query("sample_id == @section['sample_id']")
    drops = [drop for drop in section["drops"] if drop["what"] == "spots"] + section["pair_drops"]
    assert section["spots_in"] == len(table)
    assert len(pairs) == section["pairs"]
    assert len(pairs) + sum(drop["n"] for drop in drops) == len(table)
    assert set(pairs["spot_id"]) <= set(table.index)
    assert all(drop["reason"] for drop in drops)


@pytest.mark.parametrize("name", SECTIONS)
def test_counts_in_equal_counts_out_plus_named_drops(
    built: tuple[Path, dict[str, Any]], real_data: Path, name: str
) -> None:
    release, _ = built
    section = section_of(release, name)
    assert section["counts_in"] == int(count_table(real_data, name).to_numpy().sum())
    assert section["counts_in"] == section["counts_out"] + sum(drop["counts"] for drop in section["drops"])


@pytest.mark.parametrize("name", SECTIONS)
def test_scale_agrees_with_the_published_069_within_1_percent(built: tuple[Path, dict[str, Any]], name: str) -> None:
    release, _ = built
    section = section_of(release, name)
    assert section["um_per_pixel"] == pytest.approx(0.69, rel=0.01)
    assert "scale-one-witness" in {finding["code"] for finding in section["findings"]}


@pytest.mark.parametrize("name", SECTIONS)
def test_at_least_99_percent_of_spots_lie_on_tissue(built: tuple[Path, dict[str, Any]], name: str) -> None:
    section = section_of(built[0], name)
    low = sum(drop["n"] for drop in section["pair_drops"] if drop["reason"] == "low-tissue")
    assert low / section["spots_out"] <= 0.01


def patch_of(release: Path, row: pd.Series) -> np.ndarray:
    split = row["shard"].rsplit("-", 1)[0]
    with (release / "data" / split / row["shard"]).open("rb") as handle:
        handle.seek(row["jpg_offset"])
        return np.asarray(Image.open(io.BytesIO(handle.read(row["jpg_length"]))).convert("RGB"))


@pytest.mark.parametrize("name", SECTIONS)
def test_patches_are_centred_on_their_spots(built: tuple[Path, dict[str, Any]], real_data: Path, name: str) -> None:
    """The patch equals a crop of the source image at the spot file's pixel; one 5 um beside fits worse."""
    release, _ = built
    section = section_of(release, name)
    rows = index_of(release).query("sample_id == @section['sample_id']").sort_values("blur", ascending=False).head(3)
    spots = pd.read_csv(real_data / f"her2st/data/ST-spotfiles/{name}_selection.tsv", sep="\t")
    spots.index = spots["x"].astype(str) + "x" + spots["y"].astype(str)
    Image.MAX_IMAGE_PIXELS = None
    slide = Image.open(real_data / "her2st" / IMAGES[name])
    half = 56.0 / section["um_per_pixel"]
    for _, row in rows.iterrows():
        x, y = spots.loc[row["spot_id"], ["pixel_x", "pixel_y"]]
        assert (row["x_px"], row["y_px"]) == pytest.approx((x, y))
        patch = patch_of(release, row).astype(float)

        def difference(dx_um: float, dy_um: float, x: float = x, y: float = y, patch: np.ndarray = patch) -> float:
            cx, cy = x + dx_um / section["um_per_pixel"], y + dy_um / section["um_per_pixel"]
            box = (cx - half, cy - half, cx + half, cy + half)
            crop = slide.resize((224, 224), Image.Resampling.BICUBIC, box=box, reducing_gap=None)
            return float(np.abs(np.asarray(crop, dtype=float) - patch).mean())

        here = difference(0, 0)
        assert here < 6.0
        assert all(here < difference(*shift) for shift in ((3, 0), (-3, 0), (0, 3), (0, -3)))


def test_symbols_become_ensembl_ids_and_the_unmapped_are_listed(built: tuple[Path, dict[str, Any]]) -> None:
    import anndata

    release, _ = built
    store = release.with_name("her2st_release.work") / "sections" / "her2st_B4.zarr"
    table = anndata.io.read_zarr(store / "tables" / "table")
    assert table.var_names.str.fullmatch(r"ENSG\d{11}").all()
    assert table.var.loc["ENSG00000141736", "symbol"] == "ERBB2"
    attrs = json.loads((store / "zarr.json").read_bytes())["attributes"]["humanst"]
    unmapped = dict(map(tuple, attrs["provenance"]["unmapped_genes"]))
    drops = [drop for drop in attrs["drops"] if drop["what"] == "genes"]
    assert sum(drop["n"] for drop in drops) == len(unmapped)
    assert sum(drop["counts"] for drop in drops) == sum(unmapped.values())
    assert len(unmapped) < 0.05 * 15289


def test_sections_of_one_study_share_their_measured_genes(built: tuple[Path, dict[str, Any]]) -> None:
    import anndata

    work = built[0].with_name("her2st_release.work") / "sections"
    axes = [anndata.io.read_zarr(work / f"her2st_{name}.zarr" / "tables" / "table").var for name in SECTIONS]
    assert all(axis.index.equals(axes[0].index) and axis["measured"].all() for axis in axes)


def test_verify_passes_and_a_flipped_bit_does_not(built: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    import shutil

    release, printed = built
    result = run_humanst("verify", str(release), "--json")
    assert result.returncode == 0, result.stderr
    assert output_json(result)["pairs"] == printed["totals"]["pairs"]
    copy = tmp_path / "copy"
    shutil.copytree(release, copy)
    shard = sorted(copy.glob("data/*/*.tar"))[0]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    result = run_humanst("verify", str(copy), "--json")
    assert result.returncode == 6
    assert not output_json(result)["ok"]
    assert shard.name in result.stderr


def test_shards_read_with_the_standard_tar_module_and_webdataset(built: tuple[Path, dict[str, Any]]) -> None:
    import webdataset as wds

    release, printed = built
    shards = sorted(map(str, release.glob("data/*/*.tar")))
    keys = [sample["__key__"] for sample in wds.WebDataset(shards, shardshuffle=False, empty_check=False)]
    assert sorted(keys) == sorted(index_of(release)["key"])
    with tarfile.open(shards[0]) as tar:
        assert {member.mtime for member in tar.getmembers()} == {0}
    assert len(keys) == printed["totals"]["pairs"]


def test_building_again_reuses_everything_and_changes_no_byte(
    built: tuple[Path, dict[str, Any]], real_data: Path, shared_tmp: Path
) -> None:
    release, _ = built
    before = (release / "SHA256SUMS").read_bytes(), (release / "MANIFEST.json").read_bytes()
    stamp = {path: path.stat().st_mtime_ns for path in release.glob("data/*/*.tar")}
    result = run_humanst(
        "build-shards", "her2st", "--sections", ",".join(SECTIONS), "-o", str(release),
        mirror=real_data, cache=shared_tmp / "her2st_cache",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert ((release / "SHA256SUMS").read_bytes(), (release / "MANIFEST.json").read_bytes()) == before
    assert {path: path.stat().st_mtime_ns for path in release.glob("data/*/*.tar")} == stamp


def test_no_machine_path_is_in_the_release(built: tuple[Path, dict[str, Any]]) -> None:
    release, _ = built
    needle = str(release.parent).encode()
    for path in [*release.glob("*.json"), *release.glob("*/*/*.json")]:
        assert needle not in path.read_bytes(), path
    assert os.sep + "home" not in (release / "MANIFEST.json").read_text()
