"""Which sections belong together: a union-find that takes them in release by release, so that nobody moves.

Sections are joined when they share a donor, a block, a slide or an image, or are known duplicates. Sections of unknown
donor join all of their study. Releases are replayed in order: once a release is in, its groups have their splits, and a
later section that would join groups of different splits is left out. The anchor of a group is its member with the
smallest ``(release_added, sample_id)``; the split of a group is the hash of its anchor.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from humanst.findings import Findings

SPLITS = ("train", "val", "test")
DEFAULT_SHARES = (0.8, 0.1, 0.1)
UNKNOWN = frozenset({"", "unknown", "na", "none", "nan"})


@dataclass(frozen=True, slots=True)
class Member:
    """One section as the grouping sees it.

    Attributes
    ----------
    sample_id, study_id, donor_id, release_added
        From the catalog; an unknown donor is ``unknown``.
    keys
        Further identities, each already prefixed by its kind: ``block:...``, ``slide:...``, ``image:<sha256>``.
    duplicates
        ``sample_id`` of sections known to be the same tissue.
    """

    sample_id: str
    study_id: str
    donor_id: str
    release_added: str
    keys: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()

    @property
    def age(self) -> tuple[object, ...]:
        """Sort key: older releases first (0.9 before 0.10, what was never released last), then the sample id."""
        return (*release_age(self.release_added), self.sample_id)


def release_age(release: str) -> tuple[object, ...]:
    """Sort key of a release: by its numbers; a text without any comes after all."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", release))
    return (not numbers, numbers, release)


def is_unknown(donor_id: str) -> bool:
    """Whether a donor id says that nobody knows: blank, spaces and ``unknown`` all do."""
    return donor_id.strip().lower() in UNKNOWN


def hashed_split(anchor: str, shares: Sequence[float] = DEFAULT_SHARES) -> str:
    """The split of a group from the hash of its anchor alone, whoever else is in the release."""
    digest = hashlib.blake2b(f"humanst.split/1|{anchor}".encode(), digest_size=8).digest()
    point = int.from_bytes(digest, "big") / 2**64
    bound = 0.0
    for name, share in zip(SPLITS, shares, strict=True):
        bound += share
        if point < bound:
            return name
    return SPLITS[-1]


@dataclass(slots=True)
class _Group:
    """What the root of a group knows; ``settled`` once its release is in."""

    members: list[Member] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    settled: bool = False

    def split(self, shares: Sequence[float]) -> str:
        anchor = min(self.members, key=lambda member: member.age)
        return min(self.asked) if self.asked else hashed_split(anchor.sample_id, shares)


class _UnionFind:
    def __init__(self) -> None:
        self._parent: dict[str, str] = {}
        self.groups: dict[str, _Group] = {}

    def find(self, item: str) -> str:
        root = item
        while (parent := self._parent.setdefault(root, root)) != root:
            root = parent
        while self._parent[item] != root:
            self._parent[item], item = root, self._parent[item]
        return root

    def group(self, item: str) -> _Group:
        return self.groups.setdefault(self.find(item), _Group())

    def join(self, one: str, other: str) -> None:
        kept, gone = self.find(one), self.find(other)
        if kept == gone:
            return
        into, what = self.group(kept), self.groups.pop(gone, _Group())
        if len(what.members) > len(into.members):
            into.members, what.members = what.members, into.members
        into.members.extend(what.members)
        into.asked |= what.asked
        into.settled |= what.settled
        self._parent[gone] = kept


@dataclass(frozen=True, slots=True)
class Grouping:
    """Groups by anchor, and who was left out.

    Attributes
    ----------
    groups
        Anchor sample_id -> members, oldest first.
    left_out
        sample_id -> the ``split (anchor)`` of each settled group that the section would have joined.
    """

    groups: Mapping[str, list[Member]]
    left_out: Mapping[str, tuple[str, ...]]


