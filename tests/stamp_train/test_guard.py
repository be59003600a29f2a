"""No tissue of an evaluation in the training split, whichever release it is written down in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from humanst.errors import DataError, IntegrityError, UsageError
from humanst.load import Release, open_release
from stamp_train.guard import check_leakage
from tests.stamp_train.named_release import SPLITS, section, write_release


def leaks(*given, **more) -> dict[str, tuple[str, ...]]:
    return dict(check_leakage(*given, True, **more).shared)


OWN = [
    section("a1", "train", "a1", donor_id="anna"),
    section("a2", "train", "a1", donor_id="anna"),
    section("b1", "train", "b1", exclusion_groups="bench;other"),
    section("c1", "val", "c1"),
    section("d1", "test", "d1", donor_id="dora"),
    section("e1", "test", "e1", exclusion_groups="held"),
]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return write_release(tmp_path_factory.mktemp("own"), OWN)


def test_a_release_that_is_split_by_donors_does_not_leak(own: Release) -> None:
    found = check_leakage(own, "train", (), (), False)
    assert (found.shared, found.groups, found.note) == ({}, {}, None)
    assert check_leakage(own, "train", ("d1", "c1"), ("held",), False).note is None


def test_training_on_a_test_section_stops_and_names_what_is_shared(own: Release) -> None:
    with pytest.raises(DataError) as caught:
        check_leakage(own, "train", ("a2", "d1"), ("bench",), False)
    assert (caught.value.facts.code, caught.value.exit_code) == ("leakage", 5)
    message = str(caught.value)
    assert "a1 with a2; a2 with a2" in message
    assert "exclusion group bench: b1" in message
    assert "--allow-leakage" in message


def test_allowed_it_goes_on_and_every_table_can_tell(own: Release) -> None:
    found = check_leakage(own, "train", ("a2",), ("bench", "held", "bench"), True)
    assert found.shared == {"a1": ("a2",), "a2": ("a2",)}
    assert found.groups == {"bench": ("b1",)}
    assert found.note is not None
    assert found.note.startswith("LEAKAGE: ")
    assert all(name in found.note for name in ("a1 with a2", "bench: b1"))


def test_training_on_the_test_split_leaks_into_it(own: Release) -> None:
    assert leaks(own, "test", (), ()) == {"d1": ("d1",), "e1": ("e1",)}
    assert leaks(own, "val", (), ()) == {}


@pytest.mark.parametrize(
    ("sections", "groups", "code", "near"),
    [
        (("d2",), (), "unknown-section", "d1"),
        (("d1", "A1"), (), "unknown-section", "a1"),
        ((), ("bensch",), "unknown-exclusion-group", "bench"),
        ((), ("Bench",), "unknown-exclusion-group", "bench"),
        ((), ("be",), "unknown-exclusion-group", "bench"),
        ((), ("the_held_out_set",), "unknown-exclusion-group", "held"),
    ],
)
def test_a_name_that_is_not_there_is_no_pass(own: Release, sections, groups, code: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_leakage(own, "train", sections, groups, True)
    assert (caught.value.facts.code, caught.value.exit_code) == (code, 2)
    assert near in caught.value.facts.expected
    assert (caught.value.facts.todo is not None) == bool(groups), "a group of another release may be near by chance"
    with pytest.raises(UsageError) as caught:
        check_leakage(own, "trian", (), (), True)
    assert caught.value.facts.code == "unknown-split"


SAME = {
    "the same section": section("a1", "test", "a1", donor_id="anna"),
    "another section of the donor": section("x", "test", "x", donor_id="anna "),
    "a group named for a training section": section("x", "test", "a2", donor_id="unknown", study_id="else"),
    "a duplicate": section("x", "test", known_duplicates="none;humanst:a2"),
    "a duplicate by its bare name": section("x", "test", known_duplicates="a2"),
    "what others call it": section("x", "test", xref_hest="H7"),
    "what it calls others": section("x", "test", known_duplicates="hest:H7"),
    "the same block": section("x", "test", block_id="block 3"),
}


@pytest.mark.parametrize("other", SAME.values(), ids=SAME.keys())
def test_the_same_donor_in_another_release_is_found(tmp_path: Path, other: dict) -> None:
    own = write_release(
        tmp_path / "own",
        [
            section("a1", "train", "a1", donor_id="anna"),
            section("a2", "train", "a1", donor_id="anna", xref_hest="H7", block_id="block 3"),
            section("b1", "train", "b1"),
        ],
    )
    away = write_release(tmp_path / "away", [other, section("y", "test"), section("b1", "train", "b1")])
    assert leaks(own, "train", (), (), evaluation=away) == dict.fromkeys(("a1", "a2"), (other["sample_id"],))
    with pytest.raises(DataError, match="a1 with"):
        check_leakage(own, "train", (other["sample_id"],), (), False, evaluation=away)
    assert check_leakage(own, "train", ("y",), (), False, evaluation=away).note is None


UNLIKE = {
    "nobody knows either donor, in two studies": section("x", "test", donor_id="unknown", study_id="else"),
    "the same block name of another study": section("x", "test", study_id="else", block_id="block 3"),
    "words for nothing": section("x", "test", block_id="unknown", known_duplicates="none", xref_hest=""),
}


@pytest.mark.parametrize("other", UNLIKE.values(), ids=UNLIKE.keys())
def test_what_only_looks_alike_is_no_leak(tmp_path: Path, other: dict) -> None:
    own = write_release(
        tmp_path / "own",
        [
            section("a1", "train", donor_id="Unknown", study_id="one", block_id="unknown"),
            section("a2", "train", block_id="block 3", known_duplicates="none", xref_hest=""),
        ],
    )
    away = write_release(tmp_path / "away", [other])
    assert leaks(own, "train", (), (), evaluation=away) == {}


def test_a_study_with_an_unknown_donor_is_one_over_both_releases(tmp_path: Path) -> None:
    sections = [section("a1", "train", donor_id="anna"), section("b1", "train", study_id="b")]
    own = write_release(tmp_path / "own", sections)
    away = write_release(tmp_path / "away", [section("x", "test", donor_id="unknown"), section("y", "test")])
    assert leaks(own, "train", (), (), evaluation=away) == {"a1": ("x", "y")}


def test_a_group_that_the_release_was_built_without_is_no_leak(tmp_path: Path) -> None:
    release = write_release(tmp_path / "own", [section("a", "train"), section("b", "test", exclusion_groups="held")])
    assert check_leakage(release, "train", (), ("somebodys_benchmark", "held"), allow=False).note is None


def test_another_release_without_a_test_section_is_no_pass(tmp_path: Path) -> None:
    own = write_release(tmp_path / "own", [section("a", "train", donor_id="anna"), section("b", "test")])
    away = write_release(tmp_path / "away", [section("x", "val", donor_id="anna")])
    with pytest.raises(UsageError) as caught:
        check_leakage(own, "train", (), (), False, evaluation=away)
    assert (caught.value.facts.code, caught.value.facts.field) == ("unknown-split", "evaluation_release")
    with pytest.raises(DataError, match="a with x"):
        check_leakage(own, "train", ("x",), (), False, evaluation=away)


def test_an_exclusion_group_that_only_the_evaluation_marks_is_found(tmp_path: Path) -> None:
    own = write_release(tmp_path / "own", [section("a1", "train", donor_id="anna"), section("b1", "train")])
    away = write_release(tmp_path / "away", [section("x", "val", donor_id="anna", exclusion_groups="bench")])
    found = check_leakage(own, "train", (), ("bench",), True, evaluation=away)
    assert (found.shared, found.groups) == ({}, {"bench": ("a1",)})


def test_the_index_says_what_is_trained_on(tmp_path: Path) -> None:
    release = write_release(tmp_path, [section("a1", "train", "g"), section("b1", "test", "b1")])
    manifest = json.loads((tmp_path / "MANIFEST.json").read_text())
    # The rows of the sections say nothing of a1 any more, and its pairs are still trained on.
    manifest["sections"] = [section("g", "test", "g"), section("b1", "test", "b1")]
    (tmp_path / "MANIFEST.json").write_text(json.dumps(manifest))
    assert leaks(open_release(tmp_path), "train", (), ()) == {"a1": ("g",)}
    # Nor do they of b1, and it is still tested on.
    manifest["sections"] = [section("b1", "train", "a1")]
    (tmp_path / "MANIFEST.json").write_text(json.dumps(manifest))
    assert leaks(open_release(tmp_path), "train", (), ()) == {"a1": ("b1",)}
    index = tmp_path / "index/train.parquet"
    index.write_bytes(index.read_bytes()[:-1])
    with pytest.raises(IntegrityError):
        check_leakage(release, "train", (), (), True)


LINKS = ("sample", "donor", "block", "duplicate", "group")


@st.composite
def donors(draw) -> list[list[tuple[str, str, str]]]:
    """Hidden donors: for each a chain of (release, split, what links it to the one before)."""
    place = st.tuples(st.sampled_from(("own", "away")), st.sampled_from(SPLITS), st.sampled_from(LINKS))
    return draw(st.lists(st.lists(place, min_size=1, max_size=5), min_size=1, max_size=4))


def written(chains: list[list[tuple[str, str, str]]]) -> tuple[dict[str, list[dict]], dict[tuple[str, str], int]]:
    """Sections of both releases, each linked to the one before by one fact; and the donor of each."""
    rows: dict[str, list[dict]] = {"own": [], "away": []}
    donor_of: dict[tuple[str, str], int] = {}
    for donor, chain in enumerate(chains):
        before: dict | None = None
        for number, (where, split, link) in enumerate(chain):
            name = f"s{donor}{number}"
            row = section(name, split, None, donor_id=f"d{name}", block_id=f"b{name}")
            if before is not None:
                if link == "sample" and all(other["sample_id"] != before["sample_id"] for other in rows[where]):
                    row["sample_id"] = row["group"] = before["sample_id"]
                elif link == "donor":
                    row["donor_id"] = before["donor_id"]
                elif link == "block":
                    row["metadata"]["block_id"] = before["metadata"]["block_id"]
                elif link == "group":
                    row["group"] = before["sample_id"]
                else:
                    row["metadata"]["known_duplicates"] = f"hest:X;humanst:{before['sample_id']}".removeprefix(
                        "hest:X;"
                    )
            rows[where].append(row)
            donor_of[where, row["sample_id"]] = donor
            before = row
    return rows, donor_of


@settings(max_examples=60)
@given(donors())
def test_no_chain_of_facts_over_two_releases_hides_a_leak_and_none_is_made_up(
    tmp_path_factory: pytest.TempPathFactory, chains: list
) -> None:
    rows, donor_of = written(chains)
    folder = tmp_path_factory.mktemp("two")
    own, away = (write_release(folder / name, rows[name]) for name in ("own", "away"))
    test = {row["sample_id"] for row in rows["away"] if row["split"] == "test"}
    expected = {}
    for row in rows["own"]:
        if row["split"] == "train":
            donor = donor_of["own", row["sample_id"]]
            if of_it := sorted(name for name in test if donor_of["away", name] == donor):
                expected[row["sample_id"]] = tuple(of_it)
    assert leaks(own, "train", (), (), evaluation=away) == expected


def test_a_release_that_was_built_does_not_leak_and_tells_when_it_would(demo_release: Path) -> None:
    release = open_release(demo_release)
    assert check_leakage(release, "train", (), (), False, evaluation=release).note is None
    trained = [row["sample_id"] for row in release.manifest["sections"] if row["split"] == "train"]
    with pytest.raises(DataError, match=trained[0]):
        check_leakage(release, "train", trained[:1], (), False)
