"""Clean sections are not refused: each has a tissue, size, cover, scale and turn of its own.

``benchmarks/clean_sections.py`` does the same over twenty and more a platform.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from humanst.demo import random_study, write_atlas
from humanst.demo.layout import Kind
from tests.helpers import output_json, run_humanst

N_SECTIONS = 6


def test_planned_sections_differ_in_everything() -> None:
    plans = random_study("xenium", 20).sections
    for name in (
        "section_id",
        "donor_id",
        "block",
        "um_per_pixel",
        "width_um",
        "height_um",
        "coverage",
        "turn_degrees",
    ):
        assert len({getattr(plan, name) for plan in plans}) == 20, name
    assert plans[:3] == random_study("xenium", 3).sections
    assert not {plan.block for plan in plans} & {plan.block for plan in random_study("xenium", 20, seed=1).sections}


@pytest.mark.parametrize("kind", get_args(Kind))
def test_no_clean_section_is_refused(kind: Kind, tmp_path: Path) -> None:
    """The whole command over the vendor files, up to the point where a build would write."""
    study = random_study(kind, N_SECTIONS, seed=5)
    atlas = write_atlas(tmp_path / "atlas", studies=(study,))
    recipe = atlas.curation / study.study_id / "recipe.yaml"
    result = run_humanst(
        "validate", str(atlas.mirror / study.study_id), "--recipe", str(recipe), "--json", "--workers", "1"
    )
    (path,) = output_json(result)["paths"]
    assert not {row["item"]: row["reasons"] for row in path["sections"] if row["verdict"] != "passes"}
    assert result.returncode == 0
    assert len(path["sections"]) == N_SECTIONS
    found = [{finding["code"] for finding in row["findings"]} for row in path["sections"]]
    assert sum("orientation-agrees" in codes for codes in found) >= N_SECTIONS - 1, "the gate had something to see"
