"""One exception family. Every error carries the same fields, so every message answers the same questions.

What went wrong, where (study, section, file, field), what was expected, what was found, what was done about it,
and what to do next. Each class has one exit code; ``humanst --help`` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Self


@dataclass(frozen=True, slots=True)
class Facts:
    """The fields of an error or a finding.

    Attributes
    ----------
    what
        One sentence: what is wrong.
    code
        Stable slug for machines, for example ``"counts-negative"``.
    study, section, file, field
        Where it is. Unknown parts stay ``None`` and are filled on the way up (:meth:`HumanstError.located`).
    expected, found
        The two sides of the comparison that failed, as text.
    done
        What humanst did about it ("nothing was written").
    todo
        What the reader can do next.
    """

    what: str
    code: str
    study: str | None = None
    section: str | None = None
    file: str | None = None
    field: str | None = None
    expected: str | None = None
    found: str | None = None
    done: str | None = None
    todo: str | None = None

    @property
    def where(self) -> str:
        """``study/section file:field``, leaving out what is not known."""
        place = "/".join(part for part in (self.study, self.section) if part)
        spot = ":".join(part for part in (self.file, self.field) if part)
        return " ".join(part for part in (place, spot) if part)

    def sentence(self) -> str:
        """The facts as one message for a person."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        parts = [head if head.endswith(".") else f"{head}."]
        if self.expected is not None:
            parts.append(f"Expected {self.expected}.")
        if self.found is not None:
            parts.append(f"Found {self.found}.")
        parts.extend(text if text.endswith(".") else f"{text}." for text in (self.done, self.todo) if text)
        return printable(" ".join(parts))


