"""The verdict: unsupported when it gains nothing or a control does as well, and never said where it is not known."""

from __future__ import annotations

import itertools

import pytest

from stamp_train.bootstrap import TOO_FEW, Interval
from stamp_train.verdict import COLUMNS, RIVALS, judge, state_of

UP = Interval(0.05, 0.02, 0.08, 10)
LEVEL = Interval(0.01, -0.02, 0.04, 10)
DOWN = Interval(-0.05, -0.08, -0.02, 10)
FEW = Interval(0.2, None, None, 5, 0, TOO_FEW)


def gains(*found: Interval) -> dict[str, Interval]:
    return dict(zip(COLUMNS, found, strict=True))


BEATEN = {name: gains(UP, UP) for name in RIVALS}


@pytest.mark.parametrize(
    ("pair", "state"),
    [
        ((UP, UP), "above"),
        ((UP, LEVEL), "above"),
        ((DOWN, UP), "above"),
        ((LEVEL, LEVEL), "not above"),
        ((DOWN, LEVEL), "not above"),
        ((DOWN, DOWN), "not above"),
        ((FEW, FEW), "unknown"),
        ((LEVEL, FEW), "unknown"),
    ],
)
def test_a_gain_by_either_protocol_is_one(pair: tuple[Interval, Interval], state: str) -> None:
    assert state_of(gains(*pair)) == state


def test_one_protocol_alone_can_show_a_gain_and_not_that_there_is_none() -> None:
    assert state_of({"norm": UP}) == "above"
    assert state_of({"norm": LEVEL}) == "unknown"
    assert state_of({"hest-compat": UP}) == "unknown"


def test_a_gain_over_base_and_controls_supports_the_claim() -> None:
    found = judge({"breast": gains(UP, LEVEL)}, BEATEN)
    assert found.answer == "supported"
    assert "in 1 of 1 organ" in found.sentence
    assert all(name in found.sentence for name in RIVALS)


@pytest.mark.parametrize("n_organs", range(1, 7))
def test_most_organs_without_a_gain_refute_it(n_organs: int) -> None:
    for states in itertools.product("ul?", repeat=n_organs):
        of = {"u": gains(UP, UP), "l": gains(LEVEL, DOWN), "?": gains(FEW, FEW)}
        found = judge({f"organ {number}": of[state] for number, state in enumerate(states)}, BEATEN)
        level, known = states.count("l") / n_organs, states.count("u") / n_organs
        expected = "unsupported" if level > 0.5 else "supported" if known >= 0.5 else "cannot be said"
        assert found.answer == expected, states


@pytest.mark.parametrize("name", RIVALS)
def test_a_control_that_does_as_well_refutes_it(name: str) -> None:
    found = judge({"breast": gains(UP, UP)}, {**BEATEN, name: gains(LEVEL, LEVEL)})
    assert found.answer == "unsupported"
    assert f"training on {name} matches it" in found.sentence
    assert found.rivals[name] == "not above"


@pytest.mark.parametrize("name", RIVALS)
def test_without_a_control_or_donors_it_cannot_be_said(name: str) -> None:
    organs = {"breast": gains(UP, UP)}
    not_run = judge(organs, {**BEATEN, name: None})
    assert (not_run.answer, not_run.reasons) == ("cannot be said", (f"{name} was not run",))
    left_out = judge(organs, {other: found for other, found in BEATEN.items() if other != name})
    assert left_out == not_run
    few = judge(organs, {**BEATEN, name: gains(FEW, FEW)})
    assert few.answer == "cannot be said"
    assert few.reasons == (f"too few donors to hold it against {name} (8 are needed)",)


def test_too_few_donors_decide_nothing() -> None:
    found = judge({"breast": gains(FEW, FEW)}, BEATEN)
    assert found.answer == "cannot be said"
    assert found.sentence.startswith("Whether the claim holds cannot be said: too few donors in 1 of 1 organ (breast;")
    assert judge({}, BEATEN).answer == "cannot be said"


def test_leakage_takes_the_support_away_and_not_the_refutation() -> None:
    found = judge({"breast": gains(UP, UP)}, BEATEN, leakage="donor d1")
    assert found.answer == "cannot be said"
    assert "training saw what it is tested on (donor d1)" in found.sentence
    assert judge({"breast": gains(LEVEL, LEVEL)}, BEATEN, leakage="donor d1").answer == "unsupported"
