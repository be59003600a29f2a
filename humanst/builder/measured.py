"""Which genes a study measured, for tables that list only what they found.

The axis is the union over the study's sections whose count table has a hash on record (in a folder, over all of its
sections), and the sections asked for: the same section gets the same axis whatever else is built beside it. A table
that cannot be read is named in the record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from humanst import files
from humanst.builder.folders import FolderStudy, section_files
from humanst.catalog import Section, Study
from humanst.fetch.members import is_archive
from humanst.findings import Findings
from humanst.harmonize.gene_table import load_gene_table
from humanst.harmonize.genes import map_genes
from humanst.locks import held
from humanst.platforms import read_genes
from humanst.runner import run_tasks

# What a reader takes the names of the genes from.
_TABLES = ("counts", "features")


@dataclass(frozen=True, slots=True)
class MeasuredGenes:
    """A study's gene axis and where it comes from.

    Attributes
    ----------
    ensembl_ids
        The union.
    sections, missing
        ``sample_id`` of the tables that were read, and of those that could not be.
    """

    ensembl_ids: frozenset[str]
    sections: tuple[str, ...]
    missing: tuple[str, ...]

    def warn(self, findings: Findings) -> None:
        """Say which tables were not at hand: with them, the same section gets other targets."""
        if self.missing:
            rest = len(self.missing) - 5
            findings.warn(
                "gene-axis-incomplete",
                "Count tables of the study were not at hand, so the genes that only they list count as unmeasured",
                field="absent_genes",
                expected="the count tables of all sections on record",
                found=f"none for {', '.join(self.missing[:5])}" + (f" and {rest} more" if rest > 0 else ""),
                done="The gene axis is the union over the others",
                todo="Fetch them with `humanst fetch` and build again: targets of this section will differ",
            )

    def to_dict(self) -> dict[str, Any]:
        """Where the axis comes from, for provenance."""
        text = "\n".join(sorted(self.ensembl_ids))
        return {
            "rule": "union over the study's count tables on record and the sections asked for",
            "sections": list(self.sections),
            "missing": list(self.missing),
            "n_genes": len(self.ensembl_ids),
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
        }


def measured_genes(study: Study, asked: Iterable[Section], *, pin: bool) -> MeasuredGenes | None:
    """The gene axis of a study with ``absent_genes: zero``; ``None`` for any other."""
    if study.recipe.absent_genes != "zero":
        return None
    wanted = {section.sample_id for section in asked}
    union: set[str] = set()
    read: list[str] = []
    missing: list[str] = []
    tables = [
        section
        for section in study.sections
        if section.sample_id in wanted or isinstance(study, FolderStudy) or _is_pinned(section)
    ]
    # Here once, for every process that is forked.
    load_gene_table()
    for outcome in run_tasks(tables, partial(_genes_of, study, pin=pin), apart=True):
        if outcome.result is not None:
            union |= outcome.result
            read.append(outcome.task.sample_id)
        else:
            missing.append(outcome.task.sample_id)
    return MeasuredGenes(frozenset(union), tuple(read), tuple(missing))


def kept_measured_genes(study: Study, asked: Iterable[Section], *, pin: bool, folder: Path) -> MeasuredGenes | None:
    """:func:`measured_genes`, kept in ``folder`` under the name of its inputs, so that a study's tables are read once.

    An axis that lacks a table is not kept: the table may be there the next time. That of a lab's folder, whose files
    have no digest on record, is kept in memory for as long as no file of it changes.
    """
    wanted = list(asked)
    if isinstance(study, FolderStudy) and study.recipe.absent_genes == "zero":
        names = frozenset(section.sample_id for section in wanted)
        return _folder_genes(_FolderTables(_stamps(study), names, pin, study))
    if study.recipe.absent_genes != "zero":
        return measured_genes(study, wanted, pin=pin)
    name = axis_hash(study, (section.sample_id for section in wanted))[:16]
    path = folder / f"{study.study_id}-{name}.json"
    with held(path, what=f"the genes of {study.study_id}"):
        try:
            kept = json.loads(path.read_bytes())
            return MeasuredGenes(frozenset(kept["ensembl_ids"]), tuple(kept["sections"]), ())
        except (FileNotFoundError, ValueError, KeyError):
            found = measured_genes(study, wanted, pin=pin)
        if found is not None and not found.missing:
            files.write_json(path, {"sections": found.sections, "ensembl_ids": sorted(found.ensembl_ids)})
    return found


@dataclass(frozen=True, slots=True)
class _FolderTables:
    """The count tables of a lab's folder as they lie there: equal while no file changes."""

    stamps: tuple[tuple[str, int, int], ...]
    asked: frozenset[str]
    pin: bool
    study: Study = field(compare=False)


def _stamps(study: FolderStudy) -> tuple[tuple[str, int, int], ...]:
    paths = {source.path for section in study.sections for source in section.sources}
    found = ((path, (study.folder / path).stat()) for path in sorted(paths) if (study.folder / path).exists())
    return tuple((path, status.st_size, status.st_mtime_ns) for path, status in found)


@lru_cache(maxsize=2)
def _folder_genes(tables: _FolderTables) -> MeasuredGenes | None:
    # Every section of the folder asks for this: without it, each would read the tables of all.
    asked = [section for section in tables.study.sections if section.sample_id in tables.asked]
    return measured_genes(tables.study, asked, pin=tables.pin)


def axis_hash(study: Study, asked: Iterable[str]) -> str:
    """Hash of all that a study's gene axis depends on, as far as it is on record; ``asked`` by ``sample_id``."""
    facts = {
        "asked": sorted(asked),
        "tables": [
            [section.sample_id, source.role, source.path, source.member, source.sha256, source.md5, source.bytes]
            for section in study.sections
            for source in section.sources
            if source.role in _TABLES or is_archive(source.role)
        ],
        "recipes": [study.recipe.for_section(section).to_dict() for section in study.sections],
        "gene_table": load_gene_table().sha256,
    }
    return hashlib.sha256(files.canonical_json(facts)).hexdigest()


def _is_pinned(section: Section) -> bool:
    """Whether the count table has a hash on record, or the archive that holds it."""
    tables = [source for source in section.sources if source.role in _TABLES]
    holders = tables or [source for source in section.sources if is_archive(source.role)]
    return any(source.pinned for source in holders)


def _genes_of(study: Study, section: Section, *, pin: bool) -> set[str]:
    from scipy.sparse import csr_matrix

    local = section_files(study, section, roles=_TABLES, pin=pin)
    columns = read_genes(study.recipe.platform, local, study.recipe.for_section(section))
    mapped = map_genes(
        csr_matrix((0, len(columns.names)), dtype="int64"),
        columns.names,
        columns.ids,
        feature_types=columns.types,
        table=load_gene_table(),
        gene_id_type=study.recipe.gene_id_type,
        findings=Findings(study=study.study_id, section=section.section_id),
    )
    return set(map(str, mapped.ensembl_ids))
