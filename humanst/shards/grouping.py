"""Which sections belong together, which split each goes to, and what a pair says of its section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from humanst.catalog import Section, Study
from humanst.findings import Findings
from humanst.shards.extract import Extracted
from humanst.shards.pack import SectionFacts
from humanst.shards.spec import ReleaseSpec, organ_codes
from humanst.splits import Assignment, Member, assign_splits


@dataclass(frozen=True, slots=True)
class Chosen:
    """One section that the release is asked to hold."""

    study: Study
    section: Section


def assign_sections(
    extracts: Sequence[Extracted], chosen: Mapping[str, Chosen], spec: ReleaseSpec, findings: Findings
) -> Assignment:
    """Give every section a group and a split; refuse an assignment that splits a group.

    Raises
    ------
    DataError
        ``leakage``, before any shard is written.
    """
    members = [_member(extract, chosen[extract.sample_id]) for extract in extracts]
    return assign_splits(members, findings, assigned=dict(spec.assigned), shares=spec.shares)


def _member(extract: Extracted, item: Chosen) -> Member:
    row = item.section.metadata
    picture = extract.card["section"]["picture"]
    keys = [f"image:{picture['source_sha256']}"] if picture else []
    if row.get("block_id", "unknown") not in ("", "unknown"):
        keys.append(f"block:{item.study.study_id}:{row['block_id']}")
    duplicates = tuple(name for name in row.get("known_duplicates", "").split(";") if name and name != "none")
    return Member(
        sample_id=extract.sample_id,
        study_id=item.study.study_id,
        donor_id=row.get("donor_id", "unknown"),
        release_added=row.get("release_added", ""),
        keys=tuple(keys),
        duplicates=duplicates,
    )


def section_facts(
    extracts: Sequence[Extracted], chosen: Mapping[str, Chosen], assignment: Assignment
) -> dict[str, SectionFacts]:
    """What the pairs of each section say of it, by sample_id; organ codes are those of this release."""
    organs = {extract.sample_id: chosen[extract.sample_id].section.metadata["organ"] for extract in extracts}
    codes = organ_codes(organs)
    return {
        sample_id: SectionFacts(
            sample_id=sample_id,
            study_id=chosen[sample_id].study.study_id,
            split=assignment.split[sample_id],
            donor_group=assignment.group[sample_id],
            organ=organ,
            organ_code=codes[organ],
            disease=chosen[sample_id].section.metadata["disease"],
            platform=chosen[sample_id].study.platform,
        )
        for sample_id, organ in organs.items()
    }
