"""Real folders that are in no catalog: drafted, built and validated by the commands alone, against pandas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from humanst.builder.checking import check_store
from tests.helpers import output_json, run_humanst

pytestmark = pytest.mark.real

# Folder -> its labels: file, separator, column of barcodes, columns of labels; and um per pixel of the image at hand.
LABELLED: dict[str, tuple[str, str, str, list[str], float]] = {
    "visium_dlpfc_151673": ("layer_annotation.csv", ",", "barcode", ["layer"], 16.1),
    "visium_10x_breast_blockA_s1": (
        "annotation_SEDR_metadata.tsv",
        "\t",
        "ID",
        ["annot_type", "fine_annot_type"],
        4.44,
    ),
}


def read_store(path: Path) -> tuple[Any, dict[str, Any]]:
    import anndata
    import zarr

    attrs: dict[str, Any] = dict(zarr.open_group(path, mode="r").attrs)["humanst"]
    return anndata.io.read_zarr(path / "tables" / "table"), attrs


@pytest.mark.parametrize("name", LABELLED)
def test_a_labelled_visium_folder_is_drafted_and_built_with_its_labels(
    name: str, real_data: Path, tmp_path: Path
) -> None:
    file, separator, key, columns, um_per_pixel = LABELLED[name]
    recipe, store = tmp_path / "recipe.yaml", tmp_path / "store"
    drafted = run_humanst("curate", "propose", str(real_data / name), "-o", str(recipe))
    assert drafted.returncode == 0, drafted.stderr
    built = run_humanst(
        "build", str(real_data / name), "--recipe", str(recipe), "-o", str(store), "--json", "--workers", "1"
    )
    assert built.returncode == 0, built.stderr
    (row,) = output_json(built)["sections"]
    table, attrs = read_store(Path(row["path"]))
    labels = pd.read_csv(real_data / name / file, sep=separator, dtype=str).set_index(key)
    assert {column for column in table.obs if column.startswith("label_")} == {f"label_{column}" for column in columns}
    for column in columns:
        wanted = labels[column].reindex(table.obs_names).fillna("").to_numpy(str)
        assert (table.obs[f"label_{column}"].astype(str).to_numpy() == wanted).all(), column
        assert (wanted != "").mean() > 0.98
    assert attrs["um_per_pixel"] == pytest.approx(um_per_pixel, rel=0.01)
    assert attrs["counts_in"] == attrs["counts_out"] + sum(drop["counts"] for drop in attrs["drops"])
    report = check_store(Path(row["path"]))
    assert (report.kind, report.verdict) == ("section store", "passes")


def test_the_store_of_another_reader_is_checked(real_data: Path, tmp_path: Path) -> None:
    """Block A through spatialdata-io: passes as it is, refused with counts scaled or 1 % of the spots exchanged."""
    from spatialdata_io import visium

    outs = real_data / "visium_10x_breast_blockA_s1" / "outs"
    sdata = visium(outs, dataset_id="BlockA", var_names_make_unique=True)
    table = sdata.tables["table"]

    def written(path: Path, change: Any) -> Path:
        sdata.tables["table"] = table.copy()
        change(sdata)
        sdata.write(path)
        return path

    clean = check_store(written(tmp_path / "clean.zarr", lambda sdata: None))
    assert (clean.kind, clean.verdict) == ("SpatialData", "passes"), [finding.line() for finding in clean.findings]
    named = {finding.facts.field for finding in clean.findings if finding.facts.code == "not-checkable"}
    assert "orientation" in named, "it keeps the spots in tissue only"
    assert "scale" not in named

    def normalise(sdata: Any) -> None:
        sdata.tables["table"].X = sdata.tables["table"].X.astype(np.float32) / 3

    def exchange(sdata: Any) -> None:
        """One per cent of the rows annotate the shape of another spot."""
        table = sdata.tables["table"]
        ids = table.obs[table.uns["spatialdata_attrs"]["instance_key"]].to_numpy().copy()
        rows = np.random.default_rng(0).choice(len(ids), len(ids) // 100, replace=False)
        ids[rows] = ids[np.roll(rows, 1)]
        table.obs[table.uns["spatialdata_attrs"]["instance_key"]] = ids

    for name, change, code in (
        ("scaled", normalise, "counts-fractional"),
        ("exchanged", exchange, "lattice-residual"),
    ):
        report = check_store(written(tmp_path / f"{name}.zarr", change))
        assert {finding.facts.code for finding in report.findings.of("refuse")} == {code}
