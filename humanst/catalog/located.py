"""Findings about files, each with its line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

from humanst.errors import DataError, Facts, HumanstError
from humanst.findings import Finding

_LINE = re.compile(r"\bline (\d+)")


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
    """Findings of a document or table, a misspelled name once: as the unknown one, not as the missing one too."""
    known = list(findings)
    unknown: dict[str, list[str]] = {}
    for finding in known:
        if finding.facts.code in ("unknown-field", "unknown-column"):
            place, _, name = (finding.facts.field or "").rpartition(".")
            unknown.setdefault(place, []).append(name)
    for finding in known:
        place, _, name = (finding.facts.field or "").rpartition(".")
        missing = finding.facts.code in ("missing-field", "missing-column")
        if missing and get_close_matches(name, unknown.get(place, []), n=1, cutoff=0.7):
            continue
        yield finding


class Log:
    """All that one run of checks finds, each finding with its line where it has one."""

    def __init__(self) -> None:
        self.found: list[LocatedFinding] = []

    def put(self, finding: Finding, line: int | None = None) -> None:
        """Keep a finding; without a line, that which its field names (``line 12``)."""
        said = _LINE.search(finding.facts.field or "")
        self.found.append(LocatedFinding(finding, line or (int(said[1]) if said else None)))

    def tell(
        self,
        code: str,
        what: str,
        *,
        file: str,
        line: int | None = None,
        severity: Literal["refuse", "warn"] = "refuse",
        **where_and_why: str | None,
    ) -> None:
        """Keep what is said here; the other words are fields of :class:`~humanst.errors.Facts`."""
        self.put(Finding(severity, Facts(what, code, file=file, **where_and_why)), line)

    def absorb(self, error: HumanstError, file: str, lines: Callable[[str | None], int] | None = None) -> None:
        """Keep an error and all it carries as refusals; ``lines`` tells the line of a field."""
        for fact in (error.facts, *(error.also if isinstance(error, DataError) else ())):
            located = replace(fact, file=fact.file or file)
            self.put(Finding("refuse", located), None if lines is None else lines(located.field))

    def of(self, file: str) -> list[Finding]:
        """The findings about one file."""
        return [item.finding for item in self.found if item.finding.facts.file == file]
