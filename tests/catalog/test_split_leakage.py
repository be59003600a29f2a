"""The atlas on record, split: no group on two sides, every known duplicate with its twin, and no false twin."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import yaml

from humanst.catalog import Section, Study, load_catalog
from humanst.findings import Findings
from humanst.shards.grouping import Chosen, excluded, section_member
from humanst.splits import Assignment, assign_splits, group_sections


@pytest.fixture(scope="module")
def everything() -> list[tuple[Study, Section]]:
    return [(study, section) for study in load_catalog().studies.values() for section in study.sections]


@pytest.fixture(scope="module")
def assignment(everything: list[tuple[Study, Section]]) -> Assignment:
    return assign_splits([section_member(study, section) for study, section in everything], Findings())


@pytest.fixture
def facts(real_data: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((real_data.parent / "facts" / "catalog_facts.yaml").read_text("utf-8"))
    return content


def related(everything: list[tuple[Study, Section]]) -> list[set[str]]:
    """Sections that share anything, read from the rows themselves, not from what the grouping makes of them."""
    graph = nx.Graph()
    for study, section in everything:
        row = section.metadata
        graph.add_node(section.sample_id)
        shared = [("donor", row["donor_id"])] if row["donor_id"] != "unknown" else [("study", study.study_id)]
        shared += [("block", study.study_id, row["block_id"])] if row["block_id"] not in ("", "unknown") else []
        shared += [("slide", section.slide)] if section.slide else []
        shared += [("hest", row["xref_hest"])] if row["xref_hest"] else []
        shared += [("also", name) for name in row["known_duplicates"].split(";") if name]
        images = [source for source in section.sources if source.role == "image" and not source.member]
        shared += [("md5", image.md5) for image in images if image.md5]
        graph.add_edges_from((section.sample_id, key) for key in shared)
    return [{name for name in found if isinstance(name, str)} for found in nx.connected_components(graph)]


def test_whatever_two_sections_share_they_are_on_one_side(
    everything: list[tuple[Study, Section]], assignment: Assignment
) -> None:
    assert assignment.left_out == {}
    groups = related(everything)
    assert sum(map(len, groups)) == len(everything) == len(assignment.split)
    assert any(len(group) > 1 for group in groups)
    assert [group for group in groups if len({assignment.split[name] for name in group}) > 1] == []


@pytest.mark.parametrize("label", ["her2st", "hest_bench", "dlpfc"])
def test_an_exclusion_group_takes_all_that_are_related_along(
    everything: list[tuple[Study, Section]], label: str
) -> None:
    of_it = {s.sample_id for _, s in everything if label in s.metadata["exclusion_groups"].split(";")}
    gone = excluded([Chosen(study, section) for study, section in everything], [label])
    # A study with a section of unknown donor is one group.
    blind = {study.study_id for study, section in everything if section.metadata["donor_id"] == "unknown"}
    studies = [{s.sample_id for study, s in everything if study.study_id == name} for name in blind]
    graph = nx.Graph()
    for group in [*related(everything), *studies]:
        nx.add_path(graph, sorted(group))
        graph.add_nodes_from(group)
    expected = {name for group in nx.connected_components(graph) if group & of_it for name in group}
    assert gone == expected
    assert of_it <= gone < {section.sample_id for _, section in everything}


def test_a_slide_is_on_one_side(everything: list[tuple[Study, Section]], assignment: Assignment) -> None:
    slides: dict[str, set[str]] = {}
    for _, section in everything:
        if section.slide:
            slides.setdefault(section.slide, set()).add(assignment.group[section.sample_id])
    assert len(slides) > 10
    assert all(len(groups) == 1 for groups in slides.values())


@pytest.mark.real
def test_the_27_known_pairs_are_together(
    everything: list[tuple[Study, Section]], assignment: Assignment, facts: dict[str, Any]
) -> None:
    of_hest = {section.metadata["xref_hest"]: section.sample_id for _, section in everything}
    kinds = ("same section twice", "one image, two assays", "one section, two depths")
    known = [group for group in facts["duplicates"] if group["kind"] in kinds]
    pairs = [pair for group in known for pair in zip(group["a"], group["b"], strict=True)]
    assert {("TENX182", "TENX183"), ("TENX184", "TENX185")} <= set(pairs)
    together = [
        pair for pair in pairs if len({(assignment.split[of_hest[n]], assignment.group[of_hest[n]]) for n in pair}) == 1
    ]
    assert (len(together), len(pairs)) == (27, 27)


@pytest.mark.real
def test_size_and_number_of_spots_join_nobody(
    everything: list[tuple[Study, Section]], facts: dict[str, Any], real_data: Path
) -> None:
    """MEND96 and NCBI662 have one image size and nearly as many spots; one is human, the other a mouse."""
    false = next(group for group in facts["duplicates"] if group["kind"] == "dims match but different sections")
    with (real_data.parent / "facts" / "hest_crossstudy_dups.csv").open(encoding="utf-8") as handle:
        row = next(row for row in csv.DictReader(handle) if [row["id_1"], row["id_2"]] == [*false["a"], *false["b"]])
    study, like = next(pair for pair in everything if pair[0].platform == "visium")
    members = []
    for side in ("1", "2"):
        metadata = {**like.metadata, "donor_id": "unknown", "block_id": "unknown", "known_duplicates": ""}
        metadata["xref_hest"] = row[f"id_{side}"]
        section = replace(
            like,
            sample_id=f"sample_{side}",
            sources=(),
            slide=None,
            metadata=metadata,
            spots_under_tissue=int(row[f"spots_under_tissue_{side}"]),
        )
        members.append(section_member(replace(study, study_id=row[f"dataset_title_{side}"]), section))
    assert len(group_sections(members, Findings())) == 2
    twins = [replace(member, keys=(*member.keys, "image:the same")) for member in members]
    assert len(group_sections(twins, Findings())) == 1, "the same image would join them"
