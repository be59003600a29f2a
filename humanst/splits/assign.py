"""Which split every section goes to, from what is on record and from what reading the files shows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from humanst.errors import DataError, UsageError
from humanst.findings import Findings
from humanst.splits.groups import (
    DEFAULT_SHARES,
    SPLITS,
    Member,
    hashed_split,
    release_age,
    take_in,
    warn_of_unknown_donors,
)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where each section goes.

    Attributes
    ----------
    group
        ``sample_id`` -> group name (its anchor's sample_id).
    split
        ``sample_id`` -> ``train``, ``val`` or ``test``.
    left_out
        ``sample_id`` -> why it cannot be in a release with the others.
    """

    group: Mapping[str, str]
    split: Mapping[str, str]
    left_out: Mapping[str, DataError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Link:
    """Two sections that reading showed to be the same tissue, and by what (``image``, ``picture``, ``counts``)."""

    one: str
    other: str
    by: str


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
    warn_of_unknown_donors(ordered, findings, present)
    found = take_in(ordered, assigned=assigned, shares=shares)
    group_of: dict[str, str] = {}
    split_of: dict[str, str] = {}
    for anchor, group in found.groups.items():
        here = [member for member in group if present is None or member.sample_id in present]
        if not here:
            continue
        split = _asked_split(anchor, group, assigned or {}) or hashed_split(anchor, shares)
        for member in here:
            group_of[member.sample_id] = anchor
            split_of[member.sample_id] = split
    warn_of_empty_splits(split_of.values(), findings)
    left_out = {
        name: _between(name, "facts on record", sides)
        for name, sides in sorted(found.left_out.items())
        if present is None or name in present
    }
    return Assignment(group_of, split_of, left_out)


def warn_of_empty_splits(splits: Iterable[str], findings: Findings) -> None:
    """Say which splits have no section."""
    here = set(splits)
    for name in SPLITS:
        if name not in here:
            findings.warn("empty-split", f"No group falls into the {name} split", field=name, found="0 sections")


def join_found(assignment: Assignment, members: Iterable[Member], links: Sequence[Link]) -> Assignment:
    """Let groups grow by what reading showed; nobody changes sides.

    Linked groups of one split become one. Where a link crosses splits and one of its sections was added in a later
    release, that section stays out, and with it whatever as new is the same tissue, through its group or further
    links, and not on the older one's side. Where neither is newer, there is nobody to leave out.

    Raises
    ------
    DataError
        ``leakage``, naming every such pair.
    """
    age = {member.sample_id: release_age(member.release_added) for member in members}
    sides = assignment.split
    crossing = [link for link in sorted(links) if sides[link.one] != sides[link.other]]
    left_out = dict(assignment.left_out)
    near = _neighbours(assignment.group, links)
    for link in crossing:
        if age[link.one] == age[link.other]:
            continue
        old, new = sorted((link.one, link.other), key=lambda name: age[name])
        found = tuple(f"{sides[name]} ({assignment.group[name]})" for name in (old, new))
        as_new = {name for name in assignment.group if sides[name] != sides[old] and age[name] >= age[new]}
        for name in sorted(_reached(new, near, as_new)):
            left_out.setdefault(name, _between(name, f"the same {link.by} in {old} and {new}", found))
    _refuse([link for link in crossing if not {link.one, link.other} & set(left_out)], assignment)
    group_of = {name: group for name, group in assignment.group.items() if name not in left_out}
    for link in sorted(links):
        if not {link.one, link.other} & set(left_out):
            kept, gone = sorted((group_of[link.one], group_of[link.other]), key=lambda name: (age.get(name, ()), name))
            group_of = {name: kept if group == gone else group for name, group in group_of.items()}
    return Assignment(group_of, {name: sides[name] for name in group_of}, dict(sorted(left_out.items())))


def _neighbours(group_of: Mapping[str, str], links: Iterable[Link]) -> dict[str, set[str]]:
    """Who is the same tissue by a step: sections and, in parentheses, their groups."""
    near: dict[str, set[str]] = {}
    steps = [(name, f"({group})") for name, group in group_of.items()] + [(link.one, link.other) for link in links]
    for one, other in steps:
        near.setdefault(one, set()).add(other)
        near.setdefault(other, set()).add(one)
    return near


def _reached(start: str, near: Mapping[str, set[str]], among: Collection[str]) -> set[str]:
    """The sections ``among`` those given that steps lead to, from one to the next of them."""
    seen, todo = {start}, [start]
    while todo:
        here = todo.pop()
        new = {name for name in near.get(here, ()) if name in among or name.startswith("(")} - seen
        seen |= new
        todo += new
    return {name for name in seen if not name.startswith("(")}


def require_no_crossing(assignment: Assignment) -> None:
    """Ask that every group is in one split, whoever assigned it.

    Raises
    ------
    DataError
        ``leakage``, naming the first group that is not.
    """
    sides: dict[str, set[str]] = {}
    for name, group in assignment.group.items():
        sides.setdefault(group, set()).add(assignment.split[name])
    crossing = sorted(group for group, splits in sides.items() if len(splits) > 1)
    if crossing:
        raise DataError(
            "A split group is in several splits",
            code="leakage",
            section=crossing[0],
            expected="one split a group",
            found=", ".join(f"{group}: {' and '.join(sorted(sides[group]))}" for group in crossing[:5]),
            done="No shard was written",
            todo="Make the plan again with `humanst plan`",
        )


def _refuse(crossing: Sequence[Link], assignment: Assignment) -> None:
    if not crossing:
        return
    said = [
        f"{link.one} ({assignment.split[link.one]}) and {link.other} ({assignment.split[link.other]})"
        f" have the same {link.by}"
        for link in crossing
    ]
    raise DataError(
        "Sections that are the same tissue are in different splits",
        code="leakage",
        section=crossing[0].one,
        expected="one split for all sections that share a donor, block, slide, image or counts",
        found="; ".join(said[:5]) + (f"; and {len(said) - 5} more" if len(said) > 5 else ""),
        done="No shard was written; what was extracted stays",
        todo="Name one in known_duplicates of the other in samples.csv, give both one split with --assign, or leave "
        "one out; then run the same command again",
    )


def _between(name: str, by: str, sides: Sequence[str]) -> DataError:
    return DataError(
        "The section would join split groups that are on different sides already",
        code="links-split-groups",
        section=name,
        field="release_added",
        expected="groups of one split",
        found=f"{', '.join(sides)}, joined by {by}",
        done="It was left out",
        todo="Give the groups one split with --assign if none of them was ever published",
    )


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
