"""Leakage: tissue of an evaluation must not be in the training split, whichever release it is written down in.

Sections that share a donor, a block, a split group or an id are one; so are all of a study with an unknown donor, and
whatever such links chain together over both releases. Within one release its split groups say as much already; across
two they do not, for each was made with other sections beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from humanst.errors import DataError, UsageError

if TYPE_CHECKING:
    from humanst.load.release import Release

TEST_SPLIT = "test"
UNKNOWN = frozenset({"", "unknown", "na", "none", "nan"})
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Leakage:
    """What of an evaluation is in a training split.

    Attributes
    ----------
    shared
        Training section -> the evaluation's test sections that are the same donor's, both by ``sample_id``, sorted.
    groups
        Exclusion group -> training sections that belong to it or are joined to one that does.
    note
        One sentence for every table, or ``None`` when nothing leaks.
    """

    shared: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, tuple[str, ...]]
    note: str | None


def check_leakage(
    release: Release,
    train_split: str,
    sections: Sequence[str],
    groups: Sequence[str],
    allow: bool,
    *,
    evaluation: Release | None = None,
) -> Leakage:
    """Ask that no tissue of the evaluation is trained on.

    Parameters
    ----------
    release, train_split
        What is trained on.
    sections
        ``sample_id`` of the evaluation's test sections, of either release; without any, the sections of the split
        ``test`` of the evaluation's release.
    groups
        Exclusion groups that the training split must not hold, nor anything joined to them. One that no section of
        either release is labelled with is held by neither: releases are built without such groups.
    allow
        Go on although it leaks.
    evaluation
        The release that is evaluated on; the one that is trained on without it.

    Raises
    ------
    DataError
        ``leakage`` (exit 5), with every training section concerned, unless ``allow``.
    UsageError
        ``unknown-section`` or ``unknown-split`` for a name that is not there, ``unknown-exclusion-group`` for one that
        looks like a slip for a label that is; with those that are near. ``unknown-split`` also for another release that
        nothing is named of and that has no test section: comparing with nothing would pass.
    IntegrityError
        When an index is not the one on record.
    """
    releases = [release] if evaluation is None else [release, evaluation]
    rows = [row for one in releases for row in _rows(one)]
    labelled = _labelled(rows)
    _check_sections(sections, {str(row["sample_id"]) for row in rows})
    _check_groups(groups, set(labelled))
    training = _indexed(release, train_split)
    pairs = [] if sections or TEST_SPLIT not in releases[-1].splits else _indexed(releases[-1], TEST_SPLIT)
    tested = set(sections) or _of_split(releases[-1], TEST_SPLIT) | {row["sample_id"] for row in pairs}
    if evaluation is not None and not tested and not groups and not allow:
        expected = "a split test with sections, or names of some (evaluation_sections) or of groups (evaluation_groups)"
        raise _unknown("split", "release", TEST_SPLIT, expected)
    component = _components([*rows, *training, *pairs])
    shared = _joined(training, tested, component)
    in_groups = {name: tuple(_joined(training, labelled.get(name, ()), component)) for name in dict.fromkeys(groups)}
    in_groups = {name: found for name, found in in_groups.items() if found}
    found = Leakage(shared, in_groups, _note(shared, in_groups))
    if found.note is not None and not allow:
        raise DataError(
            "The training split holds tissue of the evaluation",
            code="leakage",
            field=train_split,
            expected="no split group and no exclusion group of the evaluation in it",
            found=_told(shared, in_groups),
            done="Nothing was trained",
            todo="Train on a release without them (`humanst build-shards --exclude-group`, `--assign`), or say "
            "--allow-leakage, and every table will tell",
        )
    return found


def _rows(release: Release) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = release.manifest.get("sections", [])
    return found


def _indexed(release: Release, split: str) -> list[dict[str, Any]]:
    """The sections that pairs of a split are of, with their groups, as the index has them."""
    table = release.index(split)
    names = [name for name in ("sample_id", "donor_group") if name in table.column_names]
    pairs = table.select(names).group_by(names).aggregate([]).to_pylist()
    rows = [{"sample_id": str(pair["sample_id"]), "group": str(pair.get("donor_group") or "")} for pair in pairs]
    return sorted(rows, key=lambda row: (row["sample_id"], row["group"]))


def _of_split(release: Release, split: str) -> set[str]:
    return {str(row["sample_id"]) for row in _rows(release) if row.get("split") == split}


def _labelled(rows: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Exclusion group -> ``sample_id`` of its sections."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for name in str(row.get("metadata", {}).get("exclusion_groups", "")).split(";"):
            if name:
                found.setdefault(name, set()).add(str(row["sample_id"]))
    return found


def _components(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """``sample_id`` -> number of the set of sections that links chain together."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    blind = {row["study_id"] for row in rows if row.get("study_id") and _donor(row) in UNKNOWN}
    number: dict[tuple[str, ...], int] = {}
    edges = []
    for row in rows:
        own = ("sample", str(row["sample_id"]))
        for key in (own, *_identities(row, blind)):
            edges.append([number.setdefault(name, len(number)) for name in (own, key)])
    start, end = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    links = coo_array((np.ones(len(edges), dtype=np.int8), (start, end)), shape=(len(number), len(number)))
    _, component = connected_components(links, directed=False)
    return {name[1]: int(component[place]) for name, place in number.items() if name[0] == "sample"}


