"""A release against the truth it was painted from: every column and every target belongs to its own spot."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.io import mmread
from scipy.sparse import csc_matrix
from scipy.stats import spearmanr

from humanst.demo import Truth, load_truth
from humanst.load import PairDataset, open_release

# What the platforms' makers say of a spot, and the 112 um squares that bins and transcripts are pooled to.
TARGETS = {
    "visium": ("circle", 55.0),
    "st": ("circle", 100.0),
    "xenium": ("square", 112.0),
    "visium_hd": ("square", 112.0),
}


@pytest.fixture(scope="module")
def index(demo_release: Path) -> pd.DataFrame:
    parts = []
    for path in sorted((demo_release / "index").glob("*.parquet")):
        parts.append(pq.read_table(path).to_pandas().assign(split=path.stem))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def scores(demo_release: Path) -> pd.DataFrame:
    """Pathways of every pair by key, read through the loader; NaN where its mask says unmeasured."""
    release = open_release(demo_release)
    rows: dict[str, Any] = {}
    for split in release.splits:
        dataset = PairDataset(release, split)
        for number in range(len(dataset)):
            pair = dataset[number]
            rows[pair["key"]] = np.where(pair["mask"], pair["pathways"], np.nan)
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(release.pathway_names))


def each_section(index: pd.DataFrame, atlas: Path) -> Iterator[tuple[pd.DataFrame, Truth, np.ndarray]]:
    for sample_id, rows in index.groupby("sample_id"):
        truth = load_truth(atlas, str(sample_id))
        place = pd.Index(truth.spot_ids).get_indexer(rows["spot_id"])
        assert (place >= 0).all()
        yield rows, truth, place


def programme_of(names: list[str], programme: str) -> str:
    return next(name for name in names if programme.upper() in name.upper())


def test_every_programme_follows_its_truth_in_every_section(
    index: pd.DataFrame, scores: pd.DataFrame, demo_atlas: Path
) -> None:
    """Targets moved to other spots would follow nothing."""
    assert set(index["platform"]) == set(TARGETS)
    for rows, truth, place in each_section(index, demo_atlas):
        mine = scores.loc[rows["key"]]
        measured = 0
        for programme in truth.programme_names:
            column = mine[programme_of(list(mine.columns), programme)]
            if rows["platform"].iloc[0] == "xenium" and column.isna().all():
                continue
            measured += 1
            rho = spearmanr(column, truth.activity_of(programme)[place]).statistic
            assert rho > 0.45, (truth.sample_id, programme, rho)
        assert measured >= len(truth.programme_names) - 1


def test_a_pathway_is_nan_where_the_panel_lacks_its_genes_and_nowhere_else(
    index: pd.DataFrame, scores: pd.DataFrame, demo_atlas: Path, demo_release: Path
) -> None:
    """Ten genes of a set must be in the vendor's feature table; the bytes in the shard say NaN, not zero."""
    gmt = next((demo_atlas / "mirror/gene_sets").glob("*.gmt")).read_text().splitlines()
    members = {line.split("\t")[0]: set(line.split("\t")[2:]) for line in gmt}
    wanted = {}
    for path in sorted((demo_atlas / "mirror/demo_xenium").glob("*/cell_feature_matrix.h5")):
        with h5py.File(path) as handle:
            names = {name.decode() for name in handle["matrix/features/name"][:]}
        wanted[f"demo_xenium_{path.parent.name}"] = {name for name, genes in members.items() if len(genes & names) < 10}
    assert len(wanted) == 2
    assert all(wanted.values())
    for sample_id, rows in index.groupby("sample_id"):
        mine = scores.loc[rows["key"]]
        lacking = wanted.get(str(sample_id), set())
        assert set(mine.columns[mine.isna().any()]) == set(mine.columns[mine.isna().all()]) == lacking, sample_id
        for row in rows.head(5).itertuples():
            raw = np.load(io.BytesIO(member(demo_release, row, "npy")), allow_pickle=False)
            assert raw.dtype == np.float32
            assert (np.isnan(raw) == mine.columns.isin(lacking)).all()


