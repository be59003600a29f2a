"""What can be wrong with one ``samples.csv``: as a table, cell by cell, and in cells that contradict each other."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from humanst.catalog.located import Log, without_echoes
from humanst.catalog.samples_lines import SampleLines
from humanst.catalog.terms import term_faults
from humanst.catalog.yaml_files import short_name
from humanst.errors import HumanstError
from humanst.findings import Finding, Findings
from humanst.schemas import check_table

_CELL = re.compile(r"(?P<column>.*) in row (?P<row>\d+)$")


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """A samples table after its check.

    Attributes
    ----------
    lost_ids
        How many rows have no section id that can be relied on: cut rows, blank, repeated or misspelled ids.
    bad_ids
        Section ids that were told already.
    """

    lines: SampleLines
    lost_ids: int
    bad_ids: frozenset[str]


def check_samples(path: Path, log: Log, owners: Collection[str]) -> CheckedTable | None:
    """Check a samples table; ``None`` when it is no table.

    Parameters
    ----------
    log
        Gets one finding a fault, each with its line.
    owners
        Ids of studies and names of folders that donors may be named after.
    """
    name = short_name(path)
    if not path.is_file():
        log.tell("file-missing", "This file is not there", file=name, expected="a samples table", found="nothing")
        return None
    findings = Findings(file=name)
    try:
        table = SampleLines(path, findings)
    except HumanstError as error:
        log.absorb(error, name)
        return None
    told = {finding.facts.field for finding in findings}
    if table.rows:
        cells = Findings(file=name)
        check_table(table.frame(), "samples", cells, every_cell=True)
        fresh = [finding for finding in cells if finding.facts.field not in told]
        findings.extend(_one_order(without_echoes(fresh)))
        if not any(finding.facts.code == "missing-column" for finding in cells):
            _check_rows(table, findings, owners)
    for finding in findings:
        log.put(finding, table.line_in(finding.facts.field))
    bad = [match for finding in findings if (match := _cell(finding)) and match["column"] == "section_id"]
    cut = sum(finding.facts.code == "row-length" for finding in findings)
    ids = frozenset(table.rows[int(match["row"])]["section_id"] for match in bad)
    return CheckedTable(table, cut + len(bad), ids)


def _cell(finding: Finding) -> re.Match[str] | None:
    return _CELL.match(finding.facts.field or "")


def _one_order(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Columns out of place once: two that are swapped, or all behind one that was put in, are one fault."""
    seen = False
    known = list(findings)
    strange = any(finding.facts.code in ("unknown-column", "missing-column") for finding in known)
    for finding in known:
        order = finding.facts.code == "column-order"
        if not order or not (seen or strange):
            yield finding
        seen = seen or order


def _check_rows(table: SampleLines, findings: Findings, owners: Collection[str]) -> None:
    """Cells that contradict each other, where each of them is right by itself."""
    told = {(match["column"], int(match["row"])) for finding in findings if (match := _cell(finding))}
    for number, row in enumerate(table.rows):
        bad = {column for column, where in told if where == number}
        for severity, code, column, expected, found, also in _row_faults(row, owners):
            # One wrong cell often breaks several rules: it is told by the first.
            if bad.isdisjoint(also):
                put = findings.warn if severity == "warn" else findings.refuse
                put(code, _WHAT[code], field=f"{column} in row {number}", expected=expected, found=found)
                bad.update(also)


_WHAT = {
    "term-differs": "Label and ontology id name different things",
    "term-unread": "Nobody looked this term up",
    "state-differs": "Disease and disease state contradict each other",
    "donor-source": "Donor and the source of it contradict each other",
    "donor-name": "The donor is not named after a study",
}
_DISEASE = ("disease", "disease_ontology_term_id", "disease_state")


def _row_faults(
    row: Mapping[str, str], owners: Collection[str]
) -> Iterator[tuple[str, str, str, str, str, tuple[str, ...]]]:
    """(severity, code, column, expected, found, columns concerned) of each fault."""
    for severity, column, expected, found in term_faults(row):
        code = "term-unread" if severity == "warn" else "term-differs"
        name = column.removesuffix("_ontology_term_id")
        concerned = _DISEASE if name == "disease" else (name, f"{name}_ontology_term_id")
        yield severity, code, column, expected, found, concerned
    term, state = row.get("disease_ontology_term_id", "unknown"), row.get("disease_state", "unknown")
    if (term == "PATO:0000461") != (state == "normal"):
        yield "refuse", "state-differs", "disease_state", "normal with PATO:0000461, and only then", state, _DISEASE
    donor, source = row.get("donor_id", "unknown"), row.get("donor_id_source", "unknown")
    if (donor == "unknown") != (source == "unknown"):
        expected = "unknown for both, or for neither"
        both = ("donor_id", "donor_id_source")
        yield "refuse", "donor-source", "donor_id_source", expected, f"{source!r} for {donor!r}", both
    elif donor != "unknown" and not any(donor.startswith(f"{owner}_") for owner in owners):
        yield (
            "warn",
            "donor-name",
            "donor_id",
            "<study>_<donor>, the study he or she first appears in",
            donor,
            ("donor_id",),
        )


def check_duplicates(samples: Mapping[str, CheckedTable], log: Log) -> None:
    """Warn of a duplicate that nobody is: most often it is misspelled, or it is in a catalog of somebody else.

    Parameters
    ----------
    samples
        Sample id -> the table it is in, of all tables.
    """
    for table in dict.fromkeys(samples.values()):
        for section_id, row in table.lines.by_section.items():
            names = row.get("known_duplicates", "").split(";")
            for name in (name[8:] for name in names if name.startswith("humanst:") and name[8:] not in samples):
                log.tell(
                    "unknown-duplicate",
                    "A duplicate is not in this catalog",
                    file=table.lines.name,
                    line=table.lines.line_of(section_id),
                    severity="warn",
                    field="known_duplicates",
                    found=f"humanst:{name}",
                    expected=" or ".join(get_close_matches(name, samples, n=2)) or "a sample id of this catalog",
                )
