"""The arms of a comparison: the frozen base, the aligned model, and the controls that show what the gain is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from humanst.errors import UsageError
from stamp_train.config import AlignConfig

if TYPE_CHECKING:
    from humanst.load.release import Release

FROZEN, ALIGNED = "frozen", "aligned"


@dataclass(frozen=True, slots=True)
class Arm:
    """One model of the comparison.

    Attributes
    ----------
    name, what
        How tables call it, and what it is.
    kind
        Kind of the target set that it is trained on; None for the pathways of the release.
    usual
        Name of that target set when the release has several of the kind.
    changes
        What it changes in the settings of the aligned model.
    """

    name: str
    what: str
    kind: str | None = None
    usual: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_trained(self) -> bool:
        """Whether there is anything to train."""
        return self.name != FROZEN


_FROM_COUNTS = ("hvg", "pca")
# Random sets, genes and components are numbers a spot: only the encoder of scores reads them.
_BY_SCORE = {"pathway_encoder": "score"}
ARMS: tuple[Arm, ...] = (
    Arm(FROZEN, "the base as it is"),
    Arm(ALIGNED, "trained on the pathways of each patch's own spot"),
    Arm("shuffled", "the same with pathways of another spot of the section", changes={"shuffle_pairs": True}),
    Arm("random-sets", "trained on random gene sets of the same size and expression", "random", "random-0", _BY_SCORE),
    Arm("hvg", "trained on log1p CP10k of the most variable genes", "hvg", "hvg-1000", _BY_SCORE),
    Arm("pca", "trained on principal components of genes", "pca", "pca-50", _BY_SCORE),
    Arm("library-size", "trained on the library size alone", changes={"target_set": "library", **_BY_SCORE}),
)


def chosen_arms(only: Sequence[str] = ()) -> tuple[Arm, ...]:
    """The arms asked for in the order of the table; all without a choice. ``frozen`` and ``aligned`` are always there.

    Raises
    ------
    UsageError
        For a name that is none.
    """
    known = [arm.name for arm in ARMS]
    if strange := [name for name in only if name not in known]:
        raise UsageError(
            "There is no such arm",
            code="unknown-arm",
            field="--only",
            expected=", ".join(known),
            found=", ".join(strange),
        )
    return tuple(arm for arm in ARMS if not only or arm.name in {FROZEN, ALIGNED, *only})


def config_of(arm: Arm, config: AlignConfig, release: Release, *, seed: int, run: str) -> AlignConfig:
    """Settings of one run of an arm: those of the aligned model but for what makes the arm.

    Raises
    ------
    UsageError
        ``no-target-set`` when the release lacks what the arm is trained on, naming the command that adds it.
    """
    changes = dict(arm.changes)
    if arm.kind is not None:
        changes["target_set"] = target_set_of(arm, release)
    return replace(config, **changes, seed=config.seed + seed, run=run)


def target_set_of(arm: Arm, release: Release) -> str:
    """Name of the target set that an arm is trained on: the usual one, else the first of its kind, else from counts.

    Raises
    ------
    UsageError
        When there is none.
    """
    sets: Mapping[str, Any] = release.manifest.get("targets") or {}
    found = sorted(name for name, entry in sets.items() if entry.get("kind") == arm.kind)
    if not found and arm.kind in _FROM_COUNTS and "counts" in sets:
        return arm.usual.replace("-", ":")
    if not found:
        raise UsageError(
            f"The release has nothing to train {arm.name} on",
            code="no-target-set",
            field=arm.name,
            expected=arm.usual,
            found=", ".join(sorted(sets)) or "no target set",
            done="Nothing was trained",
            todo=f"humanst add-targets RELEASE --set {arm.usual.replace('-', ':')}, or leave the arm out by --only",
        )
    return arm.usual if arm.usual in found else found[0]
