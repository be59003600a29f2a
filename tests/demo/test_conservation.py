"""Counts of every built section against its vendor files, read here by other means: nothing is lost without a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.io import mmread
from scipy.sparse import csr_matrix

from tests.demo.test_cross_platform import KINDS


def vendor_files(atlas: Path, sample_id: str) -> dict[str, Path]:
    study, section = sample_id.rsplit("_", 1)
    listed = yaml.safe_load((atlas / "catalog.yaml").read_text())["studies"][study]["sections"][section]["files"]
    return {role: atlas / "mirror" / study / entry["path"] for role, entry in listed.items()}


def vendor_table(files: dict[str, Path]) -> tuple[csr_matrix, np.ndarray, np.ndarray]:
    """Counts (spots or bins, genes), barcodes, Ensembl ids of a Visium or HD section."""
    if "counts" in files:
        with h5py.File(files["counts"]) as handle:
            group = handle["matrix"]
            arrays = [group[name][...] for name in ("data", "indices", "indptr")]
            barcodes, ids = (group[name][...].astype(str) for name in ("barcodes", "features/id"))
        return csr_matrix(tuple(arrays), shape=(len(barcodes), len(ids))), barcodes, ids
    barcodes = pd.read_csv(files["barcodes"], header=None)[0].to_numpy(str)
    ids = pd.read_csv(files["features"], header=None, sep="\t")[0].to_numpy(str)
    return csr_matrix(mmread(files["matrix"]).T.astype(np.int64)), barcodes, ids


def total_of(files: dict[str, Path]) -> int:
    if "transcripts" in files:
        return len(pd.read_parquet(files["transcripts"], columns=["qv"]))
    if "spots" in files:
        return int(pd.read_csv(files["counts"], sep="\t", index_col=0).to_numpy().sum())
    return int(vendor_table(files)[0].sum())


def store_of(path: Path) -> tuple[anndata.AnnData, dict[str, Any]]:
    import zarr

    return anndata.io.read_zarr(path / "tables" / "table"), dict(zarr.open_group(path, mode="r").attrs)["humanst"]


def test_all_twenty_sections_conserve_their_counts(section_stores: dict[str, Path], demo_atlas: Path) -> None:
    assert len(section_stores) == 20
    for name, path in section_stores.items():
        table, attrs = store_of(path)
        assert attrs["counts_in"] == total_of(vendor_files(demo_atlas, name)), name
        assert attrs["counts_out"] == int(table.X.sum()), name
        assert attrs["counts_in"] == attrs["counts_out"] + sum(drop["counts"] for drop in attrs["drops"]), name
        assert attrs["spots_in"] == table.n_obs + sum(d["n"] for d in attrs["drops"] if d["what"] == "spots"), name
        assert all(drop["reason"] and drop["n"] > 0 for drop in attrs["drops"]), name


@pytest.mark.parametrize("kind", ["visium", "visium_v1", "visium_hd"])
def test_every_row_is_the_vendor_s_gene_by_gene(section_stores: dict[str, Path], demo_atlas: Path, kind: str) -> None:
    """Spots as they are; squares of HD as a group-by of their bins in tissue."""
    table, _ = store_of(section_stores[KINDS[kind]])
    files = vendor_files(demo_atlas, KINDS[kind])
    counts, barcodes, ids = vendor_table(files)
    rows = barcodes
    if kind == "visium_hd":
        bins = pd.read_parquet(files["positions"]).set_index("barcode").loc[barcodes]
        assert (bins["in_tissue"] == 1).all()
        square = bins[["array_row", "array_col"]] // 14
        rows = ("r" + square["array_row"].astype(str) + "c" + square["array_col"].astype(str)).to_numpy()
    place = pd.Index(table.obs_names).get_indexer(rows)
    kept = np.flatnonzero(place >= 0)
    wanted = np.zeros(table.shape, np.int64)
    np.add.at(wanted, place[kept], counts[kept].toarray()[:, pd.Index(ids).get_indexer(table.var_names)])
    assert set(table.var_names) == set(ids)
    assert np.array_equal(table.X.toarray(), wanted)
    lost = np.asarray(counts.sum(axis=0)).ravel()[pd.Index(ids).get_indexer(table.var_names)] - wanted.sum(axis=0)
    assert (lost >= 0).all()
    assert lost.sum() < 0.03 * counts.sum()
