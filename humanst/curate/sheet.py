"""A recipe as YAML text with a comment on every line that is a guess."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


def as_yaml(value: Any) -> str:
    """A value in YAML's flow style; text is quoted unless it can be nothing else."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_yaml, value)) + "]"
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value.lower() not in _WORDS else json.dumps(value)
    return json.dumps(value)


@dataclass(slots=True)
class Sheet:
    """Lines of a recipe, the guesses in it, and what nobody could tell.

    Attributes
    ----------
    guesses
        Field -> why it was guessed so.
    unknown
        Sentences about what is left to the reader.
    """

    lines: list[str] = field(default_factory=list)
    guesses: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def put(self, name: str, value: Any, guess: str | None = None, *, below: str | None = None) -> None:
        """Add ``name: value``, with its guess as a comment; ``below`` is the mapping it is indented under."""
        comment = "" if guess is None else f"  # guess: {_one_line(guess)}"
        self.lines.append(f"{'  ' if below else ''}{name}: {as_yaml(value)}{comment}")
        if guess is not None:
            self.guesses[f"{below}.{name}" if below else name] = guess

    def open(self, name: str) -> None:
        """Begin a mapping."""
        self.lines.append(f"{name}:")

    def cannot_tell(self, sentence: str) -> None:
        """Say once what could not be told."""
        if sentence not in self.unknown:
            self.unknown.append(sentence)

    def text(self, title: str) -> str:
        """The whole recipe."""
        head = [
            f"# {_one_line(title)}",
            "# Drafted from the names and first bytes of the files: read every line that says guess before you build.",
            *(f"# Could not tell: {_one_line(sentence)}" for sentence in self.unknown),
        ]
        return "\n".join([*head, *self.lines]) + "\n"


def _one_line(text: str) -> str:
    return " ".join(str(text).split())