def member(release: Path, row: Any, kind: str) -> bytes:
    with (release / "data" / row.split / row.shard).open("rb") as handle:
        handle.seek(getattr(row, f"{kind}_offset"))
        return handle.read(getattr(row, f"{kind}_length"))


def test_library_size_belongs_to_the_spot(index: pd.DataFrame, demo_atlas: Path) -> None:
    for rows, truth, place in each_section(index, demo_atlas):
        rho = spearmanr(rows["n_counts"], truth.library_factor[place]).statistic
        assert rho > 0.8, (truth.sample_id, rho)


def test_library_size_is_z_scored_over_all_spots_of_the_store(index: pd.DataFrame, demo_release: Path) -> None:
    """Spots that gave no pair stay in mean and deviation: patch drops come after."""
    n_more = 0
    for sample_id, rows in index.groupby("sample_id"):
        total = pd.Series(*store_table(demo_release, str(sample_id)))
        log = np.log10(total)
        z = (log - log.mean()) / log.std(ddof=0)
        mine = rows.set_index("spot_id")
        assert (mine["n_counts"] == total[mine.index]).all()
        assert mine["log10_counts"].to_numpy() == pytest.approx(log[mine.index].to_numpy(), abs=1e-5)
        assert mine["log10_counts_z"].to_numpy() == pytest.approx(z[mine.index].to_numpy(), abs=1e-4)
        n_more += len(total) - len(mine)
    assert n_more > 0


def store_table(release: Path, sample_id: str) -> tuple[np.ndarray, list[str]]:
    """Transcripts of every spot of the store a release was built from, and the spots' names, read by anndata alone."""
    import anndata

    store = release.with_name(f"{release.name}.work") / "sections" / f"{sample_id}.zarr"
    table = anndata.io.read_zarr(store / "tables" / "table")
    return np.asarray(table.X.sum(axis=1)).ravel(), table.obs_names.tolist()


def vendor_counts(atlas: Path, sample_id: str, unmapped: list[str]) -> pd.DataFrame:
    """Spots and genes as the vendor's files list them, read without humanst."""
    study, section = sample_id.rsplit("_", 1)
    folder = atlas / "mirror" / study
    if study == "demo_st":
        with gzip.open(folder / f"data/ST-cnts/{section}.tsv.gz", "rt") as handle:
            return pd.read_csv(handle, sep="\t", index_col=0).drop(columns=unmapped)
    outs = folder / section / "outs"
    if (outs / "filtered_feature_bc_matrix.h5").is_file():
        with h5py.File(outs / "filtered_feature_bc_matrix.h5") as handle:
            group = handle["matrix"]
            matrix = csc_matrix((group["data"][:], group["indices"][:], group["indptr"][:]), shape=group["shape"][:])
            names = [name.decode() for name in group["features/name"][:]]
            barcodes = [name.decode() for name in group["barcodes"][:]]
    else:
        mex = outs / "filtered_feature_bc_matrix"
        matrix = mmread(mex / "matrix.mtx.gz")
        names = pd.read_csv(mex / "features.tsv.gz", sep="\t", header=None)[1].tolist()
        barcodes = pd.read_csv(mex / "barcodes.tsv.gz", header=None)[0].tolist()
    return pd.DataFrame(matrix.toarray().T, index=barcodes, columns=names)


