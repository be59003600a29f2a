"""Split groups over releases: checked against connected components, which another library finds."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import networkx as nx
import pytest

from humanst.errors import DataError
from humanst.findings import Findings
from humanst.splits import (
    SPLITS,
    Assignment,
    Link,
    Member,
    assign_splits,
    is_unknown,
    join_found,
    joined_to,
    release_age,
)

RELEASES = ("0.2.0", "0.9.0", "0.10.0", "unreleased")
N_CATALOGS = 1000


def random_catalog(random: Random) -> list[Member]:
    """Up to 30 sections of 6 studies in 4 releases, with few donors, blocks, slides and images between them."""
    members = []
    names = [f"s{number}" for number in range(random.randint(1, 30))]
    for name in names:
        kinds = ("block", "slide", "image", "same")
        keys = tuple(f"{kind}:{random.randint(0, 12)}" for kind in kinds if random.random() < 0.25)
        donor = "unknown" if random.random() < 0.05 else f"d{random.randint(0, 20)}"
        duplicates = (random.choice(names),) if random.random() < 0.1 else ()
        release = RELEASES[min(random.randint(0, 5), 3)]
        members.append(Member(name, f"study{random.randint(0, 5)}", donor, release, keys, duplicates))
    return members


def components(members: list[Member]) -> Iterator[set[str]]:
    """Sections that share anything, of those given."""
    graph = nx.Graph()
    blind = {member.study_id for member in members if is_unknown(member.donor_id)}
    for member in members:
        graph.add_node(("sample", member.sample_id))
        shared = [("key", key) for key in member.keys]
        shared += [("sample", name) for name in member.duplicates]
        shared += [] if is_unknown(member.donor_id) else [("donor", member.donor_id)]
        shared += [("study", member.study_id)] if member.study_id in blind else []
        graph.add_edges_from((("sample", member.sample_id), other) for other in shared)
    for found in nx.connected_components(graph):
        yield {name for kind, name in found if kind == "sample"} & {member.sample_id for member in members}


def test_no_group_of_a_thousand_catalogs_is_in_two_splits() -> None:
    random, n_left_out = Random(7), 0
    for _ in range(N_CATALOGS):
        members = random_catalog(random)
        result = assign_splits(members, Findings())
        assert set(result.split) | set(result.left_out) == {member.sample_id for member in members}
        assert not set(result.split) & set(result.left_out)
        n_left_out += len(result.left_out)
        kept = [member for member in members if member.sample_id in result.split]
        for group in components(kept):
            assert len({result.split[name] for name in group}) == 1, group
            assert len({result.group[name] for name in group}) == 1, group
    assert n_left_out > 100, "the catalogs have newcomers that link"


def test_a_later_release_moves_nobody_and_is_left_out_only_where_it_links_two_sides() -> None:
    random = Random(11)
    for _ in range(N_CATALOGS // 4):
        members = random_catalog(random)
        old = [member for member in members if member.release_added != "unreleased"]
        before, after = assign_splits(old, Findings()), assign_splits(members, Findings())
        assert {name: after.split[name] for name in before.split} == before.split
        assert set(before.left_out) <= set(after.left_out)
        for name in set(after.left_out) - set(before.left_out):
            # With this one taken in, a group would be in two splits.
            kept = [member for member in members if member.sample_id in after.split or member.sample_id == name]
            group = next(group for group in components(kept) if name in group)
            assert len({after.split[other] for other in group - {name}}) > 1


def test_releases_are_ordered_by_their_numbers() -> None:
    assert sorted(["unreleased", "0.10.0", "0.9.0", "0.9.10", "0.9.9"], key=release_age) == [
        "0.9.0", "0.9.9", "0.9.10", "0.10.0", "unreleased",
    ]  # fmt: skip


def sides_apart() -> tuple[str, str]:
    """Two sample ids that hash to different splits."""
    names = [f"x{number}" for number in range(100)]
    splits = assign_splits([Member(name, name, name, "0.1.0") for name in names], Findings()).split
    return names[0], next(name for name in names if splits[name] != splits[names[0]])


def test_a_newcomer_between_two_sides_is_named_with_both() -> None:
    one, other = sides_apart()
    members = [Member(name, name, name, "0.1.0") for name in (one, other)]
    new = Member("a_newcomer", "later", "d9", "0.2.0", duplicates=(one, other))
    result = assign_splits([new, *members], Findings())
    assert set(result.split) == {one, other}
    error = result.left_out["a_newcomer"]
    assert (error.exit_code, error.facts.code) == (5, "links-split-groups")
    assert all(f"{result.split[name]} ({name})" in str(error.facts.found) for name in (one, other))
    friend = Member("b_friend", "later", "d9", "0.2.0")
    assert set(assign_splits([new, friend, *members], Findings()).left_out) == {"a_newcomer"}
    asked = assign_splits([new, *members], Findings(), assigned={one: "val", other: "val"})
    assert set(asked.split.values()) == {"val"}
    assert len(asked.split) == 3


def test_what_is_joined_is_found_across_releases_and_sides() -> None:
    one, other = sides_apart()
    members = [Member(one, one, "d1", "0.1.0"), Member(other, other, "d2", "0.1.0"), Member("z", "z", "d3", "0.1.0")]
    between = Member("between", "later", "d2", "0.2.0", duplicates=(one,))
    assert joined_to([*members, between], {one}) == {one, other, "between"}
    assert joined_to([*members, between], ()) == frozenset()


def planned(**rows: tuple[str, str, str]) -> tuple[Assignment, list[Member]]:
    """``name=(group, split, release)``."""
    assignment = Assignment({name: row[0] for name, row in rows.items()}, {name: row[1] for name, row in rows.items()})
    return assignment, [Member(name, "study", "unknown", row[2]) for name, row in rows.items()]


def test_groups_of_one_split_that_reading_links_become_one() -> None:
    plan = planned(a=("a", "train", "0.2"), b=("b", "train", "0.1"), c=("b", "train", "0.2"), d=("d", "test", "0.1"))
    result = join_found(*plan, [Link("a", "c", "image")])
    assert result.group == {"a": "b", "b": "b", "c": "b", "d": "d"}
    assert result.split == plan[0].split


def test_sections_as_old_as_each_other_that_reading_links_across_splits_stop_the_build() -> None:
    plan = planned(a=("a", "train", "0.1"), b=("b", "test", "0.1"))
    with pytest.raises(DataError) as caught:
        join_found(*plan, [Link("a", "b", "picture")])
    assert (caught.value.exit_code, caught.value.facts.code) == (5, "leakage")
    assert "a (train) and b (test) have the same picture" in str(caught.value)


def test_a_newcomer_that_reading_links_to_the_other_side_stays_out_with_its_group() -> None:
    plan = planned(
        old=("old", "train", "0.1"),
        anchor=("anchor", "test", "0.1"),
        new=("anchor", "test", "0.2"),
        mate=("anchor", "test", "0.2"),
        other=("other", "val", "0.2"),
    )
    result = join_found(*plan, [Link("new", "old", "counts")])
    assert set(result.left_out) == {"new", "mate"}
    assert result.split == {"old": "train", "anchor": "test", "other": "val"}
    assert "the same counts in old and new" in str(result.left_out["mate"])


def test_what_is_the_same_tissue_as_a_newcomer_that_stays_out_stays_out_with_it() -> None:
    plan = planned(
        old=("old", "train", "0.1"),
        copy=("copy", "val", "0.2"),
        turned=("turned", "val", "0.2"),
        third=("third", "test", "0.2"),
        mate=("third", "test", "0.3"),
        fourth=("fourth", "train", "0.2"),
        published=("published", "val", "0.1"),
        other=("other", "val", "0.2"),
    )
    links = [
        Link("copy", "old", "image"),
        Link("copy", "turned", "picture"),
        Link("third", "turned", "counts"),
        Link("copy", "fourth", "picture"),
        Link("copy", "published", "counts"),
    ]
    result = join_found(*plan, links)
    assert set(result.left_out) == {"copy", "turned", "third", "mate"}
    assert result.split == {"old": "train", "fourth": "train", "published": "val", "other": "val"}


@pytest.mark.parametrize("shares", [(0.0, 1.0, 0.0), (0.2, 0.3, 0.5)])
def test_shares_are_those_asked_for(shares: tuple[float, float, float]) -> None:
    members = [Member(f"s{number}", f"s{number}", f"d{number}", "0.1") for number in range(2000)]
    sides = list(assign_splits(members, Findings(), shares=shares).split.values())
    assert [sides.count(name) / len(sides) for name in SPLITS] == pytest.approx(shares, abs=0.04)
