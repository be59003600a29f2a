"""Sides of the squares that transcripts and bins are pooled to, in um."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from humanst.catalog import Recipe

DEFAULT_SIDE_UM = 112.0
XENIUM_SIDES_UM = (112.0, 55.0, 100.0)
# The patch, and for each binning its one side near a Visium spot. Every output of the vendor holds both binnings; the
# 2 um bins beside them are the same transcripts at sixteen times the rows.
SIDES_OF_BIN_UM = {8.0: (56.0, 112.0), 16.0: (64.0, 112.0)}

PoolLike = Literal["visium"]


def bin_um_of(recipe: Recipe) -> float:
    """The side of a bin of Visium HD, as the recipe says."""
    return float(recipe.options.get("bin_um", recipe.lattice.pitch_um))


def pooled_like(recipe: Recipe, like: PoolLike | None) -> Recipe:
    """The recipe with the side nearest to a Visium spot of 55 um, for platforms that pool; any other as it is.

    Xenium has 55 um, Visium HD 56 um of 8 um bins and 64 um of 16 um bins. ``None`` leaves every recipe as it is.
    """
    if like is None:
        return recipe
    sides = {"xenium": XENIUM_SIDES_UM, "visium_hd": SIDES_OF_BIN_UM.get(bin_um_of(recipe), ())}.get(recipe.platform)
    return replace(recipe, options={**recipe.options, "target_side_um": min(sides)}) if sides else recipe
