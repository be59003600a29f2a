"""Whether an alignment did what it claims: the rule by which the claim falls, settled before anything is measured.

The claim is unsupported when training on pathways gains nothing over the frozen base in gene expression, in most
organs, by both protocols that choose their ridge by cross-validation; or when a control does as well by both. It is
supported when it gains over the base and is above every control by both protocols. Where the protocols disagree, donors
are too few, an arm was not run or differs in more than its targets, or what is tested had a say before, the answer is
that it cannot be said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stamp_train.bootstrap import MIN_DONORS, Interval

Answer = Literal["supported", "unsupported", "cannot be said"]
State = Literal["above", "not above", "undecided", "unknown"]

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
        Organ -> whether the aligned model is above the frozen one there (:func:`gained`).
    rivals
        Control -> whether the aligned model is above it (:func:`beaten`).
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


def judge(
    by_organ: Mapping[str, Gains],
    over: Mapping[str, Gains | None],
    *,
    leakage: str | None = None,
    unlike: Mapping[str, str] | None = None,
    doubts: Sequence[str] = (),
) -> Verdict:
    """Apply the rule.

    Parameters
    ----------
    by_organ
        Organ of the test sections -> protocol -> interval of aligned minus frozen.
    over
        Control -> protocol -> interval of aligned minus this control, over all organs; None for one that was not run.
    leakage
        What training shares with the test, if it was allowed to.
    unlike
        Control -> why it differs from the aligned model in more than what it is trained on; it is not held against it.
    doubts
        What else keeps the claim from being supported, as sentences.
    """
    unlike = unlike or {}
    organs = {organ: gained(gains) for organ, gains in by_organ.items()}
    rivals: dict[str, State] = {}
    for name in RIVALS:
        gains = over.get(name)
        rivals[name] = "unknown" if gains is None or name in unlike else beaten(gains)
    against = _against(organs, rivals)
    if against:
        return Verdict("unsupported", tuple(against), organs, rivals)
    not_run = {name for name in RIVALS if over.get(name) is None}
    found = [f"training saw what it is tested on ({leakage})"] if leakage else []
    found += [*doubts, *_doubts_of_organs(organs), *_doubts_of_rivals(rivals, not_run, unlike)]
    if found:
        return Verdict("cannot be said", tuple(found), organs, rivals)
    n_above = sum(state == "above" for state in organs.values())
    over_base = f"it is above the frozen base in {n_above} of {_organs(len(organs))}"
    return Verdict("supported", (over_base, f"it is above {_listed(RIVALS)}"), organs, rivals)


def gained(gains: Gains) -> State:
    """Whether a difference is a gain over the base: ``above`` when one protocol shows it and none shows a loss.

    It is ``not above`` when neither interval lies above 0, ``undecided`` when one lies above and the other below.
    """
    found = _known(gains)
    if found is None:
        return "unknown"
    n_above, n_below = _counted(found)
    if not n_above:
        return "not above"
    return "undecided" if n_below else "above"


def beaten(gains: Gains) -> State:
    """Whether a control is beaten: by both protocols (``above``), by neither (``not above``), or by one alone."""
    found = _known(gains)
    if found is None:
        return "unknown"
    n_above, _ = _counted(found)
    if not n_above:
        return "not above"
    return "above" if n_above == len(found) else "undecided"


def _known(gains: Gains) -> list[tuple[float, float]] | None:
    """Ends of the intervals of all protocols that count; None when one is missing."""
    found = [gains[column] for column in COLUMNS if column in gains]
    ends = [(one.low, one.high) for one in found if one.low is not None and one.high is not None]
    return ends if len(ends) == len(COLUMNS) else None


def _counted(ends: Sequence[tuple[float, float]]) -> tuple[int, int]:
    """How many intervals lie above 0, and how many below."""
    return sum(low > 0 for low, _ in ends), sum(high < 0 for _, high in ends)


def _against(organs: Mapping[str, State], rivals: Mapping[str, State]) -> list[str]:
    both = " and ".join(COLUMNS)
    reasons = []
    level = _in(organs, "not above")
    if organs and 2 * len(level) > len(organs):
        what = f"aligned minus frozen is not above 0 in {both} in {len(level)} of {_organs(len(organs))}"
        reasons.append(f"{what} ({', '.join(level)})")
    matched = _in(rivals, "not above")
    reasons += [f"training on {name} matches it: aligned minus {name} is not above 0 in {both}" for name in matched]
    return reasons


def _doubts_of_organs(organs: Mapping[str, State]) -> list[str]:
    if not organs:
        return ["no organ was tested"]
    if 2 * sum(state == "above" for state in organs.values()) >= len(organs):
        return []
    doubts, number = [], _organs(len(organs))
    if few := _in(organs, "unknown"):
        doubts.append(f"too few donors in {len(few)} of {number} ({', '.join(few)}; {MIN_DONORS} are needed)")
    if torn := _in(organs, "undecided"):
        ways = " and ".join(COLUMNS)
        doubts.append(f"{ways} contradict each other in {len(torn)} of {number} ({', '.join(torn)})")
    return doubts


def _doubts_of_rivals(rivals: Mapping[str, State], not_run: set[str], unlike: Mapping[str, str]) -> list[str]:
    doubts = []
    if missing := [name for name in RIVALS if name in not_run]:
        doubts.append(f"{_listed(missing)} {'was' if len(missing) == 1 else 'were'} not run")
    doubts += [f"{name} cannot be held against it: {why}" for name, why in unlike.items() if name not in not_run]
    if few := [name for name in _in(rivals, "unknown") if name not in not_run and name not in unlike]:
        doubts.append(f"too few donors to hold it against {_listed(few)} ({MIN_DONORS} are needed)")
    if torn := _in(rivals, "undecided"):
        doubts.append(f"aligned minus {_listed(torn)} is above 0 in one of {' and '.join(COLUMNS)} alone")
    return doubts


def _in(states: Mapping[str, State], state: State) -> list[str]:
    return [name for name, one in states.items() if one == state]


def _organs(number: int) -> str:
    return "1 organ" if number == 1 else f"{number} organs"


def _listed(names: Sequence[str]) -> str:
    names = list(names)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
