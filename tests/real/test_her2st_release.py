"""The main job on real legacy ST sections, against independent readings of the same files."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from PIL import Image
from scipy import sparse

from humanst.catalog import load_catalog
from tests.fetch.small_release import pairs_of
from tests.helpers import output_json, run_humanst
from tests.server import serving

SECTIONS = ("B4", "C2", "C3")
WITHOUT_IMAGE = ("A1", "B1", "C1")
IMAGES = {
    "B4": "data/ST-imgs/B/B4/BT10737_D2_HE.jpg",
    "C2": "data/ST-imgs/C/C2/5714_HE_BT_C2.jpg",
    "C3": "data/ST-imgs/C/C3/5714_HE_BT_D1.jpg",
}
pytestmark = [pytest.mark.real, pytest.mark.xdist_group("her2st")]


def fetch_over_http(real_data: Path, cache: Path) -> None:
    """Fetch all sections at hand and the default gene sets from a server here, which cuts every body once."""
    book = load_catalog()
    names = SECTIONS + WITHOUT_IMAGE
    default = book.resource("gene_sets").default
    wanted = {f"gene_sets/{default}"}
    wanted |= {f"her2st/{source.path}" for name in names for source in book.study("her2st").section(name).sources}
    with serving() as server:
        server.bodies = {name: (real_data / name).read_bytes() for name in wanted}
        online = {
            "HUMANST_OFFLINE": "0",
            "HUMANST_ALLOW_LOOPBACK_HTTP": "1",
            "HUMANST_MIRROR": f"http://{server.host}/resume",
            "NO_PROXY": "*",
        }
        asked = ("her2st", f"gene_sets/{default}", "--sections", ",".join(names))
        result = run_humanst("fetch", *asked, "--json", cache=cache, env=online)
        assert result.returncode == 0, result.stderr
        assert len(output_json(result)["files"]) == len(wanted)
        assert server.hits == {f"/resume/{name}": 2 for name in wanted}
        assert server.sent == {f"/resume/{name}": len(body) for name, body in server.bodies.items()}


@pytest.fixture(scope="session")
def built(real_data: Path, shared_tmp: Path) -> tuple[Path, dict[str, Any]]:
    """The release folder and what the command printed: fetched over HTTP, then built without a connection."""
    out = shared_tmp / "her2st_release"
    printed = shared_tmp / "her2st_release.json"
    with FileLock(shared_tmp / "her2st_release.lock"):
        if not printed.exists():
            fetch_over_http(real_data, shared_tmp / "her2st_cache")
            result = run_humanst(
                "build-shards", "her2st", "--sections", ",".join(SECTIONS), "-o", str(out), "--json",
                cache=shared_tmp / "her2st_cache",
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
    """All spots of the store that passed QC, judged by the colour of the store's own picture round each."""
    import spatialdata

    section = section_of(built[0], name)
    low = sum(drop["n"] for drop in section["pair_drops"] if drop["reason"] == "low-tissue")
    assert low / section["spots_out"] <= 0.01
    sdata = spatialdata.read_zarr(store_of(built[0], name))
    share = stained_share(sdata["he"]["scale0"]["image"].to_numpy(), sdata["table"].obsm["spatial"] / 2.0)
    assert (share >= 0.15).mean() >= 0.99
    told = sdata["table"].obs["tissue_fraction"].to_numpy()
    assert np.abs(told - share).mean() < 0.1
    beside = stained_share(sdata["he"]["scale0"]["image"].to_numpy(), sdata["table"].obsm["spatial"][:, ::-1] / 2.0)
    assert (beside >= 0.15).mean() < 0.97, "x and y exchanged are seen"


def store_of(release: Path, name: str) -> Path:
    return release.with_name("her2st_release.work") / "sections" / f"her2st_{name}.zarr"


def stained_share(image: np.ndarray, xy: np.ndarray, half: int = 28) -> np.ndarray:
    """Share of the 112 um round each place, in pixels of 2 um, that has more colour than glass."""
    # At least a quarter of every picture is glass.
    colour = np.ptp(image.astype(int), axis=0)
    stained = colour > np.percentile(colour, 25) + 6
    windows = [(slice(max(int(v) - half, 0), max(int(v) + half, 1)) for v in (y, x)) for x, y in xy]
    return np.array([stained[tuple(window)].sum() / (2 * half) ** 2 for window in windows])


@pytest.mark.parametrize("name", SECTIONS)
def test_counts_belong_to_their_spot(built: tuple[Path, dict[str, Any]], real_data: Path, name: str) -> None:
    release, _ = built
    attrs = json.loads((store_of(release, name) / "zarr.json").read_bytes())["attributes"]["humanst"]
    unmapped = [gene for gene, _ in attrs["provenance"]["unmapped_genes"]]
    pairs = index_of(release).query("sample_id == @attrs['sample_id']")
    table = count_table(real_data, name).drop(columns=unmapped).loc[pairs["spot_id"]]
    assert (table.sum(axis=1).to_numpy() == pairs["n_counts"].to_numpy()).all()
    mt = table.loc[:, table.columns.str.startswith("MT-")].sum(axis=1) / table.sum(axis=1)
    assert pairs["mt_fraction"].to_numpy() == pytest.approx(mt.to_numpy(), abs=1e-6)
    place = pairs["spot_id"].str.split("x", expand=True).astype(int)
    assert (place[0] == pairs["col"]).all()
    assert (place[1] == pairs["row"]).all()


