"""One task a section: fetch, read, harmonize, validate, write; and all sections of a study over any runner."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from humanst import files
from humanst.builder.folders import FolderStudy, section_files
from humanst.builder.images import store_picture
from humanst.builder.measured import MeasuredGenes, measured_genes
from humanst.builder.steps import IMAGE_ROLES, harmonize_files, section_recipe
from humanst.catalog import Recipe, Section, Study
from humanst.errors import HumanstError
from humanst.fetch import LocalFiles, require_unrotted
from humanst.findings import Finding
from humanst.harmonize.gene_table import load_gene_table
from humanst.harmonize.section import Choices
from humanst.harmonize.spots import SpotQC
from humanst.platforms.sides import PoolLike
from humanst.runner import Outcome, run_tasks
from humanst.store import is_current, read_attrs, write_section
from humanst.tiles import image_of_record

logger = logging.getLogger(__name__)

# Raised whenever the same inputs would give another store.
BUILD_VERSION = 4


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Choices of one build.

    Attributes
    ----------
    folder
        Holds ``sections/`` and ``images/``.
    pin
        Accept unpinned files, writing their hash to the lock file.
    embed_image
        Carry the image from max(native, 0.5) um per pixel down instead of 2.
    tissue
        GeoJSON outline in level-0 pixels instead of the optical-density mask; a section may also have one on record
        (role ``tissue``).
    pool_like
        ``"visium"``: pool transcripts and bins to the side nearest to a Visium spot, not to the recipe's.
    qc
        Overrides of :class:`~humanst.harmonize.spots.SpotQC`, by name.
    """

    folder: Path
    pin: bool = False
    embed_image: bool = False
    tissue: Path | None = None
    pool_like: PoolLike | None = None
    qc: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class SectionTask:
    """One section to build; picklable, so that any runner can take it."""

    study: Study
    section: Section
    options: BuildOptions
    measured: MeasuredGenes | None = None


@dataclass(frozen=True, slots=True)
class BuiltSection:
    """A section store that is there and current.

    Attributes
    ----------
    reused
        Whether an earlier run had already made exactly this store.
    image_path
        The image of record on this machine, ``None`` for a section without an image.
    """

    sample_id: str
    path: Path
    reused: bool
    image_path: Path | None
    inputs: str
    findings: tuple[Finding, ...] = field(default=())


def store_path(folder: Path, sample_id: str) -> Path:
    """Where a section's store lies below a build folder."""
    return folder / "sections" / f"{sample_id}.zarr"


def build_section(task: SectionTask) -> BuiltSection:
    """Build one section store, or find that it is current.

    Raises
    ------
    HumanstError
        Located at the section; nothing carries a final name then that was not there before.
    """
    study, section = task.study, task.section
    try:
        return _build(task)
    except HumanstError as error:
        raise error.located(study=study.study_id, section=section.section_id) from None


def _build(task: SectionTask) -> BuiltSection:
    study, section, options = task.study, task.section, task.options
    recipe = section_recipe(study, section, options.pool_like)
    local = section_files(study, section, pin=options.pin)
    qc = SpotQC.for_recipe(targeted=recipe.targeted, overrides=dict(options.qc))
    inputs = _inputs_hash(task, recipe, local, qc)
    path = store_path(options.folder, section.sample_id)
    record_path = options.folder / "images" / f"{section.sample_id}.tif"
    if is_current(path, inputs) and (current := _current(section, path, local, record_path, inputs)):
        return current
    if not isinstance(study, FolderStudy):
        # The files of a folder were hashed a moment ago; those of the cache when they were placed, perhaps years ago.
        require_unrotted(local)
    harmonized, record = harmonize_files(
        local,
        recipe,
        choices=section_choices(section, qc, task.measured),
        outline=options.tissue,
        record_path=record_path,
    )
    harmonized.findings.raise_if_refused()
    if task.measured is not None:
        task.measured.warn(harmonized.findings)
    write_section(
        harmonized,
        path,
        picture=store_picture(record, harmonized.lattice_fit, embed=options.embed_image) if record else None,
        inputs=inputs,
    )
    return BuiltSection(
        section.sample_id, path, False, record.path if record else None, inputs, tuple(harmonized.findings)
    )


