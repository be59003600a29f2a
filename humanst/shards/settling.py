"""What goes into a release, once all its sections are read.

Groups are final here: what reading the sections showed joins groups of one split, leaves a newcomer out, or stops the
build (:func:`humanst.splits.join_found`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from humanst import files
from humanst.errors import HumanstError, InterruptedRun
from humanst.findings import Finding, Findings
from humanst.shards.done import SectionDone
from humanst.shards.extract import Extracted
from humanst.shards.grouping import section_facts
from humanst.shards.identity import links_between
from humanst.shards.pack import SectionFacts
from humanst.shards.plan import Plan
from humanst.shards.request import ReleaseRequest
from humanst.shards.spec import PACK_VERSION, ReleaseSpec
from humanst.splits import Assignment, join_found, require_no_crossing, warn_of_empty_splits


@dataclass(frozen=True, slots=True)
class Settled:
    """What goes into a release, once all sections are read.

    Attributes
    ----------
    extracts, facts
        The sections that are in, by sample_id.
    failures
        The others, with their reasons.
    """

    extracts: tuple[Extracted, ...]
    facts: Mapping[str, SectionFacts]
    failures: tuple[tuple[str, HumanstError], ...]
    findings: tuple[Finding, ...]

    def inputs(self, spec: ReleaseSpec) -> str:
        """Hash of all that the shards are made from."""
        content = {
            "pack_version": PACK_VERSION,
            "seed": spec.seed,
            "shard_pairs": spec.shard_pairs,
            "extracts": [[extract.sample_id, extract.card["inputs"]] for extract in self.extracts],
            "facts": [asdict(self.facts[extract.sample_id]) for extract in self.extracts],
        }
        return hashlib.sha256(files.canonical_json(content)).hexdigest()


def settle(request: ReleaseRequest, plan: Plan, done: Mapping[str, SectionDone]) -> Settled:
    """Take the sections that were extracted, with their final groups.

    Raises
    ------
    InterruptedRun
        When sections of the plan were never reached.
    DataError
        ``leakage`` when sections of different splits turn out to be the same tissue, or a plan splits a group.
    """
    missing = [section.sample_id for section in plan.sections if section.sample_id not in done]
    if missing:
        raise InterruptedRun(
            f"{len(missing)} of {len(plan.sections)} sections were not extracted",
            code="not-extracted",
            expected="a card in done/ for every section of the plan",
            found=f"none for {', '.join(missing[:5])}" + (", ..." if len(missing) > 5 else ""),
            done="No shard was written",
            todo="Run the extract stage again with --retry-failed: it does these and those that failed",
        )
    extracted = {name: item.extracted for name, item in sorted(done.items()) if item.extracted is not None}
    failures = [(name, item.error) for name, item in sorted(done.items()) if item.error is not None]
    assignment = _final_groups(plan, extracted)
    require_no_crossing(assignment)
    here = tuple(extract for name, extract in extracted.items() if name in assignment.split)
    left_out = {**dict(plan.left_out), **assignment.left_out}
    chosen = {item.section.sample_id: item for item in request.chosen}
    return Settled(
        here,
        section_facts(here, chosen, assignment, request.like.organs if request.like else None) if here else {},
        tuple(sorted([*failures, *left_out.items()], key=lambda item: item[0])),
        tuple(_findings(plan, here, assignment)),
    )


def _final_groups(plan: Plan, extracted: Mapping[str, Extracted]) -> Assignment:
    rows = [section for section in plan.sections if section.sample_id in extracted]
    planned = Assignment({row.sample_id: row.group for row in rows}, {row.sample_id: row.split for row in rows})
    links = links_between({name: extract.card["identity"] for name, extract in extracted.items()})
    return join_found(planned, [row.member() for row in rows], links)


def _findings(plan: Plan, here: Sequence[Extracted], assignment: Assignment) -> Findings:
    """Warnings that are about the sections of the release, whatever else was planned."""
    studies = {extract.card["section"]["study_id"] for extract in here}
    findings = Findings()
    findings.extend(
        found for found in plan.findings if found.facts.code != "empty-split" and found.facts.study in studies
    )
    warn_of_empty_splits(assignment.split.values(), findings)
    _warn_of_codecs(here, findings)
    return findings


def _warn_of_codecs(here: Sequence[Extracted], findings: Findings) -> None:
    """Machines with other codecs cut other bytes from the same section; the manifest names one version of each."""
    versions: dict[str, list[str]] = {}
    for extract in here:
        text = ", ".join(f"{name} {version}" for name, version in sorted(extract.card["codecs"].items()))
        versions.setdefault(text, []).append(extract.sample_id)
    if len(versions) > 1:
        findings.warn(
            "codecs-differ",
            "Sections were cut with different versions of the image codecs",
            expected="one version on all machines, for the same bytes everywhere",
            found="; ".join(f"{text} ({len(names)} sections)" for text, names in sorted(versions.items())),
            done="The manifest names the versions of the first section",
            todo="Install the same versions everywhere and build again",
        )
