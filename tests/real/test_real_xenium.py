"""Four real Xenium tables, each against pandas: what is read, what leaves by name, which sections are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from humanst.builder.steps import harmonize_files
from humanst.catalog import Lattice, Recipe
from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.harmonize.gene_table import load_gene_table
from humanst.harmonize.section import Choices
from humanst.harmonize.spots import SpotQC
from humanst.platforms import RawSection
from humanst.platforms.xenium import read
from tests.helpers import output_json, run_humanst
from tests.platforms.viewer_archive import write_archive
from tests.studies import World, write_world

pytestmark = pytest.mark.real

RECIPE: dict[str, Any] = {
    "schema": "humanst.recipe/1",
    "platform": "xenium",
    "gene_id_type": "symbol",
    "targeted": True,
    "absent_genes": "unmeasured",
    "lattice": {"kind": "square", "pitch_um": 112.0, "spot_diameter_um": 112.0},
}
FILES = {
    "breast": {"transcripts": "xenium_breast_crop_bidcell/transcripts_small.csv.gz"},
    "lung": {"transcripts": "xenium_lung_10k_transcripts/transcripts.parquet"},
    "ovary": {
        "transcripts": "xenium_multiqc_outs/sample1/transcripts.parquet",
        "cells": "xenium_multiqc_outs/sample1/cells.parquet",
        "experiment": "xenium_multiqc_outs/sample1/experiment.xenium",
    },
    "mouse": {
        "transcripts": "xenium_multiqc_outs/sample3/transcripts.parquet",
        "experiment": "xenium_multiqc_outs/sample3/experiment.xenium",
    },
    "mousegenes": {"transcripts": "xenium_multiqc_outs/sample3/transcripts.parquet"},
}
NO_GENE = r"^(?:BLANK_|NegControl|Unassigned|Deprecated|Intergenic|antisense_)"


def local(real_data: Path, name: str, **more: str) -> LocalFiles:
    paths = {role: real_data / path for role, path in {**FILES[name], **more}.items()}
    names = {role: path.name for role, path in paths.items()}
    return LocalFiles(name, "s1", paths, dict.fromkeys(paths, "0" * 64), names)


def section(real_data: Path, name: str, **options: Any) -> RawSection:
    recipe = Recipe("xenium", "symbol", True, "unmeasured", Lattice("square", 112.0, 112.0), options=options)
    return read(local(real_data, name), recipe)


def table(real_data: Path, name: str) -> pd.DataFrame:
    path = real_data / FILES[name]["transcripts"]
    return pd.read_csv(path, index_col=0) if path.suffix == ".gz" else pd.read_parquet(path)


def reasons(raw: RawSection) -> dict[str, int]:
    return {drop.reason: drop.n for drop in raw.drops}


@pytest.mark.parametrize("side", [112, 55, 100])
@pytest.mark.parametrize("name", ["breast", "lung", "ovary"])
def test_squares_hold_what_pandas_counts(real_data: Path, name: str, side: int) -> None:
    """Every square and gene, and nothing else."""
    raw = section(real_data, name, target_side_um=side)
    frame = table(real_data, name)
    assert raw.counts.sum() + sum(reasons(raw).values()) == len(frame)
    good = frame[~frame["feature_name"].str.match(NO_GENE) & (frame["qv"] >= 20)]
    if "codeword_category" in good:
        good = good[good["codeword_category"] == "predesigned_gene"]
    row, column = (
        np.floor(good[axis].to_numpy(np.float64) / side).astype(int) for axis in ("y_location", "x_location")
    )
    expected = pd.crosstab(
        "r" + pd.Series(row).astype(str) + "c" + pd.Series(column).astype(str), good["feature_name"].to_numpy()
    )
    found = pd.DataFrame(raw.counts.toarray(), index=raw.spot_ids, columns=raw.gene_names)
    assert sorted(found.index) == sorted(expected.index)
    assert (found.reindex(columns=expected.columns, index=expected.index) == expected).all(axis=None)
    assert found.to_numpy().sum() == expected.to_numpy().sum() == len(good)


def test_the_breast_crop_loses_nothing(real_data: Path) -> None:
    raw = section(real_data, "breast")
    assert (raw.counts.sum(), raw.counts.shape, reasons(raw)) == (186_146, (30, 313), {})


def test_the_25_controls_of_the_lung_are_counted_by_category(real_data: Path) -> None:
    found = reasons(section(real_data, "lung"))
    controls = {reason: n for reason, n in found.items() if reason != "low-qv"}
    assert controls == {"negative-control-codeword": 11, "negative-control-probe": 4, "blank-codeword": 10}
    assert sum(controls.values()) == 25
    frame = table(real_data, "lung")
    names = frame["feature_name"]
    by_pandas = {
        "negative-control-codeword": names.str.startswith("NegControlCodeword").sum(),
        "negative-control-probe": names.str.startswith("NegControlProbe").sum(),
        "blank-codeword": names.str.startswith("BLANK").sum(),
    }
    assert controls == by_pandas
    assert found["low-qv"] == ((frame["qv"] < 20) & ~frame["feature_name"].str.match(NO_GENE)).sum()


def test_categories_of_the_ovary_leave_by_their_own_names(real_data: Path) -> None:
    found = reasons(section(real_data, "ovary"))
    kinds = table(real_data, "ovary")["codeword_category"].value_counts()
    for category, n in kinds.drop(["predesigned_gene", "custom_gene"]).items():
        assert found[str(category).replace("_", "-")] == n
    assert found["custom-gene"] == kinds["custom_gene"] == 18, "no file gives these genes an Ensembl id"
    assert section(real_data, "ovary").facts["panel"]["name"].startswith("Xenium Human 5K")


def test_the_cells_of_the_ovary_are_counted(real_data: Path) -> None:
    cells = pd.read_parquet(real_data / FILES["ovary"]["cells"])
    raw = section(real_data, "ovary")
    row, column = (np.floor(cells[axis] / 112).astype(int).astype(str) for axis in ("y_centroid", "x_centroid"))
    inside = ("r" + row + "c" + column).isin(raw.spot_ids)
    assert raw.facts["cells"] == {"n": 10_000, "in_squares": int(inside.sum())}
    assert 0 < inside.sum() < 10_000


def test_the_viewers_archive_of_a_real_table_gives_the_same_section(real_data: Path, tmp_path: Path) -> None:
    """Real transcripts, written as the viewer keeps them; no real archive is at hand."""
    for name in ("lung", "ovary"):
        reference = section(real_data, name)
        # The ovary is a thin sample of a large section: wider tiles, not thousands of them.
        frame, tile_um = table(real_data, name).reset_index(drop=True), 4000 if name == "ovary" else 250
        path = write_archive(tmp_path / f"{name}.zarr.zip", frame, tile_um=tile_um)
        recipe = Recipe("xenium", "symbol", True, "unmeasured", Lattice("square", 112.0, 112.0))
        files = local(real_data, name)
        raw = read(replace(files, paths={**files.paths, "transcripts": path}), recipe)
        assert (raw.counts != reference.counts).nnz == 0
        assert raw.gene_names.tolist() == reference.gene_names.tolist()
        assert raw.drops == reference.drops


def test_a_stub_matrix_is_told_and_changes_no_count(real_data: Path) -> None:
    recipe = Recipe("xenium", "symbol", True, "unmeasured", Lattice("square", 112.0, 112.0))
    files = local(real_data, "ovary", counts="xenium_multiqc_outs/sample1/cell_feature_matrix.h5")
    raw = read(files, recipe)
    assert "panel-incomplete" in raw.findings.codes()
    assert raw.counts.sum() == section(real_data, "ovary").counts.sum()


def test_the_mouse_is_refused_before_its_transcripts_are_read(real_data: Path) -> None:
    with pytest.raises(DataError) as caught:
        section(real_data, "mouse")
    assert caught.value.facts.code == "not-human"
    assert caught.value.facts.field == "panel_organism"
    assert "Mouse" in str(caught.value)


@pytest.fixture
def world(real_data: Path, tmp_path: Path) -> World:
    studies = {name: {"s1": {role: real_data / path for role, path in paths.items()}} for name, paths in FILES.items()}
    sets = real_data / "gene_sets" / "msigdb_h.all.v2025.1.Hs.symbols.gmt"
    return write_world(tmp_path / "world", studies, dict.fromkeys(studies, RECIPE), gene_sets=sets)


def test_two_tables_give_stores_without_patches_and_three_are_refused(
    world: World, real_data: Path, tmp_path: Path
) -> None:
    result = run_humanst("build-shards", "-o", str(tmp_path / "out"), "--json", atlas=world.folder)
    assert result.returncode == 4, result.stderr
    failures = {row["item"]: row for row in output_json(result)["failures"]}
    assert {item: row["code"] for item, row in failures.items()} == {
        "breast_s1": "no-image",
        "lung_s1": "no-image",
        "mouse_s1": "not-human",
        "mousegenes_s1": "not-human",
        "ovary_s1": "no-spots-left",
    }
    assert failures["mouse_s1"]["field"] == "panel_organism"
    assert failures["mousegenes_s1"]["field"] == "genes"
    for name, spots, counts_in in (("breast", 30, 186_146), ("lung", 6, 10_000)):
        store = tmp_path / "out.work" / "sections" / f"{name}_s1.zarr"
        attrs = json.loads((store / "zarr.json").read_bytes())["attributes"]["humanst"]
        assert attrs["counts_in"] == counts_in == attrs["counts_out"] + sum(drop["counts"] for drop in attrs["drops"])
        assert attrs["target"] == {"shape": "square", "side_um": 112.0}
        assert (attrs["picture"], attrs["targeted"]) == (None, True)
        assert "no-alignment" in {finding["code"] for finding in attrs["findings"]}
        assert attrs["spots_out"] == spots
        _check_genes(store, table(real_data, name))


def _check_genes(store: Path, frame: pd.DataFrame) -> None:
    """Gene by gene: the kept squares hold what pandas counts in them, under today's Ensembl ids."""
    import anndata

    built = anndata.io.read_zarr(store / "tables" / "table")
    good = frame[~frame["feature_name"].str.match(NO_GENE) & (frame["qv"] >= 20)]
    gene = good["feature_name"].map({name: load_gene_table().resolve(name) for name in good["feature_name"].unique()})
    row, column = ((good[axis].astype(float) // 112).astype(int) for axis in ("y_location", "x_location"))
    spot = "r" + row.astype(str) + "c" + column.astype(str)
    expected = gene[spot.isin(built.obs_names)].value_counts()
    found = pd.Series(np.asarray(built.X.sum(axis=0)).ravel(), index=built.var_names)
    assert (found.reindex(expected.index) == expected).all()
    assert found.sum() == expected.sum()
    assert built.var["measured"].all()


def test_with_a_lower_bar_the_sparse_section_passes(real_data: Path) -> None:
    """A hundred-thousandth of its transcripts were published; five a square are enough here."""
    recipe = Recipe("xenium", "symbol", True, "unmeasured", Lattice("square", 112.0, 112.0))
    choices = Choices(sample_id="ovary_s1", qc=SpotQC(min_counts=5, min_genes=0))
    built, record = harmonize_files(local(real_data, "ovary"), recipe, choices=choices, outline=None, record_path=None)
    assert record is None
    assert not built.findings.refused
    assert built.counts_in == 2649 == built.counts.sum() + sum(drop.counts for drop in built.drops)
    assert 0 < len(built.spots) < built.spots_in == 584
    assert ("counts", "custom-gene", 18) in {(drop.what, drop.reason, drop.n) for drop in built.drops}