def _identities(row: Mapping[str, Any], blind: set[Any]) -> list[tuple[str, ...]]:
    """What a section may have in common with others of the same tissue or donor."""
    about, study = row.get("metadata", {}), str(row.get("study_id", ""))
    # A group is named for one of its sections, which may be in the other release alone.
    found: list[tuple[str, ...]] = [("sample", str(row["group"]))] if row.get("group") else []
    if (donor := _donor(row)) is not None and donor not in UNKNOWN:
        found.append(("donor", donor))
    if _known(about.get("block_id")):
        found.append(("block", study, str(about["block_id"])))
    if _known(about.get("xref_hest")):
        found.append(("same", f"hest:{about['xref_hest']}"))
    for name in str(about.get("known_duplicates", "")).split(";"):
        if _known(name):
            space, colon, rest = name.partition(":")
            found.append(("same", name) if colon and space != "humanst" else ("sample", rest if colon else name))
    if study in blind:
        found.append(("study", study))
    return found


def _donor(row: Mapping[str, Any]) -> str | None:
    """The donor of a section; ``None`` where the row says nothing of one."""
    donor = row.get("donor_id", row.get("metadata", {}).get("donor_id"))
    if donor is None:
        return None
    return "unknown" if not _known(donor) else str(donor).strip()


def _known(value: Any) -> bool:
    return value is not None and str(value).strip().lower() not in UNKNOWN


def _joined(
    training: Iterable[Mapping[str, Any]], tested: Iterable[str], component: Mapping[str, int]
) -> dict[str, tuple[str, ...]]:
    """Training section -> those of ``tested`` that it is joined to; without those that it is not."""
    members: dict[int, list[str]] = {}
    for name in sorted(tested):
        members.setdefault(component[name], []).append(name)
    found = {}
    for row in training:
        if (place := component[row["sample_id"]]) in members:
            found[row["sample_id"]] = tuple(members[place])
    return found


def _check_sections(asked: Sequence[str], known: set[str]) -> None:
    for name in asked:
        if name not in known:
            some = ", ".join(sorted(known)[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
            raise _unknown("section", "sections", name, " or ".join(_near(name, known, 0.5)) or some)


def _check_groups(asked: Sequence[str], known: set[str]) -> None:
    """A release was left without a group rightly; only what is nearly or partly a label is taken for a slip."""
    for name in asked:
        low = name.strip().lower()
        parts = [label for label in sorted(known) if low and (low in label.lower() or label.lower() in low)]
        if name not in known and (near := list(dict.fromkeys([*_near(name, known, 0.75), *parts]))):
            todo = "A group that the releases were built without needs no naming"
            raise _unknown("exclusion group", "groups", name, " or ".join(near), todo)


def _near(name: str, known: set[str], cutoff: float) -> list[str]:
    lowered = {one.lower(): one for one in sorted(known)}
    return [lowered[match] for match in get_close_matches(name.lower(), list(lowered), n=3, cutoff=cutoff)]


def _unknown(what: str, field: str, name: str, expected: str, todo: str | None = None) -> UsageError:
    return UsageError(
        f"There is no such {what}",
        code=f"unknown-{what.replace(' ', '-')}",
        field=f"evaluation_{field}",
        expected=expected,
        found=repr(name),
        done="Nothing was trained",
        todo=todo,
    )


def _note(shared: Mapping[str, Sequence[str]], groups: Mapping[str, Sequence[str]]) -> str | None:
    if not shared and not groups:
        return None
    return f"LEAKAGE: trained on tissue of the evaluation ({_told(shared, groups)})"


def _told(shared: Mapping[str, Sequence[str]], groups: Mapping[str, Sequence[str]]) -> str:
    parts = []
    if shared:
        pairs = [f"{name} with {', '.join(others)}" for name, others in shared.items()]
        parts.append(f"sections that share a donor or split group with the test sections: {'; '.join(pairs)}")
    parts += [f"exclusion group {name}: {', '.join(found)}" for name, found in groups.items()]
    return "; ".join(parts)