@pytest.mark.parametrize("name", SECTIONS)
def test_targets_follow_a_plain_score_of_the_count_table(
    built: tuple[Path, dict[str, Any]], real_data: Path, name: str
) -> None:
    """Mean log CP10k of a set's genes less that of all genes: cruder than the target, but of the same spots."""
    from humanst.load import PairDataset, open_release

    opened = open_release(built[0])
    split = section_of(built[0], name)["split"]
    dataset = PairDataset(opened, split, where=f"sample_id == 'her2st_{name}'")
    pairs = [dataset[number] for number in range(len(dataset))]
    spots = index_of(built[0]).set_index("key").loc[[pair["key"] for pair in pairs], "spot_id"]
    table = count_table(real_data, name).loc[spots]
    log = np.log1p(table.div(table.sum(axis=1), axis=0) * 1e4)
    gmt = (real_data / "gene_sets" / "msigdb_h.all.v2025.1.Hs.symbols.gmt").read_text().splitlines()
    members = {line.split("\t")[0]: line.split("\t")[2:] for line in gmt}
    for pathway in ("EPITHELIAL_MESENCHYMAL_TRANSITION", "INTERFERON_GAMMA_RESPONSE", "MYC_TARGETS_V1"):
        column = list(opened.pathway_names).index(f"HALLMARK_{pathway}")
        plain = log[[gene for gene in members[f"HALLMARK_{pathway}"] if gene in log]].mean(axis=1) - log.mean(axis=1)
        target = np.array([pair["pathways"][column] for pair in pairs])
        assert np.corrcoef(plain, target)[0, 1] > 0.6, (name, pathway)


