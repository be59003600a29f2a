"""The page of a section as a file: strangers' text is text, nothing else may run, figures are those of the release."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from humanst.report.atlas_source import AtlasSource, open_source
from humanst.report.overlay import layer_of, pathway_layers, spots_of
from humanst.report.rendering import script_hash
from humanst.report.section_facts import SectionFacts, section_facts
from humanst.report.section_page import section_fragment, section_script, section_style
from tests.report.browsing import canvas_pixels, opened
from tests.report.maps import CANVAS, page, shown
from tests.report.sections import index_rows, manifest_row, npy_targets
from tests.report.test_page import HOSTILE, STEERING, Read

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# The browser and what pages are made of are made once.
pytestmark = pytest.mark.xdist_group("section-page")
VISIUM, XENIUM, LEGACY = "demo_visium_V1", "demo_xenium_X1", "demo_st_A1"


@pytest.fixture(scope="module")
def source(demo_release: Path) -> AtlasSource:
    return open_source(demo_release)


@pytest.fixture(scope="module")
def facts(source: AtlasSource) -> SectionFacts:
    return section_facts(source, VISIUM)


@pytest.fixture(scope="module")
def hostile(facts: SectionFacts) -> SectionFacts:
    """Every text that can come from a file is a stranger's, and the section has a name of 300 letters."""
    bad = {"what": "spots", "reason": HOSTILE, "n": 1, "counts": 1, "examples": [HOSTILE]}
    said = {
        "severity": HOSTILE,
        **dict.fromkeys(("code", "what", "field", "found", "expected", "done", "todo"), HOSTILE),
    }
    layers = tuple(replace(layer, name=f"{layer.name}{HOSTILE}", unit=HOSTILE) for layer in facts.layers)
    return replace(
        facts,
        sample_id="n" * 300,
        study_title=HOSTILE,
        license=HOSTILE,
        head=((HOSTILE, HOSTILE),),
        notices=(HOSTILE,),
        layers=layers,
        spots=replace(facts.spots, ids=tuple(f"{name}</script>{HOSTILE}" for name in facts.spots.ids)),
        scale=tuple(replace(one, name=HOSTILE, value=HOSTILE, said=HOSTILE) for one in facts.scale),
        shots=tuple(replace(shot, key=HOSTILE, spot_id=HOSTILE) for shot in facts.shots),
        drops=(bad,),
        findings=(said,),
        provenance=((HOSTILE, HOSTILE),),
        files=((HOSTILE, HOSTILE, HOSTILE),),
        bibtex=HOSTILE,
        cite=HOSTILE,
    )


def test_names_are_text_and_never_markup(hostile: SectionFacts, browser: Browser, tmp_path: Path) -> None:
    html = page(hostile)
    seen = Read(html)
    assert [attributes.get("type") for attributes in seen.tags("script")] == ["application/json", None]
    assert not any(name.startswith("on") for _, attributes in seen.elements for name in attributes)
    assert all((attributes["src"] or "").startswith("data:image/jpeg;base64,") for attributes in seen.tags("img"))
    assert not any(letter in html for letter in STEERING if not letter.isprintable())
    (data,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.DOTALL)
    assert "<" not in data
    assert json.loads(data)["spots"]["ids"][0].count("<script>alert('x')</script>") == 1
    text, painted = shown(browser, html, tmp_path)
    assert text.count("<script>alert('x')</script>") > 15
    assert painted > 10_000


