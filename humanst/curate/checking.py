"""What a path given to ``humanst validate`` means, and the report of everything in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from humanst.builder.checking import SourceTask, check_sources, check_store, source_tasks, stores_below
from humanst.builder.folders import study_from_folder
from humanst.catalog import Recipe
from humanst.curate.draft import Proposal, propose
from humanst.errors import HumanstError
from humanst.findings import Finding, Findings
from humanst.runner import call_apart, run_tasks
from humanst.validate import Report


@dataclass(frozen=True, slots=True)
class PathReport:
    """All that was validated for one path, in sorted order."""

    path: str
    reports: tuple[Report, ...]

    @property
    def refused(self) -> bool:
        """Whether any item of the path is refused."""
        return any(report.refused for report in self.reports)


Task = Path | SourceTask | Report
Progress = Callable[[int, int], None]


def validate_paths(
    paths: Sequence[str], recipe: Recipe | None, *, workers: int = 1, progress: Progress | None = None
) -> list[PathReport]:
    """Validate everything below the given paths.

    Parameters
    ----------
    paths
        Section stores and SpatialData zarrs, folders of them, or folders of vendor files.
    recipe
        How to read vendor files; a drafted one without it.
    progress
        Called as ``progress(done, total)`` whenever an item is done.
    """
    tasks = [(path, task) for path in dict.fromkeys(paths) for task in _tasks(path, recipe)]
    found: dict[int, Report] = {}
    for outcome in run_tasks([task for _, task in tasks], _check, workers=workers, apart=True):
        error = outcome.error
        if error is not None and isinstance(outcome.task, SourceTask):
            of = outcome.task.task
            error.located(study=of.study.study_id, section=of.section.section_id)
        found[outcome.position] = outcome.result if outcome.result else _refused(_item(*tasks[outcome.position]), error)
        if progress is not None:
            progress(len(found), len(tasks))
    return [
        PathReport(path, tuple(found[number] for number, (owner, _) in enumerate(tasks) if owner == path))
        for path in dict.fromkeys(paths)
    ]


def _item(path: str, task: Task) -> str:
    """What reports call an item that gave no report of its own."""
    return task.label if isinstance(task, SourceTask) else str(path)


def _check(task: Task) -> Report:
    if isinstance(task, Report):
        return task
    return check_store(task) if isinstance(task, Path) else check_sources(task)


def _tasks(path: str, recipe: Recipe | None) -> Iterator[Task]:
    folder = Path(path)
    stores = stores_below(folder)
    if stores or not folder.is_dir():
        yield from stores or [folder]
        return
    proposal: Proposal | None = None
    try:
        if recipe is None:
            proposal = call_apart(propose, folder)
        for place, one in _recipes(recipe, proposal):
            study = study_from_folder(folder, one)
            yield from source_tasks(study, study.sections, "/".join(filter(None, (_label(folder), place))))
    except HumanstError as error:
        yield _refused(_label(folder), error)
        return
    if proposal is not None:
        yield from _left_over(folder, proposal)


def _recipes(recipe: Recipe | None, proposal: Proposal | None) -> Iterator[tuple[str, Recipe]]:
    """The given recipe, or every drafted one with the place that tells it from the others."""
    if recipe is not None:
        yield "", recipe
    drafts = [draft for draft in proposal.drafts if draft.platform is not None] if proposal else []
    for draft in drafts:
        yield draft.place if len(drafts) > 1 else "", draft.recipe()


def _left_over(folder: Path, proposal: Proposal) -> Iterator[Report]:
    """What a folder holds beside sections: matrices without positions, or nothing that humanst knows."""
    for matrix in proposal.loose:
        findings = Findings(study=_label(folder))
        findings.refuse(
            "no-positions",
            "A count matrix has no positions",
            file=matrix,
            field="positions",
            expected="tissue_positions(_list).csv or .parquet near it",
            found="none",
            todo="Add the spatial folder of the section, or give a recipe that names its files",
        )
        yield Report(f"{_label(folder)}/{Path(matrix).parent.as_posix()}", "vendor files", findings)
    if proposal.drafts[0].platform is None and not proposal.loose:
        findings = Findings(study=_label(folder))
        findings.refuse(
            "no-sections",
            "No section was found in this folder",
            field="files",
            expected="a section store, or vendor files of Visium, Visium HD, Xenium or legacy ST",
            found="; ".join(proposal.drafts[0].unknown),
            todo="Give --recipe if the files have names of their own",
        )
        yield Report(_label(folder), "unknown", findings)


def _label(folder: Path) -> str:
    return folder.name or folder.resolve().name


def _refused(item: str, error: HumanstError | None) -> Report:
    findings = Findings()
    if error is not None:
        findings.extend([Finding("refuse", error.facts)])
    return Report(item, "unknown", findings)
