"""Splits that keep a donor on one side: groups by union-find, a group's split by the hash of its anchor.

Sections are joined when they share a donor, a block or an image, or are known duplicates. Sections of unknown
donor join all of their study. The anchor of a group is its member with the smallest ``(release_added, sample_id)``, so
adding a study moves nobody.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from humanst.errors import DataError, UsageError
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
        Further identities, each already prefixed by its kind: ``block:...``, ``image:<sha256>``.
    duplicates
        ``sample_id`` of sections known to be the same tissue.
    """

    sample_id: str
    study_id: str
    donor_id: str
    release_added: str
    keys: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where each section goes.

    Attributes
    ----------
    group
        ``sample_id`` -> group name (its anchor's sample_id).
    split
        ``sample_id`` -> ``train``, ``val`` or ``test``.
    """

    group: Mapping[str, str]
    split: Mapping[str, str]


class _UnionFind:
    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, item: str) -> str:
        root = item
        while (parent := self._parent.setdefault(root, root)) != root:
            root = parent
        while self._parent[item] != root:
            self._parent[item], item = root, self._parent[item]
        return root

    def join(self, one: str, other: str) -> None:
        self._parent[self.find(one)] = self.find(other)


def is_unknown(donor_id: str) -> bool:
    """Whether a donor id says that nobody knows: blank, spaces and ``unknown`` all do."""
    return donor_id.strip().lower() in UNKNOWN


def group_sections(
    members: Sequence[Member], findings: Findings, *, present: frozenset[str] | None = None
) -> dict[str, list[Member]]:
    """Join sections into groups; returns anchor sample_id -> members, both sorted.

    A study with a section of unknown donor becomes one group, with a warning that says so when a section of it is
    ``present``.
    """
    sets = _UnionFind()
    known = {member.sample_id for member in members}
    blind = {member.study_id for member in members if is_unknown(member.donor_id)}
    for member in members:
        node = f"sample:{member.sample_id}"
        keys = [*member.keys, *(f"sample:{other}" for other in member.duplicates if other in known)]
        if member.study_id in blind:
            keys.append(f"study:{member.study_id}")
        if not is_unknown(member.donor_id):
            keys.append(f"donor:{member.donor_id.strip()}")
        for key in keys:
            sets.join(node, key)
    here = {member.study_id for member in members if present is None or member.sample_id in present}
    for study in sorted(blind & here):
        findings.warn(
            "donor-unknown",
            "A donor is unknown, so the whole study is one split group",
            study=study,
            field="donor_id",
            expected="a donor for every section",
            todo="Fill donor_id in samples.csv when a source names it",
        )
    groups: dict[str, list[Member]] = {}
    for member in members:
        groups.setdefault(sets.find(f"sample:{member.sample_id}"), []).append(member)
    ordered = (sorted(group, key=lambda member: (member.release_added, member.sample_id)) for group in groups.values())
    return dict(sorted((group[0].sample_id, group) for group in ordered))


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


def assign_splits(
    members: Iterable[Member],
    findings: Findings,
    *,
    assigned: Mapping[str, str] | None = None,
    shares: Sequence[float] = DEFAULT_SHARES,
    present: frozenset[str] | None = None,
) -> Assignment:
    """Group the sections and give every group a split.

    Parameters
    ----------
    assigned
        ``donor_id`` or ``sample_id`` -> split, overriding the hash for the whole group of that member.
    present
        ``sample_id`` of the sections that are released; the others only help to join. All by default.

    Raises
    ------
    DataError
        ``leakage`` when the assignment puts members of one group on different sides.
    UsageError
        When it names nobody on record.
    """
    ordered = sorted(members, key=lambda member: member.sample_id)
    _check_names(ordered, assigned or {})
    groups = group_sections(ordered, findings, present=present)
    group_of: dict[str, str] = {}
    split_of: dict[str, str] = {}
    for anchor, group in groups.items():
        here = [member for member in group if present is None or member.sample_id in present]
        if not here:
            continue
        split = _asked_split(anchor, group, assigned or {}) or hashed_split(anchor, shares)
        for member in here:
            group_of[member.sample_id] = anchor
            split_of[member.sample_id] = split
    for name in SPLITS:
        if name not in split_of.values():
            findings.warn("empty-split", f"No group falls into the {name} split", field=name, found="0 sections")
    return Assignment(group_of, split_of)


def _check_names(members: Sequence[Member], assigned: Mapping[str, str]) -> None:
    known = {name for member in members for name in (member.donor_id, member.sample_id)}
    strangers = sorted(set(assigned) - known)
    if strangers:
        raise UsageError(
            "The assignment names donors or sections that are not on record",
            code="unknown-donor",
            field="donor_id",
            expected="donor_id or sample_id as in the catalog",
            found=", ".join(strangers[:5]),
            done="Nothing was written",
        )


def _asked_split(anchor: str, group: Sequence[Member], assigned: Mapping[str, str]) -> str | None:
    asked = {assigned[key] for member in group for key in (member.donor_id, member.sample_id) if key in assigned}
    if len(asked) > 1:
        raise DataError(
            "The assignment splits one group of related sections",
            code="leakage",
            section=anchor,
            expected="one split for all sections that share a donor, block or image",
            found=f"{', '.join(sorted(asked))} for {', '.join(member.sample_id for member in group)}",
            done="Nothing was written",
            todo="Give all of them the same split",
        )
    return asked.pop() if asked else None


def read_assignment(path: Path) -> dict[str, str]:
    """Read ``groups.csv``: columns ``donor_id`` (or ``sample_id``) and ``split``.

    Raises
    ------
    UsageError
        For a file without these columns, or a split that does not exist.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("The assignment cannot be read", file=path.name, found=str(error)) from error
    columns = set(rows[0]) if rows else set()
    key = next((name for name in ("donor_id", "sample_id") if name in columns), None)
    if key is None or "split" not in columns:
        raise UsageError(
            "The assignment needs a header",
            file=path.name,
            expected="columns donor_id (or sample_id) and split",
            found=", ".join(sorted(columns)) or "an empty file",
        )
    wrong = sorted({str(row["split"]) for row in rows} - set(SPLITS))
    if wrong:
        raise UsageError(
            "The assignment names a split that does not exist",
            file=path.name,
            field="split",
            expected=", ".join(SPLITS),
            found=", ".join(map(repr, wrong)),
        )
    assigned: dict[str, str] = {}
    for row in rows:
        name = row[key].strip()
        if assigned.setdefault(name, row["split"]) != row["split"]:
            raise UsageError("The assignment contradicts itself", file=path.name, field=key, found=f"{name} twice")
    return assigned
