"""F22 to F24: what says how large and where things are; ``humanst build`` of a lab's own folders."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pyvips

from humanst.demo import DemoAtlas, random_study, write_atlas
from tests.cli import test_scale_faults as scale
from tests.faults.board import WHOLE, judge
from tests.faults.sections import Cases, Spoil, build_spoiled, one_section, recipe_of

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("faults-space")
REFUSED = (5,)


@pytest.fixture(scope="module")
def visium(tmp_path_factory: pytest.TempPathFactory) -> DemoAtlas:
    return one_section("visium", tmp_path_factory.mktemp("visium") / "atlas")


def lab(atlas: DemoAtlas) -> Path:
    return atlas.mirror / "lab"


def test_f22_wrong_scale(visium: DemoAtlas, tmp_path: Path) -> None:
    names = ("positions x 0.5", "positions x 2", "fiducial of 1.0", "lowres factor of 1.0", "swapped scale factors")
    cases: Cases = {name: (scale.VISIUM[name][0], REFUSED, tuple(scale.VISIUM[name][1])) for name in names}
    seen = build_spoiled(lab(visium), recipe_of(visium), cases, tmp_path).seen(cases)
    true = scale.plan("visium").sections[0].um_per_pixel
    for case, stated in (("a recipe of 1.0", 1.0), ("55 for 65 um", true * 55 / 65)):
        recipe = recipe_of(visium, um_per_pixel={"value": stated, "source": "a test"})
        one: Cases = {case: (None, REFUSED, ("scale-disagrees",))}
        seen += build_spoiled(lab(visium), recipe, one, tmp_path / case).seen(one)
    judge("F22", seen)


def laid(image: pyvips.Image, quarters: int, mirrored: bool) -> pyvips.Image:
    """The image mirrored or not, then turned clockwise by so many quarters."""
    image = image.fliphor() if mirrored else image
    return image.rot(f"d{90 * quarters}")


ORIENTATIONS = [(quarters, mirrored) for mirrored in (False, True) for quarters in range(4)][1:]
TURNS = ("orientation", "orientation-weak")


def in_tissue(folder: Path) -> float:
    """Share of the positions that the vendor's own file calls in tissue."""
    return float(pd.read_csv(scale.a_file(folder, "tissue_positions.csv"))["in_tissue"].mean())


def test_f23_turned_image(tmp_path: Path) -> None:
    """Every orientation of every section, through the whole command; a turn that cannot be told is warned of.

    The gate refuses where 30 to 90 % of the positions are in tissue; one section beyond is turned, too.
    """
    n_told, n_beyond = (10, 1) if WHOLE else (1, 0)
    study = random_study("visium", 2 * n_told, seed=3)
    atlas = write_atlas(tmp_path / "atlas", studies=(study,))
    sources = [atlas.mirror / study.study_id / plan.section_id for plan in study.sections]
    told = [source for source in sources if 0.3 <= in_tissue(source) <= 0.9][:n_told]
    beyond = [source for source in sources if source not in told and in_tissue(source) > 0.9][:n_beyond]
    assert (len(told), len(beyond)) == (n_told, n_beyond)
    cases: dict[str, Any] = {}
    for source in (*told, *beyond):
        for quarters, mirrored in ORIENTATIONS:
            change = scale.edit_images(partial(laid, quarters=quarters, mirrored=mirrored))
            name = f"{source.name} turned by {90 * quarters}{', mirrored' if mirrored else ''}"
            cases[name] = (partial(spoilt_copy, source, change), (5, 0), TURNS)
    for source in told:
        swap = scale.on_positions(scale.exchange(*scale.PIXELS))
        cases[f"{source.name} x and y swapped"] = (partial(spoilt_copy, source, swap), REFUSED, ("orientation",))
    seen = build_spoiled(None, recipe_of(atlas, study.study_id), cases, tmp_path / "spoilt").seen(cases)
    notes = []
    for what, some in (("30 to 90 %", told), ("over 90 %", beyond)):
        turns = [one for one in seen if "turned" in one.case and one.case[:3] in {source.name for source in some}]
        refused = sum(one.exit_code == 5 for one in turns)
        assert some is beyond or refused >= 0.95 * len(turns), [one.case for one in turns if one.exit_code == 0]
        if turns:
            notes.append(
                f"{refused} of {len(turns)} turned and mirrored images with {what} of the positions in tissue refused, "
                f"{len(turns) - refused} warned of"
            )
    judge("F23", seen, notes)


def spoilt_copy(source: Path, spoil: Spoil, folder: Path) -> None:
    shutil.copytree(source, folder / source.name, copy_function=shutil.copyfile)
    spoil(folder)


def st_section(tmp_path: Path) -> DemoAtlas:
    return one_section("st", tmp_path / "atlas")


def cropped(folder: Path, outside: int) -> None:
    """Cut the image at its right side so that the centres of so many spots lie beyond it."""
    spots = pd.read_csv(scale.a_file(folder, "*_selection.tsv"), sep="\t")
    x = np.sort(spots["pixel_x"].to_numpy(float))[::-1]
    width = int(np.floor((x[outside - 1] + x[outside]) / 2)) if outside < len(x) else int(x[-1] / 2)
    scale.edit_image("*.jpg", lambda image: image.crop(0, 0, width, image.height))(folder)


def test_f24_off_image(tmp_path: Path) -> None:
    """A legacy section: one image, no copies whose sizes would tell first. The counts are asked for to the spot."""
    atlas = st_section(tmp_path)
    spots = pd.read_csv(scale.a_file(lab(atlas), "*_selection.tsv"), sep="\t")
    n = len(spots)
    few, some = max(1, round(0.005 * n)), max(2, round(0.05 * n))
    codes = ("spots-off-image",)
    cases: Cases = {
        f"{few} of {n} spots": (partial(cropped, outside=few), (0,), codes),
        f"{some} of {n} spots": (partial(cropped, outside=some), (0,), codes),
        f"{n // 2} of {n} spots": (partial(cropped, outside=n // 2), REFUSED, codes),
        "all spots": (partial(cropped, outside=n), REFUSED, (*codes, "spots-off-tissue", "no-tissue")),
    }
    built = build_spoiled(lab(atlas), recipe_of(atlas), cases, tmp_path / "spoilt")
    seen = built.seen(cases)
    for case, n_outside in zip(list(cases)[:2], (few, some), strict=True):
        told = [f for f in built.findings.get(case, ()) if f["code"] == "spots-off-image"]
        assert [f["found"].split(" of ")[0] for f in told] == [str(n_outside)], case
    judge("F24", seen)