def printable(text: str) -> str:
    """Text with what would steer a terminal, reorder a line or is no Unicode spelled out: it may be a stranger's.

    That is every character that is neither printable nor a line break or a tab: the controls of C0 and C1, those of the
    direction of text (U+200E, U+202A to U+202E, U+2066 to U+2069), lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in text)


class HumanstError(Exception):
    """Base of every error humanst raises on purpose.

    Parameters
    ----------
    what
        One sentence: what is wrong.
    code
        Stable slug for machines; defaults to the class's own.
    **where_and_why
        The other fields of :class:`Facts`, all optional.
    """

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "error"
    # What to do next, where whoever raises it has nothing better to say.
    default_todo: ClassVar[str | None] = None

    def __init__(self, what: str, *, code: str | None = None, **where_and_why: Any) -> None:
        told = {"todo": self.default_todo, **{key: text for key, text in where_and_why.items() if text is not None}}
        self.facts = Facts(what=what, code=code or self.default_code, **_as_text(told))
        super().__init__(self.facts.sentence())

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders; keyword-only fields need a rebuild that knows them.
        return _rebuild, (type(self), asdict(self.facts))

    def __str__(self) -> str:
        return self.facts.sentence()

    def located(self, **where: Any) -> Self:
        """Fill the location fields that are still unknown and return the same error."""
        known = asdict(self.facts)
        new = {name: text for name, text in _as_text(where).items() if known[name] is None and text is not None}
        self.facts = replace(self.facts, **new)
        return self

    def to_dict(self) -> dict[str, Any]:
        """The error as plain data for ``--json``."""
        return {"error": type(self).__name__, "exit_code": self.exit_code, **asdict(self.facts), "message": str(self)}


def _as_text(fields: dict[str, Any]) -> dict[str, str | None]:
    return {key: None if value is None else str(value) for key, value in fields.items()}


def _rebuild(kind: type[HumanstError], fields: dict[str, Any], extra: dict[str, Any] | None = None) -> HumanstError:
    error = kind.__new__(kind)
    Exception.__init__(error, fields["what"])
    error.facts = Facts(**fields)
    for name, value in (extra or {}).items():
        setattr(error, name, value)
    return error


class UsageError(HumanstError):
    """The command or call was given something it cannot take (exit 2)."""

    exit_code = 2
    default_code = "usage"


class LicenseError(HumanstError):
    """A licence was not accepted (exit 3)."""

    exit_code = 3
    default_code = "licence-not-accepted"


class DataError(HumanstError):
    """The data are invalid: schema, counts, genes, scale, stain, leakage (exit 5).

    Attributes
    ----------
    also
        The other faults of the same item, so that every one is reported at once.
    """

    exit_code = 5
    default_code = "data-invalid"
    default_todo = "Correct it and run the same command again, or leave it out"
    also: tuple[Facts, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), asdict(self.facts), {"also": self.also})

    def __str__(self) -> str:
        return " ALSO: ".join([self.facts.sentence(), *(facts.sentence() for facts in self.also)])

    def to_dict(self) -> dict[str, Any]:
        """The error as plain data, with every fault under ``also``."""
        return {**super().to_dict(), "also": [asdict(facts) for facts in self.also]}


class IntegrityError(HumanstError):
    """Bytes are not the bytes on record: hash, size, truncated file (exit 6)."""

    exit_code = 6
    default_code = "integrity"
    default_todo = "Get the file again, and ask where it comes from if it is the same"


class NetworkError(HumanstError):
    """A host could not be reached, or humanst is offline (exit 7)."""

    exit_code = 7
    default_code = "network"


class HostileError(HumanstError):
    """Refused as hostile: path escapes, bombs, code in data (exit 8)."""

    exit_code = 8
    default_code = "hostile"
    default_todo = "Check where it comes from"


class NoRoomError(HumanstError):
    """Not enough disk (exit 9)."""

    exit_code = 9
    default_code = "no-room"


class InterruptedRun(HumanstError):
    """Stopped on request; running the same command again goes on (exit 75)."""

    exit_code = 75
    default_code = "interrupted"


class PartialFailure(HumanstError):
    """Several items were asked for and some failed; the good rest was done (exit 4).

    Attributes
    ----------
    failures
        ``(item, error)`` for each that failed, in the order asked.
    """

    exit_code = 4
    default_code = "partial-failure"

    def __init__(self, what: str, *, failures: Sequence[tuple[str, HumanstError]] = (), **where_and_why: Any) -> None:
        super().__init__(what, **where_and_why)
        self.failures = tuple(failures)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_partial, (asdict(self.facts), self.failures)

    def to_dict(self) -> dict[str, Any]:
        """The error with one entry an item, each with its own exit code."""
        return {**super().to_dict(), "failures": [{"item": item, **error.to_dict()} for item, error in self.failures]}


def _rebuild_partial(fields: dict[str, Any], failures: tuple[tuple[str, HumanstError], ...]) -> PartialFailure:
    return PartialFailure(failures=failures, **fields)


def error_from_dict(content: Mapping[str, Any]) -> HumanstError:
    """The error that :meth:`HumanstError.to_dict` wrote down; of an unknown class it is a plain one."""
    family: list[type[HumanstError]] = [HumanstError, *HumanstError.__subclasses__()]
    kinds = {kind.__name__: kind for kind in family}
    names = [field.name for field in fields(Facts)]
    error = _rebuild(kinds.get(str(content.get("error")), HumanstError), {name: content.get(name) for name in names})
    if isinstance(error, DataError):
        error.also = tuple(Facts(**{name: facts.get(name) for name in names}) for facts in content.get("also", ()))
    return error


def raise_for_failures(asked: int, failures: Sequence[tuple[str, HumanstError]], noun: str = "section") -> None:
    """Apply the exit-code rule: one item asked and failed keeps its own code; several asked, any failed is 4.

    Raises
    ------
    HumanstError
        The single failure itself, or :class:`PartialFailure` naming each.
    """
    if not failures:
        return
    if asked == 1:
        raise failures[0][1]
    names = ", ".join(item for item, _ in failures)
    raise PartialFailure(
        f"{len(failures)} of {asked} {noun}s failed: {names}",
        failures=failures,
        done="The others were done" if len(failures) < asked else "None was done",
        todo="Each failure is listed with its own reason; mend those and run the same command again",
    )
