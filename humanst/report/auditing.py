"""An audit from sections to its folder: the tables of every section, those of all together, verdicts, a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst import files
from humanst.errors import HumanstError, raise_for_failures
from humanst.pathways import PathwayChoice
from humanst.pathways.audit.inputs import AuditOptions
from humanst.report.page import audit_page
from humanst.report.panels import Panel
from humanst.report.sources import AuditSource
from humanst.report.verdicts import summary_of
from humanst.report.whole import as_a_whole, each_section, has_card, require_folder_of
from humanst.shards.scoring import sets_of_file

if TYPE_CHECKING:
    import pandas as pd

    from humanst.pathways.audit.inputs import AuditSection

BY_SECTION = ("sections", "panels", "geometry")
BY_RELEASE = ("information", "mutual", "retrieval", "variance")
PAGE, CARD = "index.html", "audit.json"
AUDIT_SCHEMA = "humanst.audit-card/1"


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """What is audited, and how.

    Attributes
    ----------
    title
        Of the page.
    gene_sets, choice
        The file of gene sets, and how they are chosen and scored.
    panels
        That scores are compared on.
    n_own_panels
        Distinct panels of the targeted sections, of which no more than some are compared.
    command
        How the audit was asked for, for the page.
    is_release, identity
        Whether it is of a release; the sha256 of its manifest, or of the tree of the one store: a title alone may be
        another's too. ``None`` of several stores.
    """

    title: str
    sources: tuple[AuditSource, ...]
    gene_sets: Path
    choice: PathwayChoice = field(default_factory=PathwayChoice)
    n_seeds: int = 3
    n_draws: int = 10
    seed: int = 0
    panels: tuple[Panel, ...] = ()
    n_own_panels: int = 0
    workers: int = 1
    command: str = "humanst audit"
    is_release: bool = False
    identity: str | None = None

    def options(self) -> AuditOptions:
        """How sections and releases are measured."""
        return AuditOptions(self.choice.scoring, self.n_seeds, self.n_draws, self.seed)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found.

    Attributes
    ----------
    tables
        Name -> table, as written; ``pathways`` is the summary with its verdicts.
    failures
        ``(sample_id, error)`` of sections that could not be audited.
    """

    tables: Mapping[str, pd.DataFrame]
    failures: tuple[tuple[str, HumanstError], ...]


@dataclass(frozen=True, slots=True)
class _SectionTask:
    source: AuditSource
    gene_sets: Path
    choice: PathwayChoice
    options: AuditOptions
    panels: tuple[Panel, ...]


def audit(request: AuditRequest, output: Path, *, progress: Callable[[str, int, int], None]) -> AuditReport:
    """Audit sections, each by itself and all together, and write the tables and the page into a folder.

    Sections that fail are listed; the others are audited. The folder appears when everything in it is there.

    Parameters
    ----------
    output
        The folder. An earlier audit in it is replaced.
    progress
        Called as ``progress(step, done, total)``.

    Raises
    ------
    UsageError
        ``not-an-audit`` when the folder holds something else.
    DataError
        When the gene sets cannot be used.
    InterruptedRun
        When it is stopped: an audit is kept as a whole or not at all.
    HumanstError
        When no section can be audited: its own error of one, ``PartialFailure`` of several.
    """
    require_audit_folder(output)
    reached: dict[str, tuple[int, int]] = {}

    def tell(step: str, done: int, total: int) -> None:
        reached[step] = (done, total)
        progress(step, done, total)

    with as_a_whole("audit", output, lambda: reached.get("sections", (0, len(request.sources)))):
        return _audit(request, output, tell)


def _audit(request: AuditRequest, output: Path, progress: Callable[[str, int, int], None]) -> AuditReport:
    sets = sets_of_file(request.gene_sets, request.gene_sets.name, request.choice)
    by_section, failures = _sections(request, progress)
    failed = {name for name, _ in failures}
    good = [source for source in request.sources if source.sample_id not in failed]
    if not good:
        raise_for_failures(len(request.sources), failures)
    progress("all sections together", 0, 1)
    tables = by_section | _together(request, good)
    progress("all sections together", 1, 1)
    tables["pathways"] = summary_of(sets, tables)
    facts = {
        "title": request.title,
        "identity": request.identity,
        "is_release": request.is_release,
        "command": request.command,
        "gene_sets": request.gene_sets.name,
        "gene_sets_sha256": sets.sha256,
        "scorer": request.choice.scoring.scorer,
        "normalisation": request.choice.normalisation,
        "n_seeds": request.n_seeds,
        "n_draws": request.n_draws,
        "seed": request.seed,
        "left_out": sets.left_out,
        "unmapped": sets.unmapped_symbols,
        "repeated": sets.repeated,
        "panels": request.panels,
        "n_own_panels": request.n_own_panels,
        "failures": [(name, str(error)) for name, error in failures],
    }
    with files.folder_aside(output) as partial:
        for name in sorted(tables):
            _write(partial / f"{name}.parquet", tables[name])
        files.write_bytes(partial / PAGE, audit_page(facts, tables).encode())
        files.write_json(partial / CARD, _card(request, sets.sha256, failures, partial))
    return AuditReport(tables, tuple(failures))


