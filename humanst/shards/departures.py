"""Which sections leave a release, and why: what may not be passed on, and what is taken down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from humanst.catalog.licenses import terms_of
from humanst.errors import UsageError

Reason = Literal["not-redistributable", "taken-down"]
KINDS = ("section", "donor")


@dataclass(frozen=True, slots=True)
class Departure:
    """One section that leaves.

    Attributes
    ----------
    named
        What the user called it: ``section NAME`` or ``donor NAME``; for what may not be passed on, its licences.
    row
        Its row of the manifest; of a section that is recipe-only already, its entry there.
    recipe_only
        Whether it had no pairs here any more.
    """

    sample_id: str
    reason: Reason
    named: str
    row: Mapping[str, Any]
    recipe_only: bool = False

    @property
    def n_pairs(self) -> int:
        """Pairs that leave with it."""
        return 0 if self.recipe_only else int(self.row["pairs"])


def departures(manifest: Mapping[str, Any], *, redistributable: bool, without: Sequence[str]) -> list[Departure]:
    """Find the sections that leave, by sample_id; a takedown goes before a licence.

    Parameters
    ----------
    redistributable
        Whether sections leave that nobody said may be passed on.
    without
        Sample ids, section ids that are one section's alone, and donors; ``section:NAME`` and ``donor:NAME`` say which.

    Raises
    ------
    UsageError
        ``unknown-section`` for a name that is no section or donor of the release; ``ambiguous-name`` for one that means
        several things.
    """
    found: dict[str, Departure] = {}
    for name in without:
        for departure in _taken_down(manifest, name):
            found.setdefault(departure.sample_id, departure)
    if redistributable:
        for row in manifest["sections"]:
            if not may_be_passed_on(row):
                departure = Departure(
                    row["sample_id"], "not-redistributable", ", ".join(closed_licenses(manifest, row)), row
                )
                found.setdefault(departure.sample_id, departure)
    return [found[name] for name in sorted(found)]


def may_be_passed_on(row: Mapping[str, Any]) -> bool:
    """Whether a section may be passed on: its row says so, and none of its licences says otherwise.

    What nobody said may be passed on may not, and what a manifest says is only as good as who wrote it.
    """
    return row.get("redistributable") is True and all(terms_of(name).redistributable for name in _own_licenses(row))


def _own_licenses(row: Mapping[str, Any]) -> list[str]:
    return [str(name) for name in row.get("licenses") or (row.get("license", "LicenseRef-unknown"),)]


def closed_licenses(manifest: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """The licences because of which a section may not be passed on."""
    accepted: Mapping[str, Iterable[str]] = manifest.get("accepted_licenses", {})
    own = _own_licenses(row)
    names = dict.fromkeys([*own, *(name for name, studies in accepted.items() if row["study_id"] in studies)])
    return [name for name in names if not terms_of(name).redistributable] or own


def _taken_down(manifest: Mapping[str, Any], asked: str) -> list[Departure]:
    kind, _, rest = asked.partition(":")
    kinds, name = ((kind,), rest) if kind in KINDS and rest else (KINDS, asked)
    gone = {entry["sample_id"]: entry for entry in manifest.get("recipe_only", [])}
    rows = {row["sample_id"]: row for row in manifest["sections"]}
    meanings: dict[str, dict[str, Mapping[str, Any]]] = {}
    if "section" in kinds:
        if name in rows or name in gone:
            meanings[f"section {name}"] = {name: rows.get(name, gone.get(name, {}))}
        else:
            for sample_id, row in rows.items():
                if row.get("section_id") == name:
                    meanings[f"section {sample_id}"] = {sample_id: row}
    if "donor" in kinds:
        of_donor = {sample_id: row for sample_id, row in rows.items() if row.get("donor_id") == name}
        if of_donor:
            meanings[f"donor {name}"] = of_donor
    if not meanings:
        raise _unknown(asked, rows)
    if len(meanings) > 1:
        raise _ambiguous(asked, meanings)
    named, chosen = next(iter(meanings.items()))
    return [
        Departure(sample_id, "taken-down", named, row, recipe_only=sample_id not in rows)
        for sample_id, row in sorted(chosen.items())
    ]


def _unknown(asked: str, rows: Mapping[str, Any]) -> UsageError:
    return UsageError(
        "No section and no donor of this release has this name",
        code="unknown-section",
        field="--without",
        expected=f"ids such as {', '.join(sorted(rows)[:6])}, or a donor_id of samples.parquet",
        found=repr(asked),
        done="Nothing was written",
        todo="Sections that are recipe-only here are known by their sample_id alone",
    )


def _ambiguous(asked: str, meanings: Iterable[str]) -> UsageError:
    return UsageError(
        "This name means several things in this release",
        code="ambiguous-name",
        field="--without",
        expected="a sample_id, or section:NAME, or donor:NAME",
        found=f"{asked!r}: {', '.join(meanings)}",
        done="Nothing was written",
    )
