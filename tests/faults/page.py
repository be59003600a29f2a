"""The page of the board from what every fault showed: ``python -m tests.faults.page FOLDER PAGE``."""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.rows import FAULTS

INTRO = """# Reliability: 28 faults, and what becomes of them

Written by `make faults`, which injects every fault below through the commands a user has, and looks at the exit code,
the message, and the disk. A fault is **caught** when every case of it ends with the exit code and reason promised,
nothing but the last good state is left on disk, and the message says where it is, what was found, what was expected and
what to do next. It is **silent** when wrong data come out, or a command ends with 0 that should not. Each fault is a
test of `tests/faults/`, too, and fails when this page says another verdict or other exit codes than the run.

Exit codes: 0 done, 1 a bug, 2 usage, 3 licence, 4 some of several failed, 5 data, 6 integrity, 7 network, 8 hostile,
9 no room, 75 interrupted.
"""


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """What every fault showed, by its number."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def headline(found: dict[str, dict[str, Any]]) -> str:
    """Caught of all, silent, leftovers, false alarms."""
    verdicts = Counter(row["verdict"] for name, row in found.items() if name in FAULTS)
    lost = len(FAULTS) - sum(verdicts.values())
    clean = clean_rows(found)
    alarms, sections = (sum(row[key] for row in clean) for key in ("refused", "sections"))
    told = f"**{verdicts['caught']} / {len(FAULTS)} caught, {verdicts['silent']} silent, "
    told += f"{verdicts['leftover']} with leftovers, {alarms} false alarms** over {sections} clean sections"
    return f"{told}; {lost} did not run" if lost else told


def clean_rows(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Clean sections and refusals, by platform."""
    return [row for name, row in sorted(found.items()) if name.startswith("clean_")]


def page(found: dict[str, dict[str, Any]]) -> str:
    """The page, which depends on what was shown alone: no time, no path, no port."""
    lines = [INTRO, headline(found) + ".", "", *_table(found), "", *_messages(found), ""]
    return "\n".join([*lines, *_clean(clean_rows(found)), *_notes(found)]) + "\n"


def _table(found: dict[str, dict[str, Any]]) -> list[str]:
    lines = ["| fault | injected | expected | exit | got | cases | left on disk |", "|---|---|---|---|---|---|---|"]
    for fault in FAULTS.values():
        row = found.get(fault.id, {"exits": "", "verdict": "did not run", "seen": []})
        left = sorted({_shown(name) for seen in row["seen"] for name in seen["left"]})
        cells = [f"{fault.id} {fault.name}", fault.injected, fault.expected, row["exits"], row["verdict"]]
        lines.append("| " + " | ".join([*cells, str(len(row["seen"])), ", ".join(left) or "nothing"]) + " |")
    return lines


def _messages(found: dict[str, dict[str, Any]]) -> list[str]:
    every = [s["message"]["text"] for row in found.values() for s in row.get("seen", ()) if s["message"]]
    if not every:
        return []
    median = statistics.median(len(_plain(text)) for text in every)
    lines = ["## What is said", "", f"{len(every)} messages, each with a place, found, expected and a next step; "]
    lines[-1] += f"median {median:.0f} characters. One of each kind:"
    for fault in FAULTS.values():
        kinds: dict[str, str] = {}
        for seen in found.get(fault.id, {}).get("seen", ()):
            if seen["message"]:
                kinds.setdefault(seen["message"]["code"], _shown(seen["message"]["text"]))
        lines += ["", f"**{fault.id} {fault.name}**", ""] if kinds else []
        lines += [f"- `{code}` {text}" for code, text in sorted(kinds.items())]
    return lines


def _clean(clean: list[dict[str, Any]]) -> list[str]:
    lines = ["## False alarms", "", "| clean sections | number | refused | warned of their orientation |"]
    lines.append("|---|---|---|---|")
    keys = ("name", "sections", "refused", "warned")
    return [*lines, *("| " + " | ".join(str(row[key]) for key in keys) + " |" for row in clean), ""]


def _notes(found: dict[str, dict[str, Any]]) -> list[str]:
    lines = [f"- {name}: {_shown(note)}" for name, row in sorted(found.items()) for note in row.get("notes", ())]
    return ["## Measured and noted", "", *lines] if lines else []


def _plain(text: str) -> str:
    """Text without what differs from run to run: ports, paths, hashes, bytes free."""
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
    text = re.sub(r"(?<![\w.])/(?:[\w.+-]+/)+", ".../", text)
    text = re.sub(r"\b[0-9a-f]{16,64}\b", "HASH", text)
    text = re.sub(r"\b[\d,]+ bytes free", "N bytes free", text)
    text = re.sub(r"\b\d+(\.\d+)? s\b", "N s", text)
    text = re.sub(r"\b[\d,]+ MiB, or HUMANST", "N MiB, or HUMANST", text)
    return text.replace("\n", " ")


def _shown(text: str) -> str:
    """The same for a page: as it stands, whatever Markdown would make of it."""
    return re.sub(r"([|\[\]*_`<])", r"\\\1", _plain(text))


def main(folder: str, target: str) -> int:
    """Write the page and print the table; 0 when all is caught and nothing is silent, left or a false alarm."""
    found = results(Path(folder))
    # The page is text of the repository, not of a user's data: written as any editor writes.
    Path(target).write_text(page(found), encoding="utf-8")
    for fault in FAULTS.values():
        row = found.get(fault.id, {"exits": "", "verdict": "did not run", "seen": []})
        sys.stdout.write(
            f"{fault.id}  {fault.name:16} {row['verdict']:12} exit {row['exits']:12} {len(row['seen'])} cases\n"
        )
    sys.stdout.write(headline(found).replace("**", "") + "\n")
    caught = all(found.get(name, {}).get("verdict") == "caught" for name in FAULTS)
    clean = clean_rows(found)
    return 0 if caught and clean and not any(row["refused"] for row in clean) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
