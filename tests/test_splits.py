"""Splits: one donor on one side, stable when studies are added, whatever joins sections."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from humanst.errors import DataError, UsageError
from humanst.findings import Findings
from humanst.splits import SPLITS, Member, assign_splits, group_sections, hashed_split, is_unknown, read_assignment

members_strategy = st.lists(
    st.tuples(
        st.integers(0, 12), st.integers(0, 4), st.sampled_from(["", "unknown", "  "] + [f"d{n}" for n in range(9)])
    ),
    min_size=1,
    max_size=25,
    unique_by=lambda item: item[:2],
)


def as_members(items: list[tuple[int, int, str]], release: str = "0.1") -> list[Member]:
    return [Member(f"s{study}_{n}", f"study{study}", donor, release) for study, n, donor in items]


@given(members_strategy)
def test_no_donor_and_no_blind_study_is_on_two_sides(items: list[tuple[int, int, str]]) -> None:
    members = as_members(items)
    result = assign_splits(members, Findings())
    assert set(result.split) == {member.sample_id for member in members}
    donors: dict[str, set[str]] = {}
    studies: dict[str, set[str]] = {}
    for member in members:
        if not is_unknown(member.donor_id):
            donors.setdefault(member.donor_id, set()).add(result.split[member.sample_id])
        if any(is_unknown(other.donor_id) for other in members if other.study_id == member.study_id):
            studies.setdefault(member.study_id, set()).add(result.split[member.sample_id])
    assert all(len(sides) == 1 for sides in [*donors.values(), *studies.values()])


@given(members_strategy, st.randoms(use_true_random=False))
def test_the_order_of_the_catalog_does_not_matter(items: list[tuple[int, int, str]], random: object) -> None:
    members = as_members(items)
    shuffled = members.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert assign_splits(members, Findings()) == assign_splits(shuffled, Findings())


@given(members_strategy, members_strategy)
def test_a_later_release_with_new_donors_moves_nobody(
    old: list[tuple[int, int, str]], new: list[tuple[int, int, str]]
) -> None:
    before = as_members(old)
    later = [Member(f"new_{m.sample_id}", f"new_{m.study_id}", f"new-{m.donor_id}", "0.2") for m in as_members(new)]
    first = assign_splits(before, Findings())
    second = assign_splits([*later, *before], Findings())
    assert all(second.split[name] == side for name, side in first.split.items())


def test_image_block_and_known_duplicates_join() -> None:
    members = [
        Member("a", "s1", "d1", "0.1", keys=("image:1",)),
        Member("b", "s2", "d2", "0.1", keys=("image:1", "block:9")),
        Member("c", "s3", "d3", "0.1", keys=("block:9",)),
        Member("d", "s4", "d4", "0.1", duplicates=("c",)),
        Member("e", "s5", "d5", "0.1", duplicates=("not-on-record",)),
    ]
    groups = group_sections(members, Findings())
    assert {anchor: [m.sample_id for m in group] for anchor, group in groups.items()} == {"a": list("abcd"), "e": ["e"]}


def test_the_anchor_is_the_oldest_member() -> None:
    members = [Member("a", "s", "d", "0.2"), Member("z", "s", "d", "0.1")]
    assert list(group_sections(members, Findings())) == ["z"]


def test_an_assignment_that_splits_a_group_is_leakage() -> None:
    members = [Member("a", "s", "d1", "0.1", keys=("image:1",)), Member("b", "s", "d2", "0.1", keys=("image:1",))]
    with pytest.raises(DataError, match="splits one group") as caught:
        assign_splits(members, Findings(), assigned={"d1": "train", "d2": "test"})
    assert caught.value.exit_code == 5
    assert caught.value.facts.code == "leakage"


def test_an_assigned_donor_takes_its_whole_group_along() -> None:
    members = [Member("a", "s", "d1", "0.1"), Member("b", "s", "d1", "0.1")]
    result = assign_splits(members, Findings(), assigned={"d1": "val"})
    assert set(result.split.values()) == {"val"}


def test_empty_splits_and_unknown_donors_are_said() -> None:
    findings = Findings()
    assign_splits([Member("a", "s", " ", "0.1")], findings)
    assert [finding.facts.code for finding in findings].count("empty-split") == 2
    assert "donor-unknown" in findings.codes()


def test_hashed_shares_are_near_80_10_10() -> None:
    sides = [hashed_split(f"section{n}") for n in range(4000)]
    shares = [sides.count(name) / len(sides) for name in SPLITS]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "donor,side\nd1,train\n",
        "donor_id,split\nd1,dev\n",
        "split,donor_id\ntrain\n",
        "donor_id,split\nd1,train\nunknown,test\n",
    ],
)
def test_a_faulty_assignment_is_a_usage_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "groups.csv"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_assignment(path)
    assert caught.value.facts.file == "groups.csv"
