"""The first page of an atlas: what is not in the folder is said, and 200 sections are one small page."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from humanst.errors import DataError, HumanstError, IntegrityError
from humanst.report import atlas
from humanst.report.atlas_facts import atlas_facts
from humanst.report.atlas_page import atlas_page, web_address
from humanst.report.atlas_sections import SectionTask, make_section
from humanst.report.atlas_source import open_source
from humanst.report.frame import BAR_SHARE, Frame
from tests.report.atlas_world import change_manifest, copy_release, report
from tests.shards.conftest import SECTIONS, Made

pytestmark = pytest.mark.xdist_group("atlas-command")


def test_what_a_release_has_not_got_is_said_and_its_leaks_are_seen(made: Made, tmp_path: Path) -> None:
    release = copy_release(made, tmp_path)

    def away(manifest: dict[str, Any]) -> None:
        gone, row = dict.fromkeys(("uids", "targets", "members"), "0" * 64), manifest["sections"][0]
        row["split"], row["donor_id"] = "train", " "
        manifest["recipe_only"] = [
            {
                **{key: row[key] for key in ("study_id", "group")}, "sample_id": "away", "split": "test", "pairs": 1234,
                "licenses": ["LicenseRef-x"], "reason": "not-redistributable", "extract_inputs": "", "hashes": gone,
            }
        ]  # fmt: skip
        manifest["selection"] = {
            "version": "9.9", "manifest_sha256": "0" * 64, "splits": ["val", "test"], "where": "tissue_fraction > 0.5",
            "sections": None, "n_pairs": 5, "left_out": [],
        }  # fmt: skip
        for study in manifest["studies"]:
            study["license_url"] = "https://[no end"

    rows = change_manifest(release, away)["sections"]
    result = report(release, "-o", tmp_path / "site", "--folder")
    assert result.exception is None, result.exception
    text = (tmp_path / "site" / "index.html").read_text()
    assert "in no figure below: 1,234 pairs of 1 section, away." in text
    assert "A part of release 9.9: pairs of val, test where tissue_fraction &gt; 0.5." in text
    facts = atlas_facts(open_source(release), {}, [])
    assert facts.splits.groups_in_two == (rows[0]["group"],)
    assert facts.totals["donors"] == len({row["donor_id"] for row in rows[1:]}), "a blank is nobody"
    assert facts.totals["sections_of_unknown_donors"] == 1


def test_the_first_page_of_200_sections_has_a_row_of_each_below_3_mb(made: Made, tmp_path: Path) -> None:
    release = copy_release(made, tmp_path)
    names = [f"{SECTIONS[number % 3]}_{number:03d}" for number in range(200)]

    def many(manifest: dict[str, Any]) -> None:
        rows = {row["sample_id"]: row for row in manifest["sections"]}
        manifest["sections"] = [{**rows[name[:-4]], "sample_id": name} for name in names]

    change_manifest(release, many)
    opened = (("work", made.work),)
    real = {name: make_section(SectionTask(made.release, opened, name, tmp_path / "pages")) for name in SECTIONS}
    assert all(len(one.picture) > 500 for one in real.values())
    source = open_source(release)
    assert not atlas.ReportRequest(source, tmp_path).is_single_file
    done = {name: replace(real[name[:-4]], sample_id=name, href=f"sections/{name}.html") for name in names}
    text = atlas_page(atlas_facts(source, done, []), fragments={}, audit=None)
    assert len(text.encode()) < 3_000_000
    assert text.count('<td class="name"') == text.count("<img src=") == 200


def test_platforms_beyond_the_colours_share_the_last_and_are_named_with_it(made: Made, tmp_path: Path) -> None:
    source = open_source(copy_release(made, tmp_path))
    facts = atlas_facts(source, {}, [])
    for n_platforms in (8, 11):
        names = [f"platform_{number}" for number in range(n_platforms)]
        text = atlas_page(
            replace(facts, platforms=tuple(names), section_bars=(), unit_bars=()), fragments={}, audit=None
        )
        legend = re.findall(r'<li><span class="key (c[0-9])" aria-hidden="true"></span>([^<]+)</li>', text)
        assert len({colour for colour, _ in legend}) == len(legend) == 8
        own = names if n_platforms == 8 else names[:7]
        assert [text for _, text in legend][: len(own)] == own
        assert [text for _, text in legend][len(own) :] == (
            [] if n_platforms == 8 else [f"others: {', '.join(names[7:])}"]
        )


def test_what_is_wrong_with_many_sections_is_said_once(made: Made, tmp_path: Path) -> None:
    source = open_source(copy_release(made, tmp_path))
    failures: list[tuple[str, HumanstError]] = [
        (SECTIONS[0], IntegrityError("a shard is damaged")),
        (SECTIONS[1], DataError("a store is not there")),
        (SECTIONS[2], IntegrityError("a shard is damaged")),
    ]
    text = atlas_page(atlas_facts(source, {}, failures), fragments={}, audit=None)
    assert "3 of 3 sections could not be shown" in text
    assert text.count("a shard is damaged") == text.count("a store is not there") == 1
    assert f"<li><b>{SECTIONS[0]}</b>, <b>{SECTIONS[2]}</b>: a shard is damaged" in text


def test_a_scale_bar_is_a_round_length_on_every_field() -> None:
    for most_um in (math.nextafter(1000, 0), 1000.0, math.nextafter(10, 0), 1.0, 333.0, 4.9e-7, 7e9):
        frame = Frame(1000, 10, (most_um / BAR_SHARE / 1000,) * 2, (0.0, 0.0), None, "")
        _, um, _ = frame.bar()
        assert 0.3 * most_um < um <= most_um * (1 + 1e-12)
        assert float(f"{um:.6e}"[:8]) in (1.0, 2.0, 5.0)


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", " java\nscript:alert(1)", "data:text/html,x", "//x", "https://[", "file:///etc"]
)
def test_an_address_that_is_none_leads_nowhere(url: str) -> None:
    assert web_address(url) == "#"
    assert web_address("https://creativecommons.org/licenses/by/4.0/").startswith("https:")
