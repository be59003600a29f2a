"""The page of a section of which something is missing: shown as far as it goes, and the page says what and why."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from humanst.errors import DataError
from humanst.report.atlas_source import ReleaseSource, open_source
from humanst.report.frame import empty_frame
from humanst.report.gallery import shots_of
from humanst.report.overlay import layer_of, spots_of
from humanst.report.section_facts import SectionFacts, section_facts
from humanst.store import card_path, read_card, read_picture, tree_digest
from tests.report.maps import page, shown
from tests.report.sections import index_rows

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# The browser and what pages are made of are made once.
pytestmark = pytest.mark.xdist_group("section-page")
VISIUM, XENIUM, LEGACY = "demo_visium_V1", "demo_xenium_X1", "demo_st_A1"


@pytest.fixture(scope="module")
def facts(demo_release: Path) -> SectionFacts:
    return section_facts(open_source(demo_release), VISIUM)


def stores_of(release: Path) -> Path:
    return release.with_name(f"{release.name}.work") / "sections"


def test_stores_alone_have_no_pairs_and_say_so(demo_release: Path, browser: Browser, tmp_path: Path) -> None:
    found = section_facts(open_source(stores_of(demo_release)), VISIUM)
    text, painted = shown(browser, page(found), tmp_path)
    assert "section store alone: it has no pairs" in text
    assert "No pathways were scored" in text
    assert "Patches" not in text
    assert painted > 10_000, "library size is shown"
    assert found.pathways == ()


def test_a_release_without_its_stores_shows_its_pairs(demo_release: Path, browser: Browser, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in demo_release.iterdir():
        if path.name != "sections":
            (bare / path.name).symlink_to(path)
    found = section_facts(open_source(bare, work=tmp_path / "nowhere"), VISIUM)
    assert set(found.spots.ids) == set(index_rows(demo_release, VISIUM).index)
    text, painted = shown(browser, page(found), tmp_path)
    assert "The section store is not at hand" in text
    assert "none on record" in text
    assert painted > 10_000


def test_a_store_without_a_picture_says_so(demo_release: Path, browser: Browser, tmp_path: Path) -> None:
    store = tmp_path / "stores" / f"{VISIUM}.zarr"
    shutil.copytree(stores_of(demo_release) / store.name, store)
    shutil.rmtree(store / "images")
    head = json.loads((store / "zarr.json").read_bytes())
    head["attributes"]["humanst"]["picture"] = None
    (store / "zarr.json").write_text(json.dumps(head))
    card = read_card(stores_of(demo_release) / store.name) or {}
    card_path(store).write_text(json.dumps({**card, **tree_digest(store)}))
    found = section_facts(open_source(tmp_path / "stores"), VISIUM)
    html = page(found)
    assert "<img" not in html
    text, painted = shown(browser, html, tmp_path)
    assert "This section has no picture" in text
    assert painted > 10_000


class Unmeasured(ReleaseSource):
    """A release in which nothing was measured."""

    def scores(self, sample_id: str) -> Any:
        spots, names, scores = super().scores(sample_id)
        return spots, names, np.full_like(scores, np.nan)


def test_a_section_without_a_valid_pathway_says_why(demo_release: Path, browser: Browser, tmp_path: Path) -> None:
    empty = Unmeasured(demo_release, demo_release.with_name(f"{demo_release.name}.work"), tmp_path / "scratch")
    found = section_facts(empty, XENIUM)
    text, _ = shown(browser, page(found), tmp_path)
    assert f"None of the {len(found.pathways)} pathways is measured in this section" in text
    reasons = {layer.name: layer.reason for layer in found.pathways}
    assert reasons["DEMO_GLAND_SECRETION"] == "fewer than 10 of its genes are measured"
    assert all(reasons.values())


def test_one_spot_is_a_section_too(facts: SectionFacts, browser: Browser, tmp_path: Path) -> None:
    table = pd.DataFrame({"x_um": [900.0], "y_um": [700.0]}, index=["only"])
    one = replace(
        facts,
        spots=spots_of(table, shape="circle", side_um=55.0, turn_degrees=0.0),
        layers=(layer_of("Library size", np.array([3.2]), unit="log10", group="quality"),),
        frame=empty_frame(table.to_numpy(float), "its store carries none"),
        histograms=(),
    )
    text, painted = shown(browser, page(one), tmp_path)
    assert "1 of 1 spots, from 3.20 to 3.20" in text
    radius = 27.5 / one.frame.um_per_pixel[0]
    assert painted == pytest.approx(np.pi * radius**2, rel=0.2)


def test_no_spot_at_all_is_a_page_too(facts: SectionFacts, browser: Browser, tmp_path: Path) -> None:
    table = pd.DataFrame({"x_um": [], "y_um": []}, index=pd.Index([], dtype=str), dtype=float)
    none = replace(
        facts,
        spots=spots_of(table, shape="square", side_um=112.0, turn_degrees=0.0),
        layers=(layer_of("Library size", np.zeros(0), unit="log10", group="quality"),),
        histograms=(),
        shots=(),
    )
    text, painted = shown(browser, page(none), tmp_path)
    assert "Library size is not measured: no spot has a value" in text
    assert painted == 0


def test_scores_that_are_no_z_are_told_so_and_coloured_by_their_own_range(
    demo_atlas: Path, demo_release: Path, browser: Browser, tmp_path: Path
) -> None:
    from humanst.pathways import PathwayChoice
    from humanst.pathways.options import Scoring

    choice = PathwayChoice(scoring=Scoring(scorer="mean", z=False))
    (sets,) = (demo_atlas / "mirror" / "gene_sets").rglob("*.gmt")
    found = section_facts(open_source(stores_of(demo_release), gene_sets=sets, choice=choice), VISIUM)
    assert {layer.kind for layer in found.pathways} == {"one-sided"}
    for layer in found.pathways:
        assert layer.least is not None
        assert layer.most is not None
        assert 0 <= layer.least <= layer.low < layer.high <= layer.most
    text, painted = shown(browser, page(found), tmp_path)
    assert "no z" in text
    assert "z within the section" not in text
    assert painted > 10_000


def test_a_patch_that_claims_too_many_pixels_is_told_of_and_the_others_are_shown() -> None:
    """Size is read from the head of a JPEG: a few bytes there, and a decoder would fill the memory."""
    held = io.BytesIO()
    Image.new("RGB", (64, 64)).save(held, "JPEG")
    small = held.getvalue()
    at = small.index(b"\xff\xc0") + 5
    row = {"key": "k", "spot_id": "s", "n_counts": 1, "n_genes": 1, "tissue_fraction": 1.0, "blur": 1.0}
    shots = {}
    for name, side in (("small", 64), ("large", 2000), ("huge", 60_000)):
        claimed = small[:at] + side.to_bytes(2, "big") * 2 + small[at + 4 :]
        source = Patches(claimed)
        (shots[name],) = shots_of(source, "s", pd.DataFrame([row]))  # type: ignore[arg-type]
    assert shots["small"].picture is not None
    assert (shots["large"].picture, shots["huge"].picture) == (None, None)


def test_a_picture_that_claims_too_many_pixels_is_not_read(tmp_path: Path) -> None:
    import zarr

    def store(side: int) -> Path:
        path = tmp_path / f"{side}.zarr"
        zarr.create_group(path).create_array("images/he/s0", shape=(3, side, side), chunks=(3, 512, 512), dtype="u1")
        assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) < 10_000
        return path

    attrs = {"picture": {"width_px": 1000}, "um_per_pixel": 0.5}
    rgb, um_per_pixel = read_picture(store(100), attrs, 1100) or (np.zeros(0), 0.0)
    assert (rgb.shape, um_per_pixel) == ((100, 100, 3), 5.0)
    with pytest.raises(DataError) as caught:
        read_picture(store(100_000), attrs, 1100)
    assert caught.value.facts.code == "picture-too-large"


class Patches:
    """One patch of a stranger's."""

    def __init__(self, jpeg: bytes) -> None:
        self.jpeg = jpeg

    def patches(self, sample_id: str, n: int) -> list[tuple[str, bytes]]:
        return [("k", self.jpeg)]
