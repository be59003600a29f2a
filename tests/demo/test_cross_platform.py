"""Five study kinds, one truth: a micrometre, a gene and a programme mean the same in every built section.

The reference is what the atlas says it painted (``truth/``), sampled here at the places the stores give; scores are
plain means of log expression, so nothing of the engine's scoring takes part.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from humanst.demo import Truth, load_truth

KINDS = {
    "visium": "demo_visium_V1",
    "visium_v1": "demo_visium_v1_P2",
    "st": "demo_st_E1",
    "xenium": "demo_xenium_X1",
    "visium_hd": "demo_hd_H1",
}
# All but the second are cut from one block.
ONE_BLOCK = ("visium", "st", "xenium", "visium_hd")
# The class a programme's name speaks of.
HIGHEST_IN = {
    "DEMO_TUMOUR_PROLIFERATION": "tumour",
    "DEMO_STROMA_MATRIX": "stroma",
    "DEMO_ADIPOSE_LIPID": "adipose",
    "DEMO_IMMUNE_INFILTRATE": "immune",
    "DEMO_HYPOXIA_NECROSIS": "necrosis",
    "DEMO_GLAND_SECRETION": "gland",
}
FIELD_STEPS = 8
TILE_UM = 280.0


@dataclass(frozen=True)
class Built:
    """A section as its store gives it, and the truth at its places.

    Attributes
    ----------
    xy_um
        (n, 2) centres as stored.
    counts
        (n, G) by spot and Ensembl id.
    scores
        (n, P) mean log expression of each programme's genes over that of genes of no set.
    activity
        (n, P) painted activity, mean over the field of the target; off the tissue nothing counts.
    shares
        (n, C) share of each tissue class in the field, background first.
    """

    truth: Truth
    xy_um: NDArray[np.float64]
    counts: pd.DataFrame
    scores: pd.DataFrame
    activity: pd.DataFrame
    shares: pd.DataFrame


def field_of(xy_um: NDArray[np.float64], shape: str, side_um: float) -> NDArray[np.float64]:
    """Sample points (k, n, 2) of the circle or upright square round each centre."""
    steps = (np.arange(FIELD_STEPS) + 0.5) / FIELD_STEPS - 0.5
    offsets = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    if shape == "circle":
        offsets = offsets[np.hypot(*offsets.T) <= 0.5]
    return xy_um[None] + (offsets * side_um)[:, None]


def cells(truth: Truth, points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of the truth's grid at points (..., 2) in um."""
    height, width = truth.class_map.shape
    at = (points / truth.map_um_per_pixel).astype(np.int64)
    return np.clip(at[..., 1], 0, height - 1), np.clip(at[..., 0], 0, width - 1)


def read_built(store: Path, atlas: Path) -> Built:
    import spatialdata

    sdata = spatialdata.read_zarr(store)
    table, attrs = sdata["table"], sdata.attrs["humanst"]
    truth = load_truth(atlas, store.stem)
    xy_um = np.asarray(table.obsm["spatial"])
    row, column = cells(truth, field_of(xy_um, attrs["target"]["shape"], attrs["target"]["side_um"]))
    classes = truth.class_map[row, column]
    shares = np.stack([(classes == k).mean(axis=0) for k in range(len(truth.class_names))], axis=1)
    on_tissue = classes > 0
    n_inside = np.maximum(on_tissue.sum(axis=0), 1)
    planes = (plane[row, column].astype(float) for plane in truth.activity_map)
    activity = [np.where(on_tissue, plane, 0).sum(axis=0) / n_inside for plane in planes]
    counts = pd.DataFrame(table.X.toarray(), index=table.obs_names, columns=table.var_names)
    return Built(
        truth=truth,
        xy_um=xy_um,
        counts=counts,
        scores=scores_of(counts, table.var["symbol"].to_numpy(), atlas).loc[:, list(truth.programme_names)],
        activity=pd.DataFrame(np.stack(activity, axis=1), columns=list(truth.programme_names)),
        shares=pd.DataFrame(shares, columns=list(truth.class_names)),
    )


def scores_of(counts: pd.DataFrame, symbols: NDArray[np.str_], atlas: Path) -> pd.DataFrame:
    lines = [line.split("\t") for line in (atlas / "mirror/gene_sets/demo.gmt").read_text().splitlines()]
    log = np.log1p(counts.div(counts.sum(axis=1), axis=0) * 1e4)
    in_sets = [gene for _, _, *members in lines for gene in members]
    rest = log.loc[:, ~np.isin(symbols, in_sets)].mean(axis=1)
    return pd.DataFrame({name: log.loc[:, np.isin(symbols, genes)].mean(axis=1) - rest for name, _, *genes in lines})


@pytest.fixture(scope="module")
def built(section_stores: dict[str, Path], demo_atlas: Path) -> dict[str, Built]:
    return {kind: read_built(section_stores[sample_id], demo_atlas) for kind, sample_id in KINDS.items()}


def test_all_five_kinds_are_built_and_one_block_is_shared(
    section_stores: dict[str, Path], built: dict[str, Built], demo_atlas: Path
) -> None:
    assert {path.stem for path in (demo_atlas / "truth").glob("*.npz")} == set(section_stores)
    truths = [built[kind].truth for kind in ONE_BLOCK]
    assert len({(truth.block, truth.donor_id) for truth in truths}) == 1
    for truth in truths[1:]:
        assert np.array_equal(truth.class_map, truths[0].class_map)
        assert np.array_equal(truth.activity_map, truths[0].activity_map)
    platforms = {path.parent.name for path in demo_atlas.glob("curation/*/recipe.yaml")}
    assert {sample_id.rsplit("_", 1)[0] for sample_id in KINDS.values()} == platforms