def test_counts_genes_and_mitochondria_are_those_of_the_vendors_row(
    index: pd.DataFrame, demo_release: Path, demo_atlas: Path
) -> None:
    manifest = json.loads((demo_release / "MANIFEST.json").read_bytes())
    for row in manifest["sections"]:
        if row["platform"] not in ("visium", "st"):
            continue
        unmapped = [name for drop in row["drops"] if drop["what"] == "genes" for name in drop["examples"]]
        mine = index[index["sample_id"] == row["sample_id"]]
        table = vendor_counts(demo_atlas, row["sample_id"], unmapped).loc[mine["spot_id"]]
        assert (table.sum(axis=1).to_numpy() == mine["n_counts"].to_numpy()).all(), row["sample_id"]
        assert ((table > 0).sum(axis=1).to_numpy() == mine["n_genes"].to_numpy()).all(), row["sample_id"]
        mt = table.loc[:, table.columns.str.startswith("MT-")].sum(axis=1) / table.sum(axis=1)
        assert mine["mt_fraction"].to_numpy() == pytest.approx(mt.to_numpy(), abs=1e-6)
        assert (mt > 0).any()


def test_places_are_those_of_the_truth(index: pd.DataFrame, demo_atlas: Path) -> None:
    for rows, truth, place in each_section(index, demo_atlas):
        assert rows[["x_px", "y_px"]].to_numpy() == pytest.approx(truth.xy_px[place], abs=0.01)
        assert (rows["native_um_per_pixel"] / truth.um_per_pixel).to_numpy() == pytest.approx(1.0, rel=5e-3)
        um = rows[["x_um", "y_um"]].to_numpy() / rows[["x_px", "y_px"]].to_numpy()
        assert um == pytest.approx(np.full_like(um, rows["native_um_per_pixel"].iloc[0]))
        targets = set(rows[["target_shape", "target_side_um"]].itertuples(index=False, name=None))
        assert targets == {TARGETS[rows["platform"].iloc[0]]}


def painted_share(truth: Truth, xy_px: np.ndarray) -> np.ndarray:
    """Share of the 112 um round each place that was painted as tissue."""
    cells = xy_px * truth.um_per_pixel / truth.map_um_per_pixel
    half = 56 / truth.map_um_per_pixel
    mask = truth.tissue_mask
    windows = [(slice(max(int(v - half), 0), int(v + half)) for v in (y, x)) for x, y in cells]
    return np.array([mask[tuple(window)].mean() for window in windows])


def test_pairs_are_the_spots_on_painted_tissue(index: pd.DataFrame, demo_release: Path, demo_atlas: Path) -> None:
    manifest = json.loads((demo_release / "MANIFEST.json").read_bytes())
    drops = {row["sample_id"]: row["pair_drops"] for row in manifest["sections"]}
    n_dropped = 0
    for rows, truth, place in each_section(index, demo_atlas):
        share = painted_share(truth, truth.xy_px[place])
        assert rows["tissue_fraction"].to_numpy() == pytest.approx(share, abs=0.2)
        assert (rows["tissue_fraction"] >= 0.15).all()
        assert share.min() > 0.1, truth.sample_id
        totals, spot_ids = store_table(demo_release, truth.sample_id)
        gone = sorted(set(spot_ids) - set(rows["spot_id"]))
        assert [(drop["reason"], drop["n"]) for drop in drops[truth.sample_id]] == [("low-tissue", len(gone))] * bool(
            gone
        )
        where = pd.Index(truth.spot_ids).get_indexer(gone)
        assert (painted_share(truth, truth.xy_px[where]) < 0.25).all()
        n_dropped += len(gone)
        assert len(totals) == len(rows) + len(gone)
    assert n_dropped > 0, "the atlas has squares off tissue"


