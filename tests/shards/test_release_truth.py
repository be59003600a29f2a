"""A release against the truth it was painted from: every column and every target belongs to its own spot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from humanst.demo import Truth, load_truth
from humanst.load import PairDataset, open_release

SIDES_UM = {"visium": 55.0, "st": 100.0}


@pytest.fixture(scope="module")
def index(demo_release: Path) -> pd.DataFrame:
    parts = []
    for path in sorted((demo_release / "index").glob("*.parquet")):
        parts.append(pq.read_table(path).to_pandas().assign(split=path.stem))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def scores(demo_release: Path) -> pd.DataFrame:
    """Pathways of every pair by key, read through the loader."""
    release = open_release(demo_release)
    rows: dict[str, Any] = {}
    for split in release.splits:
        dataset = PairDataset(release, split)
        for number in range(len(dataset)):
            pair = dataset[number]
            rows[pair["key"]] = pair["pathways"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(release.pathway_names))


def spots_of(truth: Truth) -> pd.Index:
    return pd.Index(truth.spot_ids)


def each_section(index: pd.DataFrame, atlas: Path) -> Iterator[tuple[pd.DataFrame, Truth, np.ndarray]]:
    for sample_id, rows in index.groupby("sample_id"):
        truth = load_truth(atlas, str(sample_id))
        place = spots_of(truth).get_indexer(rows["spot_id"])
        assert (place >= 0).all()
        yield rows, truth, place


def programme_of(names: list[str], programme: str) -> str:
    return next(name for name in names if programme.upper() in name.upper())


def test_every_programme_follows_its_truth_in_every_section(
    index: pd.DataFrame, scores: pd.DataFrame, demo_atlas: Path
) -> None:
    """Targets moved to other spots would follow nothing."""
    for rows, truth, place in each_section(index, demo_atlas):
        mine = scores.loc[rows["key"]]
        for programme in truth.programme_names:
            column = programme_of(list(mine.columns), programme)
            rho = spearmanr(mine[column], truth.activity_of(programme)[place]).statistic
            assert rho > 0.45, (truth.sample_id, programme, rho)


def test_library_size_belongs_to_the_spot_and_is_z_scored(index: pd.DataFrame, demo_atlas: Path) -> None:
    for rows, truth, place in each_section(index, demo_atlas):
        rho = spearmanr(rows["n_counts"], truth.library_factor[place]).statistic
        assert rho > 0.8, (truth.sample_id, rho)
        assert np.log10(rows["n_counts"]).to_numpy() == pytest.approx(rows["log10_counts"].to_numpy(), abs=1e-5)
        log = rows["log10_counts"].to_numpy(np.float64)
        # All spots that pass QC became pairs here, so the fit is over the same spots.
        assert rows["log10_counts_z"].to_numpy() == pytest.approx((log - log.mean()) / log.std(), abs=1e-3)


def test_places_are_those_of_the_truth(index: pd.DataFrame, demo_atlas: Path) -> None:
    for rows, truth, place in each_section(index, demo_atlas):
        assert rows[["x_px", "y_px"]].to_numpy() == pytest.approx(truth.xy_px[place], abs=0.01)
        assert (rows["native_um_per_pixel"] / truth.um_per_pixel).to_numpy() == pytest.approx(1.0, rel=5e-3)
        um = rows[["x_um", "y_um"]].to_numpy() / rows[["x_px", "y_px"]].to_numpy()
        assert um == pytest.approx(np.full_like(um, rows["native_um_per_pixel"].iloc[0]))
        assert set(rows["target_side_um"]) == {SIDES_UM[rows["platform"].iloc[0]]}
        assert set(rows["target_shape"]) == {"circle"}


def test_row_and_column_are_the_vendors(index: pd.DataFrame, demo_atlas: Path) -> None:
    """A square lattice looks the same with rows and columns exchanged: the names must not be."""
    st = index[index["platform"] == "st"]
    columns = st["spot_id"].str.split("x", expand=True).astype(int)
    assert (columns[0] == st["col"]).all()
    assert (columns[1] == st["row"]).all()
    for sample_id, rows in index[index["platform"] == "visium"].groupby("sample_id"):
        study, section = str(sample_id).rsplit("_", 1)
        spatial = demo_atlas / "mirror" / study / section / "outs" / "spatial"
        path = next(iter(spatial.glob("tissue_positions*.csv")))
        header = 0 if path.name == "tissue_positions.csv" else None
        table = pd.read_csv(path, header=header).set_axis(range(6), axis=1).set_index(0).loc[rows["spot_id"]]
        assert (table[2].to_numpy() == rows["row"].to_numpy()).all()
        assert (table[3].to_numpy() == rows["col"].to_numpy()).all()


def test_labels_are_the_organs_codes(demo_release: Path, index: pd.DataFrame, demo_atlas: Path) -> None:
    organs = {
        row["sample_id"]: row["organ"]
        for path in demo_atlas.glob("curation/*/samples.csv")
        for row in pd.read_csv(path, dtype=str).to_dict("records")
    }
    codes = {organ: code for code, organ in enumerate(sorted(set(organs.values())))}
    assert len(codes) > 1
    for row in index.itertuples():
        with (demo_release / "data" / row.split / row.shard).open("rb") as handle:
            handle.seek(row.json_offset)
            content = json.loads(handle.read(row.json_length))
        assert content["label"] == codes[organs[row.sample_id]]
        assert (content["organ"], content["key"]) == (organs[row.sample_id], row.key)


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
def test_a_dataloader_over_a_built_release_gives_every_key_once(
    workers: int, demo_release: Path, index: pd.DataFrame
) -> None:
    data = pytest.importorskip("torch.utils.data", reason="needs torch: pip install '.[train]'")
    from humanst.load import collate

    dataset = PairDataset(demo_release, "val")
    keys: list[str] = []
    for batch in data.DataLoader(dataset, batch_size=50, num_workers=workers, collate_fn=collate):
        keys += batch["key"]
        assert batch["image"].shape[1:] == (3, 224, 224)
        assert batch["mask"].shape == batch["pathways"].shape
    assert sorted(keys) == sorted(index[index["split"] == "val"]["key"])
