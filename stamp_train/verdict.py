"""Whether an alignment did what it claims: the rule by which the claim falls, settled before anything is measured.

The claim is unsupported when training on pathways gains nothing over the frozen base in gene expression, in most
organs, by both protocols that choose their ridge by cross-validation; or when a control does as well. It is supported
when neither holds. Where donors are too few, an arm was not run, or training saw the donors of the test, the answer is
that it cannot be said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stamp_train.bootstrap import MIN_DONORS, Interval

Answer = Literal["supported", "unsupported", "cannot be said"]
State = Literal["above", "not above", "unknown"]

# The protocols that count. The one of HEST-Bench does not: its fixed penalty moves numbers as much as models do.
COLUMNS = ("cv-alpha", "norm")
# What must be beaten: random sets and library size by the rule; shuffled pairs have nothing to teach at all.
RIVALS = ("random-sets", "library-size", "shuffled")

Gains = Mapping[str, Interval]
"""Protocol -> paired interval of a difference."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer and why.

    Attributes
    ----------
    answer
        ``"supported"``, ``"unsupported"`` or ``"cannot be said"``.
    reasons
        Sentences, those that decide first.
    organs
        Organ -> whether the aligned model is above the frozen one there.
    rivals
        Control -> whether the aligned model is above it.
    """

    answer: Answer
    reasons: tuple[str, ...]
    organs: Mapping[str, State]
    rivals: Mapping[str, State]

    @property
    def sentence(self) -> str:
        """The whole in words."""
        return f"The claim is {self.answer}: {'; '.join(self.reasons)}." if self.decided else self._undecided

    @property
    def decided(self) -> bool:
        """Whether there is an answer."""
        return self.answer != "cannot be said"

    @property
    def _undecided(self) -> str:
        return f"Whether the claim holds cannot be said: {'; '.join(self.reasons)}."


def judge(by_organ: Mapping[str, Gains], over: Mapping[str, Gains | None], *, leakage: str | None = None) -> Verdict:
    """Apply the rule.

    Parameters
    ----------
    by_organ
        Organ of the test sections -> protocol -> interval of aligned minus frozen.
    over
        Control -> protocol -> interval of aligned minus this control, over all organs; None for one that was not run.
    leakage
        What training shares with the test, if it was allowed to.
    """
    organs = {organ: state_of(gains) for organ, gains in by_organ.items()}
    rivals: dict[str, State] = {}
    for name in RIVALS:
        gains = over.get(name)
        rivals[name] = "unknown" if gains is None else state_of(gains)
    against = _against(organs, rivals)
    if against:
        return Verdict("unsupported", tuple(against), organs, rivals)
    doubts = _doubts(organs, rivals, {name for name in RIVALS if over.get(name) is None}, leakage)
    if doubts:
        return Verdict("cannot be said", tuple(doubts), organs, rivals)
    n_above = sum(state == "above" for state in organs.values())
    gained = f"it is above the frozen base in {n_above} of {_organs(len(organs))}"
    return Verdict("supported", (gained, f"it is above {_listed(RIVALS)}"), organs, rivals)


def state_of(gains: Gains) -> State:
    """Whether a difference is above 0 by any of the protocols that count; only then is it no longer ``not above``."""
    found = [gains[column] for column in COLUMNS if column in gains]
    if any(one.low is not None and one.low > 0 for one in found):
        return "above"
    if len(found) < len(COLUMNS) or any(one.low is None for one in found):
        return "unknown"
    return "not above"


def _against(organs: Mapping[str, State], rivals: Mapping[str, State]) -> list[str]:
    both = " and ".join(COLUMNS)
    reasons = []
    level = [organ for organ, state in organs.items() if state == "not above"]
    if organs and 2 * len(level) > len(organs):
        what = f"aligned minus frozen is not above 0 in {both} in {len(level)} of {_organs(len(organs))}"
        reasons.append(f"{what} ({', '.join(level)})")
    matched = [name for name, state in rivals.items() if state == "not above"]
    reasons += [f"training on {name} matches it: aligned minus {name} is not above 0 in {both}" for name in matched]
    return reasons


def _doubts(
    organs: Mapping[str, State], rivals: Mapping[str, State], not_run: set[str], leakage: str | None
) -> list[str]:
    doubts = []
    if leakage:
        doubts.append(f"training saw what it is tested on ({leakage})")
    unknown = [organ for organ, state in organs.items() if state == "unknown"]
    if not organs:
        doubts.append("no organ was tested")
    elif 2 * (len(organs) - sum(state == "above" for state in organs.values())) > len(organs):
        named = ", ".join(unknown)
        doubts.append(f"too few donors in {len(unknown)} of {_organs(len(organs))} ({named}; {MIN_DONORS} are needed)")
    if missing := [name for name in RIVALS if name in not_run]:
        doubts.append(f"{_listed(missing)} {'was' if len(missing) == 1 else 'were'} not run")
    if few := [name for name, state in rivals.items() if state == "unknown" and name not in not_run]:
        doubts.append(f"too few donors to hold it against {_listed(few)} ({MIN_DONORS} are needed)")
    return doubts


def _organs(number: int) -> str:
    return "1 organ" if number == 1 else f"{number} organs"


def _listed(names: Sequence[str]) -> str:
    names = list(names)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
