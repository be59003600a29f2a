"""Write target sets into a folder that holds the shards' indexes: sources a section, what is fitted, a file a shard.

Memory grows with one section or one shard, never with the release.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from humanst import files
from humanst.builder import store_path
from humanst.pathways import PathwayChoice
from humanst.runner import Cluster, Outcome, run_tasks
from humanst.shards import target_beside
from humanst.shards.request import Progress
from humanst.shards.scoring import sets_of_file, sets_record
from humanst.shards.target_controls import extract_shuffled, shuffle_tasks, write_random_sets
from humanst.shards.target_fit import fit_components, most_variable, rank_genes
from humanst.shards.target_layout import Layout, read_layout
from humanst.shards.target_sets import TargetSet
from humanst.shards.target_shards import ShardTask, write_shard
from humanst.shards.target_sources import SourceTask, check_stores, extract_source

logger = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Means:
    """What target sets are made with.

    Attributes
    ----------
    work
        The work folder of the release's build: its section stores, and ``targets/`` for intermediates.
    """

    work: Path
    workers: int = 1
    cluster: Cluster | None = None
    tell: Progress = lambda step, done, total, pairs: None

    def run(self, tasks: Sequence[Task], do: Callable[[Task], Result]) -> Generator[Outcome[Task, Result]]:
        """Run tasks."""
        return run_tasks(tasks, do, workers=self.workers, cluster=self.cluster)

    def results(self, step: str, tasks: Sequence[Task], do: Callable[[Task], Result]) -> list[Result]:
        """Run tasks and give their results in order.

        Raises
        ------
        HumanstError
            The first that a task meets.
        """
        found: dict[int, Result] = {}
        self.tell(step, 0, len(tasks), 0)
        with closing(self.run(tasks, do)) as outcomes:
            for outcome in outcomes:
                if outcome.error is not None:
                    raise outcome.error
                if outcome.result is not None:
                    found[outcome.position] = outcome.result
                self.tell(step, len(found), len(tasks), 0)
        return [found[position] for position in range(len(tasks))]


def write_sets(
    folder: Path, manifest: Mapping[str, Any], sets: Sequence[TargetSet], means: Means
) -> dict[str, dict[str, Any]]:
    """Write ``targets/<set>/`` for every set; returns the entries of the manifest.

    Parameters
    ----------
    folder
        Where a release is put together; its ``index/`` is there.
    manifest
        Of that release.

    Raises
    ------
    DataError
        When a section store is not the one the release was built from, or there is too little to fit a set on.
    NoRoomError
        When the disk fills up.
    """
    layout = read_layout(folder, manifest)
    check_stores(layout.sections, manifest, means.work)
    files.sweep_partials(means.work / "targets")
    entries = {}
    for one in sets:
        entries[one.name] = _write_set(folder, manifest, layout, one, means)
        logger.info("%s: %d files", one.name, len(layout.shards))
    return entries


def _write_set(
    release: Path, manifest: Mapping[str, Any], layout: Layout, one: TargetSet, means: Means
) -> dict[str, Any]:
    folder = release / "targets" / one.name
    if one.kind == "shuffle":
        shuffled = shuffle_tasks(release, manifest, layout.sections, means.work / "targets", one.n)
        sources = means.results(f"{one.name}: sections", shuffled, extract_shuffled)
        beside = target_beside.write_shuffled(folder, manifest)
    elif one.kind == "random":
        sources, beside = _random_sources(folder, layout, one, means)
    else:
        sources = _sources(layout, means, one.name, one.gmt, one.choice)
        beside = _write_beside(folder, layout, one, sources, means)
    shard_tasks = [
        ShardTask(shard, one.kind, folder, {number: sources[number] for number in set(shard.section.tolist())})
        for shard in layout.shards
    ]
    n_rows = means.results(f"{one.name}: shards", shard_tasks, write_shard)
    place = f"targets/{one.name}"
    return {
        "kind": one.kind,
        "parameters": one.parameters(),
        "dtype": "int32" if one.kind == "counts" else "float32",
        "n_columns": beside.n_columns,
        "columns": f"{place}/{beside.columns}",
        "beside": [f"{place}/{name}" for name in beside.others],
        "files": [
            {"path": f"{place}/{task.path.name}", "n_rows": rows}
            for task, rows in zip(shard_tasks, n_rows, strict=True)
        ],
        **beside.about,
    }


def _sources(
    layout: Layout, means: Means, name: str, gene_sets: Path | None = None, choice: PathwayChoice | None = None
) -> list[Path]:
    """The counts of every section's pairs, or their scores for a file of gene sets."""
    scratch = means.work / "targets"
    tasks = [
        SourceTask(section, store_path(means.work, section.sample_id), scratch, gene_sets, choice or PathwayChoice())
        for section in layout.sections
    ]
    return means.results(f"{name}: sections", tasks, extract_source)


def _random_sources(
    folder: Path, layout: Layout, one: TargetSet, means: Means
) -> tuple[list[Path], target_beside.Beside]:
    """Choose the random sets over the training pairs of all sections, freeze them, and score them as any others."""
    if one.gmt is None:  # pragma: no cover - parse_sets gives it one
        raise ValueError("random sets are matched to gene sets")
    counts = _sources(layout, means, one.name)
    sets = sets_of_file(one.gmt, one.gmt.name, one.choice)
    path, empty = write_random_sets(folder, sets, layout.sections, counts, seed=one.n)
    # Sizes were limited before sets were matched to those that are left.
    scored = PathwayChoice(one.choice.scoring)
    sources = _sources(layout, means, one.name, path, scored)
    fitted = [section.sample_id for section in layout.sections if section.fits]
    about = {"fitted_on": fitted, **({"left_out": empty} if empty else {})}
    beside = target_beside.write_sets_of_genes(folder, layout.sections, sources, others=(path.name,), about=about)
    return sources, beside


def _write_beside(
    folder: Path, layout: Layout, one: TargetSet, sources: Sequence[Path], means: Means
) -> target_beside.Beside:
    if one.kind == "counts":
        return target_beside.write_genes(folder, layout.sections, sources)
    if one.gmt is not None:
        about = sets_record(sets_of_file(one.gmt, one.gmt.name, one.choice))
        return target_beside.write_sets_of_genes(folder, layout.sections, sources, about=about)
    ranked = rank_genes(layout.sections, sources)
    if one.kind == "hvg":
        return target_beside.write_ranked(folder, most_variable(ranked, one.n), layout.sections)
    means.tell(f"{one.name}: components", 0, 1, 0)
    components = fit_components(ranked, one.n, layout.sections, sources, means.run)
    return target_beside.write_components(folder, components, layout.sections, sources)
