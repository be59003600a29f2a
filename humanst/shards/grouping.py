"""Which sections belong together, which split each goes to, and what a pair says of its section."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from humanst.catalog import Section, Study
from humanst.errors import DataError
from humanst.shards.extract import Extracted
from humanst.shards.pack import SectionFacts
from humanst.shards.spec import organ_codes
from humanst.splits import Assignment, Member, is_unknown, joined_to


@dataclass(frozen=True, slots=True)
class Chosen:
    """One section that the release is asked to hold."""

    study: Study
    section: Section


def section_member(study: Study, section: Section) -> Member:
    """A section as the grouping sees it, from what is on record.

    Sections that share a name of :attr:`humanst.catalog.Section.names` are the same tissue, whoever wrote it down.
    """
    row, source = section.metadata, section.source("image")
    # Digests of a member are those of its archive, which holds other sections too.
    whole = source is not None and source.member is None
    images = {source.md5, source.sha256} if source and whole else set()
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


def exclusion_groups(section: Section) -> frozenset[str]:
    """The test sets of others (``hest_bench``, ...) that a section belongs to."""
    return frozenset(name for name in section.metadata.get("exclusion_groups", "").split(";") if name)


def excluded(everyone: Iterable[Chosen], labels: Collection[str]) -> frozenset[str]:
    """``sample_id`` of the sections of these exclusion groups, and of all that are joined to them."""
    found = list(everyone)
    names = {item.section.sample_id for item in found if exclusion_groups(item.section) & set(labels)}
    return joined_to([section_member(item.study, item.section) for item in found], names)


def section_facts(
    extracts: Sequence[Extracted],
    chosen: Mapping[str, Chosen],
    assignment: Assignment,
    organs_before: Mapping[str, int] | None = None,
) -> dict[str, SectionFacts]:
    """What the pairs of each section say of it, by sample_id.

    Parameters
    ----------
    organs_before
        Organ -> label, of a release that this one is like; without it, labels follow from the organs that are in.

    Raises
    ------
    DataError
        ``unknown-organ`` for an organ that has no label there.
    """
    organs = {extract.sample_id: chosen[extract.sample_id].section.metadata["organ"] for extract in extracts}
    codes = organ_codes(organs) if organs_before is None else organs_before
    for sample_id, organ in organs.items():
        if organ not in codes:
            raise DataError(
                "This organ has no label in the release that this one is to be like",
                code="unknown-organ",
                section=sample_id,
                field="organ",
                expected=", ".join(codes),
                found=organ,
                done="No shard was written",
                todo="Use the catalog that the release was built from",
            )
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
