"""Licences in a catalog, and the table of what licences allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from humanst.catalog.licenses import UNREAD, spelling, terms_of
from humanst.catalog.located import Log
from humanst.catalog.yaml_lines import Lines

_PARTS = ("studies", "listed", "resources")


def check_licenses(document: Mapping[str, Any], bad: set[tuple[str, ...]], log: Log, lines: Lines, file: str) -> None:
    """Warn of each licence that nobody entered, which closes its study, and of each that is spelled its own way.

    Parameters
    ----------
    bad
        Entries, as (part, name), that broke their schema.
    """
    for place, license_id in _named(document, bad):
        if license_id == "LicenseRef-unknown":
            continue
        usual = spelling(license_id)
        if terms_of(license_id).family == UNREAD:
            code, expected = "license-unread", "an SPDX id of curation/_licenses.yaml, or LicenseRef-unknown"
            what = "Nobody entered what this licence allows, so it counts as unknown"
        elif usual not in (None, license_id):
            code, expected, what = "license-spelling", usual, "The licence is spelled another way than its id"
        else:
            continue
        line = lines.of(place)
        log.tell(code, what, file=file, line=line, field=place, found=license_id, expected=expected, severity="warn")


def _named(document: Mapping[str, Any], bad: set[tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """Field and id of every licence in entries that keep to their schema."""
    for part in _PARTS:
        entries = document.get(part)
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            if (part, name) in bad or not isinstance(entry, dict):
                continue
            yield f"{part}.{name}.license", entry["license"]
            for section_id, section in entry.get("sections", {}).items():
                for role, source in section["files"].items():
                    if "license" in source:
                        yield f"{part}.{name}.sections.{section_id}.files.{role}.license", source["license"]
            for number, source in enumerate(entry.get("files", ())):
                if "license" in source:
                    yield f"{part}.{name}.files[{number}].license", source["license"]


def check_license_table(document: Mapping[str, Any], log: Log, lines: Lines, file: str) -> None:
    """Every licence belongs to a family that is there."""
    for license_id, family in document["licenses"].items():
        if family not in document["families"]:
            place, expected = f"licenses.{license_id}", f"one of {', '.join(document['families'])}"
            what = "There is no such family of licences"
            log.tell(
                "unknown-family", what, file=file, line=lines.of(place), field=place, found=family, expected=expected
            )
