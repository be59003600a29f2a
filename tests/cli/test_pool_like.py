"""``--pool-like visium``: transcripts and bins pooled near a Visium spot's size, whatever the recipe says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import spatialdata

from tests.helpers import output_json, run_humanst

SIDES_UM = {"demo_xenium_X1": 55.0, "demo_hd_H1": 56.0}


def test_squares_of_every_pooled_platform_are_near_a_visium_spot(
    demo_atlas: Path, demo_release: Path, tmp_path: Path
) -> None:
    build = ("build", "demo_xenium", "demo_hd", "-o", str(tmp_path / "store"), "--json", "--sections")
    result = run_humanst(*build, ",".join(SIDES_UM), "--pool-like", "visium", atlas=demo_atlas)
    assert result.returncode == 0, result.stderr
    usual_stores = demo_release.with_name(f"{demo_release.name}.work") / "sections"
    for sample_id, side_um in SIDES_UM.items():
        sdata = spatialdata.read_zarr(tmp_path / "store" / "sections" / f"{sample_id}.zarr")
        usual = spatialdata.read_zarr(usual_stores / f"{sample_id}.zarr")
        area = sdata.shapes["spots"].geometry.area.to_numpy()
        assert area == pytest.approx(np.full(len(area), side_um**2), rel=1e-6)
        assert sdata.attrs["humanst"]["target"] == {"shape": "square", "side_um": side_um}
        ratio = np.median(usual.tables["table"].obs["n_counts"]) / np.median(sdata.tables["table"].obs["n_counts"])
        assert ratio == pytest.approx((112.0 / side_um) ** 2, rel=0.25), "a quarter of the area and of the counts"
        assert sdata.attrs["humanst"]["counts_in"] == usual.attrs["humanst"]["counts_in"]
    again = run_humanst(*build, "demo_xenium_X1", atlas=demo_atlas)
    assert again.returncode == 0, again.stderr
    assert [row["reused"] for row in output_json(again)["sections"]] == [False], "another target is another store"


def test_platforms_that_do_not_pool_stay_as_they_are(little_atlas: Path, tmp_path: Path) -> None:
    cards = []
    for more in ((), ("--pool-like", "visium")):
        folder = tmp_path / f"store{len(more)}"
        result = run_humanst("build", "demo_st", "--sections", "A1", "-o", str(folder), *more, atlas=little_atlas)
        assert result.returncode == 0, result.stderr
        cards.append((folder / "sections" / "demo_st_A1.zarr.card.json").read_bytes())
    assert cards[0] == cards[1]
