"""Tiers 1 and 2 on a release: rows of embeddings, counts, pathways, images and labels are those of the same pair."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp

from humanst.errors import DataError
from humanst.load import PairDataset
from stamp_train.probe import summarise
from stamp_train.tiers import cluster_release, probe_release
from tests.load.conftest import PATHWAYS, Written, write_release
from tests.load.test_load_targets import seal

SIZES = {"train": [70, 30], "test": [60]}
SYMBOLS = ["ERBB2", "CD3E", "COL1A1", "ACTB", "EPCAM", "KRT8"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Written, dict[str, np.ndarray]]:
    """A release whose four sections are of four donors, and a hidden number of every pair that two genes follow."""
    release = write_release(tmp_path_factory.mktemp("tiers") / "r", SIZES)
    manifest, rng, hidden = release.manifest, np.random.default_rng(0), {}
    folder = release.path / "targets/counts"
    folder.mkdir(parents=True)
    for split, sizes in SIZES.items():
        index = release.path / f"index/{split}.parquet"
        table = pq.read_table(index)
        donors = pa.array([f"donor of {name}" for name in table["sample_id"].to_pylist()])
        table = table.set_column(table.column_names.index("donor_group"), "donor_group", donors)
        pq.write_table(table, index)
        manifest["splits"][split]["index_sha256"] = hashlib.sha256(index.read_bytes()).hexdigest()
        hidden[split] = rng.normal(size=table.num_rows)
        rates = np.exp(np.outer(hidden[split], [0.8, -0.8, 0, 0, 0, 0])) * [5, 5, 5, 5, 5, 0.02]
        counts = rng.poisson(rates).astype(np.int32)
        begin = 0
        for number, size in enumerate(sizes):
            sp.save_npz(folder / f"{split}-0000{number}.npz", sp.csr_matrix(counts[begin : begin + size]))
            begin += size
    release.set_manifest(manifest)
    ids = [f"ENSG{number}" for number in range(6)]
    pq.write_table(pa.table({"ensembl_id": ids, "symbol": SYMBOLS}), folder / "genes.parquet")
    sections = ["s0", "s1", "s2", "s3"]
    pq.write_table(pa.table({"sample_id": sections, "measured": [[True] * 6] * 4}), folder / "measured.parquet")
    seal(release, {"counts": {"kind": "counts", "n_columns": 6, "columns": "targets/counts/genes.parquet"}})
    return release, hidden


def embed(path: Path, release: Written, rows: dict[str, np.ndarray]) -> Path:
    """Embeddings in an order of their own."""
    keys = [key for split in rows for key in release.keys[split]]
    features, order = np.concatenate(list(rows.values())), np.random.default_rng(1).permutation(len(keys))
    with h5py.File(path, "w") as file:
        file["features"] = features[order].astype("f4")
        file["key"] = [keys[row] for row in order]
    return path


def with_noise(values: np.ndarray, seed: int) -> np.ndarray:
    return np.hstack([values, np.random.default_rng(seed).normal(size=(len(values), 4))])


def test_genes_and_pathways_of_a_release_are_probed(written: Any, tmp_path: Path) -> None:
    release, hidden = written
    pathways = {split: np.nan_to_num(PairDataset(release.path, split).pathways()[:, :1]) for split in SIZES}
    rows = {split: with_noise(np.column_stack([hidden[split], pathways[split]]), 2) for split in SIZES}
    file = embed(tmp_path / "e.h5", release, rows)
    (tmp_path / "sets.gmt").write_text("SET\tnote\tERBB2\tCOL1A1\tNOWHERE\n")
    found = probe_release(file, release.path, ["test", "train"], gmt=tmp_path / "sets.gmt", n_genes=5)
    assert found.missing == ()
    assert sorted(symbol for _, symbol in found.chosen) == sorted(SYMBOLS[:5])  # KRT8 is hardly ever seen
    assert set(found.genes["donor"]) == {f"donor of s{number}" for number in range(4)}
    r = found.genes.groupby(["column", "target"])["pcc"].mean()
    for column in ("hest-compat", "cv-alpha", "norm"):
        assert r[column, "ENSG0"] > 0.6
        assert r[column, "ENSG1"] > 0.6
        assert abs(r[column, "ENSG3"]) < 0.35 or column == "norm"  # its share of a spot falls when others rise
    lines = {(line.column, line.genes): line for line in summarise(found.genes)}
    assert lines["norm", "in sets"].n_targets == 2
    assert lines["norm", "outside"].n_targets == 3
    by_pathway = found.pathways.groupby("target")["pcc"].mean()
    assert sorted(by_pathway.index) == sorted(PATHWAYS)
    assert by_pathway[PATHWAYS[0]] > 0.8
    assert by_pathway.drop(PATHWAYS[0]).abs().max() < 0.4


def test_the_same_pairs_whether_some_lack_an_embedding_or_not(written: Any, tmp_path: Path) -> None:
    release, hidden = written
    file = embed(tmp_path / "e.h5", release, {"train": with_noise(hidden["train"][:, None], 3)})
    with h5py.File(file, "a") as opened:
        kept = {name: opened[name][20:] for name in ("features", "key")}
        for name, values in kept.items():
            del opened[name]
            opened[name] = values
    with pytest.raises(DataError, match="Pairs have no embedding"):
        probe_release(file, release.path, ["train"], n_genes=5)
    found = probe_release(file, release.path, ["train"], n_genes=5, allow_missing=True, test_donors=["donor of s1"])
    assert len(found.missing) == 20
    assert set(found.genes["donor"]) == {"donor of s1"}
    assert found.genes.set_index(["column", "target"]).loc[("hest-compat", "ENSG0"), "pcc"] > 0.6


def test_domains_of_a_release_beside_its_colours_and_depths(written: Any, tmp_path: Path) -> None:
    release, _ = written
    keys = release.keys["train"]
    drawn = np.random.default_rng(4).random(len(keys)) < 0.5
    names = np.where(drawn, "tumour", "stroma")
    file = embed(tmp_path / "e.h5", release, {"train": with_noise(drawn[:, None] * 20.0, 5)})
    (tmp_path / "labels.csv").write_text(
        "key,label\n" + "".join(f"{key},{name}\n" for key, name in zip(keys, names, strict=True) if key != keys[3])
    )
    found = cluster_release({"model": file}, tmp_path / "labels.csv", release.path, ["train"], n_seeds=2)
    mean = found.table.groupby("features")["ari"].mean()
    assert set(mean.index) == {"model", "mean RGB", "library size"}
    assert mean["model"] > 0.5
    assert mean.drop("model").abs().max() < 0.3
    assert found.n_unlabelled == 1
    with pytest.raises(DataError, match="A baseline has this name"):
        cluster_release({"mean RGB": file}, tmp_path / "labels.csv", release.path, ["train"])
