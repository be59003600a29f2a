"""What a validation says of one item: its findings, and whether they refuse it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from humanst.findings import Finding, Findings, Severity

SEVERITIES: tuple[Severity, ...] = ("note", "warn", "refuse")
Kind = Literal["section store", "SpatialData", "vendor files", "unknown"]


@dataclass(frozen=True, slots=True)
class Report:
    """One item that was validated.

    Attributes
    ----------
    item
        What messages call it: a path, with the section's id where the path holds several.
    kind
        What it turned out to be.
    findings
        All that was seen, in the order of the checks.
    """

    item: str
    kind: Kind
    findings: Findings

    @property
    def refused(self) -> bool:
        """Whether anything refuses the item."""
        return self.findings.refused

    @property
    def verdict(self) -> str:
        """``passes`` or ``refused``."""
        return "refused" if self.refused else "passes"

    def at_least(self, severity: Severity) -> list[Finding]:
        """The findings of this severity and worse, in order, each once."""
        wanted = SEVERITIES[SEVERITIES.index(severity) :]
        return list(dict.fromkeys(finding for finding in self.findings if finding.severity in wanted))

    def reasons(self) -> list[str]:
        """Codes that decide the verdict: of the refusals, else of the warnings; each once, sorted."""
        refusals = self.findings.of("refuse") or self.findings.of("warn")
        return sorted({finding.facts.code for finding in refusals})

    def to_dict(self, severity: Severity = "note") -> dict[str, Any]:
        """The report as plain data."""
        return {
            "item": self.item,
            "kind": self.kind,
            "verdict": self.verdict,
            "reasons": self.reasons(),
            "findings": [finding.to_dict() for finding in self.at_least(severity)],
        }


def not_checkable(findings: Findings, field: str, why: str) -> None:
    """Name a check that an item does not carry enough for."""
    findings.note("not-checkable", "This could not be checked", field=field, found=why)
