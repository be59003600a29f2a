"""Shares of variance between sections and donors: those of a one-way analysis of variance over all spots."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.formula.api import ols

from humanst.pathways.audit.features import Moments
from humanst.pathways.audit.variance import variance


def moments_of(values: list[np.ndarray]) -> list[Moments]:
    out = []
    for part in values:
        mean, sd = part.mean(axis=0), part.std(axis=0)
        z = (part - mean) / sd
        out.append(Moments(len(part), mean, sd, z.mean(axis=0), z.std(axis=0)))
    return out


def by_anova(values: list[np.ndarray], groups: list[str]) -> float:
    """Eta squared from the analysis of variance of statsmodels, over every single spot."""
    table = pd.DataFrame(
        {
            "y": np.concatenate([part[:, 0] for part in values]),
            "g": np.repeat(groups, [len(part) for part in values]),
        }
    )
    squares = sm.stats.anova_lm(ols("y ~ C(g)", data=table).fit())["sum_sq"]
    return float(squares["C(g)"] / squares.sum())


def sections(seed: int, means: list[float], sizes: list[int]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        rng.normal(mean, 1.0 + 0.3 * number, (n, 1)) for number, (mean, n) in enumerate(zip(means, sizes, strict=True))
    ]


def test_shares_are_those_of_an_analysis_of_variance_of_all_spots() -> None:
    values = sections(1, [0.0, 0.4, 2.0, 2.5, -1.0], [40, 75, 60, 33, 90])
    donors = ["a", "a", "b", "b", "c"]
    table = variance(moments_of(values), donors, ("S",)).set_index("stage")
    assert table.loc["raw", "between_section"] == pytest.approx(by_anova(values, list("12345")), rel=1e-9)
    assert table.loc["raw", "between_donor"] == pytest.approx(by_anova(values, donors), rel=1e-9)
    assert table.loc["raw", "between_section"] > table.loc["raw", "between_donor"] > 0.3
    assert table.loc["raw", "reason"] is None
    assert table.loc["raw", ["n_sections", "n_donors", "n_spots"]].tolist() == [5, 3, 298]


def test_after_z_nothing_is_left_and_the_table_says_that_it_must_be_so() -> None:
    table = variance(moments_of(sections(2, [0.0, 5.0, 9.0], [50, 60, 70])), ["a", "b", "c"], ("S",)).set_index("stage")
    assert table.loc["raw", "between_section"] > 0.8
    assert table.loc["z", ["between_section", "between_donor"]].max() < 1e-12
    assert "by construction" in table.loc["z", "reason"]


def test_clipped_z_keep_a_little_and_are_not_said_to_keep_nothing() -> None:
    values = [np.random.default_rng(number).exponential(size=(60, 1)) ** (1 + number) for number in range(3)]
    moments = moments_of(values)
    for part, moment in zip(values, moments, strict=True):
        z = np.clip((part - part.mean()) / part.std(), -1.0, 1.0)
        moment.z_mean[:], moment.z_sd[:] = z.mean(), z.std()
    table = variance(moments, ["a", "b", "c"], ("S",)).set_index("stage")
    assert table.loc["z", "between_section"] > 1e-4
    assert table.loc["z", "reason"] is None


def test_a_masked_section_is_left_out_and_lone_groups_have_no_share() -> None:
    values = sections(3, [0.0, 1.0, 4.0], [50, 60, 70])
    moments = moments_of(values)
    for name in ("raw_mean", "raw_sd", "z_mean", "z_sd"):
        getattr(moments[1], name)[:] = np.nan
    table = variance(moments, ["a", "a", "b"], ("S",)).set_index("stage")
    assert table.loc["raw", "between_section"] == pytest.approx(by_anova(values[::2], ["1", "3"]), rel=1e-9)
    assert table.loc["raw", "n_sections"] == 2
    one_donor = variance(moments_of(values), ["a", "a", "a"], ("S",)).set_index("stage").loc["raw"]
    assert one_donor["between_section"] > 0
    assert np.isnan(one_donor["between_donor"])
    assert one_donor["reason"] == "too few donors"
    lone = variance(moments[:2], ["a", "b"], ("S",)).set_index("stage").loc["raw"]
    assert np.isnan(lone["between_section"])
    assert lone["reason"] == "too few sections"
    nowhere = variance([moments[1]], ["a"], ("S",)).set_index("stage").loc["z"]
    assert nowhere["reason"] == "not valid in any section"
