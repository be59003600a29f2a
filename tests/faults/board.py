"""The scoreboard: what a fault is, what a user saw of it, and what that is worth.

A fault has a number, and every way to inject it is a case. A case goes through a command that a user has, and shows an
exit code, a message, what is left on disk and whether wrong data came out. The verdict of a fault is that of its worst
case: ``silent`` (wrong data, or exit 0 where it should not be), ``leftover`` (anything but the last good state on
disk), ``wrong`` (another exit code or reason than promised, or a message that lacks something), else ``caught``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.rows import FAULTS, Fault
from tests.helpers import ROOT

PAGE = ROOT / "docs" / "reliability.md"
# Where `make faults` gathers what every fault showed; tests alone write nothing.
RESULTS = os.environ.get("HUMANST_FAULTS_RESULTS", "")
# The whole board: all cuts, all orientations, twenty clean sections a platform, kills of fresh interpreters too.
WHOLE = os.environ.get("HUMANST_FAULTS", "") == "whole"


@dataclass(frozen=True)
class Message:
    """An error as ``--json`` gives it."""

    text: str
    code: str
    exit_code: int
    place: str
    expected: str
    found: str
    todo: str

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Message:
        """From one JSON object of an error."""
        places = [str(facts[name]) for name in ("study", "section", "file", "field") if facts.get(name)]
        known = {name: str(facts.get(name) or "") for name in ("code", "expected", "found", "todo")}
        return cls(str(facts["message"]), exit_code=int(facts["exit_code"]), place=" ".join(places), **known)

    def lacks(self) -> list[str]:
        """What a person would miss: where it is, what was found and expected, what to do next, all in the text."""
        wanted = {"place": self.place, "expected": self.expected, "found": self.found, "next step": self.todo}
        missing = [name for name, text in wanted.items() if not text]
        shown = [self.place.split(" ")[0], self.expected, self.found, self.todo]
        return missing + [f"{text!r} in the text" for text in shown if text and text not in self.text]


@dataclass(frozen=True)
class Seen:
    """What one case showed.

    Attributes
    ----------
    wanted
        Exit codes that would do; with 0 among them a case may end well.
    exit_code
        Of the command; of the item, where several were asked.
    message
        ``None`` for a command that ended well.
    left
        What it left on disk beside the last good state.
    wrong
        What wrong data came out, or what else was not as promised; empty for nothing.
    """

    case: str
    wanted: Sequence[int]
    exit_code: int
    message: Message | None = None
    left: Sequence[str] = ()
    wrong: str = ""
    codes: Sequence[str] = ()

    @property
    def verdict(self) -> str:
        """``silent``, ``leftover``, ``wrong`` or ``caught``."""
        if self.wrong or (self.exit_code == 0 and 0 not in self.wanted):
            return "silent"
        if self.left:
            return "leftover"
        return "wrong" if self.complaints() else "caught"

    def complaints(self) -> list[str]:
        """All that is not as promised."""
        found = [self.wrong] if self.wrong else []
        found += [f"left {', '.join(self.left)}"] if self.left else []
        if self.exit_code not in self.wanted:
            found.append(f"exit {self.exit_code}, not {self.wanted}")
        if self.exit_code != 0:
            found += (
                ["no message"] if self.message is None else [f"its message lacks {x}" for x in self.message.lacks()]
            )
        if self.message is not None and self.codes and self.message.code not in self.codes:
            found.append(f"{self.message.code}, not {' or '.join(self.codes)}")
        return [f"{self.case}: {text}" for text in found]


@dataclass(frozen=True)
class Result:
    """A fault and all its cases."""

    fault: Fault
    seen: Sequence[Seen]
    notes: Sequence[str] = field(default=())

    @property
    def verdict(self) -> str:
        """That of the worst case; a fault that nobody injected is not caught."""
        order = ("silent", "leftover", "wrong", "caught")
        return min((seen.verdict for seen in self.seen), key=order.index, default="wrong")

    @property
    def exits(self) -> str:
        """All exit codes that came, as ``5, 6``."""
        return ", ".join(map(str, sorted({seen.exit_code for seen in self.seen})))

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for the page."""
        return {
            "id": self.fault.id,
            "verdict": self.verdict,
            "exits": self.exits,
            "notes": list(self.notes),
            "seen": [asdict(seen) | {"verdict": seen.verdict} for seen in self.seen],
        }


def judge(fault_id: str, seen: Iterable[Seen], notes: Sequence[str] = ()) -> None:
    """Ask that a fault is caught, as the page says; under ``make faults`` write down what it showed."""
    result = Result(FAULTS[fault_id], list(seen), notes)
    write_down(fault_id, result.to_dict())
    complaints = [text for one in result.seen for text in one.complaints()]
    assert result.verdict == "caught", "\n".join([result.verdict, *complaints])
    if not RESULTS:
        verdict, exits = page_row(fault_id)
        # The page is of the whole board, which has more cases.
        known = set(result.exits.split(", ")) <= set(exits.split(", "))
        assert verdict == result.verdict and known, "docs/reliability.md is not this run: make faults"  # noqa: PT018


def write_down(name: str, content: Mapping[str, Any]) -> None:
    """Keep what was shown for the page, under ``make faults``."""
    if RESULTS:
        Path(RESULTS).mkdir(parents=True, exist_ok=True)
        (Path(RESULTS) / f"{name}.json").write_text(json.dumps(content, indent=1))


def page_row(fault_id: str) -> tuple[str, str]:
    """Verdict and exit codes that the checked-in page states for a fault."""
    for line in PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].startswith(f"{fault_id} "):
            return cells[4], cells[3]
    return "not on the page", ""


def messages_of(out: str) -> dict[str, Message]:
    """The errors that a command printed with ``--json``: by item, or under ``""`` for the command itself."""
    said = json.loads(out) if out.strip() else {}
    rows = said.get("failures") or ([{"item": "", **said}] if "error" in said else [])
    return {str(row["item"]): Message.of(row) for row in rows}


def seen_of(
    case: str,
    code: int,
    out: str,
    wanted: int | Sequence[int],
    codes: str | Sequence[str] = (),
    *,
    left: Sequence[str] = (),
    wrong: str = "",
) -> Seen:
    """What a command of one item showed."""
    message = next(iter(messages_of(out).values()), None) if code else None
    wanted, codes = (wanted,) if isinstance(wanted, int) else wanted, (codes,) if isinstance(codes, str) else codes
    return Seen(case, wanted, code, message, left, wrong, codes)


def listing(folder: Path) -> set[str]:
    """All files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def unfinished(folder: Path) -> list[str]:
    """What an unfinished write leaves behind, anywhere below a folder."""
    return sorted(p.name for p in folder.rglob(".*") if re.search(r"\.(part|partial|replaced|next)(-|$)", p.name))
