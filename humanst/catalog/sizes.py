"""How much a choice of sections would download: known bytes, and how many files state none. Shared files count once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from humanst.catalog.records import Section, Source, Study


@dataclass(frozen=True, slots=True)
class Sizes:
    """Distinct files, bytes of those whose size is on record, and how many have none on record."""

    files: int
    bytes: int
    unknown: int


def sizes(pairs: Iterable[tuple[Study, Section]], *, license_id: str | None = None) -> Sizes:
    """Add up the files of sections; an archive that several of them share is downloaded once and counted once.

    Parameters
    ----------
    pairs
        Sections with their studies.
    license_id
        Only files under this licence.
    """
    found: dict[tuple[str, str], Source] = {}
    for study, section in pairs:
        for source in section.sources:
            if license_id is None or (source.license or study.license) == license_id:
                found[(study.study_id, source.path)] = source
    known = [source.bytes for source in found.values() if source.bytes is not None]
    return Sizes(len(found), sum(known), len(found) - len(known))
