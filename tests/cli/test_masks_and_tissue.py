"""What was not measured stays unmeasured, and spots off tissue do not become pairs."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from humanst.catalog import load_catalog
from humanst.demo import load_truth
from humanst.load import PairDataset
from tests.helpers import run_humanst
from tests.shards.conftest import Made
from tests.shards.conftest import made as made
from tests.studies import ST_RECIPE, write_world

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("masks")

SECTION = "A1"


def section_files(atlas: Path) -> dict[str, Path]:
    entry = load_catalog(atlas / "catalog.yaml").study("demo_st").section(SECTION)
    return {source.role: atlas / "mirror" / "demo_st" / source.path for source in entry.sources}


@pytest.fixture(scope="module")
def built(demo_atlas: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A demo section with spots added off its tissue, and gene sets of which one is too small to be valid."""
    folder = tmp_path_factory.mktemp("off_tissue")
    files = section_files(demo_atlas)
    spots = pd.read_csv(files["spots"], sep="\t")
    with gzip.open(files["counts"], "rt") as handle:
        counts = pd.read_csv(handle, sep="\t", index_col=0)
    added = off_tissue(demo_atlas, spots)
    extra = counts.iloc[: len(added)].copy()
    extra.index = [f"{row.x}x{row.y}" for row in added.itertuples()]
    files = {**files, "spots": folder / "selection.tsv", "counts": folder / "counts.tsv.gz"}
    pd.concat([spots, added]).to_csv(files["spots"], sep="\t", index=False)
    pd.concat([counts, extra]).to_csv(files["counts"], sep="\t")
    demo_sets = next((demo_atlas / "mirror" / "gene_sets").glob("*.gmt")).read_text()
    sets = folder / "sets.gmt"
    sets.write_text(demo_sets.rstrip("\n") + "\nFIVE_GENES\ttest\t" + "\t".join(demo_sets.split("\t")[2:7]) + "\n")
    world = write_world(folder / "world", {"study": {"s": files}}, {"study": ST_RECIPE}, gene_sets=sets)
    result = run_humanst("build-shards", "-o", str(folder / "out"), atlas=world.folder, cache=folder / "cache")
    assert result.returncode == 0, result.stderr
    return folder / "out", list(extra.index)


def off_tissue(atlas: Path, spots: pd.DataFrame) -> pd.DataFrame:
    """Lattice places whose whole patch and its surroundings were painted without tissue."""
    truth = load_truth(atlas, f"demo_st_{SECTION}")
    design = np.c_[spots[["x", "y"]], np.ones(len(spots))]
    affine = np.linalg.lstsq(design, spots[["pixel_x", "pixel_y"]].to_numpy(), rcond=None)[0]
    taken = set(zip(spots["x"], spots["y"], strict=True))
    reach = int(np.ceil(150 / truth.map_um_per_pixel))
    rows = []
    for x in range(int(spots["x"].min()) - 1, int(spots["x"].max()) + 2):
        for y in range(int(spots["y"].min()) - 1, int(spots["y"].max()) + 2):
            px, py = np.array([x, y, 1.0]) @ affine
            column, line = (int(value * truth.um_per_pixel / truth.map_um_per_pixel) for value in (px, py))
            inside = reach <= column < truth.class_map.shape[1] - reach
            inside &= reach <= line < truth.class_map.shape[0] - reach
            around = truth.tissue_mask[line - reach : line + reach + 1, column - reach : column + reach + 1]
            if (x, y) not in taken and inside and not around.any():
                rows.append({"x": x, "y": y, "new_x": x, "new_y": y, "pixel_x": px, "pixel_y": py, "selected": 1})
    assert len(rows) >= 3, "the section has room beside its tissue"
    return pd.DataFrame(rows[:8])


