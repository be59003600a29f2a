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
RANDOM = "random"
# Genes, components and the library size are numbers a spot: only the encoder of scores reads them. Of random sets the
# release holds the members, which ``token`` reads.
_BY_SCORE = {"pathway_encoder": "score"}
ARMS: tuple[Arm, ...] = (
    Arm(FROZEN, "the base as it is"),
    Arm(ALIGNED, "trained on the pathways of each patch's own spot"),
    Arm("shuffled", "the same with pathways of another spot of the section", changes={"shuffle_pairs": True}),
    Arm("random-sets", "trained on random gene sets of the same size and expression", RANDOM, "random-0"),
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

    Parameters
    ----------
    seed
        Number of the training, from 0: the setting ``seed`` is that of ``config`` plus this.

    Raises
    ------
    UsageError
        ``no-target-set`` when the release lacks what the arm is trained on, naming the command that adds it.
    """
    changes = dict(arm.changes)
    if arm.kind is not None:
        changes["target_set"] = target_set_of(arm, release, seed)
    return replace(config, **changes, seed=config.seed + seed, run=run)


def target_set_of(arm: Arm, release: Release, seed: int = 0) -> str:
    """Name of the target set that an arm is trained on.

    Of random sets training ``seed`` has the draw ``random-<seed>``, or ``random-0`` where there is none such. Of other
    kinds it is the usual one, else the one of its kind nearest in size, else one made of counts.

    Raises
    ------
    UsageError
        When there is none.
    """
    sets: Mapping[str, Any] = release.manifest.get("targets") or {}
    found = [name for name, entry in sets.items() if entry.get("kind") == arm.kind]
    if arm.kind == RANDOM and f"{RANDOM}-{seed}" in found:
        return f"{RANDOM}-{seed}"
    if arm.usual in found:
        return arm.usual
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
    wanted = _number_in(arm.usual)
    return min(found, key=lambda name: (abs(_number_in(name) - wanted), name))


def _number_in(name: str) -> float:
    """The number that a target set is named for: its size, or its seed; far from all others without one."""
    number = name.rpartition("-")[2]
    return float(number) if number.isdecimal() else float("inf")


def told_of(runs: Sequence[tuple[Arm, int, AlignConfig]], config: AlignConfig) -> list[dict[str, Any]]:
    """What each arm was trained on and how it read that, plain data; a mapping an arm.

    Parameters
    ----------
    runs
        Arm, number of the training, and settings of each run.
    config
        Settings of the aligned model.

    Returns
    -------
    list of dict
        ``arm``, ``what``, ``target_sets`` (of each training; ``pathways`` for those of the release, empty for the
        frozen base), ``pathway_encoder`` (None for the frozen base) and ``as_aligned``: whether the arm differs from
        the aligned one in nothing but what it is trained on.
    """
    found: dict[str, dict[str, Any]] = {}
    for arm, _, own in runs:
        fresh: dict[str, Any] = {
            "arm": arm.name,
            "what": arm.what,
            "target_sets": [],
            "pathway_encoder": None,
            "as_aligned": True,
        }
        told = found.setdefault(arm.name, fresh)
        if arm.is_trained:
            told["target_sets"].append(own.target_set or "pathways")
            told["pathway_encoder"] = own.pathway_encoder
            told["as_aligned"] = own.pathway_encoder == config.pathway_encoder
    return list(found.values())
