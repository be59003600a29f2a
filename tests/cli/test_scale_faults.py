"""Every fault of scale and place, made in vendor files of every platform that can have it: the command refuses it.

A folder a fault, all of a platform's folders in one call of ``humanst validate``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pyvips
import yaml

from humanst.catalog import load_recipe
from humanst.curate.checking import validate_paths
from humanst.demo import DemoAtlas, SectionPlan, StudyPlan, write_atlas
from humanst.demo.layout import Kind
from tests.helpers import output_json, run_humanst

Spoil = Callable[[Path], None]
ChangeTable = Callable[[pd.DataFrame], pd.DataFrame]
ChangeImage = Callable[[pyvips.Image], pyvips.Image]

POSITIONS = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]
PIXELS = ("pxl_row_in_fullres", "pxl_col_in_fullres")


def a_file(folder: Path, pattern: str) -> Path:
    return next(folder.rglob(pattern))


def edit_table(pattern: str, change: ChangeTable) -> Spoil:
    def spoil(folder: Path) -> None:
        path = a_file(folder, pattern)
        if path.suffix == ".parquet":
            change(pd.read_parquet(path)).to_parquet(path)
        elif path.name == "tissue_positions_list.csv":
            change(pd.read_csv(path, names=POSITIONS)).to_csv(path, header=False, index=False)
        else:
            separator = "," if path.suffix == ".csv" else "\t"
            change(pd.read_csv(path, sep=separator)).to_csv(path, sep=separator, index=False)

    return spoil


def times(columns: tuple[str, ...], factor: float) -> ChangeTable:
    return lambda table: table.assign(**{name: table[name] * factor for name in columns})


def exchange(one: str, other: str) -> ChangeTable:
    return lambda table: table.assign(**{one: table[other], other: table[one]})


def swap_one_per_cent(columns: tuple[str, ...]) -> ChangeTable:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        rng = np.random.default_rng(1)
        rows = rng.choice(len(table), max(2, len(table) // 100), replace=False)
        pixels = table[list(columns)].to_numpy(float)
        pixels[rows] = pixels[np.roll(rows, 1)]
        return table.assign(**{name: pixels[:, number] for number, name in enumerate(columns)})

    return change


def edit_json(pattern: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Spoil:
    def spoil(folder: Path) -> None:
        path = a_file(folder, pattern)
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return spoil


def state(field: str, value: float | Callable[[float], float]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda facts: {**facts, field: value(facts[field]) if callable(value) else value}


def swap_keys(one: str, other: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda facts: {**facts, one: facts[other], other: facts[one]}


def edit_image(pattern: str, change: ChangeImage) -> Spoil:
    def spoil(folder: Path) -> None:
        path = a_file(folder, pattern)
        changed = change(pyvips.Image.new_from_file(str(path), access="random").copy_memory())
        target = path.with_name(f"changed{path.suffix}")
        changed.write_to_file(str(target), Q=95) if path.suffix == ".jpg" else changed.write_to_file(str(target))
        target.replace(path)

    return spoil


def edit_images(change: ChangeImage) -> Spoil:
    """The image and its copies, as when somebody saved a turned slide and made the copies from it."""

    def spoil(folder: Path) -> None:
        for pattern in ("image.tif", "tissue_hires_image.png", "tissue_lowres_image.png"):
            edit_image(pattern, change)(folder)

    return spoil


def edit_alignment(change: np.ndarray) -> Spoil:
    """Another matrix from H&E pixels to DAPI pixels: the given one after ``change`` of the H&E pixels."""

    def spoil(folder: Path) -> None:
        path = a_file(folder, "*imagealignment.csv")
        matrix = np.loadtxt(path, delimiter=",") @ change
        path.write_text("\n".join(",".join(map(repr, row)) for row in matrix.tolist()))

    return spoil


def no_alignment_but_ones(folder: Path) -> None:
    """1.0 DAPI pixels an H&E pixel: what stands in a file that was never filled in."""
    a_file(folder, "*imagealignment.csv").write_text("1.0,0.0,0.0\n0.0,1.0,0.0\n0.0,0.0,1.0\n")


def mirrored(image: pyvips.Image) -> pyvips.Image:
    return image.fliphor()


def upside_down(image: pyvips.Image) -> pyvips.Image:
    return image.flipver()


def scaled(image: pyvips.Image, factor: float) -> pyvips.Image:
    return image.resize(factor)


Faults = dict[str, tuple[Spoil, set[str]]]
on_positions = partial(edit_table, "tissue_positions*")
on_factors = partial(edit_json, "scalefactors_json.json")
SWAPPED_FACTORS = on_factors(swap_keys("tissue_hires_scalef", "tissue_lowres_scalef"))

VISIUM: Faults = {
    "positions x 0.5": (on_positions(times(PIXELS, 0.5)), {"scale-disagrees"}),
    "positions x 2": (on_positions(times(PIXELS, 2.0)), {"scale-disagrees"}),
    "image x 0.5": (edit_image("image.tif", partial(scaled, factor=0.5)), {"image-size"}),
    "image x 2": (edit_image("image.tif", partial(scaled, factor=2.0)), {"image-size"}),
    "fiducial x 0.5": (
        on_factors(state("fiducial_diameter_fullres", lambda value: value / 2)), {"scale-disagrees"}
    ),
    "fiducial x 2": (on_factors(state("fiducial_diameter_fullres", lambda value: value * 2)), {"scale-disagrees"}),
    "fiducial of 1.0": (on_factors(state("fiducial_diameter_fullres", 1.0)), {"scale-disagrees"}),
    "lowres factor of 1.0": (on_factors(state("tissue_lowres_scalef", 1.0)), {"image-size"}),
    "swapped scale factors": (SWAPPED_FACTORS, {"scalefactors-swapped", "image-size"}),
    "fiducial and spot swapped": (
        on_factors(swap_keys("fiducial_diameter_fullres", "spot_diameter_fullres")), {"scale-disagrees"}
    ),
    "x and y of positions swapped": (on_positions(exchange(*PIXELS)), {"orientation"}),
    "array row and column swapped": (on_positions(exchange("array_row", "array_col")), {"lattice-stretched"}),
    "1 % of positions swapped": (on_positions(swap_one_per_cent(PIXELS)), {"lattice-residual"}),
    "images mirrored": (edit_images(mirrored), {"orientation"}),
    "images upside down": (edit_images(upside_down), {"orientation"}),
    "images turned by 90": (edit_images(lambda image: image.rot90()), {"orientation"}),
    "images turned by 180": (edit_images(lambda image: image.rot180()), {"orientation"}),
}  # fmt: skip

HD: Faults = {
    "positions x 0.5": (on_positions(times(PIXELS, 0.5)), {"scale-disagrees"}),
    "positions x 2": (on_positions(times(PIXELS, 2.0)), {"scale-disagrees"}),
    "image x 0.5": (edit_image("image.tif", partial(scaled, factor=0.5)), {"image-size"}),
    "image x 2": (edit_image("image.tif", partial(scaled, factor=2.0)), {"image-size"}),
    "header x 0.5": (on_factors(state("microns_per_pixel", lambda value: value / 2)), {"scale-disagrees"}),
    "header x 2": (on_factors(state("microns_per_pixel", lambda value: value * 2)), {"scale-disagrees"}),
    "header of 1.0": (on_factors(state("microns_per_pixel", 1.0)), {"scale-disagrees"}),
    "swapped scale factors": (SWAPPED_FACTORS, {"scalefactors-swapped", "image-size"}),
    "header and bin size swapped": (on_factors(swap_keys("microns_per_pixel", "bin_size_um")), {"bin-size-differs"}),
    "x and y of positions swapped": (on_positions(exchange(*PIXELS)), {"orientation"}),
    "1 % of positions swapped": (on_positions(swap_one_per_cent(PIXELS)), {"lattice-residual"}),
    "images mirrored": (edit_images(mirrored), {"orientation"}),
    "images upside down": (edit_images(upside_down), {"orientation"}),
    "images turned by 180": (edit_images(lambda image: image.rot180()), {"orientation"}),
}  # fmt: skip

on_transcripts = partial(edit_table, "transcripts.parquet")
PLACES = ("x_location", "y_location")
XENIUM: Faults = {
    "transcripts x 0.5": (on_transcripts(times(PLACES, 0.5)), {"placement-size"}),
    "transcripts x 2": (on_transcripts(times(PLACES, 2.0)), {"transcripts-off-image"}),
    "alignment x 0.5": (edit_alignment(np.diag([0.5, 0.5, 1.0])), {"transcripts-off-image"}),
    "alignment x 2": (edit_alignment(np.diag([2.0, 2.0, 1.0])), {"scale-disagrees"}),
    "alignment of 1.0": (no_alignment_but_ones, {"transcripts-off-image"}),
    "image x 0.5": (edit_image("*.tif", partial(scaled, factor=0.5)), {"transcripts-off-image"}),
    "DAPI pixel of 1.0": (edit_json("experiment.xenium", state("pixel_size", 1.0)), {"pixel-size"}),
    "x and y of transcripts swapped": (on_transcripts(exchange(*PLACES)), {"orientation"}),
    "x and y of the alignment swapped": (
        edit_alignment(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]])), {"orientation"}
    ),
    "image mirrored": (edit_image("*.tif", mirrored), {"orientation"}),
    "image upside down": (edit_image("*.tif", upside_down), {"orientation"}),
    "image turned by 180": (edit_image("*.tif", lambda image: image.rot180()), {"orientation"}),
}  # fmt: skip

on_spots = partial(edit_table, "*_selection.tsv")
SPOT_PIXELS = ("pixel_x", "pixel_y")
ST: Faults = {
    "positions x 0.5": (on_spots(times(SPOT_PIXELS, 0.5)), {"placement-size"}),
    "positions x 2": (on_spots(times(SPOT_PIXELS, 2.0)), {"placement-size", "spots-off-image"}),
    "x and y of positions swapped": (on_spots(exchange(*SPOT_PIXELS)), {"orientation"}),
    "1 % of positions swapped": (on_spots(swap_one_per_cent(SPOT_PIXELS)), {"lattice-residual"}),
    "image mirrored": (edit_image("*.jpg", mirrored), {"orientation"}),
    "image upside down": (edit_image("*.jpg", upside_down), {"orientation"}),
}

OLDER = ("positions x 0.5", "x and y of positions swapped", "1 % of positions swapped", "images mirrored")
VISIUM_V1: Faults = {name: VISIUM[name] for name in OLDER}

FAULTS: dict[Kind, Faults] = {"visium": VISIUM, "visium_v1": VISIUM_V1, "st": ST, "xenium": XENIUM, "visium_hd": HD}
CLEAN = "clean"


@dataclass(frozen=True)
class Judged:
    """What the command said of every folder of a platform: severity -> codes, by fault."""

    exit_code: int
    codes: dict[str, dict[str, set[str]]]
    refusals: dict[str, list[dict[str, Any]]]


def plan(kind: Kind) -> StudyPlan:
    """One small section whose tissue looks different every other way round."""
    width_um, height_um = (1800.0, 1750.0) if kind == "st" else (1440.0, 1420.0)
    block = "block_i2" if kind == "st" else "block_x"
    section = SectionPlan("lab", "L1", "donor", block, 0.9, width_um, height_um, coverage=0.4, turn_degrees=8.0)
    return StudyPlan("lab", "A lab's section", kind, (section,))


def judge(kind: Kind, atlas: DemoAtlas, folder: Path) -> Judged:
    paths = {}
    for number, (name, spoil) in enumerate([(CLEAN, None), *((n, fault) for n, (fault, _) in FAULTS[kind].items())]):
        paths[name] = folder / f"f{number:02d}"
        shutil.copytree(atlas.mirror / "lab", paths[name])
        if spoil is not None:
            spoil(paths[name])
    recipe = atlas.curation / "lab" / "recipe.yaml"
    result = run_humanst("validate", *map(str, paths.values()), "--recipe", str(recipe), "--json", "--workers", "1")
    rows = {Path(row["path"]).name: row["sections"] for row in output_json(result)["paths"]}
    codes, refusals = {}, {}
    for name, path in paths.items():
        (section,) = rows[path.name]
        refusals[name] = [finding for finding in section["findings"] if finding["severity"] == "refuse"]
        codes[name] = {
            severity: {finding["code"] for finding in section["findings"] if finding["severity"] == severity}
            for severity in ("note", "warn", "refuse")
        }
        assert (section["verdict"] == "refused") is bool(refusals[name])
    return Judged(result.returncode, codes, refusals)


@pytest.fixture(scope="module")
def atlas_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], DemoAtlas]:
    """The section of each platform, unspoilt; written once a process."""
    return cache(lambda kind: write_atlas(tmp_path_factory.mktemp(kind) / "atlas", studies=(plan(kind),)))


@pytest.fixture(scope="module")
def judged(atlas_of: Callable[[Kind], DemoAtlas], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Judged]:
    """Each platform is judged once a process."""
    return cache(lambda kind: judge(kind, atlas_of(kind), tmp_path_factory.mktemp(kind)))


def in_its_group(kind: Kind) -> Any:
    return pytest.param(kind, marks=pytest.mark.xdist_group(f"faults-{kind}"))


def cases() -> list[Any]:
    return [
        pytest.param(kind, fault, marks=pytest.mark.xdist_group(f"faults-{kind}"), id=f"{kind}-{fault}")
        for kind, faults in FAULTS.items()
        for fault in faults
    ]


@pytest.mark.parametrize(("kind", "fault"), cases())
def test_a_wrong_scale_or_place_is_refused(judged: Callable[[Kind], Judged], kind: Kind, fault: str) -> None:
    found, wanted = judged(kind), FAULTS[kind][fault][1]
    assert found.codes[fault]["refuse"] & wanted, found.codes[fault]
    assert found.exit_code == 4, "several paths, some of them refused"
    for finding in found.refusals[fault]:
        assert finding["expected"]
        assert finding["found"]


@pytest.mark.parametrize("kind", map(in_its_group, FAULTS))
def test_the_same_section_unspoilt_passes(judged: Callable[[Kind], Judged], kind: Kind) -> None:
    codes = judged(kind).codes[CLEAN]
    assert not codes["refuse"]
    # Thirty spots placed by hand leave the shape of their lattice uncertain by two per cent.
    assert codes["warn"] - {"lattice-stretched"} == ({"scale-one-witness"} if kind == "st" else set())
    assert "orientation-agrees" in codes["note"]


@pytest.mark.parametrize("kind", map(in_its_group, ("visium", "st", "visium_hd")))
def test_a_wrong_number_in_the_recipe_is_refused(
    atlas_of: Callable[[Kind], DemoAtlas], kind: Kind, tmp_path: Path
) -> None:
    """Half, twice and 1.0 are refused, the true scale passes."""
    atlas = atlas_of(kind)
    written = yaml.safe_load((atlas.curation / "lab" / "recipe.yaml").read_text())
    true = plan(kind).sections[0].um_per_pixel
    for stated in (true, true / 2, true * 2, 1.0):
        written["um_per_pixel"] = {"value": stated, "source": "a test"}
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(written))
        (result,) = validate_paths([str(atlas.mirror / "lab")], load_recipe(recipe))
        (report,) = result.reports
        refused = {finding.facts.code for finding in report.findings.of("refuse")}
        assert refused == (set() if stated == true else {"scale-disagrees"}), stated