def test_spots_off_tissue_are_dropped_by_name_and_no_others(built: tuple[Path, list[str]]) -> None:
    release, added = built
    section = json.loads((release / "MANIFEST.json").read_bytes())["sections"][0]
    drops = {drop["reason"]: drop["n"] for drop in section["pair_drops"]}
    assert drops == {"low-tissue": len(added)}
    indexes = [pq.read_table(path).to_pandas() for path in (release / "index").glob("*.parquet")]
    kept = pd.concat(indexes)
    assert not set(added) & set(kept["spot_id"])
    assert (kept["tissue_fraction"] >= 0.15).all()
    assert kept["tissue_fraction"].nunique() > 5


def test_an_unmeasured_pathway_is_nan_in_the_shard_and_masked_in_the_loader(built: tuple[Path, list[str]]) -> None:
    release, _ = built
    manifest = json.loads((release / "MANIFEST.json").read_bytes())
    names = manifest["pathways"]["names"]
    place = names.index("FIVE_GENES")
    split = next(name for name, entry in manifest["splits"].items() if entry["n_pairs"])
    row = pq.read_table(release / "index" / f"{split}.parquet").to_pylist()[0]
    with (release / "data" / split / row["shard"]).open("rb") as handle:
        handle.seek(row["npy_offset"])
        raw = np.load(handle, allow_pickle=False)
    assert np.isnan(raw[place])
    assert np.isfinite(np.delete(raw, place)).all()
    pair = PairDataset(release, split)[0]
    assert pair["pathways"][place] == 0
    assert pair["mask"].tolist() == [name != "FIVE_GENES" for name in names]
    stats = pq.read_table(release / "targets" / "pathway_stats.parquet").to_pandas().set_index("pathway")
    assert stats.loc["FIVE_GENES", "masked_because"] == "too-few-genes"
    assert (stats.drop(index="FIVE_GENES")["masked_because"] == "").all()


def test_shapes_in_the_store_are_as_wide_as_spots_and_squares(
    built: tuple[Path, list[str]], demo_release: Path
) -> None:
    import spatialdata

    demo = demo_release.with_name("demo_release.work") / "sections"
    for path, radius_um in {
        built[0].with_name("out.work") / "sections" / "study_s.zarr": 50.0,
        demo / "demo_visium_V1.zarr": 27.5,
    }.items():
        spots: Any = spatialdata.read_zarr(path)["spots"]
        assert set(spots["radius"]) == {radius_um}
    for name in ("demo_xenium_X1", "demo_hd_H1"):
        store = spatialdata.read_zarr(demo / f"{name}.zarr")
        squares: Any = store["spots"].geometry
        assert squares.area.to_numpy() == pytest.approx(112.0**2, rel=1e-6)
        assert squares.length.to_numpy() == pytest.approx(4 * 112.0, rel=1e-6)
        centres = np.column_stack([squares.centroid.x, squares.centroid.y])
        assert centres == pytest.approx(store["table"].obsm["spatial"], abs=1e-6)


def test_verify_finds_a_group_on_two_sides_lost_counts_and_strangers(made: Made, tmp_path: Path) -> None:
    def verify(spoil: Any) -> tuple[int, str]:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(made.release, copy)
        manifest = json.loads((copy / "MANIFEST.json").read_bytes())
        spoil(copy, manifest)
        (copy / "MANIFEST.json").write_text(json.dumps(manifest))
        result = run_humanst("verify", str(copy))
        return result.returncode, result.stderr

    def one_group(folder: Path, manifest: dict[str, Any]) -> None:
        for row in manifest["sections"]:
            row["group"] = "all"

    def lose_counts(folder: Path, manifest: dict[str, Any]) -> None:
        manifest["sections"][0]["counts_out"] -= 5

    def stranger(folder: Path, manifest: dict[str, Any]) -> None:
        (folder / "data" / "note.txt").write_text("hello")

    for spoil, word in ((one_group, "leakage"), (lose_counts, "counts-not-conserved"), (stranger, "stranger")):
        code, text = verify(spoil)
        assert code in (5, 6)
        assert word in text
