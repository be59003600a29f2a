"""How large the atlas is, counted from what is on record: sections and expected pairs by platform, organ and licence.

A pair is a spot under tissue. Only numbers that a study's own page states are added up; sections without one are
counted apart, and nothing is estimated. Sections that were processed again are counted once, in their newest version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from humanst.catalog.listed import ListedStudy
from humanst.catalog.records import Section, Study

BY = ("platform", "organ", "license")


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of one value, such as ``visium``.

    Attributes
    ----------
    studies, sections
        With sections on record; deprecated sections are not counted.
    distinct_sections
        Sections, each piece of tissue counted once however often it was published.
    fetchable_sections
        Those with a public address.
    expected_pairs
        Spots under tissue of the sections that state a number.
    sections_without_number
        The sections that state none.
    redistributable_sections, redistributable_pairs
        Of these, what may be passed on.
    listed_studies, listed_sections
        Studies without sections on record, and how many sections they are known to have.
    listed_without_number
        Listed studies for which nobody counted.
    """

    value: str
    studies: int
    sections: int
    distinct_sections: int
    fetchable_sections: int
    expected_pairs: int
    sections_without_number: int
    redistributable_sections: int
    redistributable_pairs: int
    listed_studies: int
    listed_sections: int
    listed_without_number: int

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain data."""
        return asdict(self)


def totals(pairs: Sequence[tuple[Study, Section]], listed: Iterable[ListedStudy] = ()) -> dict[str, tuple[Totals, ...]]:
    """Count sections and expected pairs.

    Parameters
    ----------
    pairs
        Sections with their studies.
    listed
        Studies without sections, counted apart.

    Returns
    -------
    dict
        ``platform``, ``organ`` and ``license`` -> one :class:`Totals` a value, most sections first; ``all`` -> one.
    """
    living = [(study, section) for study, section in pairs if section.status != "deprecated"]
    apart = list(listed)
    keys: dict[str, tuple[Callable[[Study, Section], str], Callable[[ListedStudy], str]]] = {
        "platform": (lambda study, _: study.platform, lambda one: one.platform),
        "organ": (lambda _, section: section.metadata.get("organ", "unknown"), lambda one: one.organ),
        "license": (lambda study, _: study.license, lambda one: one.license),
        "all": (lambda *_: "all", lambda _: "all"),
    }
    return {name: _by(living, apart, *functions) for name, functions in keys.items()}


def _by(
    pairs: Sequence[tuple[Study, Section]],
    listed: Sequence[ListedStudy],
    of_section: Callable[[Study, Section], str],
    of_listed: Callable[[ListedStudy], str],
) -> tuple[Totals, ...]:
    values = {of_section(*pair) for pair in pairs} | {of_listed(one) for one in listed}
    rows = [
        _count(
            value,
            [pair for pair in pairs if of_section(*pair) == value],
            [one for one in listed if of_listed(one) == value],
        )
        for value in values
    ]
    return tuple(sorted(rows, key=lambda row: (-row.sections, -row.listed_sections, row.value)))


def _count(value: str, pairs: Sequence[tuple[Study, Section]], listed: Sequence[ListedStudy]) -> Totals:
    free = [section for study, section in pairs if study.may_pass_on(section)]
    return Totals(
        value=value,
        studies=len({study.study_id for study, _ in pairs}),
        sections=len(pairs),
        distinct_sections=count_distinct(section for _, section in pairs),
        fetchable_sections=sum(section.fetchable for _, section in pairs),
        expected_pairs=sum(section.spots_under_tissue or 0 for _, section in pairs),
        sections_without_number=sum(section.spots_under_tissue is None for _, section in pairs),
        redistributable_sections=len(free),
        redistributable_pairs=sum(section.spots_under_tissue or 0 for section in free),
        listed_studies=len(listed),
        listed_sections=sum(one.n_sections or 0 for one in listed),
        listed_without_number=sum(one.n_sections is None for one in listed),
    )


def count_distinct(sections: Iterable[Section]) -> int:
    """How many pieces of tissue these sections are: sections that share a name are one."""
    groups: list[set[str]] = []
    for section in sections:
        names = set(section.names)
        apart = []
        for group in groups:
            if names.isdisjoint(group):
                apart.append(group)
            else:
                names |= group
        groups = [*apart, names]
    return len(groups)
