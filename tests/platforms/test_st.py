"""Legacy ST: one section written in every layout reads the same; positions, tables and joins that do not fit refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from humanst.catalog import Recipe
from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.findings import Findings
from humanst.harmonize.space import fit_lattice
from humanst.platforms import RawSection
from humanst.platforms.st import read
from tests.platforms.st_slides import (
    GENES,
    LAYOUTS,
    MATRIX,
    PITCH_PX,
    Slide,
    affine,
    commas,
    header_too_short,
    ids_for_an_index,
    recipe,
    transposed,
)  # fmt: skip


def by_position(raw: RawSection) -> dict[tuple[int, ...], tuple[Any, ...]]:
    rows = zip(raw.row_col.tolist(), raw.xy_px.round(6).tolist(), raw.counts.toarray().tolist(), strict=True)
    return {tuple(place): (tuple(xy), tuple(counts)) for place, xy, counts in rows}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_reads_to_the_same_section(
    tmp_path: Path, layout: Callable[[Slide], tuple[LocalFiles, Recipe]]
) -> None:
    slide = Slide(tmp_path)
    raw = read(*layout(slide))
    truth = {
        (int(y), int(x)): (tuple(xy.round(6)), tuple(counts))
        for (x, y), xy, counts in zip(slide.array, slide.pixels, slide.counts, strict=True)
    }
    assert by_position(raw) == truth
    assert raw.gene_names.tolist() == GENES
    assert raw.spot_ids.tolist() == sorted(raw.spot_ids)
    assert raw.counts.dtype == np.int64
    assert raw.in_tissue.all()
    fit = fit_lattice(raw.all_row_col, raw.all_xy_px, raw.lattice, Findings())
    assert fit is not None
    assert fit.um_per_pixel == pytest.approx(200 / PITCH_PX, rel=0.002)


def test_an_image_scale_applies_to_either_kind_of_pixels(tmp_path: Path) -> None:
    slide = Slide(tmp_path)
    full = read(slide.write(), recipe())
    for options in ({}, {"affine": MATRIX}):
        small = read(slide.write(), recipe(image_scale=0.25, **options))
        assert small.xy_px == pytest.approx(full.xy_px * 0.25)
        assert small.image_scale == 0.25


def wobbly(folder: Path, seed: int = 1) -> Slide:
    """Measured array coordinates: the lattice and up to a quarter of a pitch beside it."""
    grid = np.array([(x, y) for y in range(3, 9) for x in range(8, 15)], dtype=float)
    shift = np.random.default_rng(seed).uniform(-0.25, 0.25, grid.shape)
    return Slide(folder, array=(grid + shift).round(3))


@pytest.mark.parametrize("from_ids", [True, False])
def test_measured_coordinates_without_pixels_give_positions_in_um(tmp_path: Path, from_ids: bool) -> None:
    slide = wobbly(tmp_path)
    local = slide.write()
    slide.frame()[["x", "y"]].to_csv(tmp_path / "coor.csv", index=False, header=False, float_format="%.18e")
    options = {"round_array": True, "spots": {"array_x": "0", "array_y": "1"}}
    how = {"array_from_ids": True} if from_ids else {"spots_header": False, "spots_separator": ","}
    raw = read(slide.local("counts.tsv", None if from_ids else "coor.csv"), recipe(**options, **how))
    place = dict(zip(slide.ids, slide.array, strict=True))
    truth = np.array([place[spot] for spot in raw.spot_ids])
    assert raw.xy_px == pytest.approx(truth * 200.0)
    assert raw.row_col.tolist() == np.rint(truth[:, ::-1]).tolist()
    assert raw.image_path is None
    assert raw.findings.codes() == {"no-pixel-positions"}
    assert raw.spot_ids.tolist() == sorted(slide.ids)
    assert local.names["counts"] == "counts.tsv"


def drop_pixels(slide: Slide) -> tuple[LocalFiles, Mapping[str, Any]]:
    slide.write()
    slide.frame()[["x", "y"]].to_csv(slide.folder / "spots.tsv", sep="\t", index=False)
    return slide.local("counts.tsv", "spots.tsv", image="image.jpg"), {}


def not_said_transposed(slide: Slide) -> tuple[LocalFiles, Mapping[str, Any]]:
    return transposed(slide)[0], {}


def wrong_separator(slide: Slide) -> tuple[LocalFiles, Mapping[str, Any]]:
    return commas(slide)[0], {"spots_separator": ","}


def no_spot_file(slide: Slide) -> tuple[LocalFiles, Mapping[str, Any]]:
    slide.write()
    return slide.local("counts.tsv", None), {}


def no_count_table(slide: Slide) -> tuple[LocalFiles, Mapping[str, Any]]:
    local = slide.write()
    paths = {"spots": local.paths["spots"]}
    return LocalFiles("study", "s1", paths, {"spots": "0" * 64}, {"spots": "spots.tsv"}), {}


def singular(slide: Slide) -> tuple[LocalFiles, Mapping[str, Any]]:
    return affine(slide)[0], {"affine": [[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]]}


def projective(slide: Slide) -> tuple[LocalFiles, Mapping[str, Any]]:
    return affine(slide)[0], {"affine": [*MATRIX, [0.001, 0.0, 1.0]]}


def half_unplaced(slide: Slide) -> tuple[LocalFiles, Mapping[str, Any]]:
    local = slide.write()
    slide.frame().iloc[::2].to_csv(slide.folder / "spots.tsv", sep="\t", index=False)
    return local, {}


def one_place_two_spellings(slide: Slide) -> tuple[LocalFiles, Mapping[str, Any]]:
    local = slide.write()
    path = slide.folder / "counts.tsv"
    lines = path.read_text().splitlines()
    spot, rest = lines[1].split("\t", 1)
    path.write_text("\n".join([*lines, f"{spot}.0\t{rest}"]) + "\n")
    return local, {}


def ids_spelled_otherwise(slide: Slide) -> tuple[LocalFiles, Mapping[str, Any]]:
    local, rule = ids_for_an_index(slide)
    return local, {**rule.options, "spots": {**rule.options["spots"], "spot_id": "X"}, "spot_id": "{x}-{y}"}


REFUSALS = {
    "missing-column": drop_pixels,
    "no-position": not_said_transposed,
    "counts-empty": wrong_separator,
    "no-positions": no_spot_file,
    "no-counts": no_count_table,
    "affine-invalid": singular,
    "no-position ": half_unplaced,
    "affine-invalid ": projective,
    "duplicate-spot-ids": one_place_two_spellings,
    "table-unreadable": header_too_short,
    "positions-invalid": ids_spelled_otherwise,
}


@pytest.mark.parametrize("code", REFUSALS)
def test_what_does_not_fit_is_refused_and_says_what_to_do(tmp_path: Path, code: str) -> None:
    local, options = REFUSALS[code](Slide(tmp_path))
    with pytest.raises(DataError) as caught:
        read(local, recipe(**options))
    facts = {facts.code: facts for facts in (caught.value.facts, *caught.value.also)}
    assert code.strip() in facts
    if code == "no-position":
        assert "transposed: true" in str(facts["no-position"].todo)
    if code == "counts-empty":
        assert "counts_separator" in str(facts["counts-empty"].todo)


def test_measured_coordinates_are_never_rounded_unasked(tmp_path: Path) -> None:
    slide = wobbly(tmp_path)
    with pytest.raises(DataError) as caught:
        read(slide.write(), recipe())
    assert caught.value.facts.code == "lattice-not-integer"
    assert "round_array" in str(caught.value.facts.expected)
    slide.array[0] = slide.array[1] + 0.001
    with pytest.raises(DataError) as caught:
        read(slide.write(), recipe(round_array=True))
    assert caught.value.facts.code == "lattice-twice"


def test_a_gene_that_has_two_columns_keeps_its_name(tmp_path: Path) -> None:
    """pandas would call the second one ACTB.1, which is no gene."""
    slide = Slide(tmp_path, genes=["ACTB", "GAPDH", "ACTB"])
    raw = read(slide.write(), recipe())
    assert raw.gene_names.tolist() == ["ACTB", "GAPDH", "ACTB"]
    assert int(raw.counts.sum()) == int(slide.counts.sum())


def test_a_few_rows_without_a_position_are_a_named_drop(tmp_path: Path) -> None:
    grid = np.array([(x, y) for y in range(10) for x in range(10)])
    slide = Slide(tmp_path, array=grid)
    local = slide.write()
    slide.frame().iloc[3:].to_csv(tmp_path / "spots.tsv", sep="\t", index=False)
    raw = read(local, recipe())
    assert [(drop.reason, drop.n, drop.counts) for drop in raw.drops] == [
        ("no-position", 3, int(slide.counts[:3].sum()))
    ]
    assert int(raw.counts.sum()) + raw.drops[0].counts == int(slide.counts.sum())


def test_counts_of_the_whole_array_lose_what_lies_outside_tissue_by_name(tmp_path: Path) -> None:
    """More rows without a position than any slip explains: the study says that its spot file lists tissue alone."""
    slide = Slide(tmp_path, array=np.array([(x, y) for y in range(10) for x in range(10)]))
    local = slide.write()
    slide.frame().iloc[60:].to_csv(tmp_path / "spots.tsv", sep="\t", index=False)
    with pytest.raises(DataError) as caught:
        read(local, recipe())
    assert caught.value.facts.code == "no-position"
    raw = read(local, recipe(counts_of_whole_array=True))
    assert set(raw.spot_ids) == set(slide.ids[60:])
    assert [(drop.reason, drop.n, drop.counts) for drop in raw.drops] == [
        ("out-of-tissue", 60, int(slide.counts[:60].sum()))
    ]
    assert raw.findings.codes() == set()


def test_a_row_that_names_no_spot_is_no_spot_outside_tissue(tmp_path: Path) -> None:
    slide = Slide(tmp_path, array=np.array([(x, y) for y in range(10) for x in range(10)]))
    local = slide.write()
    slide.table().rename({slide.ids[0]: "total"}).to_csv(tmp_path / "counts.tsv", sep="\t")
    raw = read(local, recipe(counts_of_whole_array=True))
    assert [(drop.reason, drop.n, drop.examples) for drop in raw.drops] == [("no-position", 1, ("total",))]


@settings(max_examples=25, deadline=None)
@given(lost=st.sets(st.integers(0, 99), max_size=5), seed=st.integers(0, 2**16))
def test_counts_in_are_counts_out_and_named_drops(
    lost: set[int], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("slide")
    slide = Slide(folder, array=np.array([(x, y) for y in range(10) for x in range(10)]), seed=seed)
    local = slide.write()
    slide.frame().drop(index=list(lost)).to_csv(folder / "spots.tsv", sep="\t", index=False)
    raw = read(local, recipe())
    assert int(raw.counts.sum()) + sum(drop.counts for drop in raw.drops) == int(slide.counts.sum())
    assert len(raw.spot_ids) + sum(drop.n for drop in raw.drops) == 100
