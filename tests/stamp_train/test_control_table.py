"""The table of arms: its means and intervals are those of a slow reference; the order of rows has no say."""

from __future__ import annotations

import itertools
import math
import random
import statistics

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from humanst.errors import DataError
from stamp_train.control_table import MEASURES, comparison, verdict_of

GAIN = {"frozen": 0.0, "aligned": 0.12, "shuffled": 0.01, "random-sets": 0.04, "library-size": 0.0}
TARGETS = ("A", "B", "C", "D")


def made(
    n_donors: int = 9,
    *,
    gain: dict[str, float] = GAIN,
    n_seeds: int = 2,
    organs: tuple[str, ...] = ("breast",),
    tiers: tuple[str, ...] = ("genes", "pathways"),
) -> pd.DataFrame:
    """Measures whose donors differ by far more than arms do."""
    rng, rows = np.random.default_rng(0), []
    common = rng.normal(0.3, 0.15, (n_donors, 2, len(TARGETS)))
    protocols = {"genes": ("cv-alpha", "norm"), "pathways": ("per section",)}
    for tier, arm in itertools.product(tiers, gain):
        for measure, seed in itertools.product(protocols[tier], range(1 if arm == "frozen" else n_seeds)):
            for donor in range(n_donors):
                for section in range(1 + donor % 2):
                    for number, target in enumerate(TARGETS):
                        value = common[donor, section, number] + gain[arm] + rng.normal(0, 0.03)
                        organ = organs[donor % len(organs)]
                        name = f"d{donor}s{section}"
                        inside = number < 2 if tier == "genes" else None
                        unit = (organ, f"d{donor}", name, target, inside)
                        rows.append((arm, seed, tier, measure, *unit, value, 0.1, 0.9))
    return pd.DataFrame(rows, columns=list(MEASURES))


def row(table: pd.DataFrame, **where: str) -> pd.Series:
    for name, value in where.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def table_of(measures: pd.DataFrame) -> pd.DataFrame:
    """Few draws, where no end of an interval is looked at closely."""
    return comparison(measures, n_resamples=400)


def reference(measures: pd.DataFrame, arm: str, other: str | None, tier: str, measure: str) -> tuple[float, ...]:
    """Mean and 95 % interval over donors in plain Python, drawn by another generator."""
    values: dict[tuple[str, str], dict[tuple[str, str], list[float]]] = {}
    for line in measures.to_dict("records"):
        if (line["tier"], line["measure"]) == (tier, measure) and not math.isnan(line["value"]):
            unit = (line["sample_id"], line["target"])
            values.setdefault((line["arm"], line["donor"]), {}).setdefault(unit, []).append(line["value"])
    donors = sorted({donor for name, donor in values if name == arm})
    per_donor = []
    for donor in donors:
        ours = {unit: statistics.fmean(found) for unit, found in values[arm, donor].items()}
        theirs = {unit: statistics.fmean(found) for unit, found in values.get((other, donor), {}).items()}
        if other is None:
            per_donor.append(statistics.fmean(ours.values()))
        else:
            per_donor.append(statistics.fmean(ours[unit] - theirs[unit] for unit in ours if unit in theirs))
    draw, n = random.Random(1), len(per_donor)
    means = sorted(statistics.fmean(draw.choices(per_donor, k=n)) for _ in range(8000))
    # Student's t in place of the normal, for a bootstrap spread that lacks sqrt((n - 1) / n).
    tail = scipy.stats.norm.cdf(math.sqrt(n / (n - 1)) * scipy.stats.t.ppf(0.025, n - 1))
    ends = (means[round(tail * 8000)], means[-1 - round(tail * 8000)])
    return statistics.fmean(per_donor), *ends


