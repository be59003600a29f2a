"""The manifest of a release that some sections left: rows, totals, warnings, and what is said of those that went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from humanst.findings import Finding, Findings
from humanst.shards import sidecars
from humanst.shards.departures import Departure
from humanst.shards.recipe_only import recipe_only_entries
from humanst.shards.thin_targets import fit_without
from humanst.splits import warn_of_empty_splits

if TYPE_CHECKING:
    import pyarrow as pa


def remaining_manifest(
    before: Mapping[str, Any],
    leaving: Sequence[Departure],
    splits: Mapping[str, Mapping[str, Any]],
    targets: Mapping[str, Mapping[str, Any]],
    left: Mapping[str, pa.Table],
    version: str | None,
) -> dict[str, Any]:
    """The manifest of a release once sections have left. Labels of organs stay as they were, whoever is gone.

    Parameters
    ----------
    splits, targets
        Of the release that is made.
    left
        Split -> the rows of the index that leave.
    version
        Of the release that is made; that of the one before without one.
    """
    gone = frozenset(departure.sample_id for departure in leaving)
    sections = [row for row in before["sections"] if row["sample_id"] not in gone]
    studies = {row["study_id"] for row in sections}
    accepted = {
        name: here
        for name, owners in before.get("accepted_licenses", {}).items()
        if (here := [study for study in owners if study in studies])
    }
    manifest = {
        **before,
        "version": version or before["version"],
        "splits": splits,
        "sections": sections,
        "accepted_licenses": accepted,
        "totals": sidecars.totals(sections, splits),
        "changes": [_change(before["version"], version, leaving), *before["changes"]],
        "recipe_only": recipe_only_entries(before, leaving, left),
    }
    if "studies" in before:
        # Whoever rebuilds what is recipe-only has to find and to cite it.
        cited = studies | {entry["study_id"] for entry in manifest["recipe_only"]}
        manifest["studies"] = [study for study in before["studies"] if study["study_id"] in cited]
    if targets:
        manifest["targets"] = dict(targets)
    if "reliability" in before:
        # What was measured stays as it was; which sections it was measured on is told of those that stay.
        stay = {row["sample_id"] for row in sections}
        manifest["reliability"] = {**before["reliability"], **fit_without(before["reliability"], stay)}
    if "findings" in before:
        manifest["findings"] = _findings(before["findings"], gone, sections)
    if "assigned" in before:
        manifest["assigned"] = _assigned(before["assigned"], leaving, sections)
    if "selection" in before:
        manifest["selection"] = {**before["selection"], "n_pairs": manifest["totals"]["pairs"]}
    return {key: value for key, value in manifest.items() if key != "recipe_only" or value}


def _findings(
    before: Sequence[dict[str, Any]], gone: frozenset[str], sections: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Warnings that are about what is still there."""
    studies = {row["study_id"] for row in sections}
    findings = Findings()
    for item in before:
        facts = (found := Finding.from_dict(item)).facts
        about_gone = facts.section in gone or (facts.study is not None and facts.study not in studies)
        if not about_gone and facts.code != "empty-split":
            findings.extend([found])
    warn_of_empty_splits([row["split"] for row in sections], findings)
    return findings.to_list()


def _assigned(
    before: Mapping[str, str], leaving: Sequence[Departure], sections: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Who was put where by hand, without the names of what was taken down."""
    down = [departure.row for departure in leaving if departure.reason == "taken-down"]
    names = {str(row[key]) for row in down for key in ("sample_id", "donor_id") if key in row}
    names -= {str(row.get("donor_id")) for row in sections}
    return {name: split for name, split in before.items() if name not in names}


def _change(before: str, version: str | None, leaving: Sequence[Departure]) -> dict[str, Any]:
    renamed = version is not None and version != before
    notes = [f"Made from version {before}"] if renamed else []
    return {"version": version or before, "notes": [*notes, *_notes(leaving)]}


def _notes(leaving: Sequence[Departure]) -> list[str]:
    """One sentence for each thing that was named, and for each licence of a study."""
    groups: dict[tuple[str, str, str], list[Departure]] = {}
    for departure in leaving:
        study = "" if departure.reason == "taken-down" else str(departure.row["study_id"])
        groups.setdefault((departure.reason, departure.named, study), []).append(departure)
    notes = []
    for (reason, named, study), here in sorted(groups.items()):
        names = ", ".join(departure.sample_id for departure in here)
        n_pairs = sum(departure.n_pairs for departure in here)
        if reason == "not-redistributable":
            notes.append(
                f"Not redistributable under {named}: {n_pairs:,} pairs of {names} ({study}); recipe only: they can be "
                "rebuilt from their sources"
            )
        elif all(departure.recipe_only for departure in here):
            notes.append(f"Taken down: {named}, which was recipe-only here")
        elif named == f"section {names}":
            notes.append(f"Taken down: {named}, {n_pairs:,} pairs")
        else:
            notes.append(f"Taken down: {named}, {n_pairs:,} pairs of {names}")
    return notes
