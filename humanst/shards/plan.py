"""``plan.json``: which sections, from which inputs, into which split, with which parameters; no row a pair.

A plan is made from the catalog alone and is small. Whoever holds it and the same catalog can do any part of the build.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from humanst import files
from humanst.builder import BUILD_VERSION, axis_hash, store_path
from humanst.builder.steps import section_recipe
from humanst.catalog import Section, Study
from humanst.errors import HumanstError, UsageError
from humanst.findings import Finding, Findings
from humanst.harmonize.gene_table import load_gene_table
from humanst.shards.grouping import Chosen, section_member
from humanst.shards.request import ReleaseRequest
from humanst.shards.spec import EXTRACT_VERSION
from humanst.splits import SPLITS, Member, assign_splits
from humanst.store import read_attrs, read_card


@dataclass(frozen=True, slots=True)
class PlannedSection:
    """One section of a plan.

    Attributes
    ----------
    inputs
        Hash of all that its patches and targets are made from, as far as it is on record: digests of its files, recipe,
        parameters.
    record
        Hash of what else the release says of it: its row of samples.csv, its licences.
    expected_pairs, expected_from
        Spots to expect, from the ``store`` where there is one, else the ``catalog``; ``None`` where neither says.
    """

    study_id: str
    section_id: str
    sample_id: str
    inputs: str
    record: str
    group: str
    split: str
    release_added: str
    expected_pairs: int | None
    expected_from: str | None

    def member(self) -> Member:
        """The section as far as its age goes."""
        return Member(self.sample_id, self.study_id, "unknown", self.release_added)


@dataclass(frozen=True, slots=True)
class Plan:
    """Sections with their splits, and what cannot be among them.

    Attributes
    ----------
    sections
        By ``sample_id``.
    left_out
        ``(sample_id, error)`` of sections that would join groups of different splits.
    findings
        Warnings about groups and splits.
    """

    sections: tuple[PlannedSection, ...]
    left_out: tuple[tuple[str, HumanstError], ...] = ()
    findings: tuple[Finding, ...] = ()


def make_plan(request: ReleaseRequest) -> Plan:
    """Group the sections of a request and give every group its split, from what is on record.

    Raises
    ------
    DataError
        ``leakage`` when the assignment puts members of one group on different sides.
    UsageError
        When it names a donor or section that is not on record; for a section that a release to be like does not have.
    """
    findings = Findings()
    everyone = {item.section.sample_id: item for item in (*request.related, *request.chosen)}
    chosen = {item.section.sample_id: item for item in request.chosen}
    if request.like is None:
        assignment = assign_splits(
            [section_member(item.study, item.section) for item in everyone.values()],
            findings,
            assigned=dict(request.spec.assigned),
            shares=request.spec.shares,
            present=frozenset(chosen),
        )
    else:
        assignment = request.like.assignment(chosen)
    axes = _axes(chosen[name] for name in assignment.split)
    constant = _constant_inputs(request)
    sections = [
        PlannedSection(
            study_id=chosen[name].study.study_id,
            section_id=chosen[name].section.section_id,
            sample_id=name,
            inputs=_inputs_hash(chosen[name], axes, request, constant),
            record=record_hash(chosen[name]),
            group=assignment.group[name],
            split=assignment.split[name],
            release_added=chosen[name].section.metadata.get("release_added", ""),
            **_expected(chosen[name].section, request.work),
        )
        for name in sorted(assignment.split)
    ]
    return Plan(tuple(sections), tuple(assignment.left_out.items()), tuple(findings))


def _constant_inputs(request: ReleaseRequest) -> dict[str, Any]:
    if request.tissue is not None and not request.tissue.is_file():
        raise UsageError(
            "The outline of the tissue is not there",
            file=request.tissue.name,
            field="--tissue",
            expected=str(request.tissue),
            found="no such file",
            done="Nothing was written",
            todo="Put it there on this machine too, or make the plan again",
        )
    record = request.spec.choice.record()
    return {
        "versions": [BUILD_VERSION, EXTRACT_VERSION],
        "patch": asdict(request.spec.patch),
        "gene_sets": request.spec.gene_sets_sha256,
        "tissue": None if request.tissue is None else files.sha256_file(request.tissue),
        "embed_image": request.embed_image,
        "qc": dict(request.qc),
        "gene_table": load_gene_table().sha256,
        **({"pathways": record} if record else {}),
    }


def _axes(chosen: Iterable[Chosen]) -> dict[str, str]:
    """study_id -> hash of what its gene axis depends on, where that is a union over its tables."""
    asked: dict[str, tuple[Study, list[str]]] = {}
    for item in chosen:
        asked.setdefault(item.study.study_id, (item.study, []))[1].append(item.section.sample_id)
    return {
        study_id: axis_hash(study, names)
        for study_id, (study, names) in asked.items()
        if study.recipe.absent_genes == "zero"
    }


def _inputs_hash(item: Chosen, axes: Mapping[str, str], request: ReleaseRequest, constant: Mapping[str, Any]) -> str:
    recipe = section_recipe(item.study, item.section, request.pool_like)
    facts = {
        **constant,
        "sample_id": item.section.sample_id,
        "files": [asdict(source) for source in item.section.sources],
        "recipe": recipe.to_dict(),
        # A gene axis that is a union over tables depends on all of them, those of sections not asked for too.
        "axis": axes.get(item.study.study_id),
    }
    return hashlib.sha256(files.canonical_json(facts)).hexdigest()


def record_hash(item: Chosen) -> str:
    """Hash of what a release says of a section beside its pairs."""
    facts = {
        "metadata": dict(item.section.metadata),
        "names": sorted(item.section.names),
        "slide": item.section.slide,
        "platform": item.study.platform,
        "licenses": item.study.licenses(item.section),
    }
    return hashlib.sha256(files.canonical_json(facts)).hexdigest()


def _expected(section: Section, work: Path) -> dict[str, Any]:
    store = store_path(work, section.sample_id)
    if read_card(store) is not None:
        return {"expected_pairs": int(read_attrs(store)["spots_out"]), "expected_from": "store"}
    known = section.spots_under_tissue
    return {"expected_pairs": known, "expected_from": None if known is None else "catalog"}


def plan_totals(plan: Plan) -> dict[str, Any]:
    """Counts over a plan: in all, and by split."""
    rows = {"all": list(plan.sections)} | {
        name: [section for section in plan.sections if section.split == name] for name in SPLITS
    }
    return {
        name: {
            "sections": len(sections),
            "groups": len({section.group for section in sections}),
            "expected_pairs": sum(section.expected_pairs or 0 for section in sections),
            "sections_without_number": sum(section.expected_pairs is None for section in sections),
        }
        for name, sections in rows.items()
    }


def chosen_of(plan: Plan, studies: Mapping[str, Study]) -> tuple[Chosen, ...]:
    """The sections of a plan as the catalog has them.

    Raises
    ------
    UsageError
        ``plan-outdated`` for a section that is not on record any more; :func:`check_current` sees what changed.
    """
    found = []
    for row in plan.sections:
        study = studies.get(row.study_id)
        section = next((one for one in study.sections if one.section_id == row.section_id), None) if study else None
        if study is None or section is None:
            raise _outdated(row, "a section on record", "no such section")
        found.append(Chosen(study, section))
    return tuple(found)


def check_current(plan: Plan, request: ReleaseRequest) -> None:
    """Ask that the catalog still says what it said when the plan was made.

    Raises
    ------
    UsageError
        ``plan-outdated``, naming the first section for which it does not.
    """
    constant = _constant_inputs(request)
    chosen = {item.section.sample_id: item for item in request.chosen}
    axes = _axes(chosen[row.sample_id] for row in plan.sections)
    for row in plan.sections:
        inputs = _inputs_hash(chosen[row.sample_id], axes, request, constant)
        found = (inputs, record_hash(chosen[row.sample_id]))
        if found != (row.inputs, row.record):
            what = "its files, recipe or parameters" if found[0] != row.inputs else "its record"
            raise _outdated(row, f"{what} as planned", "another hash")


def _outdated(row: PlannedSection, expected: str, found: str) -> UsageError:
    return UsageError(
        "The plan was made from another catalog",
        code="plan-outdated",
        study=row.study_id,
        section=row.section_id,
        expected=expected,
        found=found,
        done="Nothing was written",
        todo="Make the plan again with `humanst plan`; what was extracted from unchanged inputs is used again",
    )
