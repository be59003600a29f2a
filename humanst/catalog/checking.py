"""Everything that can be wrong with a catalog and its ``curation/``, in one run, each fault with its file and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from humanst.catalog.curation import SHARED_RECIPES
from humanst.catalog.licenses import UNREAD, terms_of
from humanst.catalog.located import CatalogReport, LocatedFinding, without_echoes
from humanst.catalog.passwords import check_archives
from humanst.catalog.reading import check_options, check_platform, check_twins, load_recipe, resource_of, source_of
from humanst.catalog.records import Recipe, Source
from humanst.catalog.samples_lines import SampleLines
from humanst.catalog.yaml_files import read_yaml, short_name
from humanst.catalog.yaml_lines import Lines
from humanst.errors import DataError, HumanstError
from humanst.findings import Finding, Findings
from humanst.schemas import DOCUMENTS, TABLES, check_document, check_table, document_schema, table_schema

_LINE = re.compile(r"\bline (\d+)")
_ID = re.compile(r"[a-z][a-z0-9_-]{1,39}")
_STATUSES = ("active", "listed", "deprecated")


def check_catalog(path: Path) -> CatalogReport:
    """Check a ``catalog.yaml``, the ``curation/`` beside it, and the schemas of humanst itself.

    Parameters
    ----------
    path
        The catalog, or the folder it lies in.

    Raises
    ------
    UsageError
        When there is no such file.
    """
    check = _Check(path / "catalog.yaml" if path.is_dir() else path)
    check.schemas()
    check.catalog()
    found = sorted(check.found, key=lambda item: (item.finding.facts.file or "", item.line or 0))
    return CatalogReport(len(check.files), tuple(found))


class _Check:
    """One run over all files; nothing stops it but a catalog that cannot be read at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.curation = path.parent / "curation"
        self.found: list[LocatedFinding] = []
        self.files: set[str] = set()
        self.lines: Lines | None = None
        self.samples: dict[Path, SampleLines | None] = {}
        self.recipes: dict[Path, Recipe | None] = {}

    def schemas(self) -> None:
        """The contracts are contracts."""
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError

        for name in DOCUMENTS:
            self.files.add(f"schemas/{name}.yaml")
            try:
                Draft202012Validator.check_schema(document_schema(name))
            except SchemaError as error:
                findings = Findings(file=f"schemas/{name}.yaml")
                field = ".".join(map(str, error.absolute_path))
                findings.refuse("bad-schema", "This is no JSON Schema", field=field, found=error.message)
                self._add(findings, None)
        for name in TABLES:
            self.files.add(f"schemas/{name}.yaml")
            table_schema(name)

    def catalog(self) -> None:
        """The catalog by its schema, then every study, resource and folder that keeps to it."""
        document = self._document(self.path, "catalog", self.path.name)
        if document is None:
            return
        self.lines = Lines(self.path)
        bad = {
            tuple((item.finding.facts.field or "").split(".")[:2])
            for item in self.found
            if item.finding.facts.file == self.path.name
        }
        studies = {name: entry for name, entry in _entries(document, "studies").items() if ("studies", name) not in bad}
        for name, entry in studies.items():
            self._study(name, entry)
        closed = self._curation_of(
            {name: entry for name, entry in _entries(document, "studies").items() if name not in studies}
        )
        for name, entry in _entries(document, "resources").items():
            if ("resources", name) not in bad:
                self._try(partial(resource_of, name, entry, self.path.name))
        self._same_sections(studies, closed)
        self._unique(document, studies)
        self._unread(document, bad)
        self._folders(document)

    def _study(self, name: str, entry: Mapping[str, Any]) -> None:
        where = f"studies.{name}"
        sources: list[Source] = []
        for section_id, section in entry["sections"].items():
            field = f"{where}.sections.{section_id}"
            for role, file in section["files"].items():
                place = f"{field}.files.{role}"
                source = self._try(partial(source_of, role, file, entry, file=self.path.name, field=place))
                sources += [source] if isinstance(source, Source) else []
            self._try(partial(check_options, section.get("options", {}), self.path.name, f"{field}.options"))
        self._try(partial(check_twins, name, sources))
        self._try(partial(check_archives, name, entry, self.path.name))
        recipe = self._recipe(entry, name)
        if recipe is not None:
            self._try(partial(check_platform, name, entry, recipe, self.path.name))

    def _recipe(self, entry: Mapping[str, Any], study_id: str) -> Recipe | None:
        shared = entry.get("recipe")
        own = self.curation / entry.get("curation", study_id) / "recipe.yaml"
        path = own if shared is None else self.curation / SHARED_RECIPES / f"{shared}.yaml"
        if path not in self.recipes:
            self.recipes[path] = None
            if self._document(path, "recipe", short_name(path)) is not None:
                self.recipes[path] = load_recipe(path)
        return self.recipes[path]

    def _curation_of(self, broken: Mapping[str, Any]) -> set[Path]:
        """Check the recipes and tables of studies whose own entries are broken; returns their folders."""
        folders = set()
        for name, entry in broken.items():
            named = [entry.get(key) for key in ("curation", "recipe")] if isinstance(entry, dict) else [0]
            if all(value is None or (isinstance(value, str) and _ID.fullmatch(value)) for value in named):
                folders.add(self.curation / entry.get("curation", name))
                self._recipe(entry, name)
                self._table(self.curation / entry.get("curation", name) / "samples.csv")
        return folders

    def _same_sections(self, studies: Mapping[str, Mapping[str, Any]], closed: set[Path]) -> None:
        """Every section has a row, and every row of a table a section; statuses agree with files."""
        owners: dict[Path, list[str]] = {}
        for name, entry in studies.items():
            owners.setdefault(self.curation / entry.get("curation", name), []).append(name)
        for folder, names in owners.items():
            table = self._table(folder / "samples.csv")
            if table is not None and table.by_section and folder not in closed:
                self._sections_of(table, {name: studies[name]["sections"] for name in names})

    def _sections_of(self, table: SampleLines, sections: Mapping[str, Mapping[str, Any]]) -> None:
        listed: dict[str, str] = {}
        for name, section_id, section in ((name, *item) for name, mine in sections.items() for item in mine.items()):
            field = f"studies.{name}.sections.{section_id}"
            if section_id in listed:
                found = f"{section_id}, also at {listed[section_id]}"
                self._tell("duplicate-id", "Two studies of one folder share a section id", field, found)
            listed[section_id] = field
            status = table.by_section.get(section_id, {}).get("status", "")
            if status in _STATUSES and (status == "listed") != (not section["files"]):
                found = f"{len(section['files'])} files, and status {status!r} in {table.name}"
                self._tell("status-differs", "Status and files contradict each other", field, found)
        strange = [section_id for section_id in table.by_section if section_id not in listed]
        lost = [section_id for section_id in listed if section_id not in table.by_section]
        # A misspelled id is one fault: the strange row stands for the section that has lost its own.
        for number, section_id in enumerate(strange):
            findings = Findings(file=table.name)
            findings.refuse(
                "sections-differ",
                "The row has no section in the catalog",
                field="section_id",
                expected=lost[number] if number < len(lost) else "a section of the catalog",
                found=section_id,
            )
            self._add(findings, table.line_of(section_id))
        for section_id in lost[len(strange) :]:
            self._tell("sections-differ", f"The section has no row in {table.name}", listed[section_id], "no row")

    def _table(self, path: Path) -> SampleLines | None:
        if path not in self.samples:
            name = short_name(path)
            self.files.add(name)
            self.samples[path] = None
            findings = Findings(file=name)
            table: SampleLines | None = None
            try:
                table = SampleLines(path, findings)
            except HumanstError as error:
                _absorb(findings, error)
            if table is not None and table.rows:
                check_table(table.frame(), "samples", findings, every_cell=True)
            for finding in findings:
                self._put(finding, table.line_in(finding.facts.field) if table else None)
            self.samples[path] = table
        return self.samples[path]

    def _unique(self, document: Mapping[str, Any], studies: Mapping[str, Any]) -> None:
        """One id, one thing; sample ids over the whole catalog."""
        parts = {part: list(_entries(document, part)) for part in ("studies", "listed", "resources")}
        seen: dict[str, str] = {}
        for part, names in parts.items():
            for name in names:
                if name in seen:
                    self._tell(
                        "duplicate-id", "One id stands for two things", f"{part}.{name}", f"also in {seen[name]}"
                    )
                seen.setdefault(name, part)
        shared = {entry.get("curation", name) for name, entry in studies.items()} - set(studies)
        for name in sorted(shared & set(seen)):
            self._tell("duplicate-id", "A curation folder has the id of something else", f"{seen[name]}.{name}", name)
        samples: dict[str, SampleLines] = {}
        for table in filter(None, self.samples.values()):
            for section_id, row in table.by_section.items():
                other = samples.setdefault(row["sample_id"], table)
                if other is not table:
                    findings = Findings(file=table.name)
                    found = f"{row['sample_id']}, also in {other.name}"
                    findings.refuse("duplicate-id", "Two studies share a sample id", field="sample_id", found=found)
                    self._add(findings, table.line_of(section_id))

    def _unread(self, document: Mapping[str, Any], bad: set[tuple[str, ...]]) -> None:
        """A licence that nobody entered closes its study: most often it is a misspelling."""
        for part in ("studies", "listed", "resources"):
            for name, entry in _entries(document, part).items():
                license_id = entry.get("license") if isinstance(entry, dict) else None
                if not isinstance(license_id, str) or license_id == "LicenseRef-unknown" or (part, name) in bad:
                    continue
                if terms_of(license_id).family == UNREAD:
                    expected = "an SPDX id of curation/_licenses.yaml, or LicenseRef-unknown"
                    what = "Nobody entered what this licence allows, so it counts as unknown"
                    field = f"{part}.{name}.license"
                    self._tell("license-unread", what, field, license_id, expected=expected, severity="warn")

    def _folders(self, document: Mapping[str, Any]) -> None:
        """Folders of curation/ are somebody's, and say why the study is in."""
        used = {entry.get("curation", name) for name, entry in _entries(document, "studies").items()}
        for folder in sorted(self.curation.glob("*/")):
            if folder.name.startswith("_") or not (folder / "samples.csv").is_file():
                continue
            findings = Findings(file=f"curation/{folder.name}")
            if folder.name not in used:
                findings.refuse("unused-folder", "No study of the catalog names this folder", found=folder.name)
            elif not (folder / "NOTES.md").is_file():
                findings.warn("no-notes", "Nothing says why the study is in", expected="NOTES.md", found="no such file")
            self._add(findings, None)

    def _document(self, path: Path, kind: str, name: str) -> dict[str, Any] | None:
        """A YAML file, when it can be read and keeps to its schema well enough to look further."""
        self.files.add(name)
        findings = Findings(file=name)
        try:
            document = read_yaml(path, name=name) if path.is_file() else None
        except HumanstError as error:
            _absorb(findings, error)
            self._add(findings, None)
            return None
        if document is None:
            findings.refuse("file-missing", "This file is not there", expected="a file with content", found="nothing")
            self._add(findings, None)
            return None
        check_document(document, kind, findings)
        lines = Lines(path)
        for finding in without_echoes(findings):
            self._put(finding, lines.of(finding.facts.field))
        whole = isinstance(document, dict) and (kind == "catalog" or not findings.refused)
        return document if whole else None

    def _try(self, act: Callable[[], Any]) -> Any:
        findings = Findings(file=self.path.name)
        try:
            return act()
        except HumanstError as error:
            _absorb(findings, error)
        self._add(findings, self.lines)
        return None

    def _tell(
        self, code: str, what: str, field: str, found: str, *, expected: str | None = None, severity: str = "refuse"
    ) -> None:
        findings = Findings(file=self.path.name)
        put = findings.warn if severity == "warn" else findings.refuse
        put(code, what, field=field, found=found, expected=expected)
        self._add(findings, self.lines)

    def _add(self, findings: Findings, where: Lines | int | None) -> None:
        for finding in findings:
            self._put(finding, where.of(finding.facts.field) if isinstance(where, Lines) else where)

    def _put(self, finding: Finding, line: int | None) -> None:
        said = _LINE.search(finding.facts.field or "")
        self.found.append(LocatedFinding(finding, line or (int(said[1]) if said else None)))


def _entries(document: Mapping[str, Any], part: str) -> dict[str, Any]:
    entries = document.get(part)
    return dict(entries) if isinstance(entries, dict) else {}


def _absorb(findings: Findings, error: HumanstError) -> None:
    facts = [error.facts, *(error.also if isinstance(error, DataError) else ())]
    findings.extend(Finding("refuse", replace(fact, file=fact.file or findings.file)) for fact in facts)
