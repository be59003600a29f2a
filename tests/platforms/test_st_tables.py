"""Legacy ST tables: genes without the counts, labels, what leaves by name, and the real tables with fractional ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from humanst.catalog import Recipe
from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.platforms.st import read, read_genes
from tests.platforms.st_slides import GENES, LAYOUTS, Slide, commas, header_too_short, recipe, transposed


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_genes_are_known_without_the_counts(
    tmp_path: Path, layout: Callable[[Slide], tuple[LocalFiles, Recipe]]
) -> None:
    slide = Slide(tmp_path, genes=["ACTB", "NA", "SEPT7", "ACTB", "nan", "1-Mar"])
    local, how = layout(slide)
    columns = read_genes(local, how)
    assert columns.names.tolist() == slide.genes == read(local, how).gene_names.tolist()
    assert columns.ids is None
    assert columns.types is None


@pytest.mark.parametrize("on_its_side", [True, False])
def test_columns_of_ensembl_ids_are_ids(tmp_path: Path, on_its_side: bool) -> None:
    genes = ["ENSG00000141510.18", "ENSG00000146648", "ENSG00000075624"]
    local, how = (transposed if on_its_side else commas)(Slide(tmp_path, genes=genes))
    how = replace(how, gene_id_type="ensembl")
    raw, columns = read(local, how), read_genes(local, how)
    for ids in (raw.gene_ids, columns.ids):
        assert ids is not None
        assert ids.tolist() == genes


def test_a_header_that_does_not_fit_tells_no_genes(tmp_path: Path) -> None:
    """Taking the last names of a short header would give an axis that the counts do not have."""
    local, _ = header_too_short(Slide(tmp_path))
    with pytest.raises(DataError) as caught:
        read_genes(local, recipe())
    assert caught.value.facts.code == "table-unreadable"


def test_names_come_from_quoted_cells_and_a_marked_file(tmp_path: Path) -> None:
    """R quotes names; Windows editors put a mark before the first of them."""
    slide = Slide(tmp_path)
    local, path = slide.write(), tmp_path / "counts.tsv"
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    lines[0] = [f'"{name}"' for name in lines[0][1:]]
    quoted = [lines[0], *([f'"{row[0]}"', *row[1:]] for row in lines[1:])]
    path.write_text("\ufeff" + "\r\n".join("\t".join(row) for row in quoted) + "\r\n")
    raw = read(local, recipe())
    assert raw.gene_names.tolist() == read_genes(local, recipe()).names.tolist() == GENES
    assert int(raw.counts.sum()) == int(slide.counts.sum())


def with_labels(slide: Slide, table: pd.DataFrame) -> LocalFiles:
    slide.write()
    table.to_csv(slide.folder / "labels.tsv", sep="\t", index=False)
    return slide.local("counts.tsv", "spots.tsv", labels="labels.tsv")


def labelled(column: str | list[str], join: Mapping[str, str], **more: Any) -> Recipe:
    return replace(recipe(), labels={"column": column, "join": join, **more})


def regions(slide: Slide) -> pd.DataFrame:
    """A label file: pixels with other decimals than the spot file has, two columns, one of them with gaps."""
    table = pd.DataFrame({"px": slide.pixels[:, 0], "py": slide.pixels[:, 1]}).round(4)
    table["region"] = [f"region{number % 4}" for number in range(len(table))]
    table["cell"] = [None if number % 5 == 0 else f"cell{number}" for number in range(len(table))]
    return table.sample(frac=1.0, random_state=2)


def test_labels_of_several_columns_join_by_position(tmp_path: Path) -> None:
    slide = Slide(tmp_path)
    local = with_labels(slide, regions(slide))
    join = {"px": "pixel_x", "py": "pixel_y"}
    truth = regions(slide).sort_index().set_axis(slide.ids)
    both = read(local, labelled(["region", "cell"], join))
    assert set(both.labels) == {"label_region", "label_cell"}
    for column in ("region", "cell"):
        wanted = truth.loc[both.spot_ids, column].fillna("").tolist()
        assert both.labels[f"label_{column}"].tolist() == wanted
        one = read(local, labelled(column, join, name="mine"))
        assert {name: list(values) for name, values in one.labels.items()} == {"label_mine": wanted}
    told = {item.facts.field: item.facts.found for item in both.findings if item.facts.code == "labels-missing"}
    without = {name: int((both.labels[f"label_{name}"] == "").sum()) for name in ("region", "cell")}
    assert told == {name: f"{n} of {len(both.spot_ids)} spots" for name, n in without.items() if n}
    assert not both.findings.of("warn")


def test_labels_may_join_by_text(tmp_path: Path) -> None:
    slide = Slide(tmp_path)
    frame = slide.frame().assign(spot=slide.ids)
    local = with_labels(slide, pd.DataFrame({"id": slide.ids, "region": [f"of {spot}" for spot in slide.ids]}))
    frame.to_csv(tmp_path / "spots.tsv", sep="\t", index=False)
    raw = read(local, labelled("region", {"id": "spot"}))
    assert raw.labels["label_region"].tolist() == [f"of {spot}" for spot in raw.spot_ids]


def test_two_labels_of_one_spot_are_not_chosen_between(tmp_path: Path) -> None:
    slide = Slide(tmp_path)
    table = regions(slide)
    local = with_labels(slide, pd.concat([table, table.iloc[:1].assign(region="another")]))
    with pytest.raises(DataError) as caught:
        read(local, labelled("region", {"px": "pixel_x", "py": "pixel_y"}))
    assert caught.value.facts.code == "duplicate-spot-ids"
    assert caught.value.facts.file == "labels.tsv"


def test_labels_without_a_spot_are_told(tmp_path: Path) -> None:
    slide = Slide(tmp_path)
    local = with_labels(slide, regions(slide).assign(px=lambda table: table["px"] + 1.0))
    raw = read(local, labelled("region", {"px": "pixel_x", "py": "pixel_y"}))
    assert (raw.labels["label_region"] == "").all()
    assert raw.findings.codes() == {"labels-missing", "labels-unmatched"}
    assert all(str(len(slide.ids)) in str(finding.facts.found) for finding in raw.findings)


def test_spots_that_the_spot_file_calls_out_of_tissue_are_a_named_drop(tmp_path: Path) -> None:
    slide = Slide(tmp_path)
    local = slide.write()
    out = [2, 7, 30]
    frame = slide.frame()
    frame.loc[out, "selected"] = 0
    frame.drop(index=[9]).to_csv(tmp_path / "spots.tsv", sep="\t", index=False)
    raw = read(local, recipe())
    lost = {drop.reason: (drop.n, drop.counts, set(drop.examples)) for drop in raw.drops}
    assert lost == {
        "no-position": (1, int(slide.counts[9].sum()), {slide.ids[9]}),
        "out-of-tissue": (3, int(slide.counts[out].sum()), {slide.ids[number] for number in out}),
    }
    assert int(raw.counts.sum()) + sum(counts for _, counts, _ in lost.values()) == int(slide.counts.sum())
    assert raw.in_tissue.all()
    assert raw.all_in_tissue.sum() == len(raw.all_in_tissue) - 3


@pytest.mark.parametrize("value", ["yes", "2", ""])
def test_a_tissue_column_of_other_values_is_refused(tmp_path: Path, value: str) -> None:
    slide = Slide(tmp_path)
    local = slide.write()
    frame = slide.frame().astype({"selected": object})
    frame.loc[3, "selected"] = value
    frame.to_csv(tmp_path / "spots.tsv", sep="\t", index=False)
    with pytest.raises(DataError) as caught:
        read(local, recipe())
    assert caught.value.facts.code == "selected-invalid"


@pytest.mark.real
@pytest.mark.parametrize("slice_name", ["slice1", "slice2"])
def test_real_tables_with_fractional_ids_keep_every_spot(real_data: Path, slice_name: str) -> None:
    """pandas alone is the reference; the coordinate file writes the numbers of the ids with all their digits."""
    folder = real_data / "st_stahl2016_breast_counts_only"
    names = {"counts": f"{slice_name}.csv.gz", "spots": f"{slice_name}_coor.csv"}
    paths = {role: folder / name for role, name in names.items()}
    local = LocalFiles("study", slice_name, paths, dict.fromkeys(paths, "0" * 64), names)
    options = {"spots": {"array_x": "0", "array_y": "1"}, "spots_header": False, "spots_separator": ","}
    how = recipe(counts_separator=",", round_array=True, **options)
    raw = read(local, how)
    table = pd.read_csv(paths["counts"], index_col=0)
    assert sorted(table.index) == raw.spot_ids.tolist()
    assert (table.loc[raw.spot_ids].to_numpy() == raw.counts.toarray()).all()
    assert read_genes(local, how).names.tolist() == raw.gene_names.tolist() == list(table.columns)
    places = np.array([[float(part) for part in spot.split("x")] for spot in raw.spot_ids])
    assert raw.xy_px == pytest.approx(places * 200.0, abs=0.2)
    assert len(np.unique(raw.row_col, axis=0)) == len(table)
    by_ids = read(LocalFiles("study", slice_name, {"counts": paths["counts"]}, local.sha256, names),
                  recipe(counts_separator=",", round_array=True, array_from_ids=True))  # fmt: skip
    assert by_ids.row_col.tolist() == raw.row_col.tolist()