def _card(
    request: AuditRequest, gene_sets_sha256: str, failures: Sequence[tuple[str, HumanstError]], folder: Path
) -> dict[str, Any]:
    """What the folder is and what it is of: by it the next audit knows that it may replace this one."""
    return {
        "schema": AUDIT_SCHEMA,
        "title": request.title,
        "kind": "release" if request.is_release else "stores",
        "manifest_sha256": request.identity if request.is_release else None,
        "store_tree_sha256": None if request.is_release else request.identity,
        "gene_sets_sha256": gene_sets_sha256,
        "failures": {name: error.to_dict() for name, error in failures},
        "bytes": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
    }


def require_audit_folder(output: Path) -> None:
    """Refuse a folder that holds anything but an audit.

    Raises
    ------
    UsageError
        ``not-an-audit``, naming the first stranger; any file is one where no card says that the folder is an audit.
    """
    ours = {PAGE, CARD, *(f"{name}.parquet" for name in (*BY_SECTION, *BY_RELEASE, "pathways"))}
    entries = sorted(output.iterdir()) if output.is_dir() else []
    strangers = [path.name for path in entries if path.name not in ours or not path.is_file()]
    # Others keep an index.html and tables of sections too.
    if not has_card(output / CARD, AUDIT_SCHEMA):
        strangers = strangers or [path.name for path in entries]
    require_folder_of("audit", output, strangers, code="not-an-audit", todo="Name another folder with -o")


def _sections(
    request: AuditRequest, progress: Callable[[str, int, int], None]
) -> tuple[dict[str, pd.DataFrame], list[tuple[str, HumanstError]]]:
    tasks = [
        _SectionTask(source, request.gene_sets, request.choice, request.options(), request.panels)
        for source in request.sources
    ]
    names = [source.sample_id for source in request.sources]

    def tell(done: int) -> None:
        progress("sections", done, len(tasks))

    found, failures = each_section(tasks, _audit_section, names, workers=request.workers, tell=tell)
    return {name: _joined([tables[name] for _, tables in found]) for name in BY_SECTION}, failures


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all; those without rows have no kinds of columns to agree on."""
    import pandas as pd

    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else next(iter(parts), pd.DataFrame())


def _audit_section(task: _SectionTask) -> dict[str, pd.DataFrame]:
    from humanst.pathways.audit.agreement import agreement_by_geometry, agreement_by_panel
    from humanst.pathways.audit.section import audit_section

    section = task.source()
    sets = sets_of_file(task.gene_sets, task.gene_sets.name, task.choice)
    flags = _flags(section, task.panels)
    return {
        "sections": audit_section(section, sets, task.options),
        "panels": agreement_by_panel(section, sets, flags, task.options),
        "geometry": agreement_by_geometry(section, sets, task.options),
    }


def _flags(section: AuditSection, panels: Sequence[Panel]) -> dict[str, Any]:
    """The panels on the genes of a section; a section of a panel itself has nothing to compare with."""
    if section.targeted:
        return {}
    ids = section.ensembl_ids.tolist()
    return {panel.name: np.array([gene in panel.genes for gene in ids]) for panel in panels}


def _together(request: AuditRequest, sources: Sequence[AuditSource]) -> dict[str, pd.DataFrame]:
    from humanst.pathways.audit.release import audit_release

    sets = sets_of_file(request.gene_sets, request.gene_sets.name, request.choice)
    found = audit_release(list(sources), sets, request.options())
    return {name: found[name] for name in BY_RELEASE}


def _write(path: Path, table: pd.DataFrame) -> None:
    files.write_with(path, lambda target: table.to_parquet(target, index=False, compression="zstd"))
