"""Target sets of sections with different genes, against plain dense numpy and scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from scipy import sparse

from humanst.errors import DataError
from humanst.shards import target_sources
from humanst.shards.target_layout import Layout, SectionRows, ShardRows
from humanst.shards.target_sets import TargetSet
from humanst.shards.target_writing import Means, _write_set
from humanst.store import StoredSection

GENES = [f"ENSG{number:011d}" for number in range(60)]
# name: split, targeted, the genes it lacks, pairs
SECTIONS = {
    "panel": ("train", True, GENES[:50], 30),
    "train_a": ("train", False, [], 40),
    "train_b": ("train", False, GENES[7:9], 35),
    "val_few": ("val", False, GENES[:20], 12),
    "val_most": ("val", False, GENES[30:31], 12),
}


@dataclass(frozen=True)
class World:
    """Sections as plain tables, and where their rows lie in shards.

    Attributes
    ----------
    counts
        Section -> (n_pairs, 60) float64 counts in the release's order, NaN where the section lacks the gene.
    shards
        Name -> (section, row) of every row.
    """

    layout: Layout
    counts: dict[str, NDArray[np.float64]]
    shards: dict[str, list[tuple[str, int]]]

    def logs(self, section: str) -> NDArray[np.float64]:
        counts = self.counts[section]
        return np.asarray(np.log1p(1e4 * counts / np.nansum(counts, axis=1, keepdims=True)))

    def expected(self, by_section: dict[str, NDArray[np.float64]], shard: str) -> NDArray[np.float64]:
        return np.stack([by_section[section][row] for section, row in self.shards[shard]])


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Sections whose stores hold more spots than pairs, in another order, their genes in no order."""
    rng = np.random.default_rng(3)
    stores: dict[str, StoredSection] = {}
    counts: dict[str, NDArray[np.float64]] = {}
    rows: list[SectionRows] = []
    for number, (name, (split, targeted, lacking, n_pairs)) in enumerate(SECTIONS.items()):
        n_spots = n_pairs + 5
        own = rng.permutation([gene for gene in GENES if gene not in lacking])
        level = rng.gamma(2, 2, len(own)) * (1 + number)
        table = rng.poisson(level * rng.gamma(3, 0.3, (n_spots, 1))).astype(np.int64) + (own == GENES[55])
        spots = [f"{name}-{spot}" for spot in range(n_spots)]
        chosen = rng.permutation(n_spots)[:n_pairs]
        genes = pd.DataFrame({"symbol": [f"S{gene[-2:]}" for gene in own], "measured": True}, index=own)
        attrs = {"sample_id": name}
        stores[f"{name}.zarr"] = StoredSection(
            Path(name), attrs, sparse.csr_matrix(table), genes, pd.DataFrame(index=spots), None
        )
        counts[name] = pd.DataFrame(table[chosen], columns=own).reindex(columns=GENES).to_numpy(float)
        ids = np.array(spots)[chosen]
        fits = split == "train" and not targeted
        rows.append(SectionRows(name, ids, table[chosen].sum(axis=1), fits, targeted, "made by hand"))
    monkeypatch.setattr(target_sources, "open_section", lambda store: stores[store.name])
    shards, of_shard = [], {}
    for split, size in (("train", 50), ("val", 24)):
        names = [name for name in SECTIONS if SECTIONS[name][0] == split]
        where = [(name, row) for name in names for row in range(SECTIONS[name][3])]
        mixed = [where[place] for place in rng.permutation(len(where))]
        # The order of a section's pairs in the release is the order of its rows.
        seen = dict.fromkeys(names, 0)
        placed = []
        for name, _ in mixed:
            placed.append((name, seen[name]))
            seen[name] += 1
        for start in range(0, len(placed), size):
            part, name = placed[start : start + size], f"{split}-{start // size:05d}"
            section = np.array([list(SECTIONS).index(one) for one, _ in part], dtype=np.int32)
            shards.append(ShardRows(split, name, section, np.array([row for _, row in part], dtype=np.int32)))
            of_shard[name] = part
    return World(Layout(tuple(rows), tuple(shards)), counts, of_shard)


def make(world: World, one: TargetSet, folder: Path) -> Path:
    # Of these kinds nothing is looked up in the manifest.
    _write_set(folder, {}, world.layout, one, Means(folder / "work"))
    return folder / "targets" / one.name


def test_counts_stand_in_the_order_of_the_shards_and_gaps_are_told_from_zeros(world: World, tmp_path: Path) -> None:
    folder = make(world, TargetSet("counts", "counts"), tmp_path)
    genes = pq.read_table(folder / "genes.parquet").to_pydict()
    assert genes["ensembl_id"] == GENES
    assert genes["symbol"] == [f"S{gene[-2:]}" for gene in GENES]
    measured = pq.read_table(folder / "measured.parquet").to_pydict()
    assert measured["sample_id"] == list(SECTIONS)
    for name, flags in zip(SECTIONS, measured["measured"], strict=True):
        assert flags == [gene not in SECTIONS[name][2] for gene in GENES], name
    assert genes["n_sections_measured"] == np.sum(measured["measured"], axis=0).tolist()
    for shard in world.shards:
        found = sparse.load_npz(folder / f"{shard}.npz")
        assert found.has_canonical_format
        assert (found.toarray() == np.nan_to_num(world.expected(world.counts, shard))).all()


