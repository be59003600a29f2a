"""Findings: what a check saw, collected so that every fault is reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from humanst.errors import DataError, Facts

Severity = Literal["refuse", "warn", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One observation of a check: how bad, and the facts an error would carry.

    Attributes
    ----------
    severity
        ``refuse`` stops the section, ``warn`` is carried with it, ``note`` records a fact (a drop, a choice).
    facts
        What, where, expected, found, done, todo.
    """

    severity: Severity
    facts: Facts

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain data: ``severity`` and the fields of :class:`~humanst.errors.Facts`."""
        return {"severity": self.severity, **asdict(self.facts)}

    def line(self) -> str:
        """``severity code where: found X, expected Y``: one line of a text report."""
        return f"{self.severity} {self.facts.code} {self.facts.sentence()}"

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Finding:
        """Read back what :meth:`to_dict` wrote."""
        fields = dict(data)
        return cls(severity=fields.pop("severity"), facts=Facts(**fields))


@dataclass(slots=True)
class Findings:
    """An ordered collection of findings for one section (or one document).

    ``study``, ``section`` and ``file`` are filled into each finding that does not say otherwise.
    """

    study: str | None = None
    section: str | None = None
    file: str | None = None
    items: list[Finding] = field(default_factory=list)

    def _add(self, severity: Severity, code: str, what: str, **where_and_why: Any) -> None:
        where = {"study": self.study, "section": self.section, "file": self.file, **where_and_why}
        texts = {key: None if value is None else str(value) for key, value in where.items()}
        self.items.append(Finding(severity, Facts(what=what, code=code, **texts)))

    def refuse(self, code: str, what: str, **where_and_why: Any) -> None:
        """Add a finding that stops the section; without a ``todo`` it has that of every :class:`DataError`."""
        self._add("refuse", code, what, **{"todo": DataError.default_todo, **where_and_why})

    def warn(self, code: str, what: str, **where_and_why: Any) -> None:
        """Add a finding that the section carries with it."""
        self._add("warn", code, what, **where_and_why)

    def note(self, code: str, what: str, **where_and_why: Any) -> None:
        """Record a fact that is neither good nor bad, such as a named drop."""
        self._add("note", code, what, **where_and_why)

    def extend(self, more: Iterable[Finding]) -> None:
        """Append findings made elsewhere."""
        self.items.extend(more)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def of(self, severity: Severity) -> list[Finding]:
        """The findings of one severity, in order."""
        return [finding for finding in self.items if finding.severity == severity]

    @property
    def refused(self) -> bool:
        """Whether any finding stops the section."""
        return any(finding.severity == "refuse" for finding in self.items)

    def codes(self) -> set[str]:
        """The codes present, for tests and filters."""
        return {finding.facts.code for finding in self.items}

    def raise_if_refused(self) -> None:
        """Raise :class:`~humanst.errors.DataError` for the first refusal, carrying the others with it."""
        refusals = [item.facts for item in self.of("refuse")]
        if not refusals:
            return
        error = DataError(**asdict(refusals[0]))
        error.also = tuple(refusals[1:])
        raise error

    def absorb(self, error: DataError) -> None:
        """Add an error raised elsewhere, and all it carries, as refusals."""
        where = {"study": self.study, "section": self.section}
        located = error.located(**where)
        self.items.extend(Finding("refuse", facts) for facts in (located.facts, *located.also))

    def to_list(self) -> list[dict[str, Any]]:
        """All findings as plain data."""
        return [finding.to_dict() for finding in self.items]


@dataclass(frozen=True, slots=True)
class Drop:
    """Something left out on purpose, by name and with its size, so that nothing is lost in silence.

    Attributes
    ----------
    what
        What was left out.
    reason
        Stable slug, for example ``"unmapped-symbol"``.
    n
        How many spots, genes, transcripts or pairs.
    counts
        Transcripts (UMI counts) that went with them.
    examples
        The first few names, at most five.
    """

    what: Literal["spots", "genes", "counts", "pairs"]
    reason: str
    n: int
    counts: int = 0
    examples: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The drop as plain data."""
        return {**asdict(self), "examples": list(self.examples)}
