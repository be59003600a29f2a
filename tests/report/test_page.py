"""The page: opens from a file without a connection, runs nothing but its own script, and shows what the tables hold."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from humanst.report import page as page_module
from humanst.report.page import audit_page
from humanst.report.panels import Panel
from humanst.report.plots import library_plot
from humanst.report.verdicts import summary_of
from tests.report.tables import GOOD, MASKED, sets_of, tables

# Markup, a formula, and what turns the direction of text and steers a terminal.
STEERING = "\u202e\x9b31m"
HOSTILE = f"<script>alert('x')</script>\"><img src=x onerror=alert(1)>&amp;$\\frac{{1}}{{0}}${STEERING}"
FACTS: dict[str, Any] = {
    "title": f"release {HOSTILE}", "command": f"humanst audit '{HOSTILE}'", "gene_sets": HOSTILE,
    "gene_sets_sha256": "0" * 64, "scorer": "bincontrol", "normalisation": "log1p(CP10k)", "n_seeds": 3, "n_draws": 10,
    "seed": 0, "left_out": ((HOSTILE, 3),), "unmapped": (HOSTILE,), "failures": [(HOSTILE, f"bad {HOSTILE}")],
    "repeated": ((HOSTILE, (HOSTILE,)),), "panels": (Panel(HOSTILE, frozenset({"G"}), (HOSTILE,), 1),),
    "n_own_panels": 2,
}  # fmt: skip


class Read(HTMLParser):
    """What a browser would see: elements with their attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def tags(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def made(*names: str, **others: pd.DataFrame) -> dict[str, pd.DataFrame]:
    sections = {("s1", name): {**GOOD, "half_r": 0.3 + 0.1 * number} for number, name in enumerate(names)}
    found = tables({**sections, ("s1", "MASKED"): MASKED}, **others)
    found["pathways"] = summary_of(sets_of(*names, "MASKED"), found)
    return found


@pytest.fixture(scope="module")
def hostile() -> str:
    panels = pd.DataFrame(
        [{"sample_id": "s1", "panel": HOSTILE, "pathway": HOSTILE, "n_panel_genes": 300, "r": 0.1, "weak": True}]
    )
    return audit_page(FACTS, made(HOSTILE, "PLAIN", panels=panels))


def test_names_are_text_and_never_markup(hostile: str) -> None:
    seen = Read(hostile)
    assert len(seen.tags("script")) == 1
    assert seen.tags("img") == []
    assert not any(name.startswith("on") for _, attributes in seen.elements for name in attributes)
    text = " ".join(seen.text)
    assert text.count("<script>alert('x')</script>") >= 8, "shown as it is: title, facts, tables, verdicts"
    assert not any(letter in hostile for letter in STEERING if not letter.isprintable())
    assert text.count("\\u202e\\x9b31m") >= 8, "spelled out"


def test_one_file_is_all(hostile: str) -> None:
    seen = Read(hostile)
    for tag, attributes in seen.elements:
        for name in ("src", "href", "xlink:href", "action", "data"):
            target = attributes.get(name)
            assert target is None or target.startswith(("#", "data:image/png;base64,")), f"{tag} {name}={target[:60]}"
    assert seen.tags("link") == []
    assert "@import" not in hostile
    assert not re.search(r"url\((?!#)", hostile)


def test_only_its_own_script_may_run(hostile: str) -> None:
    (policy,) = (a["content"] for a in Read(hostile).tags("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    script = re.search(r"<script>(.*?)</script>\s*</body>", hostile, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_plots_are_whole_and_say_in_words_what_they_show(hostile: str) -> None:
    svgs = re.findall(r"<svg.*?</svg>", hostile, re.DOTALL)
    assert len(svgs) == 5
    for svg in svgs:
        root = ET.fromstring(svg)  # noqa: S314
        assert len(list(root.iter())) > 20
    figures = Read(hostile).tags("figure")
    assert len(figures) == 5
    drawings = [one for one in Read(hostile).tags("div") if one.get("class") == "drawing"]
    assert len(drawings) == len(figures)
    assert all(one["role"] == "img" and len(str(one["aria-label"])) > 30 for one in drawings)
    shown = " ".join("".join(ET.fromstring(svg).itertext()) for svg in svgs)  # noqa: S314
    assert "PLAIN" in shown, "text stays text"


def test_tables_hold_the_figures_and_sort_as_numbers(hostile: str) -> None:
    seen = Read(hostile)
    keys = [attributes["data-key"] for attributes in seen.tags("td")]
    assert repr(0.4) in keys
    assert "" in keys, "what is not known sorts last"
    heads = seen.tags("th")
    assert len(heads) == len([b for b in seen.tags("button") if b.get("type") == "button"]), "by keyboard too"
    assert len(seen.tags("table")) == 7


def test_the_same_tables_give_the_same_page() -> None:
    assert audit_page(FACTS, made("A", "B")) == audit_page(FACTS, made("A", "B"))


def test_pathways_that_can_be_trusted_stand_first() -> None:
    sections = {("s1", "BAD"): {**GOOD, "passes": False}, ("s1", "GOOD"): GOOD, ("s1", "NONE"): MASKED}
    found = tables(sections)
    found["pathways"] = summary_of(sets_of("BAD", "GOOD", "NONE"), found)
    text = audit_page({**FACTS, "failures": []}, found)
    articles = re.findall(r'<article class="v-([a-z-]+)"><h3>\S+ (\w+)</h3>', text)
    assert articles == [("trust", "GOOD"), ("do-not-trust", "BAD"), ("not-measured", "NONE")]
    assert 'role="alert"' not in text


def test_a_release_without_a_single_valid_pathway_has_a_page_too() -> None:
    information = pd.DataFrame({"features": ["pathways"], "target": ["x"], "r": [np.nan], "share_of_ceiling": [np.nan]})
    text = audit_page(FACTS, made(information=information))
    assert len(re.findall(r"<svg", text)) == 1, "coverage alone"
    assert "Not measured" in text


def test_long_tables_are_cut_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MOST_ROWS", 3)
    text = audit_page(FACTS, made(*(f"P{number}" for number in range(9))))
    assert "3 of 10 rows; all of them and all columns are in <code>sections.parquet</code>" in text


def test_of_many_sections_plots_are_bounded_and_say_what_they_show() -> None:
    """61 pathways in 40 sections: 2,400 dots are one picture, and captions say which rows are drawn."""
    names = [f"P{number:02d}" for number in range(61)]
    figures = {(f"s{s:03d}", name): {**GOOD, "half_r": n / 100} for s in range(40) for n, name in enumerate(names)}
    many = tables(figures)
    many["pathways"] = summary_of(sets_of(*names), many)
    page = audit_page(FACTS, many)
    text = " ".join(Read(page).text)
    assert text.count("Drawn are the 30 highest and 30 lowest of 61 pathways.") == 3
    assert "Drawn are the first 60 of 61 pathways and the first 40 of 40 sections." in text
    assert "information, mutual and retrieval are of 1 of them" in text
    plot = page[page.index("<h2>Library size</h2>") : page.index("<h2>Information kept</h2>")]
    assert plot.count("<use") < 200, "no element a dot"
    assert "data:image/png;base64," in plot
    assert library_plot(many["pathways"], many["sections"]) in plot, "the same bytes again"