def test_a_stricter_tissue_threshold_drops_by_name_what_it_says(
    built: tuple[Path, dict[str, Any]], real_data: Path, shared_tmp: Path, tmp_path: Path
) -> None:
    """The same store cut again: pairs are those whose share of tissue reaches the threshold, no others."""
    release, _ = built
    pairs = index_of(release).query("sample_id == 'her2st_B4'").set_index("spot_id")
    threshold = 0.95
    work = tmp_path / "work"
    for folder in ("sections", "images"):
        for path in (release.with_name("her2st_release.work") / folder).glob("her2st_B4*"):
            copy = shutil.copytree if path.is_dir() else shutil.copyfile
            (work / folder).mkdir(parents=True, exist_ok=True)
            copy(path, work / folder / path.name)
    result = run_humanst(
        "build-shards", "her2st", "--sections", "B4", "-o", str(tmp_path / "out"), "--work", str(work),
        "--min-tissue-fraction", str(threshold), "--json", mirror=real_data, cache=shared_tmp / "her2st_cache",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    kept = set(pairs.index[pairs["tissue_fraction"] >= threshold])
    assert 0 < len(kept) < len(pairs)
    assert set(index_of(tmp_path / "out")["spot_id"]) == kept
    row = output_json(result)["sections"][0]
    drops = {drop["reason"]: drop["n"] for drop in row["pair_drops"]}
    assert sum(drops.values()) == row["spots_out"] - len(kept)
    assert drops["low-tissue"] >= len(pairs) - len(kept)


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


def test_a_part_of_it_over_http_holds_the_same_members(built: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """The spots of one section with most transcripts, by Range; their bytes are those that tarfile finds."""
    release, _ = built
    index = index_of(release)
    wanted = index[index["sample_id"] == "her2st_B4"].nlargest(3, "n_counts")
    with serving() as server:
        for path in filter(Path.is_file, release.rglob("*")):
            server.bodies[f"r/{path.relative_to(release).as_posix()}"] = path.read_bytes()
        result = run_humanst(
            "fetch", "atlas", "--release", server.url("ranges", "r"), "--pin", "-o", str(tmp_path / "part"), "--where",
            f"section_id == 'B4' and n_counts >= {wanted['n_counts'].min()}", cache=tmp_path / "cache",
            env={"HUMANST_OFFLINE": "0", "HUMANST_ALLOW_LOOPBACK_HTTP": "1", "NO_PROXY": "*"},
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        sent = sum(n for path, n in server.sent.items() if path.endswith(".tar"))
    assert sent < 0.4 * sum(path.stat().st_size for path in release.glob("data/*/*.tar"))
    before, after = pairs_of(release), pairs_of(tmp_path / "part")
    assert {key for pairs in after.values() for key in pairs} == set(wanted["key"])
    assert all(members == before[split][key] for split, pairs in after.items() for key, members in pairs.items())
    assert run_humanst("verify", str(tmp_path / "part")).returncode == 0


def test_a_section_that_is_fetched_opens_with_spatialdata_and_is_the_store_that_was_built(
    built: tuple[Path, dict[str, Any]], real_data: Path, tmp_path: Path
) -> None:
    import spatialdata

    release, _ = built
    asked = ("--sections", "her2st_B4", "--with-sections", "-o", str(tmp_path / "part"))
    result = run_humanst("fetch", "atlas", "--release", str(release), *asked, cache=tmp_path / "cache")
    assert result.returncode == 0, result.stderr
    unpacked = tmp_path / "part" / "sections" / "her2st_B4.zarr"
    was, here = (
        {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (store_of(release, "B4"), unpacked)
    )
    assert here == was
    section = spatialdata.read_zarr(unpacked)
    table = section["table"]
    with gzip.open(real_data / "her2st/data/ST-cnts/B4.tsv.gz") as handle:
        counts = pd.read_csv(handle, sep="\t", index_col=0)
    lost = sum(drop["counts"] for drop in section_of(release, "B4")["drops"])
    assert table.X.sum() + lost == counts.to_numpy().sum()
    assert set(table.obs_names) <= set(counts.index)
    assert len(section["spots"]) == table.n_obs == section_of(release, "B4")["spots_out"]
    picture = section["he"]["scale0"].image if "scale0" in section["he"] else section["he"]
    assert np.asarray(picture).mean() > 100, "bright background and stained tissue"
    assert run_humanst("verify", str(tmp_path / "part")).returncode == 0


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


def test_added_counts_are_those_of_the_published_tables(
    built: tuple[Path, dict[str, Any]], real_data: Path, tmp_path: Path
) -> None:
    """Genes whose symbols both sides use, to the integer; components of every pair are finite."""
    release = tmp_path / "copy"
    shutil.copytree(built[0], release)
    work = built[0].with_name(f"{built[0].name}.work")
    options = ["--set", "counts,hvg:50,pca:50", "--work", str(work), "--workers", "1", "--json"]
    added = run_humanst("add-targets", str(release), *options)
    assert added.returncode == 0, added.stderr
    assert run_humanst("verify", str(release)).returncode == 0
    genes = pq.read_table(release / "targets/counts/genes.parquet").to_pandas()
    tables = {f"her2st_{name}": count_table(real_data, name) for name in SECTIONS}
    n_compared = 0
    for path in sorted(release.glob("targets/counts/*.npz")):
        index = pq.read_table(release / "index" / f"{path.stem.split('-')[0]}.parquet").to_pandas()
        rows = index[index["shard"] == f"{path.stem}.tar"].reset_index(drop=True)
        found = pd.DataFrame(sparse.load_npz(path).toarray(), columns=genes["symbol"])
        assert (found.sum(axis=1) == rows["n_counts"]).all()
        for sample_id, table in tables.items():
            mine = rows[rows["sample_id"] == sample_id]
            both = sorted(set(table.columns) & set(genes["symbol"][~genes["symbol"].duplicated(keep=False)]))
            more = found.loc[mine.index, both].to_numpy() - table.loc[mine["spot_id"], both].to_numpy()
            # A column under a gene's former name is counted to the gene as well.
            assert (more >= 0).all()
            assert (more > 0).any(axis=0).sum() <= 3
            n_compared += len(mine) * len(both)
        values = np.load(release / "targets" / "pca-50" / f"{path.stem}.npy")
        assert np.isfinite(values).all()
    assert n_compared > 5_000_000


def test_a_section_that_is_taken_down_is_gone_and_all_others_are_as_they_were(
    built: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    release, out = built[0], tmp_path / "out"
    gone = section_of(release, "C2")
    result = run_humanst("export", str(release), "--without", "C2", "-o", str(out), "--json")
    assert result.returncode == 0, result.stderr
    assert [(row["sample_id"], row["pairs"]) for row in output_json(result)["gone"]] == [
        (gone["sample_id"], gone["pairs"])
    ]
    before, after = pairs_of(release), pairs_of(out)
    kept = {
        split: {key: members for key, members in pairs.items() if not key.startswith(f"{gone['sample_id']}_")}
        for split, pairs in before.items()
    }
    assert after == {split: pairs for split, pairs in kept.items() if pairs}
    assert sum(map(len, before.values())) == sum(map(len, after.values())) + gone["pairs"]
    assert run_humanst("verify", str(out)).returncode == 0
    metadata = {row["section_id"]: row["metadata"] for row in manifest_of(release)["sections"]}
    own = {v for v in metadata["C2"].values() if v not in {w for name in ("B4", "C3") for w in metadata[name].values()}}
    texts = [path.read_text() for path in out.rglob("*") if path.suffix in (".json", ".md", ".tsv", ".bib")]
    assert [value for value in own - {gone["sample_id"], "C2"} if any(f'"{value}"' in text for text in texts)] == []