# Least and mean Spearman over the ten programmes. Measured: 0.70 and 0.85, 0.59 and 0.83, 0.63 and 0.80, 0.41 and 0.76
# (a set of which the panel has six genes), 0.65 and 0.87.
WANTED = {
    "visium": (0.5, 0.7),
    "visium_v1": (0.4, 0.7),
    "st": (0.4, 0.65),
    "xenium": (0.25, 0.6),
    "visium_hd": (0.45, 0.7),
}


@pytest.mark.parametrize("kind", KINDS)
def test_programmes_follow_what_was_painted_under_each_spot(built: dict[str, Built], kind: str) -> None:
    section = built[kind]
    names = section.truth.programme_names
    rho = {name: float(spearmanr(section.scores[name], section.activity[name]).statistic) for name in names}
    least, mean = WANTED[kind]
    assert min(rho.values()) > least, rho
    assert np.mean(list(rho.values())) > mean, rho


def class_means(section: Built) -> pd.DataFrame:
    """Mean score of each programme (columns) in each class (rows), over spots of which most is that class."""
    main = section.shares.idxmax(axis=1).where(section.shares.max(axis=1) >= 0.6)
    scores = section.scores.set_axis(main.to_numpy())
    means: pd.DataFrame = scores[scores.index.notna()].groupby(level=0).mean()
    return means.drop(index="background", errors="ignore")


@pytest.mark.parametrize("kind", KINDS)
def test_a_programme_is_highest_in_the_class_it_was_painted_for(built: dict[str, Built], kind: str) -> None:
    means = class_means(built[kind])
    assert means[list(HIGHEST_IN)].idxmax().to_dict() == HIGHEST_IN


@pytest.mark.parametrize(("one", "other"), list(combinations(KINDS, 2)))
def test_class_means_of_two_platforms_agree(built: dict[str, Built], one: str, other: str) -> None:
    """Measured: 0.89 to 0.97 over six classes and ten programmes, whole transcriptome against panel too."""
    a, b = class_means(built[one]), class_means(built[other])
    assert set(a.index) == set(b.index) == set(HIGHEST_IN.values())
    a, b = a - a.mean(), (b - b.mean()).loc[a.index]
    assert np.corrcoef(a.to_numpy().ravel(), b.to_numpy().ravel())[0, 1] > 0.75


def tile_means(section: Built, xy_um: NDArray[np.float64]) -> pd.DataFrame:
    tile = pd.MultiIndex.from_arrays((xy_um // TILE_UM).astype(int).T)
    means: pd.DataFrame = section.scores.set_axis(tile).groupby(level=[0, 1]).mean()
    return means


def agreement(one: pd.DataFrame, other: pd.DataFrame) -> float:
    """Mean over programmes of the correlation over the tiles that both platforms have."""
    both = one.index.intersection(other.index)
    assert len(both) >= 12
    return float(np.mean([np.corrcoef(one.loc[both, name], other.loc[both, name])[0, 1] for name in one.columns]))


@pytest.mark.parametrize(("one", "other"), list(combinations(ONE_BLOCK, 2)))
def test_two_platforms_find_the_same_things_in_the_same_places(built: dict[str, Built], one: str, other: str) -> None:
    """Tile by tile of one block in um, and only as it lies. Measured: 0.68 to 0.92, at most 0.18 any other way."""
    first, second = built[one], built[other]
    size = np.array(second.truth.class_map.shape[::-1]) * second.truth.map_um_per_pixel
    x, y = second.xy_um.T
    other_ways = {
        "mirrored left to right": np.stack([size[0] - x, y], axis=1),
        "mirrored top to bottom": np.stack([x, size[1] - y], axis=1),
        "turned by 180 degrees": np.stack([size[0] - x, size[1] - y], axis=1),
        "x and y swapped": np.stack([y, x], axis=1),
    }
    tiles = tile_means(first, first.xy_um)
    given = agreement(tiles, tile_means(second, second.xy_um))
    assert given > 0.55
    for name, xy_um in other_ways.items():
        assert agreement(tiles, tile_means(second, xy_um)) < given - 0.25, name


@pytest.mark.parametrize(("one", "other"), list(combinations(KINDS, 2)))
def test_a_gene_is_the_same_gene_on_two_platforms(built: dict[str, Built], one: str, other: str) -> None:
    """Sums over sections by Ensembl id, whatever symbols of whatever year the files had. Measured: 0.70 to 0.92."""
    a, b = built[one].counts.sum(), built[other].counts.sum()
    shared = a.index.intersection(b.index)
    assert len(shared) == (300 if "xenium" in (one, other) else min(len(a), len(b)))
    a, b = np.log(a[shared].clip(lower=0.5)), np.log(b[shared].clip(lower=0.5))
    plenty = (a > np.log(100)) & (b > np.log(100))
    assert plenty.sum() >= 30
    assert np.corrcoef(a[plenty], b[plenty])[0, 1] > 0.55
    strangers = np.random.default_rng(0).permutation(b[plenty].to_numpy())
    assert abs(np.corrcoef(a[plenty], strangers)[0, 1]) < 0.4
