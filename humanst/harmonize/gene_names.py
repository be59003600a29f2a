"""What the name of a feature gives away: a control probe, a spreadsheet's date, another species.

These are questions about spelling only. Which gene a name stands for is the gene table's business.
"""

from __future__ import annotations

import re

_CONTROL = re.compile(
    r"^(?:blank[-_]\w|neg_?control|negprb|negative[ _]?control|negative\d+$|antisense_|unassigned_?codeword"
    r"|deprecated_|deprecatedcodeword|genomic_?control|system_?control|intergenic_region_|falsecode|ercc-\d{5}$)",
    re.IGNORECASE,
)
_HUMAN_PREFIX = re.compile(r"^(?:GRCh3[78](?:-\d{4}-[A-Z])?|hg(?:19|38))_+(?=.)")
_FOREIGN_PREFIX = re.compile(r"^(mm\d{1,2}|GRCm3[89](?:-\d{4}-[A-Z])?|rn\d|mRatBN[\d.]+|danRer\d+)_+(?=.)")
_FOREIGN_ID = re.compile(r"^(ENS[A-Z]{3,4}G)\d{11}")
_TITLE_CASE = re.compile(r"^[A-Z][a-z][A-Za-z0-9.-]*$")
_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sept|march|april|june|july)"
_SPREADSHEET = re.compile(
    rf"^(?:\d{{1,2}}-{_MONTH}(?:-\d{{2,4}})?|{_MONTH}-\d{{1,4}}|\d{{1,2}}/\d{{1,2}}/\d{{2,4}}"
    r"|\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2}(?::\d{2})?)?|\d(?:\.\d+)?E\+\d{1,3})(?:\.\d+)?$",
    re.IGNORECASE,
)


def is_control_probe(name: str) -> bool:
    """Whether a feature's name is that of a control (blank, negative, antisense, codeword, spike-in), not of a gene."""
    return _CONTROL.match(name) is not None


def is_spreadsheet_date(name: str) -> bool:
    """Whether a name looks like a gene name that a spreadsheet turned into a date or a number (``1-Mar``, ``Sep-07``).

    Such a name cannot be undone: ``1-Mar`` was MARCHF1 or MTARC1 (Ziemann et al. 2016, doi:10.1186/s13059-016-1044-7).
    A trailing ``.1`` of a repeated column is allowed.
    """
    return _SPREADSHEET.match(name) is not None


def is_title_case(name: str) -> bool:
    """Whether a symbol is written as in mouse and rat (``Xkr4``), where human symbols are in upper case."""
    return _TITLE_CASE.match(name) is not None


def foreign_mark(text: str) -> str | None:
    """``ENSMUSG`` or ``mm10`` and the like, when a name or id says that it is of another species; else None."""
    match = _FOREIGN_ID.match(_FOREIGN_PREFIX.sub("", text)) or _FOREIGN_PREFIX.match(text)
    return None if match is None else match[1]


def without_genome_prefix(text: str) -> str:
    """Take off the human genome prefix that mixed-species references write (``GRCh38_TP53``)."""
    return _HUMAN_PREFIX.sub("", text)
