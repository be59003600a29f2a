"""Cards that say what became of a section: one file a section, written last and never shared between tasks.

``failed.jsonl`` and ``summary.md`` are views of the cards, made anew whenever a run ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst import files
from humanst.errors import HumanstError, error_from_dict
from humanst.findings import Finding
from humanst.shards.extract import Extracted, committed_extract

if TYPE_CHECKING:
    from humanst.shards.plan import PlannedSection

DONE_SCHEMA = "humanst.done/1"


@dataclass(frozen=True, slots=True)
class SectionDone:
    """What became of one section.

    Attributes
    ----------
    findings
        Of its store, where there is one.
    extracted, error
        One of them; the other is ``None``.
    """

    sample_id: str
    findings: tuple[Finding, ...]
    extracted: Extracted | None
    error: HumanstError | None


def done_path(work: Path, section: PlannedSection) -> Path:
    """The card of a section, named by the hash of what it is made from."""
    return work / "done" / f"{section.sample_id}-{section.inputs[:16]}.json"


def write_done(work: Path, section: PlannedSection, done: SectionDone) -> None:
    """Write a section's card."""
    extracted = done.extracted
    card = {
        "schema": DONE_SCHEMA,
        "sample_id": done.sample_id,
        "inputs": section.inputs,
        "extract": None if extracted is None else extracted.path.name,
        "extract_inputs": None if extracted is None else extracted.card["inputs"],
        "findings": [finding.to_dict() for finding in done.findings],
        "error": None if done.error is None else done.error.to_dict(),
    }
    files.write_json(done_path(work, section), card)


def read_done(work: Path, section: PlannedSection) -> SectionDone | None:
    """What became of a section; ``None`` when it was never finished, or when what it left is gone."""
    try:
        card = json.loads(done_path(work, section).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if card.get("schema") != DONE_SCHEMA or card["inputs"] != section.inputs:
        return None
    findings = tuple(Finding.from_dict(item) for item in card["findings"])
    if card["error"] is not None:
        return SectionDone(section.sample_id, findings, None, error_from_dict(card["error"]))
    path = work / "extract" / card["extract"]
    content = committed_extract(path, card["extract_inputs"])
    if content is None:
        return None
    return SectionDone(section.sample_id, findings, Extracted(section.sample_id, path, content, True), None)


def write_failed(work: Path, failures: Iterable[tuple[str, HumanstError]]) -> None:
    """Write ``failed.jsonl``: one JSON object a section that failed, sorted; empty when none did."""
    rows = sorted(failures, key=lambda item: item[0])
    lines = [json.dumps({"item": name, **error.to_dict()}, sort_keys=True) for name, error in rows]
    files.write_bytes(work / "failed.jsonl", "".join(f"{line}\n" for line in lines).encode())


def write_summary(
    work: Path,
    sections: Sequence[PlannedSection],
    done: Mapping[str, SectionDone],
    failures: Sequence[tuple[str, HumanstError]],
    manifest: Mapping[str, Any],
) -> None:
    """Write ``summary.md``: how far the build is, and every section that is not in it with its reason."""
    good = [item.extracted for item in done.values() if item.extracted is not None]
    lines = ["# Build", ""]
    lines += [f"- sections planned: {len(sections):,}", f"- extracted: {len(good):,}", f"- failed: {len(failures):,}"]
    lines += [f"- not reached yet: {sum(section.sample_id not in done for section in sections):,}"]
    lines += [f"- pairs extracted: {sum(item.card['pairs'] for item in good):,}"]
    if manifest:
        lines += ["", "| split | pairs | shards |", "|---|---:|---:|"]
        lines += [
            f"| {name} | {split['n_pairs']:,} | {len(split['shards']):,} |"
            for name, split in manifest["splits"].items()
        ]
    else:
        lines += ["", "The release is not written yet."]
    if failures:
        lines += ["", "| section | exit code | code | what |", "|---|---:|---|---|"]
        lines += [
            f"| {name} | {error.exit_code} | {error.facts.code} | {_cell(error.facts.sentence())} |"
            for name, error in sorted(failures, key=lambda item: item[0])
        ]
    files.write_bytes(work / "summary.md", "".join(f"{line}\n" for line in lines).encode())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
