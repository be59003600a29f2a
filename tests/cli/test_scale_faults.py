"""Every fault of scale and orientation, made in vendor files of the demo atlas: the whole way of reading refuses it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pyvips

from humanst.catalog import Recipe
from humanst.curate import propose
from humanst.curate.checking import validate_paths
from humanst.validate import Report

POSITIONS = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from humanst.demo import write_atlas

    names = ["demo_st_A1", "demo_visium_V1"]
    return write_atlas(tmp_path_factory.mktemp("atlas"), sections=names).folder / "mirror"


def validate(folder: Path, recipe: Recipe | None = None) -> Report:
    (result,) = validate_paths([str(folder)], recipe)
    (report,) = result.reports
    return report


def codes(report: Report, severity: str = "refuse") -> set[str]:
    return {finding.facts.code for finding in report.findings if finding.severity == severity}


def edit_positions(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = next(folder.rglob("tissue_positions.csv"))
        change(pd.read_csv(path)).to_csv(path, index=False)

    return spoil


def times(factor: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table.assign(**{name: table[name] * factor for name in POSITIONS[4:]})


def swap_one_per_cent(table: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = rng.choice(len(table), max(2, len(table) // 100), replace=False)
    pixels = table[POSITIONS[4:]].to_numpy()
    pixels[rows] = pixels[np.roll(rows, 1)]
    return table.assign(**{name: pixels[:, number] for number, name in enumerate(POSITIONS[4:])})


def exchange(one: str, other: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table.assign(**{one: table[other], other: table[one]})


def edit_factors(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = next(folder.rglob("scalefactors_json.json"))
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return spoil


def swap_keys(one: str, other: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda factors: {**factors, one: factors[other], other: factors[one]}


def edit_image(pattern: str, change: Callable[[pyvips.Image], pyvips.Image]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = next(folder.rglob(pattern))
        changed = change(pyvips.Image.new_from_file(str(path), access="random").copy_memory())
        target = path.with_name(f"changed{path.suffix}")
        changed.write_to_file(str(target), Q=95) if path.suffix == ".jpg" else changed.write_to_file(str(target))
        target.replace(path)

    return spoil


def and_copies(change: Callable[[pyvips.Image], pyvips.Image]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for pattern in ("image.tif", "tissue_hires_image.png", "tissue_lowres_image.png"):
            edit_image(pattern, change)(folder)

    return spoil


VISIUM_FAULTS: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "positions x 0.5": (edit_positions(times(0.5)), {"scale-disagrees"}),
    "positions x 2": (edit_positions(times(2.0)), {"scale-disagrees"}),
    "image x 0.5": (edit_image("image.tif", lambda image: image.resize(0.5)), {"image-size"}),
    "image x 2": (edit_image("image.tif", lambda image: image.resize(2.0)), {"image-size"}),
    "swapped scale factors": (
        edit_factors(swap_keys("tissue_hires_scalef", "tissue_lowres_scalef")), {"scalefactors-swapped", "image-size"}
    ),
    "fiducial and spot swapped": (
        edit_factors(swap_keys("fiducial_diameter_fullres", "spot_diameter_fullres")), {"scale-disagrees"}
    ),
    "fiducial of 1.0": (
        edit_factors(lambda factors: {**factors, "fiducial_diameter_fullres": 1.0}), {"scale-disagrees"}
    ),
    "x and y of positions swapped": (edit_positions(exchange(*POSITIONS[4:])), {"orientation"}),
    "array row and column swapped": (edit_positions(exchange(*POSITIONS[2:4])), {"lattice-stretched"}),
    "1 % of positions swapped": (edit_positions(swap_one_per_cent), {"lattice-residual"}),
    "images mirrored": (and_copies(lambda image: image.fliphor()), {"orientation"}),
    "images turned by 90": (and_copies(lambda image: image.rot90()), {"orientation"}),
    "images turned by 180": (and_copies(lambda image: image.rot180()), {"orientation"}),
}  # fmt: skip


@pytest.mark.parametrize("fault", VISIUM_FAULTS)
def test_a_visium_section_with_a_wrong_scale_or_place_is_refused(fault: str, mirror: Path, tmp_path: Path) -> None:
    spoil, wanted = VISIUM_FAULTS[fault]
    folder = tmp_path / "lab"
    shutil.copytree(mirror / "demo_visium", folder)
    spoil(folder)
    report = validate(folder)
    assert codes(report) >= wanted, [finding.line() for finding in report.findings]
    for finding in report.findings.of("refuse"):
        assert finding.facts.expected
        assert finding.facts.found


def test_the_clean_sections_pass(mirror: Path) -> None:
    for study, warned in (("demo_visium", set()), ("demo_st", {"scale-one-witness"})):
        report = validate(mirror / study)
        assert (report.verdict, codes(report, "warn")) == ("passes", warned)
        assert "orientation-agrees" in codes(report, "note")


@pytest.mark.parametrize("study", ["demo_visium", "demo_st"])
@pytest.mark.parametrize("stated", ["half", "twice", "1.0"])
def test_a_wrong_number_in_the_recipe_is_refused(study: str, stated: str, mirror: Path) -> None:
    recipe = propose(mirror / study).drafts[0].recipe()
    true = 0.5 if study == "demo_visium" else 0.683
    value = {"half": true / 2, "twice": true * 2, "1.0": 1.0}[stated]
    report = validate(mirror / study, replace(recipe, um_per_pixel=value))
    assert codes(report) == {"scale-disagrees"}
    assert not validate(mirror / study, replace(recipe, um_per_pixel=true)).refused


def edit_spots(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = next(folder.rglob("*_selection.tsv"))
        change(pd.read_csv(path, sep="\t")).to_csv(path, sep="\t", index=False)

    return spoil


def swap_spots(table: pd.DataFrame) -> pd.DataFrame:
    pixels = table[["pixel_x", "pixel_y"]].to_numpy()
    rows = np.random.default_rng(2).choice(len(table), max(2, len(table) // 100), replace=False)
    pixels[rows] = pixels[np.roll(rows, 1)]
    return table.assign(pixel_x=pixels[:, 0], pixel_y=pixels[:, 1])


ST_FAULTS: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "positions x 0.5": (
        edit_spots(lambda table: table.assign(pixel_x=table.pixel_x / 2, pixel_y=table.pixel_y / 2)),
        {"placement-size"},
    ),
    "positions x 2": (
        edit_spots(lambda table: table.assign(pixel_x=table.pixel_x * 2, pixel_y=table.pixel_y * 2)),
        {"placement-size", "spots-off-image"},
    ),
    "x and y of positions swapped": (
        edit_spots(lambda table: table.assign(pixel_x=table.pixel_y, pixel_y=table.pixel_x)), {"orientation"}
    ),
    "1 % of positions swapped": (edit_spots(swap_spots), {"lattice-residual"}),
}  # fmt: skip


@pytest.mark.parametrize("fault", ST_FAULTS)
def test_a_legacy_section_with_a_wrong_scale_or_place_is_refused(fault: str, mirror: Path, tmp_path: Path) -> None:
    """The lattice is the only witness here; the tissue is what speaks for it."""
    spoil, wanted = ST_FAULTS[fault]
    folder = tmp_path / "lab"
    shutil.copytree(mirror / "demo_st", folder)
    spoil(folder)
    report = validate(folder)
    assert report.refused, [finding.line() for finding in report.findings]
    assert codes(report) & wanted
