"""Clean sections are not refused: twenty of every platform, each with a tissue, size, scale and turn of its own."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from humanst.demo import SectionPlan, StudyPlan, write_atlas
from humanst.demo.layout import Kind
from tests.helpers import output_json, run_humanst

# Twenty a platform; Visium comes in two layouts.
N_SECTIONS = {"visium": 10, "visium_v1": 10, "st": 20, "xenium": 20, "visium_hd": 20}
# The HD array of the demo is 1.26 mm wide; a legacy array of as few spots as Visium has needs twice the field.
LEAST_UM = {"visium": 1100.0, "visium_v1": 1100.0, "st": 1800.0, "xenium": 1100.0, "visium_hd": 1420.0}


def clean_study(kind: Kind) -> StudyPlan:
    """Plans drawn at random: no two sections share tissue, field, cover, scale or, for Xenium, turn of the image."""
    rng = np.random.default_rng([len(kind), *map(ord, kind)])
    study_id = f"clean_{kind}"
    plans = []
    for number in range(N_SECTIONS[kind]):
        width_um, height_um = LEAST_UM[kind] + rng.uniform(0.0, 200.0, 2)
        plan = SectionPlan(
            study_id=study_id,
            section_id=f"S{number:02d}",
            donor_id=f"{study_id}_d{number}",
            block=f"{study_id}_b{number}",
            um_per_pixel=float(rng.uniform(0.8, 1.1)),
            width_um=float(width_um),
            height_um=float(height_um),
            coverage=float(rng.uniform(0.45, 0.78)),
            era="previous" if number % 2 else "current",
            turn_degrees=float(rng.uniform(-180.0, 180.0)),
        )
        plans.append(plan)
    return StudyPlan(study_id, f"Clean sections: {kind}", kind, tuple(plans))


@pytest.mark.parametrize("kind", get_args(Kind))
def test_no_clean_section_is_refused(kind: Kind, tmp_path: Path) -> None:
    """The whole command over the vendor files, up to the point where a build would write."""
    study = clean_study(kind)
    atlas = write_atlas(tmp_path / "atlas", studies=(study,), seed=5)
    recipe = atlas.curation / study.study_id / "recipe.yaml"
    result = run_humanst(
        "validate", str(atlas.mirror / study.study_id), "--recipe", str(recipe), "--json", "--workers", "1"
    )
    (path,) = output_json(result)["paths"]
    refused = {row["item"]: row for row in path["sections"] if row["verdict"] != "passes"}
    assert not refused
    assert result.returncode == 0
    assert len(path["sections"]) == N_SECTIONS[kind]
    found = [{finding["code"] for finding in row["findings"]} for row in path["sections"]]
    assert sum("orientation-agrees" in codes for codes in found) >= 0.85 * N_SECTIONS[kind], (
        "the gate had something to see"
    )