@pytest.mark.parametrize(("tier", "measure"), [("genes", "norm"), ("pathways", "per section")])
def test_means_and_paired_intervals_are_those_of_a_slow_reference(tier: str, measure: str) -> None:
    measures = made()
    measures.loc[measures["sample_id"].eq("d1s1") & measures["target"].eq("B"), "value"] = np.nan
    table = comparison(measures)
    for arm in GAIN:
        found = row(table, tier=tier, measure=measure, part="all", arm=arm)
        ways = {"": (arm, None), "minus_frozen_": (arm, "frozen"), "aligned_minus_": ("aligned", arm)}
        for prefix, (ours, theirs) in ways.items():
            if ours == theirs or (prefix == "aligned_minus_" and arm == "frozen"):
                assert math.isnan(found[f"{prefix}mean"])
                continue
            expected = reference(measures, ours, theirs, tier, measure)
            assert found[f"{prefix}mean"] == pytest.approx(expected[0], abs=1e-12)
            spread = expected[2] - expected[1]
            assert [found[f"{prefix}low"], found[f"{prefix}high"]] == pytest.approx(expected[1:], abs=0.05 * spread)


def test_pairing_sees_a_gain_that_donors_hide() -> None:
    found = row(table_of(made()), tier="genes", measure="norm", part="all", arm="random-sets")
    assert found["high"] - found["low"] > 2 * (found["minus_frozen_high"] - found["minus_frozen_low"])
    assert found["minus_frozen_low"] > 0
    assert found["aligned_minus_low"] > 0


def test_the_order_of_rows_has_no_say() -> None:
    measures = made()
    mixed = measures.sample(frac=1, random_state=3)
    keys = ["tier", "measure", "part", "arm"]
    ours, theirs = (table_of(each).sort_values(keys, ignore_index=True) for each in (measures, mixed))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-12)


def test_fewer_than_eight_donors_have_no_interval() -> None:
    table = table_of(made(7))
    assert set(table["note"]) == {"too few donors"}
    assert set(table.loc[table["arm"] != "frozen", "minus_frozen_note"]) == {"too few donors"}
    assert table[[name for name in table if name.endswith(("low", "high"))]].isna().all(axis=None)
    assert verdict_of(table).answer == "cannot be said"


def test_parts_are_organs_sets_and_pathways() -> None:
    table = table_of(made(18, organs=("breast", "lung")))
    parts = {tier: set(table.loc[table["tier"] == tier, "part"]) for tier in ("genes", "pathways")}
    assert parts["genes"] == {"all", "organ: breast", "organ: lung", "in sets", "outside"}
    assert parts["pathways"] == {"all", *TARGETS}
    inside = row(table, tier="genes", measure="norm", part="in sets", arm="aligned")
    assert inside["n_units"] * 2 == row(table, tier="genes", measure="norm", part="all", arm="aligned")["n_units"]
    assert row(table, tier="genes", measure="norm", part="organ: lung", arm="aligned")["n_donors"] == 9


def test_what_is_undefined_is_left_out_of_both_sides_and_counted() -> None:
    measures = made(tiers=("pathways",))
    lost = measures["arm"].eq("aligned") & measures["sample_id"].eq("d0s0") & measures["target"].eq("A")
    measures.loc[lost, "value"] = np.nan
    found = row(table_of(measures), tier="pathways", part="all", arm="aligned")
    assert found["n_undefined"] == 1
    rest = measures[~(measures["sample_id"].eq("d0s0") & measures["target"].eq("A"))]
    expected = row(table_of(rest), tier="pathways", part="all", arm="aligned")
    assert found["minus_frozen_mean"] == pytest.approx(expected["minus_frozen_mean"], abs=1e-12)


def test_a_unit_that_one_seed_lacks_is_left_out_of_all_of_them_and_counted() -> None:
    measures = made(tiers=("pathways",), n_seeds=3)
    unit = measures["arm"].eq("aligned") & measures["sample_id"].eq("d1s0") & measures["target"].eq("C")
    expected = measures.copy()
    expected.loc[unit, "value"] = np.nan
    # Neither what the other seeds have of it, nor a seed without the row at all, may stand for the arm.
    undefined, gone = measures.copy(), measures[~(unit & measures["seed"].eq(1))]
    undefined.loc[unit & undefined["seed"].eq(1), "value"] = np.nan
    assert undefined["value"].isna().sum() == 1
    wanted = row(table_of(expected), tier="pathways", part="all", arm="aligned")
    whole = row(table_of(measures), tier="pathways", part="all", arm="aligned")
    for one in (undefined, gone):
        found = row(table_of(one), tier="pathways", part="all", arm="aligned")
        assert (found["n_undefined"], found["n_units"]) == (1, whole["n_units"] - 1)
        for name in ("mean", "minus_frozen_mean", "minus_frozen_low", "sd_of_seeds"):
            assert found[name] == pytest.approx(wanted[name], abs=1e-12)


