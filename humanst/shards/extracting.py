"""The extract stage: a task a section, which builds its store if it is missing, cuts and scores it, and says so."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from humanst import files
from humanst.builder import (
    BuildOptions,
    BuiltSection,
    SectionTask,
    build_section,
    kept_measured_genes,
    store_path,
)
from humanst.catalog import Section, Study
from humanst.errors import DataError, HumanstError, NoRoomError
from humanst.findings import Finding
from humanst.locks import held
from humanst.runner import run_tasks
from humanst.shards.done import SectionDone, read_done, write_done
from humanst.shards.extract import Extracted, ExtractTask, extract_section
from humanst.shards.plan import Plan, PlannedSection
from humanst.shards.request import Progress, ReleaseRequest
from humanst.shards.spec import ReleaseSpec
from humanst.store import is_current

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WholeTask:
    """One section, from its files to its extract; picklable, so that any runner can take it.

    Attributes
    ----------
    asked
        Section ids of its study that are in the plan: the gene axis may be a union over them.
    """

    planned: PlannedSection
    study: Study
    section: Section
    asked: tuple[str, ...]
    options: BuildOptions
    spec: ReleaseSpec


def do_section(task: WholeTask) -> SectionDone:
    """Build, cut and score a section; what refuses it is written into its card, like what it gave.

    Raises
    ------
    NoRoomError
        When the disk is full: no fault of this section.
    """
    findings: tuple[Finding, ...] = ()
    extracted: Extracted | None = None
    fault: HumanstError | None = None
    folder = task.options.folder
    try:
        # Another release may be built from this work folder at the same time, with other choices for the same store.
        with held(store_path(folder, task.section.sample_id), what=task.section.sample_id):
            built = _build(task)
            findings = built.findings
            extracted = extract_section(
                ExtractTask(built.sample_id, built.path, built.image_path, folder / "extract", task.spec)
            )
            _require_same_store(built, extracted)
    except NoRoomError:
        raise
    except HumanstError as error:
        fault = error.located(study=task.study.study_id, section=task.section.section_id)
    done = SectionDone(task.section.sample_id, findings, extracted, fault)
    write_done(folder, task.planned, done)
    return done


def _build(task: WholeTask) -> BuiltSection:
    asked = [section for section in task.study.sections if section.section_id in task.asked]
    measured = kept_measured_genes(task.study, asked, pin=task.options.pin, folder=task.options.folder / "genes")
    return build_section(SectionTask(task.study, task.section, task.options, measured))


def _require_same_store(built: BuiltSection, extracted: Extracted) -> None:
    """Refuse what was cut from a store that another run replaced meanwhile, as happens where there are no locks."""
    if not is_current(built.path, built.inputs):
        files.remove(extracted.path)
        raise DataError(
            "Another run replaced the section store while it was read",
            code="store-replaced",
            file=built.path.name,
            expected="one run a work folder, or a file system with locks",
            found="a store of other choices (thresholds, outline, target)",
            done="What was cut from it was removed",
            todo="Give each of the runs its own --work, or run them one after the other",
        )


def extract_stage(request: ReleaseRequest, plan: Plan, tell: Progress) -> Generator[SectionDone]:
    """Do this run's share of the sections, and yield each as it is done.

    Raises
    ------
    NoRoomError
        As soon as the disk is full; what is finished stays.
    """
    tasks = _tasks(request, plan)
    n_pairs = 0
    tell("extract", 0, len(tasks), 0)
    with closing(
        run_tasks(tasks, do_section, workers=request.workers, cluster=request.cluster, apart=True)
    ) as outcomes:
        for n_done, outcome in enumerate(outcomes, 1):
            if isinstance(outcome.error, NoRoomError):
                raise outcome.error
            done = outcome.result or _given_up(request.work, tasks[outcome.position].planned, outcome.error)
            _log(done)
            n_pairs += done.extracted.card["pairs"] if done.extracted else 0
            tell("extract", n_done, len(tasks), n_pairs)
            yield done


def _given_up(work: Path, planned: PlannedSection, error: HumanstError | None) -> SectionDone:
    """The card of a section whose task died or met a bug: nobody has written it yet."""
    fault = error.located(study=planned.study_id, section=planned.section_id) if error else None
    done = SectionDone(planned.sample_id, (), None, fault)
    write_done(work, planned, done)
    return done


def _tasks(request: ReleaseRequest, plan: Plan) -> list[WholeTask]:
    chosen = {item.section.sample_id: item for item in request.chosen}
    asked: dict[str, list[str]] = {}
    for planned in plan.sections:
        asked.setdefault(planned.study_id, []).append(planned.section_id)
    index, of = request.share
    # Shares are cut from the whole plan: what others finish meanwhile must not move the cuts.
    mine = plan.sections[index::of]
    return [
        WholeTask(
            planned,
            chosen[planned.sample_id].study,
            chosen[planned.sample_id].section,
            tuple(asked[planned.study_id]),
            request.build_options(),
            request.spec,
        )
        for planned in mine
        if not request.retry_failed or _failed(request.work, planned)
    ]


def _failed(work: Path, planned: PlannedSection) -> bool:
    done = read_done(work, planned)
    return done is None or done.error is not None


def read_all_done(work: Path, sections: Sequence[PlannedSection]) -> Mapping[str, SectionDone]:
    """What became of every section that was reached, by sample_id."""
    found = ((planned.sample_id, read_done(work, planned)) for planned in sections)
    return {name: done for name, done in found if done is not None}


def sweep_work(work: Path) -> None:
    """Remove what killed runs left unfinished in the work folder."""
    for folder in (work, *sorted(work.glob("*/")), *sorted(work.glob("pack/*/"))):
        files.sweep_partials(folder)


def _log(done: SectionDone) -> None:
    # In this process: a worker's own log has no way to the user's terminal or file.
    if done.extracted is not None:
        how = "read again" if done.extracted.reused else "cut"
        logger.info("%s: %d pairs %s", done.sample_id, done.extracted.card["pairs"], how)
    elif done.error is not None:
        logger.info("%s: no pairs (%s)", done.sample_id, done.error.facts.code)