def section_choices(section: Section, qc: SpotQC, measured: MeasuredGenes | None) -> Choices:
    """What harmonizing a section is told beside its files and recipe."""
    return Choices(
        sample_id=section.sample_id,
        qc=qc,
        measured=measured.ensembl_ids if measured else None,
        measured_from=measured.to_dict() if measured else {"rule": "this section's own table"},
    )


def _current(section: Section, path: Path, local: LocalFiles, record_path: Path, inputs: str) -> BuiltSection | None:
    """The store as it is, when its image of record is still the one it was made with; else ``None``."""
    attrs = read_attrs(path)
    picture, image_path = attrs["picture"], None
    if picture is not None:
        role = next(role for role in IMAGE_ROLES if role in local.paths)
        record = image_of_record(
            local.paths[role],
            record_path,
            um_per_pixel=attrs["um_per_pixel"],
            name=local.names[role],
            source_sha256=local.sha256[role],
        )
        if record.sha256 != picture["sha256"]:
            return None
        image_path = record.path
    findings = tuple(Finding.from_dict(item) for item in attrs["findings"])
    return BuiltSection(section.sample_id, path, True, image_path, inputs, findings)


def _inputs_hash(task: SectionTask, recipe: Recipe, local: LocalFiles, qc: SpotQC) -> str:
    facts = {
        "build_version": BUILD_VERSION,
        "sample_id": task.section.sample_id,
        "files": {role: [local.names[role], local.sha256[role]] for role in sorted(local.paths)},
        "recipe": recipe.to_dict(),
        "gene_table": load_gene_table().sha256,
        "measured": None if task.measured is None else task.measured.to_dict(),
        "qc": qc.to_dict(),
        "tissue": files.sha256_file(task.options.tissue) if task.options.tissue else None,
        "embed_image": task.options.embed_image,
    }
    return hashlib.sha256(files.canonical_json(facts)).hexdigest()


def build_sections(
    study: Study,
    sections: Sequence[Section],
    options: BuildOptions,
    *,
    workers: int = 1,
    done: Callable[[Outcome[SectionTask, BuiltSection]], None] | None = None,
) -> tuple[list[BuiltSection], list[tuple[str, HumanstError]]]:
    """Build all sections of one study; failures are listed and the good rest is done.

    Parameters
    ----------
    done
        Called with each outcome as it arrives, for progress.

    Returns
    -------
    built : list of BuiltSection
        In the order asked.
    failures : list of (sample_id, error)
    """
    measured = measured_genes(study, sections, pin=options.pin)
    for name in ("sections", "images"):
        files.sweep_partials(options.folder / name)
    tasks = [SectionTask(study, section, options, measured) for section in sections]
    logger.info("%s: %d sections to build, %d at a time", study.study_id, len(tasks), min(workers, len(tasks)))
    outcomes = []
    # Here once, for every process that is forked.
    load_gene_table()
    for outcome in run_tasks(tasks, build_section, workers=workers, apart=True):
        if outcome.error is not None:
            # A task that crashed could not say where it was.
            outcome.error.located(study=study.study_id, section=outcome.task.section.section_id)
        outcomes.append(outcome)
        _log(outcome)
        if done is not None:
            done(outcome)
    outcomes.sort(key=lambda outcome: outcome.position)
    built = [outcome.result for outcome in outcomes if outcome.result is not None]
    failures = [(outcome.task.section.sample_id, outcome.error) for outcome in outcomes if outcome.error is not None]
    return built, failures


def _log(outcome: Outcome[SectionTask, BuiltSection]) -> None:
    # In this process: a worker's own log has no way to the user's terminal or file.
    name, built = outcome.task.section.sample_id, outcome.result
    if built is not None:
        logger.info("%s: the section store %s", name, "is current" if built.reused else "was built")
    elif outcome.error is not None:
        logger.info("%s: no section store (%s)", name, outcome.error.facts.code)