def test_the_share_of_the_ceiling_is_of_the_units_that_have_one() -> None:
    measures = made(tiers=("genes",), n_seeds=1)
    here = measures["measure"].eq("norm")
    # A target that is far above the others has no ceiling, and one that has a high ceiling has no value in one arm.
    measures.loc[measures["target"].eq("A"), ["value", "ceiling"]] = [0.9, np.nan]
    measures.loc[measures["target"].eq("B"), "ceiling"] = 0.95
    measures.loc[measures["target"].eq("B") & measures["arm"].eq("aligned"), "value"] = np.nan
    found = row(table_of(measures), tier="genes", measure="norm", part="all", arm="aligned")
    both = measures[here & measures["arm"].eq("aligned") & measures["target"].isin(["C", "D"])]
    means = both.groupby("donor")[["value", "ceiling"]].mean().mean()
    assert found["share_of_ceiling"] == pytest.approx(means["value"] / means["ceiling"])


def test_donors_of_several_organs_are_in_none() -> None:
    measures = made(18, organs=("breast", ""), tiers=("genes",))
    table = table_of(measures)
    assert set(table["part"]) == {"all", "organ: breast", "in sets", "outside"}
    assert set(table.loc[table["part"] == "organ: breast", "n_donors"]) == {9}
    assert verdict_of(table).organs == {"breast": "above"}


def test_ceiling_baseline_and_seeds_stand_beside() -> None:
    found = row(table_of(made(n_seeds=3)), tier="genes", measure="norm", part="all", arm="aligned")
    assert (found["library_alone"], found["ceiling"], found["n_seeds"]) == (pytest.approx(0.1), pytest.approx(0.9), 3)
    assert found["share_of_ceiling"] == pytest.approx(found["mean"] / 0.9)
    assert 0 < found["sd_of_seeds"] < 0.01
    frozen = row(table_of(made(n_seeds=3)), tier="genes", measure="norm", part="all", arm="frozen")
    assert math.isnan(frozen["sd_of_seeds"])


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({}, "supported"),
        ({"aligned": 0.0}, "unsupported"),
        ({"random-sets": 0.12}, "unsupported"),
        ({"library-size": 0.12}, "unsupported"),
        ({"shuffled": 0.12}, "unsupported"),
    ],
)
def test_the_verdict_follows_from_the_table(changed: dict[str, float], answer: str) -> None:
    table = table_of(made(10, gain={**GAIN, **changed}, tiers=("genes",)))
    assert verdict_of(table).answer == answer
    # What refutes it is still there without the arm that was left out.
    left_out = answer if answer == "unsupported" and "library-size" not in changed else "cannot be said"
    assert verdict_of(table[table["arm"] != "library-size"]).answer == left_out


def test_organs_are_judged_one_by_one() -> None:
    measures = made(24, organs=("breast", "lung", "skin"), tiers=("genes",))
    for organ in ("lung", "skin"):
        spoilt = measures["arm"].eq("aligned") & measures["organ"].eq(organ)
        measures.loc[spoilt, "value"] -= GAIN["aligned"]
    found = verdict_of(table_of(measures))
    assert found.organs == {"breast": "above", "lung": "not above", "skin": "not above"}
    assert found.answer == "unsupported"


def test_measures_that_are_none_are_refused() -> None:
    measures = made(8, tiers=("genes",))
    with pytest.raises(DataError, match="Measures come twice"):
        table_of(pd.concat([measures, measures.head(3)]))
    with pytest.raises(DataError, match="These are no measures"):
        table_of(measures.drop(columns="ceiling"))
