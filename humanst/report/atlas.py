"""A report from sections to its folder: a page of the atlas, one of every section, a table for MultiQC, a card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst import files
from humanst.errors import HumanstError, raise_for_failures
from humanst.report.atlas_audit import FoundAudit
from humanst.report.atlas_facts import AtlasFacts, Made, atlas_facts
from humanst.report.atlas_mqc import MQC, mqc_table
from humanst.report.atlas_page import atlas_page
from humanst.report.atlas_sections import SectionTask, forget_sources, make_section
from humanst.report.atlas_source import AtlasSource
from humanst.report.whole import as_a_whole, each_section, has_card, require_folder_of

if TYPE_CHECKING:
    from humanst.pathways import PathwayChoice

PAGE, CARD, AUDIT, SECTIONS = "index.html", "report.json", "audit.html", "sections"
REPORT_SCHEMA = "humanst.report-card/1"
MOST_IN_ONE_FILE = 60


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What is reported, and how.

    Attributes
    ----------
    source
        The sections.
    scratch
        Where zips of stores are unpacked; it is the caller's to remove.
    work
        The work folder of a release, if not the usual one.
    gene_sets, choice
        What the spots of stores are scored for.
    single_file
        All in one file, or a page a section; by default one file up to ``MOST_IN_ONE_FILE`` sections.
    audit
        The page of an audit that goes along, and what is to be said of it.
    """

    source: AtlasSource
    scratch: Path
    work: Path | None = None
    gene_sets: Path | None = None
    choice: PathwayChoice | None = None
    single_file: bool | None = None
    audit: FoundAudit = field(default_factory=FoundAudit)
    workers: int = 1

    @property
    def is_single_file(self) -> bool:
        """Whether all sections are in one file."""
        return len(self.source.sample_ids) <= MOST_IN_ONE_FILE if self.single_file is None else self.single_file


@dataclass(frozen=True, slots=True)
class Report:
    """What was written.

    Attributes
    ----------
    failures
        ``(sample_id, error)`` of sections without a page.
    n_bytes
        Path in the folder -> bytes.
    """

    facts: AtlasFacts
    single_file: bool
    failures: tuple[tuple[str, HumanstError], ...]
    n_bytes: Mapping[str, int]


def write_report(request: ReportRequest, output: Path, *, progress: Callable[[str, int, int], None]) -> Report:
    """Write the report of a release or of section stores into a folder, which appears when all of it is there.

    The same sections give the same bytes. Sections that fail are named on the page and listed.

    Parameters
    ----------
    output
        The folder. An earlier report in it is replaced.
    progress
        Called as ``progress(step, done, total)``.

    Raises
    ------
    UsageError
        ``not-a-report`` when the folder holds something else.
    InterruptedRun
        When it is stopped: a report is kept as a whole or not at all.
    HumanstError
        When no section can be shown: its own error of one, ``PartialFailure`` of several.
    """
    require_report_folder(output)
    reached = [0]

    def tell(done: int) -> None:
        reached[0] = done
        progress("sections", done, len(request.source.sample_ids))

    with (
        as_a_whole("report", output, lambda: (reached[0], len(request.source.sample_ids))),
        files.folder_aside(output) as folder,
    ):
        return _fill(request, folder, tell)


def _fill(request: ReportRequest, folder: Path, tell: Callable[[int], None]) -> Report:
    made, failures = _sections(request, folder, tell)
    if not made:
        raise_for_failures(len(request.source.sample_ids), failures)
    facts = atlas_facts(request.source, made, failures)
    n_bytes = {f"{SECTIONS}/{path.name}": path.stat().st_size for path in sorted((folder / SECTIONS).glob("*.html"))}

    def write(name: str, data: bytes) -> None:
        files.write_bytes(folder / name, data)
        n_bytes[name] = len(data)

    audit = request.audit
    if audit.page is not None:
        write(AUDIT, audit.page.read_bytes())
    fragments = {name: done.fragment for name, done in made.items() if request.is_single_file}
    page = atlas_page(
        facts, fragments=fragments, audit=AUDIT if audit.page is not None else None, audit_note=audit.note
    )
    write(PAGE, page.encode())
    write(MQC, mqc_table(request.source).encode())
    card = {
        "schema": REPORT_SCHEMA,
        "title": request.source.title,
        "kind": request.source.kind,
        "single_file": request.is_single_file,
        "sections": {name: done.href for name, done in made.items()},
        "failures": {name: error.to_dict() for name, error in failures},
        "bytes": n_bytes,
    }
    files.write_json(folder / CARD, card)
    return Report(facts, request.is_single_file, tuple(failures), n_bytes)


def _sections(
    request: ReportRequest, folder: Path, tell: Callable[[int], None]
) -> tuple[dict[str, Made], list[tuple[str, HumanstError]]]:
    """The sections by ``sample_id``, in order, and those that failed."""
    source, single = request.source, request.is_single_file
    opened: Mapping[str, Any] = {
        "work": request.work,
        "scratch": request.scratch,
        "gene_sets": request.gene_sets,
        "choice": request.choice,
    }
    tasks = [
        SectionTask(source.path, tuple(opened.items()), name, None if single else folder / SECTIONS)
        for name in source.sample_ids
    ]
    if not single:
        (folder / SECTIONS).mkdir()
    try:
        made, failures = each_section(tasks, make_section, source.sample_ids, workers=request.workers, tell=tell)
    finally:
        forget_sources()
    return dict(made), failures


def require_report_folder(output: Path) -> None:
    """Refuse a folder that holds anything but a report.

    Raises
    ------
    UsageError
        ``not-a-report``, naming the first stranger.
    """
    require_folder_of("report", output, _strangers(output), code="not-a-report", todo="Name another folder with -o")


def _strangers(output: Path) -> list[str]:
    """What in a folder is no part of a report, by name; all of it where no card says that it is one."""
    entries = sorted(output.iterdir()) if output.is_dir() else []
    pages = sorted((output / SECTIONS).iterdir()) if (output / SECTIONS).is_dir() else []
    found = [path.name for path in entries if not _may_be_ours(path)]
    found += [f"{SECTIONS}/{path.name}" for path in pages if path.suffix != ".html" or not path.is_file()]
    # Others keep an index.html and a report.json too.
    return found or ([] if has_card(output / CARD, REPORT_SCHEMA) else [path.name for path in entries])


def _may_be_ours(path: Path) -> bool:
    return path.is_dir() if path.name == SECTIONS else path.is_file() and path.name in {PAGE, CARD, AUDIT, MQC}
