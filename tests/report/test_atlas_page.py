"""The first page of an atlas in a browser: what a hostile release does to it, what hands and ears can do with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.report.atlas_world import LONG, SCRIPT, change_manifest, copy_release, hostile, report
from tests.report.browsing import opened
from tests.shards.conftest import Made

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.xdist_group("atlas-page")

ROWS = "#section-table tbody tr"
SHOWN = f"{ROWS}:not([hidden])"


@pytest.fixture(scope="module")
def site(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    release = copy_release(made, folder)
    change_manifest(release, hostile)
    result = report(release, "-o", folder / "site", "--folder")
    assert result.exception is None, result.exception
    return folder / "site"


@pytest.fixture(scope="module")
def manifest(site: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((site.parent / "release" / "MANIFEST.json").read_bytes())
    return content


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.locator(selector).all_inner_texts()
    return found


def test_what_a_stranger_wrote_is_text_and_the_page_asks_for_nothing(browser: Browser, site: Path) -> None:
    with opened(browser, site / "index.html") as found:
        page = found.page
        found.quiet()
        assert page.evaluate("window.hacked") is None
        body = page.inner_text("body")
        assert "<script>window.hacked = 1</script>" in body
        assert "\\u202e" in body, "spelled out"
        assert "\u202e" not in page.content()
        assert LONG in body
        assert page.locator("main img").count() == 2, "pictures of two sections and none of a stranger's"
        assert "no image" in texts(page, ".picture")


@pytest.mark.parametrize("width", [1280, 390])
def test_long_names_do_not_push_the_page_out_of_the_window(browser: Browser, site: Path, width: int) -> None:
    with opened(browser, site / "index.html", width=width) as found:
        page = found.page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # Nothing reaches past the window but what lies in a box that scrolls.
        out = """[...document.querySelectorAll("body *")].filter(element => !element.closest(".scroll, .skip, .vh")
            && element.getBoundingClientRect().right > innerWidth + 1).length"""
        assert page.evaluate(out) == 0


def test_the_filter_changes_which_rows_are_shown_and_says_how_many(
    browser: Browser, site: Path, manifest: dict[str, Any]
) -> None:
    rows = manifest["sections"]
    with opened(browser, site / "index.html") as found:
        page = found.page
        told = page.locator("#shown")
        assert told.get_attribute("aria-live") == "polite"
        assert (page.locator(SHOWN).count(), told.inner_text()) == (3, "3 of 3 sections")
        for name in ("platform", "organ", "split"):
            value = rows[1][name]
            page.locator(f"select[data-filter={name}]").select_option(
                index=1 + sorted({r[name] for r in rows}).index(value)
            )
            fits = sum(row[name] == value for row in rows)
            assert (page.locator(SHOWN).count(), told.inner_text()) == (fits, f"{fits} of 3 sections")
            page.get_by_role("button", name="Show all").click()
            page.locator("#shown", has_text="3 of 3 sections").wait_for()
        page.get_by_label("Search in names").fill(f"{rows[2]['sample_id'].upper()} {rows[2]['platform']}")
        assert texts(page, f"{SHOWN} td.name a") == [rows[2]["sample_id"]]
        page.get_by_label("Search in names").fill("no such section")
        assert (page.locator(SHOWN).count(), told.inner_text()) == (0, "0 of 3 sections")


def test_the_table_sorts_by_its_heads_with_the_keyboard_too(
    browser: Browser, site: Path, manifest: dict[str, Any]
) -> None:
    pairs = [row["pairs"] for row in manifest["sections"]]
    heads = [
        text.split()[0] for text in ("section", "study", "platform", "organ", "disease", "split", "licence", "pairs")
    ]
    with opened(browser, site / "index.html") as found:
        page = found.page
        head = page.locator("#section-table th", has_text="pairs")
        cells = f"{ROWS} td:nth-child({len(heads)})"
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        assert texts(page, cells) == [f"{n:,}" for n in sorted(pairs)]
        head.get_by_role("button").press("Enter")
        assert head.get_attribute("aria-sort") == "descending"
        assert texts(page, cells) == [f"{n:,}" for n in sorted(pairs, reverse=True)]
        page.locator("#section-table th", has_text="section").get_by_role("button").press("Space")
        assert head.get_attribute("aria-sort") is None
        assert texts(page, f"{ROWS} td.name a") == sorted(row["sample_id"] for row in manifest["sections"])


def test_the_keyboard_reaches_everything_and_one_sees_where_it_is(browser: Browser, site: Path) -> None:
    focusable = "a[href], button, input, select, summary, [tabindex='0']"
    with opened(browser, site / "index.html") as found:
        page = found.page
        page.evaluate(f"[...document.querySelectorAll(`{focusable}`)].forEach((one, n) => one.dataset.number = n)")
        wanted = page.locator(focusable).count()
        reached, rings = [], []
        for _ in range(wanted):
            page.keyboard.press("Tab")
            number, ring = page.evaluate(
                "[document.activeElement.dataset.number, getComputedStyle(document.activeElement).outlineStyle]"
            )
            reached.append(int(number))
            rings.append(ring)
        assert reached == list(range(wanted)), "in the order of the page"
        assert wanted > 30
        assert "none" not in rings


def test_all_that_can_be_used_has_a_name_for_the_ear(browser: Browser, site: Path) -> None:
    with opened(browser, site / "index.html") as found:
        page = found.page
        nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
        used = {
            "button",
            "link",
            "searchbox",
            "textbox",
            "combobox",
            "region",
            "table",
            "columnheader",
            "navigation",
            "form",
        }
        found = [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"] and node["role"]["value"] in used
        ]
        unnamed = [role for role, name in found if not name.strip() and role != "table"]
        assert unnamed == []
        assert {"button", "link", "searchbox", "combobox", "region", "columnheader", "navigation"} <= {
            r for r, _ in found
        }
        assert page.locator("html").get_attribute("lang") == "en"
        assert page.locator("h1").count() == 1


def test_light_and_dark_follow_the_system_and_paper_shows_all_rows(browser: Browser, site: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, site / "index.html", dark=False) as found:
        page = found.page
        light = page.evaluate(ground)
        assert page.locator("nav").is_visible()
        page.emulate_media(media="print")
        assert not page.locator("nav").is_visible()
        assert page.evaluate("getComputedStyle(document.querySelector('.sections')).overflow") == "visible"
    with opened(browser, site / "index.html", dark=True) as found:
        page = found.page
        assert page.evaluate(ground) != light


def test_a_row_leads_to_its_section_and_back(browser: Browser, site: Path, manifest: dict[str, Any]) -> None:
    name = manifest["sections"][0]["sample_id"]
    with opened(browser, site / "index.html") as found:
        page = found.page
        page.locator("td.name").get_by_role("link", name=name).click()
        assert page.url == (site / "sections" / f"{name}.html").as_uri()
        assert page.locator("h1").inner_text() == name
        page.get_by_role("link", name="All sections").first.click()
        assert page.url == (site / "index.html").as_uri()
        assert found.errors == []
        assert all(url.startswith("file:") for url in found.asked)


def test_in_one_file_links_lead_inside_and_a_folded_section_opens(
    browser: Browser,
    made: Made,
    manifest: dict[str, Any],
    tmp_path: Path,
) -> None:
    assert report(made.release, "-o", tmp_path / "one", "--single-file").exception is None
    assert not (tmp_path / "one" / "sections").exists()
    name = manifest["sections"][1]["sample_id"]
    with opened(browser, tmp_path / "one" / "index.html", width=390) as found:
        page = found.page
        assert page.locator("[data-section]:visible").count() == 0
        page.locator("td.name").get_by_role("link", name=name).click()
        page.locator(f"#section-{name} canvas").first.wait_for(state="visible")
        assert page.locator("[data-section]:visible").count() == 1
        looks = "getComputedStyle(document.querySelector('.hs-section figcaption')).fontWeight"
        assert page.evaluate(looks) == "400", "captions of sections are text, whatever those of charts are"
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert found.errors == []
        assert all(url.startswith("file:") for url in found.asked)


def test_the_policy_of_the_page_lets_nothing_else_run(browser: Browser, site: Path) -> None:
    text = (site / "index.html").read_text()
    with opened(browser, site / "index.html") as found:
        page = found.page
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {text: 'window.late = 1'}))"
        )
        assert page.evaluate("window.late") is None
        assert any("Content Security Policy" in line for line in found.errors), "and says so"
    assert "default-src 'none'" in text
    assert "base-uri 'none'; form-action 'none'" in text, "which no default covers"
    assert SCRIPT not in text
