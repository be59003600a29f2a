"""Validate without building: finished stores, any SpatialData zarr, and the vendor files of a section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from humanst.builder.folders import section_files
from humanst.builder.measured import measured_genes
from humanst.builder.sections import BuildOptions, SectionTask, section_choices
from humanst.builder.steps import harmonize_files, section_recipe
from humanst.catalog import Section, Study
from humanst.errors import DataError, HumanstError
from humanst.findings import Finding, Findings
from humanst.harmonize.spots import SpotQC
from humanst.store import card_path, read_card, tree_digest
from humanst.validate import Report, check_spatialdata


def stores_below(path: Path) -> list[Path]:
    """The zarr stores that a path means: itself, or those in it or in its ``sections`` folder; sorted."""
    if path.name.endswith(".zarr") or any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs")):
        return [path]
    return sorted(found for folder in (path, path / "sections") for found in folder.glob("*.zarr") if found.is_dir())


def check_store(store: Path) -> Report:
    """Validate one zarr store from its bytes: against its card if it is ours, then all that it holds."""
    findings = Findings()
    _check_card(store, findings)
    kind = check_spatialdata(store, findings)
    if kind == "section store" and not card_path(store).is_file():
        findings.warn(
            "no-card",
            "The store has no card: a lost chunk of it would read as zeros",
            file=store.name,
            expected=card_path(store).name,
            found="no such file",
            todo="Keep the card beside the store, or build it again",
        )
    return Report(store.name, kind, findings)


def _check_card(store: Path, findings: Findings) -> None:
    """Every file of a store is as it was when its card was written."""
    if not card_path(store).is_file():
        return
    card = read_card(store)
    if card is None:
        findings.refuse("card-unreadable", "The card of the store cannot be read", file=card_path(store).name)
        return
    found = tree_digest(store)
    for field in ("n_files", "n_bytes", "tree_sha256"):
        if found[field] != card.get(field):
            findings.refuse(
                "store-changed",
                "The store is not as it was written",
                section=card.get("sample_id"),
                file=store.name,
                field=field,
                expected=str(card.get(field)),
                found=str(found[field]),
                todo="Build it again with `humanst build`",
            )
            return


@dataclass(frozen=True, slots=True)
class SourceTask:
    """One section whose vendor files are validated; picklable, so that any runner can take it."""

    label: str
    task: SectionTask


def source_tasks(study: Study, sections: Sequence[Section], label: str, *, pin: bool = False) -> list[SourceTask]:
    """One task a section of a study; ``label`` is what reports call the study."""
    options = BuildOptions(folder=Path(), pin=pin)
    measured = measured_genes(study, sections, pin=pin)
    return [
        SourceTask(f"{label}/{section.section_id}", SectionTask(study, section, options, measured))
        for section in sections
    ]


def check_sources(source: SourceTask) -> Report:
    """Do everything of a build but write: read, harmonize, validate; the reasons of a refusal are its findings."""
    task = source.task
    study, section = task.study, task.section
    findings = Findings(study=study.study_id, section=section.section_id)
    recipe = section_recipe(study, section)
    try:
        harmonized, _ = harmonize_files(
            section_files(study, section, pin=task.options.pin),
            recipe,
            choices=section_choices(
                section, SpotQC.for_recipe(targeted=recipe.targeted, overrides=dict(task.options.qc)), task.measured
            ),
            outline=task.options.tissue,
            record_path=None,
        )
        findings.extend(harmonized.findings)
    except DataError as error:
        findings.absorb(error)
    except HumanstError as error:
        facts = error.located(study=study.study_id, section=section.section_id).facts
        findings.extend([Finding("refuse", replace(facts, done=None))])
    return Report(source.label, "vendor files", findings)
