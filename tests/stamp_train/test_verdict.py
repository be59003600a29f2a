"""The verdict: unsupported when it gains nothing or a control does as well, and never said where it is not known."""

from __future__ import annotations

import itertools

import pytest

from stamp_train.bootstrap import TOO_FEW, Interval
from stamp_train.verdict import COLUMNS, RIVALS, beaten, gained, judge

UP = Interval(0.05, 0.02, 0.08, 10)
LEVEL = Interval(0.01, -0.02, 0.04, 10)
DOWN = Interval(-0.05, -0.08, -0.02, 10)
FEW = Interval(0.2, None, None, 5, 0, TOO_FEW)


def gains(*found: Interval) -> dict[str, Interval]:
    return dict(zip(COLUMNS, found, strict=True))


BEATEN = {name: gains(UP, UP) for name in RIVALS}


@pytest.mark.parametrize(
    ("pair", "over_base", "over_control"),
    [
        ((UP, UP), "above", "above"),
        # Over the base one protocol shows a gain; a control has to be beaten by both, else one of two draws would do.
        ((UP, LEVEL), "above", "undecided"),
        # A gain by one protocol and a loss by the other is no gain, and nothing that the rule refutes.
        ((DOWN, UP), "undecided", "undecided"),
        ((LEVEL, LEVEL), "not above", "not above"),
        ((DOWN, LEVEL), "not above", "not above"),
        ((DOWN, DOWN), "not above", "not above"),
        ((FEW, FEW), "unknown", "unknown"),
        ((LEVEL, FEW), "unknown", "unknown"),
        ((UP, FEW), "unknown", "unknown"),
    ],
)
def test_what_two_protocols_say_of_base_and_controls(
    pair: tuple[Interval, Interval], over_base: str, over_control: str
) -> None:
    for both in (pair, pair[::-1]):
        assert (gained(gains(*both)), beaten(gains(*both))) == (over_base, over_control)


def test_one_protocol_alone_shows_nothing() -> None:
    for alone in ({"norm": UP}, {"norm": LEVEL}, {"hest-compat": UP}, {"hest-compat": UP, "norm": UP}):
        assert gained(alone) == beaten(alone) == "unknown"


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("pair", [(UP, LEVEL), (LEVEL, UP), (DOWN, UP), (UP, DOWN)])
def test_a_control_that_one_protocol_alone_is_above_is_not_beaten(name: str, pair: tuple[Interval, Interval]) -> None:
    found = judge({"breast": gains(UP, UP)}, {**BEATEN, name: gains(*pair)})
    assert (found.answer, found.rivals[name]) == ("cannot be said", "undecided")
    assert found.reasons == (f"aligned minus {name} is above 0 in one of cv-alpha and norm alone",)


def test_protocols_that_contradict_each_other_decide_nothing_over_the_base() -> None:
    torn, level = gains(UP, DOWN), gains(LEVEL, LEVEL)
    found = judge({"breast": torn}, BEATEN)
    assert found.answer == "cannot be said"
    assert found.reasons == ("cv-alpha and norm contradict each other in 1 of 1 organ (breast)",)
    assert judge({"breast": torn, "lung": level, "skin": level}, BEATEN).answer == "unsupported"
    assert judge({"breast": torn, "lung": gains(UP, UP)}, BEATEN).answer == "supported"


@pytest.mark.parametrize("name", RIVALS)
def test_a_control_that_differs_in_more_than_its_targets_is_not_held_against_it(name: str) -> None:
    organs, unlike = {"breast": gains(UP, UP)}, {name: "its encoder is another"}
    for found in (gains(UP, UP), gains(LEVEL, LEVEL)):
        verdict = judge(organs, {**BEATEN, name: found}, unlike=unlike)
        assert (verdict.answer, verdict.rivals[name]) == ("cannot be said", "unknown")
        assert verdict.reasons == (f"{name} cannot be held against it: its encoder is another",)
    # One that was not run says nothing, and what another shows stands.
    assert judge(organs, {**BEATEN, name: None}, unlike=unlike).reasons == (f"{name} was not run",)
    other = next(rival for rival in RIVALS if rival != name)
    assert judge(organs, {**BEATEN, other: gains(LEVEL, LEVEL)}, unlike=unlike).answer == "unsupported"


def test_doubts_take_the_support_away_and_not_the_refutation() -> None:
    found = judge({"breast": gains(UP, UP)}, BEATEN, doubts=("it was tested on val",))
    assert (found.answer, found.reasons) == ("cannot be said", ("it was tested on val",))
    assert judge({"breast": gains(LEVEL, LEVEL)}, BEATEN, doubts=("it was",)).answer == "unsupported"


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