def take_in(
    members: Iterable[Member], *, assigned: Mapping[str, str] | None = None, shares: Sequence[float] = DEFAULT_SHARES
) -> Grouping:
    """Replay the releases: join sections into groups, leaving out those that would join settled groups of two splits.

    Parameters
    ----------
    assigned
        ``donor_id`` or ``sample_id`` -> split, which overrides the hash for the whole group of that member.
    """
    sets, studies, asked_of = _UnionFind(), _Studies(), assigned or {}
    left_out: dict[str, tuple[str, ...]] = {}
    ordered = sorted(members, key=lambda member: member.age)
    for _, batch in groupby(ordered, key=lambda member: release_age(member.release_added)):
        new = []
        for member in batch:
            node = f"sample:{member.sample_id}"
            keys = [node, *member.keys, *(f"sample:{name}" for name in member.duplicates)]
            keys += [] if is_unknown(member.donor_id) else [f"donor:{member.donor_id.strip()}"]
            keys += studies.keys_of(member)
            settled = [group for group in _groups_at(sets, keys) if group.settled]
            if len({group.split(shares) for group in settled}) > 1:
                left_out[member.sample_id] = tuple(sorted(_named(group, shares) for group in settled))
                continue
            for key in keys:
                sets.join(node, key)
            group = sets.group(node)
            group.members.append(member)
            group.asked |= {asked_of[name] for name in (member.donor_id, member.sample_id) if name in asked_of}
            studies.add(member)
            new.append(node)
        for node in new:
            sets.group(node).settled = True
    found = [sorted(group.members, key=lambda member: member.age) for group in sets.groups.values() if group.members]
    return Grouping(dict(sorted((group[0].sample_id, group) for group in found)), left_out)


def joined_to(members: Iterable[Member], names: Collection[str]) -> frozenset[str]:
    """The sections of these names and all that are joined to them, whenever any of them was added."""
    # As of one release, nobody stays out.
    groups = take_in([replace(member, release_added="") for member in members]).groups
    found = [group for group in groups.values() if any(member.sample_id in names for member in group)]
    return frozenset(member.sample_id for group in found for member in group)


def _groups_at(sets: _UnionFind, keys: Iterable[str]) -> list[_Group]:
    roots = dict.fromkeys(sets.find(key) for key in keys)
    return [sets.groups[root] for root in roots if root in sets.groups]


def _named(group: _Group, shares: Sequence[float]) -> str:
    anchor = min(group.members, key=lambda member: member.age)
    return f"{group.split(shares)} ({anchor.sample_id})"


class _Studies:
    """Studies so far; one with a section of unknown donor is one group from that section on."""

    def __init__(self) -> None:
        self._members: dict[str, list[str]] = {}
        self._blind: set[str] = set()

    def keys_of(self, member: Member) -> list[str]:
        if member.study_id in self._blind:
            return [f"study:{member.study_id}"]
        if is_unknown(member.donor_id):
            return [f"study:{member.study_id}", *self._members.get(member.study_id, ())]
        return []

    def add(self, member: Member) -> None:
        self._members.setdefault(member.study_id, []).append(f"sample:{member.sample_id}")
        if is_unknown(member.donor_id):
            self._blind.add(member.study_id)


def group_sections(
    members: Sequence[Member], findings: Findings, *, present: frozenset[str] | None = None
) -> dict[str, list[Member]]:
    """Join sections into groups; returns anchor sample_id -> members, both sorted.

    A study with a section of unknown donor becomes one group, with a warning that says so when a section of it is
    ``present``.
    """
    warn_of_unknown_donors(members, findings, present)
    return dict(take_in(members).groups)


def warn_of_unknown_donors(members: Iterable[Member], findings: Findings, present: frozenset[str] | None) -> None:
    """Say which studies are one group because a donor of theirs is unknown."""
    blind: set[str] = set()
    here: set[str] = set()
    for member in members:
        if is_unknown(member.donor_id):
            blind.add(member.study_id)
        if present is None or member.sample_id in present:
            here.add(member.study_id)
    for study in sorted(blind & here):
        findings.warn(
            "donor-unknown",
            "A donor is unknown, so the whole study is one split group",
            study=study,
            field="donor_id",
            expected="a donor for every section",
            todo="Fill donor_id in samples.csv when a source names it",
        )
