"""Verdicts: every rule on both sides of its bound, and words that say the figures they come from."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from humanst.report.verdicts import VERDICTS, summary_of
from tests.report.tables import GOOD, MASKED, sets_of, tables

SECTIONS = ("s1", "s2", "s3")


def row_of(*figures: dict[str, Any], **others: pd.DataFrame) -> dict[str, Any]:
    """The summary of one pathway with these figures in as many sections."""
    made = tables({(f"s{number}", "P"): one for number, one in enumerate(figures)}, **others)
    (row,) = summary_of(sets_of("P"), made).to_dict("records")
    return row


def like(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ([GOOD], "trust"),
        ([GOOD, GOOD, like(passes=False)], "trust"),
        ([GOOD, like(passes=False)], "with care"),
        ([GOOD, like(passes=False), like(passes=False)], "with care"),
        ([GOOD, *[like(passes=False)] * 3], "do not trust"),
        ([like(passes=False)], "do not trust"),
        ([like(r_library=0.19)], "trust"),
        ([like(r_library=0.2)], "with care"),
        ([like(r_library=-0.69)], "with care"),
        ([like(r_library=-0.7)], "do not trust"),
        ([like(r_library=0.7)], "do not trust"),
        ([like(moran_residual=0.1)], "with care"),
        ([like(moran_residual=0.101)], "trust"),
        ([MASKED], "not measured"),
        ([MASKED, MASKED, GOOD], "trust"),
        # Signs of different sections do not cancel.
        ([like(r_library=0.8), like(r_library=-0.8)], "do not trust"),
    ],
)
def test_each_rule_holds_to_its_bound(figures: list[dict[str, Any]], verdict: str) -> None:
    assert row_of(*figures)["verdict"] == verdict
    assert verdict in VERDICTS


def test_figures_are_medians_over_valid_sections() -> None:
    row = row_of(like(half_r=0.2), like(half_r=0.3), like(half_r=0.9), MASKED)
    assert (row["n_sections"], row["n_valid"], row["half_r"]) == (4, 3, 0.3)
    assert row["masked_because"] == "too-few-genes"
    assert "Valid in 3 of 4 sections" in row["paragraph"]
    assert "fewer than 10 of its genes are measured" in row["paragraph"]


def test_words_say_the_figures() -> None:
    good = row_of(GOOD)["paragraph"]
    assert good.startswith("Can be trusted.")
    for said in (
        "80% of its 50 genes",
        "r = 0.60",
        "reach 0.20",
        "0.35, more than that of random sets (0.10)",
        "hardly",
    ):
        assert said in good
    assert "No model" not in good
    assert "above about 0.55" in row_of(like(ceiling=0.55))["paragraph"]
    assert "no more than that" in row_of(like(moran_residual=0.05))["paragraph"]
    assert "partly follows" in row_of(like(r_library=0.5))["paragraph"]
    assert row_of(MASKED)["paragraph"].startswith("Not measured: in none of 1 section, mostly because fewer than 10")


def test_what_all_sections_together_show_is_said_where_it_warns() -> None:
    shuffled = pd.DataFrame({"pathway": ["P"], "gaussian_bits": [0.01], "shuffled_p99_bits": [0.02]})
    assert "shuffled spots" in row_of(GOOD, mutual=shuffled)["paragraph"]
    assert "shuffled spots" not in row_of(GOOD)["paragraph"]
    donors = pd.DataFrame({"pathway": ["P"], "stage": ["raw"], "between_section": [0.6], "between_donor": [0.55]})
    assert "55% of its raw variance lies between donors" in row_of(GOOD, variance=donors)["paragraph"]


def test_panels_and_targets_that_give_another_score_are_named() -> None:
    panels = pd.DataFrame(
        [
            {"sample_id": sample, "panel": panel, "pathway": "P", "n_panel_genes": 300, "r": r, "weak": r < 0.5}
            for panel, values in {"small": (0.2, 0.4, 0.9), "large": (0.4, 0.8, 0.9), "none": (float("nan"),)}.items()
            for sample, r in zip(SECTIONS, values, strict=False)
        ]
    )
    row = row_of(GOOD, panels=panels)
    assert row["weak_panels"] == "small"
    assert "Weak on small" in row["paragraph"]
    geometry = pd.DataFrame(
        [
            {"sample_id": "s0", "covered_share": share, "pathway": "P", "r": r, "weak": r < 0.5}
            for share, r in ((0.25, 0.6), (1 / 9, 0.31))
        ]
    )
    assert (
        "covers 11% of the patch agrees with all of the patch at only r = 0.31"
        in row_of(GOOD, geometry=geometry)["paragraph"]
    )


def test_pathways_keep_their_order_and_their_own_figures() -> None:
    made = tables({("s1", "B"): GOOD, ("s1", "A"): like(half_r=0.16), ("s1", "C"): MASKED})
    summary = summary_of(sets_of("B", "A", "C"), made)
    assert summary["pathway"].tolist() == ["B", "A", "C"]
    assert summary["half_r"].tolist()[:2] == [0.6, 0.16]
    assert summary["verdict"].tolist() == ["trust", "trust", "not measured"]
