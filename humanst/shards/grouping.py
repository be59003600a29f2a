"""Which sections belong together, which split each goes to, and what a pair says of its section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from humanst.catalog import Section, Study
from humanst.findings import Findings
from humanst.shards.extract import Extracted
from humanst.shards.pack import SectionFacts
from humanst.shards.spec import ReleaseSpec, organ_codes
from humanst.splits import Assignment, Member, assign_splits, is_unknown


@dataclass(frozen=True, slots=True)
class Chosen:
    """One section that the release is asked to hold."""

    study: Study
    section: Section


def assign_sections(
    extracts: Sequence[Extracted],
    chosen: Sequence[Chosen],
    related: Sequence[Chosen],
    spec: ReleaseSpec,
    findings: Findings,
) -> Assignment:
    """Give every section a group and a split; refuse an assignment that splits a group.

    Groups are made over ``related``, all sections on record, and those of folders that are in no catalog: a section's
    split does not depend on what else was built.

    Raises
    ------
    DataError
        ``leakage``, before any shard is written.
    UsageError
        When the assignment names a donor or section that is not on record.
    """
    pictures = {extract.sample_id: extract.card["section"]["picture"] for extract in extracts}
    everyone = {item.section.sample_id: item for item in (*related, *chosen)}
    members = [
        section_member(item.study, item.section, pictures.get(sample_id)) for sample_id, item in everyone.items()
    ]
    present = frozenset(pictures)
    return assign_splits(members, findings, assigned=dict(spec.assigned), shares=spec.shares, present=present)


def section_member(study: Study, section: Section, picture: Mapping[str, str] | None = None) -> Member:
    """A section as the grouping sees it.

    Sections that share a name of :attr:`humanst.catalog.Section.names` are the same tissue, whoever wrote it down.

    Parameters
    ----------
    picture
        What extraction found of its image (``source_sha256``), where it was extracted.
    """
    row, source = section.metadata, section.source("image")
    # Digests of a member are those of its archive, which holds other sections too.
    whole = source is not None and source.member is None
    images = {source.md5, source.sha256} if source and whole else set()
    images |= {picture["source_sha256"] if picture else None}
    keys = [f"image:{digest}" for digest in sorted(images - {None, ""}, key=str)]
    if not is_unknown(row.get("block_id", "")):
        keys.append(f"block:{study.study_id}:{row['block_id']}")
    if section.slide is not None and not is_unknown(section.slide):
        keys.append(f"slide:{section.slide}")
    duplicates = tuple(name for name in row.get("known_duplicates", "").split(";") if not is_unknown(name))
    return Member(
        sample_id=section.sample_id,
        study_id=study.study_id,
        donor_id=row.get("donor_id", "unknown"),
        release_added=row.get("release_added", ""),
        keys=(*keys, *(f"same:{name}" for name in sorted(section.names))),
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
