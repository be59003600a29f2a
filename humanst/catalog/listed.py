"""Studies on record alone: no sections of theirs are known one by one, so that nothing can be fetched or built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from humanst.catalog.licenses import is_redistributable
from humanst.errors import UsageError


@dataclass(frozen=True, slots=True)
class ListedStudy:
    """A study on record whose sections humanst cannot fetch and does not know one by one.

    Attributes
    ----------
    platform, organ
        ``unknown`` where no source that may be copied names them.
    n_sections
        How many sections it has; ``None`` where no such source counts them.
    source
        Where the study was seen.
    exclusion_groups
        Of all its sections.
    xref_hest
        Its ids in HEST, as ``SPA0-3``.
    """

    study_id: str
    title: str
    platform: str
    organ: str
    license: str
    license_source: str
    n_sections: int | None
    source: str
    doi: str | None = None
    accessions: Mapping[str, str] = field(default_factory=dict)
    exclusion_groups: tuple[str, ...] = ()
    xref_hest: str = ""

    @property
    def redistributable(self) -> bool:
        """Whether derived data may be passed on: not under NC, ND or an unknown licence."""
        return is_redistributable(self.license)

    @property
    def citation(self) -> str:
        """Its title and the best public pointer to it."""
        pointer = f"https://doi.org/{self.doi}" if self.doi else next(iter(self.accessions.values()), "")
        return f"{self.title}. {pointer}".strip()


def without_files(study_id: str, names: Sequence[str]) -> UsageError:
    """The error for sections on record that have no files: what they are, and what can be done instead."""
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return UsageError(
        "No file of these sections is on record, so that nothing can be fetched or built"
        if len(names) > 1
        else "No file of this section is on record, so that nothing can be fetched or built",
        code="listed-section",
        study=study_id,
        section=shown,
        expected="sections with files",
        found="status listed: nobody saw their addresses",
        todo="`humanst info` shows where the study is; a lab's own copy builds from its folder with --recipe",
    )


def listed_study(study_id: str, document: Mapping[str, Any]) -> ListedStudy:
    """A listed study from plain data that keeps to ``schemas/catalog.yaml``."""
    return ListedStudy(
        study_id=study_id,
        title=document["title"],
        platform=document["platform"],
        organ=document["organ"],
        license=document["license"],
        license_source=document["license_source"],
        n_sections=document["n_sections"],
        source=document["source"],
        doi=document.get("doi"),
        accessions=document.get("accessions", {}),
        exclusion_groups=tuple(document.get("exclusion_groups", ())),
        xref_hest=document.get("xref_hest", ""),
    )