def test_row_and_column_are_the_vendors(index: pd.DataFrame, demo_atlas: Path) -> None:
    """A square lattice looks the same with rows and columns exchanged: the names must not be."""
    st = index[index["platform"] == "st"]
    columns = st["spot_id"].str.split("x", expand=True).astype(int)
    assert (columns[0] == st["col"]).all()
    assert (columns[1] == st["row"]).all()
    pooled = index[index["platform"].isin(["xenium", "visium_hd"])]
    named = pooled["spot_id"].map(lambda name: tuple(map(int, re.fullmatch(r"r(\d+)c(\d+)", name).groups())))  # type: ignore[union-attr]
    assert named.tolist() == list(zip(pooled["row"], pooled["col"], strict=True))
    for (_, platform, _), rows in pooled.groupby(["sample_id", "platform", "row"]):
        # A row of squares runs along x, or nearly: the grid of HD may lie turned on the image by a few degrees.
        assert np.ptp(rows["y_um"]) < 0.2 * max(np.ptp(rows["x_um"]), 112), platform
    for sample_id, rows in index[index["platform"] == "visium"].groupby("sample_id"):
        study, section = str(sample_id).rsplit("_", 1)
        spatial = demo_atlas / "mirror" / study / section / "outs" / "spatial"
        path = next(iter(spatial.glob("tissue_positions*.csv")))
        header = 0 if path.name == "tissue_positions.csv" else None
        table = pd.read_csv(path, header=header).set_axis(range(6), axis=1).set_index(0).loc[rows["spot_id"]]
        assert (table[2].to_numpy() == rows["row"].to_numpy()).all()
        assert (table[3].to_numpy() == rows["col"].to_numpy()).all()


def test_labels_are_the_organs_codes_and_the_json_is_the_index_row(
    demo_release: Path, index: pd.DataFrame, demo_atlas: Path
) -> None:
    organs = {
        row["sample_id"]: row["organ"]
        for path in demo_atlas.glob("curation/*/samples.csv")
        for row in pd.read_csv(path, dtype=str).to_dict("records")
    }
    codes = {organ: code for code, organ in enumerate(sorted(set(organs.values())))}
    assert len(codes) > 1
    for row in index.itertuples():
        content = json.loads(member(demo_release, row, "json"))
        assert content["label"] == codes[organs[row.sample_id]]
        assert content["organ"] == organs[row.sample_id]
        shared = set(content) & set(index.columns)
        assert {"key", "spot_id", "n_counts", "log10_counts_z", "target_side_um", "row", "col", "x_um"} <= shared
        for name in shared:
            value = getattr(row, name)
            assert content[name] == (value if isinstance(value, str) else pytest.approx(value, abs=2e-6)), name


def test_assigned_donors_are_where_they_were_put(index: pd.DataFrame, demo_atlas: Path) -> None:
    assigned = pd.read_csv(demo_atlas / "assign.csv").set_index("donor_id")["split"]
    donors = pd.concat([pd.read_csv(path, dtype=str) for path in demo_atlas.glob("curation/*/samples.csv")])
    wanted = donors.set_index("sample_id")["donor_id"].map(assigned)
    assert (index["sample_id"].map(wanted) == index["split"]).all()


def test_pairs_are_shuffled_over_sections(index: pd.DataFrame) -> None:
    """In the order of uids hashed with the seed, neighbours come from one section no more often than by chance."""
    for _, rows in index.groupby("split", sort=False):
        share = (rows["sample_id"].to_numpy()[1:] == rows["sample_id"].to_numpy()[:-1]).mean()
        chance = (rows["sample_id"].value_counts(normalize=True) ** 2).sum()
        assert share < chance + 0.1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataloader_over_a_built_release_gives_every_key_once_with_its_own_targets(
    workers: int, demo_release: Path, index: pd.DataFrame, scores: pd.DataFrame
) -> None:
    data = pytest.importorskip("torch.utils.data", reason="needs torch: pip install '.[train]'")
    from humanst.load import collate

    dataset = PairDataset(demo_release, "val")
    keys: list[str] = []
    for batch in data.DataLoader(dataset, batch_size=50, num_workers=workers, collate_fn=collate):
        keys += batch["key"]
        assert batch["image"].shape[1:] == (3, 224, 224)
        assert np.where(batch["mask"], batch["pathways"], np.nan) == pytest.approx(
            scores.loc[batch["key"]].to_numpy(), nan_ok=True
        )
    assert sorted(keys) == sorted(index[index["split"] == "val"]["key"])
