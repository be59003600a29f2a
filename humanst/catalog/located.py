"""Findings about files, each with its line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from humanst.findings import Finding


@dataclass(frozen=True, slots=True)
class LocatedFinding:
    """A finding and the line of its file; ``None`` where the whole file is meant."""

    finding: Finding
    line: int | None

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain data, with its ``line``."""
        return {**self.finding.to_dict(), "line": self.line}

    def text(self) -> str:
        """``file:line: severity code field: found X; expected Y``, as compilers write it."""
        facts = self.finding.facts
        place = f"{facts.file}:{self.line}" if self.line else str(facts.file)
        field = f" {facts.field}:" if facts.field else ""
        expected = f"; expected {facts.expected}" if facts.expected else ""
        said = f"found {facts.found}{expected}" if facts.found is not None else ""
        return f"{place}: {self.finding.severity} {facts.code}{field} {facts.what}. {said}".rstrip(". ")


@dataclass(frozen=True, slots=True)
class CatalogReport:
    """What was checked (``files``: how many) and all that was found, by file and line."""

    files: int
    findings: tuple[LocatedFinding, ...]

    @property
    def refused(self) -> bool:
        """Whether anything is wrong; warnings are not."""
        return any(item.finding.severity == "refuse" for item in self.findings)


def counts(report: CatalogReport) -> Iterator[tuple[str, int]]:
    """Severity and how many findings have it, the worst first."""
    found = Counter(item.finding.severity for item in report.findings)
    yield from ((severity, found[severity]) for severity in ("refuse", "warn", "note") if found[severity])


def without_echoes(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Findings of a document, a misspelled field once: as the unknown one, not as the missing one too."""
    known = list(findings)
    unknown: dict[str, list[str]] = {}
    for finding in known:
        if finding.facts.code == "unknown-field":
            place, _, name = (finding.facts.field or "").rpartition(".")
            unknown.setdefault(place, []).append(name)
    for finding in known:
        place, _, name = (finding.facts.field or "").rpartition(".")
        if finding.facts.code == "missing-field" and get_close_matches(name, unknown.get(place, []), n=1, cutoff=0.7):
            continue
        yield finding
