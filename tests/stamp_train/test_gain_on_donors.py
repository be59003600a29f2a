"""The claim, small: on ten donors that were never seen, alignment gains where training on anything else does not.

The whole measurement, with more donors, a better base and every arm, is ``benchmarks/align.py``.
"""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks.align import SETTINGS, TEXTURE
from benchmarks.align_world import WorldPlan, make_world
from benchmarks.pretext import write_base
from stamp_train.config import AlignConfig
from stamp_train.control_tiers import Tiers
from stamp_train.controls import Compared, run_controls

pytestmark = pytest.mark.xdist_group("gain")

PLAN = WorldPlan(train=12, val=2, test=10, side_um=1150.0)
CONTROLS = ("shuffled", "random-sets")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    folder = tmp_path_factory.mktemp("gain")
    world = make_world(folder / "world", PLAN, workers=1)
    write_base(folder / "base", world.release, steps=200)
    settings = {"release": str(world.release), "encoder": str(folder / "base"), **SETTINGS, "max_steps": 260}
    tiers = Tiers(("test",), gmt=world.gene_sets, n_genes=10)
    return run_controls(AlignConfig.from_mapping(settings), folder / "compared", tiers, only=CONTROLS)


def of_pathways(compared: Compared, part: str) -> pd.DataFrame:
    table = compared.table
    return table[(table["tier"] == "pathways") & (table["part"] == part)].set_index("arm")


def test_aligned_is_above_the_base_and_the_shuffled_pairs(compared: Compared) -> None:
    rows = of_pathways(compared, "all")
    assert (rows["n_donors"] == PLAN.test).all()
    assert rows.loc["aligned", "minus_frozen_low"] > 0
    assert rows.loc["shuffled", "aligned_minus_low"] > 0
    # Over all programmes random sets of a small world come close: the interval is for the measurement with more donors.
    assert rows.loc["random-sets", "aligned_minus_mean"] > 0


def test_what_texture_alone_tells_is_gained_from_its_own_targets_alone(compared: Compared) -> None:
    rows = of_pathways(compared, TEXTURE)
    assert rows.loc["aligned", "minus_frozen_low"] > 0
    for control in CONTROLS:
        assert rows.loc[control, "aligned_minus_low"] > 0, control


@pytest.mark.parametrize("part", ["all", TEXTURE])
def test_training_on_shuffled_pairs_gains_nothing(compared: Compared, part: str) -> None:
    assert of_pathways(compared, part).loc["shuffled", "minus_frozen_low"] <= 0
