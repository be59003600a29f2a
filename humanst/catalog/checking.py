"""Everything that can be wrong with a catalog and its ``curation/``, in one run, each fault with its file and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, cast

from humanst.catalog.checking_licenses import check_license_table, check_licenses
from humanst.catalog.checking_schemas import check_schemas
from humanst.catalog.checking_sources import check_hosts, twins
from humanst.catalog.checking_tables import CheckedTable, check_duplicates, check_samples
from humanst.catalog.curation import SHARED_RECIPES
from humanst.catalog.licenses import LICENSES
from humanst.catalog.located import CatalogReport, Log, without_echoes
from humanst.catalog.passwords import check_archives
from humanst.catalog.reading import check_options, check_platform, load_recipe, resource_of, source_of
from humanst.catalog.records import Recipe, Source
from humanst.catalog.terms import TERMS
from humanst.catalog.yaml_files import read_yaml, short_name
from humanst.catalog.yaml_lines import Lines
from humanst.errors import HumanstError
from humanst.findings import Findings
from humanst.schemas import check_document

_ID = re.compile(r"[a-z][a-z0-9_-]{1,39}")
_STATUSES = ("active", "listed", "deprecated")

Entries = Mapping[str, Mapping[str, Any]]


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
    check.files |= check_schemas(check.log)
    check.shared_data()
    check.catalog()
    found = sorted(check.log.found, key=lambda item: (item.finding.facts.file or "", item.line or 0))
    return CatalogReport(len(check.files), tuple(found))


class _Check:
    """One run over all files; nothing stops it but a catalog that cannot be read at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.curation = path.parent / "curation"
        self.log = Log()
        self.files: set[str] = set()
        self.lines: Lines | None = None
        self.owners: frozenset[str] = frozenset()
        self.tables: dict[Path, CheckedTable | None] = {}
        self.recipes: dict[Path, Recipe | None] = {}

    def shared_data(self) -> None:
        """The tables of licences and ontology terms, where they lie beside this catalog."""
        for kind, name in (("licenses", LICENSES), ("terms", TERMS)):
            path = self.curation / name
            if not path.is_file():
                continue
            shown = f"curation/{name}"
            document = self._document(path, kind, shown)
            if document is not None and kind == "licenses":
                check_license_table(document, self.log, Lines(path), shown)

    def catalog(self) -> None:
        """The catalog by its schema, then every study, resource and folder that keeps to it."""
        document = self._document(self.path, "catalog", self.path.name)
        if document is None:
            return
        self.lines = Lines(self.path)
        bad = {tuple((finding.facts.field or "").split(".")[:2]) for finding in self.log.of(self.path.name)}
        entries = _entries(document, "studies")
        studies = {name: entry for name, entry in entries.items() if ("studies", name) not in bad}
        folders = {entry.get("curation", name) for name, entry in studies.items()}
        self.owners = frozenset({*entries, *(name for name in folders if isinstance(name, str))})
        for name, entry in studies.items():
            self._study(name, entry)
        closed = self._curation_of({name: entry for name, entry in entries.items() if name not in studies})
        for name, entry in _entries(document, "resources").items():
            if ("resources", name) not in bad:
                self._try(partial(resource_of, name, entry, self.path.name))
        self._same_sections(studies, closed)
        self._unique(document, studies)
        check_licenses(document, bad, self.log, self.lines, self.path.name)
        self._folders(entries)

    def _study(self, name: str, entry: Mapping[str, Any]) -> None:
        where = f"studies.{name}"
        sources: dict[str, Source] = {}
        for section_id, section in entry["sections"].items():
            field = f"{where}.sections.{section_id}"
            for role, file in section["files"].items():
                place = f"{field}.files.{role}"
                source = self._try(partial(source_of, role, file, entry, file=self.path.name, field=place))
                if isinstance(source, Source):
                    sources[place] = source
            self._try(partial(check_options, section.get("options", {}), self.path.name, f"{field}.options"))
        for place, expected, found in twins((f"{place}.path", source) for place, source in sources.items()):
            self._tell("path-twins", "Two files of a study fall on one path", place, found, expected=expected)
        for place, host in check_hosts(where, entry, sources):
            expected = f"one of its hosts: {', '.join(entry['hosts']) or 'none'}"
            self._tell("host-not-allowed", "The study allows no file from here", place, host, expected=expected)
        self._try(partial(check_archives, name, entry, self.path.name))
        recipe = self._recipe(entry, name)
        if recipe is not None:
            self._try(partial(check_platform, name, entry, recipe, self.path.name))

    def _recipe(self, entry: Mapping[str, Any], study_id: str) -> Recipe | None:
        shared = entry.get("recipe")
        folder = self.curation / entry.get("curation", study_id)
        if shared is None and "curation" in entry and not folder.is_dir():
            return None
        path = folder / "recipe.yaml" if shared is None else self.curation / SHARED_RECIPES / f"{shared}.yaml"
        if shared is not None and not path.is_file():
            names = sorted(one.stem for one in path.parent.glob("*.yaml"))
            expected = f"one of {', '.join(names) or 'none'}, in curation/{SHARED_RECIPES}/"
            self._tell(
                "unknown-recipe", "There is no such recipe", f"studies.{study_id}.recipe", shared, expected=expected
            )
            return None
        if path not in self.recipes:
            self.recipes[path] = None
            if self._document(path, "recipe", short_name(path)) is not None:
                self.recipes[path] = load_recipe(path)
        return self.recipes[path]

    def _curation_of(self, broken: Mapping[str, Any]) -> set[Path]:
        """Check the recipes and tables of studies whose own entries are broken; returns their folders."""
        folders = set()
        for name, entry in broken.items():
            about = entry if isinstance(entry, dict) else {}
            named = [about.get("curation", name), about.get("recipe")]
            if all(value is None or (isinstance(value, str) and _ID.fullmatch(value)) for value in named):
                folder = self.curation / about.get("curation", name)
                folders.add(folder)
                self._recipe(about, name)
                self._table(folder)
        return folders

    def _same_sections(self, studies: Entries, closed: set[Path]) -> None:
        """Every section has a row, and every row of a table a section; statuses agree with files."""
        owners: dict[Path, list[str]] = {}
        astray: set[str] = set()
        for name, entry in studies.items():
            folder = self.curation / entry.get("curation", name)
            if "curation" in entry and not folder.is_dir():
                field = f"studies.{name}.curation"
                self._tell("unknown-folder", "There is no such folder in curation/", field, folder.name)
                astray.update(entry["sections"])
            else:
                owners.setdefault(folder, []).append(name)
        for folder, names in owners.items():
            table = self._table(folder)
            if table is not None and table.lines.by_section and folder not in closed:
                self._sections_of(table, {name: studies[name]["sections"] for name in names}, astray)

    def _sections_of(self, table: CheckedTable, sections: Entries, astray: set[str]) -> None:
        rows = table.lines.by_section
        listed: dict[str, str] = {}
        for name, section_id, section in ((name, *item) for name, mine in sections.items() for item in mine.items()):
            field = f"studies.{name}.sections.{section_id}"
            if section_id in listed:
                found = f"{section_id}, also at {listed[section_id]}"
                self._tell("duplicate-id", "Two studies of one folder share a section id", field, found)
            listed[section_id] = field
            status = rows.get(section_id, {}).get("status", "")
            if status in _STATUSES and (status == "listed") != (not section["files"]):
                found = f"{len(section['files'])} files, and status {status!r} in {table.lines.name}"
                self._tell("status-differs", "Status and files contradict each other", field, found)
        self._unpaired(table, listed, [name for name in rows if name not in {*listed, *astray, *table.bad_ids}])

    def _unpaired(self, table: CheckedTable, listed: Mapping[str, str], strange: list[str]) -> None:
        """Tell rows without a section and sections without a row; a misspelled id is both, and told once."""
        lost = [section_id for section_id in listed if section_id not in table.lines.by_section]
        for number, section_id in enumerate(strange):
            self.log.tell(
                "sections-differ",
                "The row has no section in the catalog",
                file=table.lines.name,
                line=table.lines.line_of(section_id),
                field="section_id",
                expected=lost[number] if number < len(lost) else "a section of the catalog",
                found=section_id,
            )
        # As many sections as there are rows whose ids were told already have lost their rows by that.
        left = lost[len(strange) :]
        for section_id in left if len(left) > table.lost_ids else ():
            self._tell("sections-differ", f"The section has no row in {table.lines.name}", listed[section_id], "no row")

    def _table(self, folder: Path) -> CheckedTable | None:
        path = folder / "samples.csv"
        if path not in self.tables:
            self.files.add(short_name(path))
            self.tables[path] = check_samples(path, self.log, self.owners)
        return self.tables[path]

    def _unique(self, document: Mapping[str, Any], studies: Entries) -> None:
        """One id, one thing; sample ids over the whole catalog, and duplicates that are on record."""
        parts = {part: list(_entries(document, part)) for part in ("studies", "listed", "resources")}
        seen: dict[str, str] = {}
        for name, part in ((name, part) for part, names in parts.items() for name in names):
            if name in seen:
                self._tell("duplicate-id", "One id stands for two things", f"{part}.{name}", f"also in {seen[name]}")
            seen.setdefault(name, part)
        shared = {entry.get("curation", name) for name, entry in studies.items()} - set(studies)
        for name in sorted(shared & set(seen)):
            self._tell("duplicate-id", "A curation folder has the id of something else", f"{seen[name]}.{name}", name)
        samples: dict[str, CheckedTable] = {}
        for table in filter(None, self.tables.values()):
            for section_id, row in table.lines.by_section.items():
                other = samples.setdefault(row["sample_id"], table)
                if other is not table:
                    found = f"{row['sample_id']}, also in {other.lines.name}"
                    what = "Two studies share a sample id"
                    line = table.lines.line_of(section_id)
                    self.log.tell(
                        "duplicate-id", what, file=table.lines.name, line=line, field="sample_id", found=found
                    )
        if not any(item.finding.severity == "refuse" for item in self.log.found):
            # Samples that stand behind another fault are not known here.
            check_duplicates(samples, self.log)

    def _folders(self, entries: Mapping[str, Any]) -> None:
        """Folders of curation/ are somebody's, and say why the study is in."""
        named = {name: entry if isinstance(entry, dict) else {} for name, entry in entries.items()}
        used = {str(entry.get("curation", name)) for name, entry in named.items()}
        present = {folder.name for folder in self.curation.glob("*/")}
        for lost in used - present:
            # A misspelled name was told where it stands; the folder it meant is not one more fault.
            used = used | set(get_close_matches(lost.lower(), present - used, n=1, cutoff=0.7))
        for folder in sorted(self.curation.glob("*/")):
            if folder.name.startswith("_") or not (folder / "samples.csv").is_file():
                continue
            file = f"curation/{folder.name}"
            if folder.name not in used:
                what = "No study of the catalog names this folder"
                self.log.tell("unused-folder", what, file=file, found=folder.name)
            elif not (folder / "NOTES.md").is_file():
                what = "Nothing says why the study is in"
                self.log.tell("no-notes", what, file=file, severity="warn", expected="NOTES.md", found="no such file")

    def _document(self, path: Path, kind: str, name: str) -> dict[str, Any] | None:
        """A YAML file, when it can be read and keeps to its schema well enough to look further."""
        self.files.add(name)
        try:
            document = read_yaml(path, name=name) if path.is_file() else None
        except HumanstError as error:
            self.log.absorb(error, name)
            return None
        if document is None:
            what = "This file is not there"
            self.log.tell("file-missing", what, file=name, expected="a file with content", found="nothing")
            return None
        findings = Findings(file=name)
        check_document(document, kind, findings)
        lines = Lines(path)
        for finding in without_echoes(findings):
            self.log.put(finding, lines.of(finding.facts.field))
        whole = isinstance(document, dict) and (kind == "catalog" or not findings.refused)
        return document if whole else None

    def _try(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except HumanstError as error:
            self.log.absorb(error, self.path.name, cast("Lines", self.lines).of)
        return None

    def _tell(self, code: str, what: str, field: str, found: str, *, expected: str | None = None) -> None:
        line = cast("Lines", self.lines).of(field)
        self.log.tell(code, what, file=self.path.name, line=line, field=field, found=found, expected=expected)


def _entries(document: Mapping[str, Any], part: str) -> dict[str, Any]:
    entries = document.get(part)
    return dict(entries) if isinstance(entries, dict) else {}
