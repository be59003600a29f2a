"""What keeps a comparison from being an answer, and what a reader must know beside its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stamp_train.align_data import TRAIN
from stamp_train.control_arms import ALIGNED, told_of
from stamp_train.control_tiers import organs_of
from stamp_train.guard import TEST_SPLIT, check_leakage
from stamp_train.merging import merged_before
from stamp_train.run_facts import release_sha256
from stamp_train.tier_notes import adapters_of

if TYPE_CHECKING:
    from humanst.load.release import Release
    from stamp_train.config import AlignConfig
    from stamp_train.control_arms import Arm
    from stamp_train.control_tiers import Tiers

BEFORE = "The base was aligned before"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a comparison before anything is trained.

    Attributes
    ----------
    arms
        See :func:`stamp_train.control_arms.told_of`.
    unlike
        See :func:`unlike_of`.
    leakage, doubts
        What takes support away from the claim, as sentences.
    notes
        What else a reader must know.
    """

    arms: tuple[Mapping[str, Any], ...]
    unlike: Mapping[str, str]
    leakage: tuple[str, ...]
    doubts: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def told(self) -> tuple[str, ...]:
        """All of it, as sentences."""
        return (*self.leakage, *self.doubts, *self.notes)


def known_of(
    runs: Sequence[tuple[Arm, int, AlignConfig]], config: AlignConfig, release: Release, tested: Release, tiers: Tiers
) -> Known:
    """Look at a comparison before it is made.

    Parameters
    ----------
    runs
        Arm, number of the training, and settings of each run.
    config, release, tested
        See :func:`base_aligned_before`.
    """
    arms, before = told_of(runs, config), base_aligned_before(config, release, tested)
    doubts = (*of_split(release, tested, tiers), *before.doubts)
    return Known(tuple(arms), unlike_of(arms), before.leakage, doubts, tuple(notes_of(arms, tested, tiers)))


@dataclass(frozen=True, slots=True)
class Before:
    """What a base brings that was aligned and merged before.

    Attributes
    ----------
    leakage
        What it was trained on that is tested here, and what it says of leakage itself.
    doubts
        What cannot be compared.
    """

    leakage: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def base_aligned_before(config: AlignConfig, release: Release, tested: Release) -> Before:
    """Look at what a base was aligned to before, as its model folder tells.

    Parameters
    ----------
    config
        With what is tested in ``evaluation_sections`` and ``evaluation_groups``, as the guard takes them.
    release, tested
        What is trained on and tested on now; an adapter of either can be compared, of another one cannot.
    """
    leakage, doubts = [], []
    known = {release_sha256(one): one for one in (release, tested)}
    merged = {"encoder": {"adapter": merged_before(config.encoder, config.weights)}}
    for adapter in adapters_of(merged):
        if said := adapter.get("leakage"):
            leakage.append(f"{BEFORE}: {said}")
        sha256 = str(adapter.get("release_sha256") or "")
        if sha256 not in known:
            named = f"release {sha256[:16]}" if sha256 else "a release that its folder does not name"
            doubts.append(f"{BEFORE}, on {named}; whether that holds donors tested here is not known")
            continue
        asked = (config.evaluation_sections, config.evaluation_groups, True)
        evaluation = None if known[sha256] is tested else tested
        if (note := check_leakage(known[sha256], TRAIN, *asked, evaluation=evaluation).note) is not None:
            leakage.append(f"{BEFORE}: {note}")
    return Before(tuple(dict.fromkeys(leakage)), tuple(dict.fromkeys(doubts)))


def of_split(release: Release, tested: Release, tiers: Tiers) -> list[str]:
    """The doubt of a test on splits by which settings are chosen; another release of the evaluation has none."""
    others = [split for split in tiers.splits if split != TEST_SPLIT]
    if not others or release_sha256(tested) != release_sha256(release):
        return []
    return [f"it was tested on {' and '.join(others)}, by which settings are chosen, and not on {TEST_SPLIT} alone"]


def unlike_of(arms: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Arm -> why it differs from the aligned one in more than what it is trained on; without those that do not.

    Parameters
    ----------
    arms
        See :func:`stamp_train.control_arms.told_of`.
    """
    aligned = {told["arm"]: told for told in arms}[ALIGNED]["pathway_encoder"]
    return {
        told["arm"]: f"its pathway encoder is {told['pathway_encoder']}, that of the aligned model {aligned} "
        f"(train all with --set pathway_encoder={told['pathway_encoder']})"
        for told in arms
        if not told["as_aligned"]
    }


def notes_of(arms: Sequence[Mapping[str, Any]], tested: Release, tiers: Tiers) -> list[str]:
    """What a reader must know: other pathway encoders, draws of random sets, donors that are in no organ."""
    notes = [f"{arm}: {why}" for arm, why in unlike_of(arms).items()]
    for told in arms:
        if told["arm"] == "random-sets":
            sets = list(dict.fromkeys(told["target_sets"]))
            draws = f"{len(sets)} draws" if len(sets) > 1 else "one draw"
            notes.append(f"random-sets: {draws} of random sets ({', '.join(sets)}), {len(told['target_sets'])} trained")
    organs = organs_of(tested, tiers.splits)
    if several := [f"{donor} ({', '.join(names)})" for donor, names in organs.items() if len(names) > 1]:
        notes.append(f"donors with sections of several organs are in no organ: {'; '.join(several)}")
    return notes
