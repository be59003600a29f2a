"""How a release is split, what could leak between its splits, and what its targets are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from humanst.report.atlas_source import AtlasSource
from humanst.splits import is_unknown

if TYPE_CHECKING:
    import pandas as pd


ORDER = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class SplitRow:
    """One split; ``share`` is of all pairs."""

    name: str
    n_groups: int
    n_sections: int
    n_pairs: int
    n_redistributable: int
    n_shards: int
    share: float


@dataclass(frozen=True, slots=True)
class Excluded:
    """Sections of a test set of others; ``splits`` are those they are in."""

    name: str
    sections: tuple[str, ...]
    splits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TargetSet:
    """A set of targets: how many columns, and what they are."""

    name: str
    n_columns: int
    about: str


@dataclass(frozen=True, slots=True)
class Splits:
    """What a release says of its splits.

    Attributes
    ----------
    groups_in_two, donors_in_two
        Split groups and known donors with sections in more than one split: none in a sound release.
    assigned
        Whether some groups were assigned by hand.
    """

    rows: tuple[SplitRow, ...]
    groups_in_two: tuple[str, ...]
    donors_in_two: tuple[str, ...]
    excluded: tuple[Excluded, ...]
    targets: tuple[TargetSet, ...]
    assigned: int
    seed: int


def splits_of(source: AtlasSource) -> Splits:
    """Count the sections, groups and pairs of every split of a release, and look for what is in two of them."""
    samples, manifest = source.samples(), source.manifest
    return Splits(
        rows=tuple(_split(name, manifest["splits"][name], samples) for name in _in_order(manifest["splits"])),
        groups_in_two=_groups_in_two(samples, manifest.get("recipe_only") or ()),
        donors_in_two=_in_two(samples[~samples["donor_id"].map(is_unknown)], "donor_id"),
        excluded=tuple(
            Excluded(name, tuple(members), _splits_of(samples, members))
            for name, members in sorted(manifest.get("exclusion_groups", {}).items())
        ),
        targets=_targets(manifest),
        assigned=len(manifest.get("assigned", {})),
        seed=int(manifest["seed"]),
    )


def _in_order(splits: Mapping[str, Any]) -> list[str]:
    known = [name for name in ORDER if name in splits]
    return known + sorted(set(splits) - set(known))


def _split(name: str, entry: Mapping[str, Any], samples: pd.DataFrame) -> SplitRow:
    part = samples[samples["split"] == name]
    n_pairs, all_pairs = int(entry["n_pairs"]), int(samples["pairs"].sum())
    return SplitRow(
        name=name,
        n_groups=int(part["group"].nunique()),
        n_sections=len(part),
        n_pairs=n_pairs,
        n_redistributable=int(part.loc[part["redistributable"].eq(True), "pairs"].sum()),
        n_shards=len(entry["shards"]),
        share=n_pairs / all_pairs if all_pairs else 0.0,
    )


def _groups_in_two(samples: pd.DataFrame, recipes: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Sections that are there as recipes count: whoever makes their pairs has them in their split."""
    import pandas as pd

    columns = ["group", "split"]
    return _in_two(pd.concat([samples[columns], pd.DataFrame(list(recipes), columns=columns)]), "group")


def _in_two(samples: pd.DataFrame, column: str) -> tuple[str, ...]:
    n_splits = samples.groupby(column)["split"].nunique()
    return tuple(str(name) for name in n_splits.index[n_splits > 1])


def _splits_of(samples: pd.DataFrame, members: list[str]) -> tuple[str, ...]:
    return tuple(sorted(set(samples.loc[samples["sample_id"].isin(members), "split"])))


def _targets(manifest: Mapping[str, Any]) -> tuple[TargetSet, ...]:
    pathways = manifest["pathways"]
    about = f"{pathways['set']}, scored by {pathways['scorer']}"
    if "normalisation" in pathways:
        about += f": {pathways['normalisation']}"
    sets = [TargetSet("pathways", len(pathways["names"]), about)]
    for name, entry in sorted(manifest.get("targets", {}).items()):
        sets.append(TargetSet(name, int(entry["n_columns"]), f"{entry['kind']}, {entry['dtype']}"))
    return tuple(sets)