def test_variable_genes_are_those_of_a_plain_reference_with_nan_for_unmeasured(world: World, tmp_path: Path) -> None:
    """Variance within sections, over the training pairs that are of no panel."""
    fitted = [world.logs(name) for name in ("train_a", "train_b")]
    squares = np.nansum([((logs - logs.mean(axis=0)) ** 2).sum(axis=0) for logs in fitted], axis=0)
    variance = squares / sum((~np.isnan(logs)).sum(axis=0) for logs in fitted)
    best = np.argsort(-variance, kind="stable")[:15]
    folder = make(world, TargetSet("hvg-15", "hvg", 15), tmp_path)
    columns = pq.read_table(folder / "columns.parquet").to_pydict()
    assert columns["ensembl_id"] == [GENES[gene] for gene in best]
    np.testing.assert_allclose(columns["variance"], variance[best], rtol=1e-12)
    logs = {name: world.logs(name)[:, best] for name in SECTIONS}
    for shard in world.shards:
        found = np.load(folder / f"{shard}.npy")
        np.testing.assert_allclose(found, world.expected(logs, shard), rtol=1e-6)
    assert np.isnan(np.load(folder / "train-00000.npy")).any()
    with pytest.raises(DataError, match=r"at least 61.*Found 60"):
        make(world, TargetSet("hvg-61", "hvg", 61), tmp_path)


def test_components_are_those_of_scikit_learn_and_sections_without_the_genes_are_nan(
    world: World, tmp_path: Path
) -> None:
    from sklearn.decomposition import PCA

    folder = make(world, TargetSet("pca-4", "pca", 4), tmp_path)
    table = pq.read_table(folder / "loadings.parquet").to_pydict()
    order = [GENES.index(gene) for gene in table["ensembl_id"]]
    assert sorted(order) == list(range(60))
    fitted = np.vstack([world.logs(name)[:, order] for name in ("train_a", "train_b")])
    mean = np.nanmean(fitted, axis=0)
    np.testing.assert_allclose(table["mean"], mean, rtol=1e-12)
    reference = PCA(4, svd_solver="full").fit(np.where(np.isnan(fitted), mean, fitted) - mean)
    loadings = np.array(table["loadings"], dtype=float)
    signs = np.sign((loadings * reference.components_.T).sum(axis=0))
    np.testing.assert_allclose(loadings, reference.components_.T * signs, atol=1e-6)
    assert (loadings[np.abs(loadings).argmax(axis=0), range(4)] > 0).all()
    columns = pq.read_table(folder / "columns.parquet").to_pydict()
    np.testing.assert_allclose(columns["share_of_variance"], reference.explained_variance_ratio_, rtol=1e-9)
    sections = pq.read_table(folder / "sections.parquet").to_pydict()
    assert sections["fitted"] == [False, True, True, False, False]
    assert sections["scored"] == [False, True, True, False, True]
    assert sections["n_genes_missing"] == [50, 0, 2, 20, 1]
    centred = {name: world.logs(name)[:, order] - mean for name in SECTIONS}
    scores = {name: reference.transform(np.nan_to_num(table)) * signs for name, table in centred.items()}
    for name in ("panel", "val_few"):
        scores[name][:] = np.nan
    for shard in world.shards:
        np.testing.assert_allclose(np.load(folder / f"{shard}.npy"), world.expected(scores, shard), atol=1e-4)


def test_two_builds_of_components_give_the_same_bytes(world: World, tmp_path: Path) -> None:
    for name in ("one", "two"):
        make(world, TargetSet("pca-4", "pca", 4), tmp_path / name)
    found = [
        {path.name: path.read_bytes() for path in sorted((tmp_path / name / "targets" / "pca-4").iterdir())}
        for name in ("one", "two")
    ]
    assert found[0] == found[1]
    assert len(found[0]) == len(world.shards) + 3


def test_a_store_with_other_totals_is_refused(world: World, tmp_path: Path) -> None:
    rows = world.layout.sections[0]
    other = SectionRows(rows.sample_id, rows.spot_ids, rows.n_counts + (np.arange(30) == 3), False, True, "")
    changed = World(Layout((other, *world.layout.sections[1:]), world.layout.shards), {}, {})
    with pytest.raises(DataError, match="0 spots missing, 1 of other totals") as caught:
        make(changed, TargetSet("counts", "counts"), tmp_path)
    assert caught.value.facts.code == "store-differs"
