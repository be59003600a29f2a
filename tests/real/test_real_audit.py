"""The audit of a real release: its figures against halves that are made and scored here, densely."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from tests.helpers import output_json, run_humanst
from tests.real.test_her2st_release import built as built

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("her2st")]


@pytest.mark.usefixtures("real_data")
def test_real_sections_are_audited_as_a_dense_reading_of_their_stores_has_it(
    built: tuple[Path, dict[str, Any]], shared_tmp: Path, tmp_path: Path
) -> None:
    release, _ = built
    arguments = ("audit", str(release), "-o", str(tmp_path / "out"), "--seeds", "2", "--draws", "2", "--workers", "1")
    result = run_humanst(*arguments, "--json", cache=shared_tmp / "her2st_cache")
    assert result.returncode == 0, result.stderr
    printed = output_json(result)
    assert printed["sections"] == 3
    assert len(printed["pathways"]) == 50
    sections = pd.read_parquet(tmp_path / "out" / "sections.parquet").set_index(["sample_id", "pathway"])
    store = release.with_name(f"{release.name}.work") / "sections" / "her2st_B4.zarr"
    table = anndata.read_zarr(store / "tables" / "table")
    counts = np.asarray(table.X.todense(), dtype=np.int64)[table.obs["in_tissue"].to_numpy(bool)]
    # An immune programme in HER2+ tissue: found by any halves of the counts, and more than random genes.
    row = sections.loc[("her2st_B4", "HALLMARK_INTERFERON_GAMMA_RESPONSE")]
    assert row["passes"]
    genes = _members(shared_tmp, "HALLMARK_INTERFERON_GAMMA_RESPONSE")
    mine = table.var["symbol"].astype(str).isin(genes).to_numpy()
    assert abs(int(mine.sum()) - row["n_measured"]) <= 6, "symbols of another year"
    rng = np.random.default_rng(0)
    first = rng.binomial(counts, 0.5)
    scores = [_less_its_bins(half, mine) for half in (first, counts - first)]
    assert np.corrcoef(*scores)[0, 1] == pytest.approx(row["half_r"], abs=0.05)


def _less_its_bins(counts: np.ndarray, mine: np.ndarray) -> np.ndarray:
    """Mean log expression of some genes, less that of 25 bins of genes as they are expressed, each as often."""
    logs = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    bins = np.argsort(np.argsort(logs.mean(axis=0), kind="stable")) * 25 // logs.shape[1]
    control = np.stack([logs[:, bins == one].mean(axis=1) for one in range(25)], axis=1)
    return np.asarray(logs[:, mine].mean(axis=1) - control[:, bins[mine]].mean(axis=1))


def _members(shared_tmp: Path, name: str) -> set[str]:
    (path,) = (shared_tmp / "her2st_cache").rglob("msigdb_h.all.v2025.1.Hs.symbols.gmt")
    lines = (line.split("\t") for line in path.read_text().splitlines())
    return next(set(line[2:]) for line in lines if line[0] == name)