def test_a_name_of_300_letters_is_laid_out(hostile: SectionFacts, browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(page(hostile), encoding="utf-8")
    for width in (1300, 420):
        with opened(browser, path, width=width) as seen:
            wide = seen.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, "nothing is pushed out of the window"


def test_only_its_own_style_and_script_may_be(facts: SectionFacts) -> None:
    html = page(facts)
    seen = Read(html)
    (policy,) = (a["content"] or "" for a in seen.tags("meta") if a.get("http-equiv") == "Content-Security-Policy")
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert allowed["default-src"] == "'none'"
    assert allowed["img-src"] == "data:"
    assert "unsafe" not in policy
    styles = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert allowed["style-src"] == " ".join(f"'{script_hash(text)}'" for text in styles)
    assert allowed["script-src"] == " ".join(f"'{script_hash(text)}'" for text in scripts)
    assert not any("style" in attributes for _, attributes in seen.elements), "the policy would drop it"
    for tag, attributes in seen.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            target = attributes.get(name)
            assert target is None or target.startswith("data:image/") or target == "../index.html", f"{tag} {name}"
    assert "url(" not in html
    assert "@import" not in html


def test_the_same_release_gives_the_same_page(facts: SectionFacts, demo_release: Path) -> None:
    assert page(section_facts(open_source(demo_release), VISIUM)) == page(facts)


def test_figures_are_those_of_the_release(facts: SectionFacts, demo_release: Path) -> None:
    targets, rows = npy_targets(demo_release, VISIUM), index_rows(demo_release, VISIUM)
    assert {layer.name for layer in facts.pathways} == set(targets.columns)
    for layer in facts.pathways:
        values = targets[layer.name].to_numpy(float)
        assert (layer.least, layer.median, layer.most) == pytest.approx(
            (values.min(), np.median(values), values.max()), abs=1e-6
        )
    (size,) = (one for one in facts.histograms if one.name == "Library size")
    assert sum(n for _, _, n in size.bins) == len(rows)
    row = manifest_row(demo_release, VISIUM)
    told = {one.what: one for one in facts.sums}
    assert all(one.even for one in facts.sums)
    assert (told["pairs"].went_out, told["spots"].came_in) == (row["pairs"], row["spots_in"])
    assert told["transcripts"].went_out == row["counts_out"]
    files = {role: sha256 for role, _, sha256 in facts.files}
    assert files["image of record"] == row["picture"]["sha256"]
    assert {"counts", "image", "positions"} <= set(files)


def test_packed_values_come_back_to_a_hundred_thousandth_of_their_range() -> None:
    values = np.random.default_rng(3).normal(size=500)
    values[7] = np.nan
    layer = layer_of("x", values, unit="z", group="pathway", limits=(-2.5, 2.5))
    codes = np.frombuffer(base64.b64decode(layer.codes), "<u2")
    back = np.where(codes == 65535, np.nan, layer.base + layer.step * codes)
    np.testing.assert_allclose(back, values, atol=np.nanmax(values) * 1e-4)
    assert np.abs(back - values)[~np.isnan(values)].max() <= layer.step / 2 + 1e-12
    flat = layer_of("flat", np.ones(3), unit="", group="quality")
    assert (flat.n, flat.base, flat.step) == (3, 1.0, 0.0)
    assert flat.low < 1 < flat.high


def test_patches_go_from_the_smallest_library_to_the_largest(facts: SectionFacts, demo_release: Path) -> None:
    rows = index_rows(demo_release, VISIUM)
    assert len(facts.shots) == 12
    assert len({shot.key for shot in facts.shots}) == 12
    counts = [int(rows.loc[shot.spot_id, "n_counts"]) for shot in facts.shots]
    assert counts == sorted(counts)
    assert counts[-1] - counts[0] > 0.5 * (rows["n_counts"].max() - rows["n_counts"].min())
    assert [dict(shot.figures)["transcripts"] for shot in facts.shots] == [f"{n:,}" for n in counts]


def test_the_width_of_a_patch_is_told(facts: SectionFacts) -> None:
    assert facts.patch_um == 112
    assert "from the smallest library to the largest; each is 112 um wide." in page(facts)


def test_tissue_is_seen_through_squares_that_touch(facts: SectionFacts) -> None:
    """At first; circles and squares apart leave tissue between them."""
    side = np.arange(8) * 112.0
    x, y = (values.ravel() for values in np.meshgrid(side, side))
    table = pd.DataFrame({"x_um": x, "y_um": y}, index=[f"s{number}" for number in range(64)])
    for shape, side_um, opacity in (("square", 112.0, 60), ("square", 55.0, 80), ("circle", 112.0, 80)):
        spots = spots_of(table, shape=shape, side_um=side_um, turn_degrees=0.0)
        (slider,) = [one for one in Read(page(replace(facts, spots=spots))).tags("input") if one.get("type") == "range"]
        assert slider["value"] == str(opacity)


def test_witnesses_are_told_with_their_verdicts(source: AtlasSource, facts: SectionFacts) -> None:
    assert [(one.name, one.verdict) for one in facts.scale] == [
        ("spot lattice", "agrees"), ("fiducial ring of the slide", "agrees"),
    ]  # fmt: skip
    assert [one.verdict for one in facts.orientation] == ["agrees", "agrees"]
    alone = section_facts(source, LEGACY)
    assert [one.verdict for one in alone.scale] == ["warned", "warned"]
    assert "lattice alone" in alone.scale[1].said


@pytest.mark.parametrize(("off", "verdict"), [(1.019, "agrees"), (0.96, "warned"), (1.06, "refused")])
def test_a_witness_that_is_off_is_told_so(off: float, verdict: str) -> None:
    from humanst.report.witnesses import scale_witnesses

    fit = {"um_per_pixel": 0.5, "rms_residual_px": 0.4, "residual_of_pitch": 0.002, "stretch": 0.001}
    about = {"lattice_fit": fit, "um_per_pixel_source": "hex", "um_per_pixel_witnesses": {"recipe": 0.5 * off}}
    assert scale_witnesses({"provenance": about})[1].verdict == verdict


def test_a_whole_array_of_spots_stays_small(facts: SectionFacts, browser: Browser, tmp_path: Path) -> None:
    """4,000 spots with barcodes and 50 pathways: under 1.5 MB with the picture and patches of a demo section."""
    rng = np.random.default_rng(0)
    side = np.arange(64)
    x, y = (values.ravel()[:4000] * 28.0 + 20 for values in np.meshgrid(side, side))
    ids = ["".join(rng.choice(list("ACGT"), 16)) + "-1" for _ in range(4000)]
    table = pd.DataFrame({"x_um": x, "y_um": y}, index=ids)
    names = [f"HALLMARK_OF_SOME_LENGTH_{number:02d}" for number in range(50)]
    scores = rng.normal(size=(4000, 50)).astype(np.float32)
    layers = pathway_layers(ids, ids, names, scores, is_z=True, reasons={})
    many = replace(
        facts,
        layers=tuple(layers),
        spots=spots_of(table, shape="circle", side_um=20.0, turn_degrees=0.0),
        shots=facts.shots,
    )
    html = page(many)
    assert len(html.encode()) < 1_500_000
    _, painted = shown(browser, html, tmp_path)
    assert painted > 100_000


def test_fragments_share_a_page_and_draw_when_they_are_opened(
    source: AtlasSource, facts: SectionFacts, browser: Browser, tmp_path: Path
) -> None:
    other = section_facts(source, XENIUM)
    html = (
        f"<!doctype html><meta charset='utf-8'><style>{section_style()}</style><main>"
        f"<details open><summary>a</summary>{section_fragment(facts)}</details>"
        f"<details id='b'><summary>b</summary>{section_fragment(other)}</details></main>"
        f"<script>{section_script()}</script>"
    )
    assert len(Read(html).tags("h2")) == 2
    path = tmp_path / "many.html"
    path.write_text(html, encoding="utf-8")
    with opened(browser, path) as seen:
        seen.page.wait_for_selector(f"#section-{VISIUM}[data-drawn]")
        second = seen.page.locator(f"#section-{XENIUM}")
        assert second.get_attribute("data-drawn") is None
        seen.page.click("#b > summary")
        second.scroll_into_view_if_needed()
        seen.page.wait_for_selector(f"#section-{XENIUM}[data-drawn]")
        first = canvas_pixels(seen.page, f"#section-{VISIUM} {CANVAS}")
        second.locator(".hs-layer").select_option(label="Tissue fraction of the patch")
        second.locator(".hs-opacity").fill("35")
        assert (canvas_pixels(seen.page, f"#section-{VISIUM} {CANVAS}") == first).all(), "each has its own controls"
        seen.quiet()


def test_in_the_dark_text_can_be_read(facts: SectionFacts, browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(page(facts), encoding="utf-8")
    script = """() => {
      const light = (text) => {
        const [r, g, b] = text.match(/[0-9.]+/g).map((v) => {
          const s = Number(v) / 255; return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const paper = light(getComputedStyle(document.body).backgroundColor);
      return [".hs-title", ".hs-study", "figcaption", "summary", ".hs-v", ".hs-unit", ".hs-says"].map((where) => {
        const ink = light(getComputedStyle(document.querySelector(where)).color);
        return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
      });
    }"""
    for dark in (False, True):
        with opened(browser, path, dark=dark) as seen:
            contrasts = seen.page.evaluate(script)
            assert min(contrasts) >= 4.5, contrasts
