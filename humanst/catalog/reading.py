"""From files to records: the catalog, its recipes and samples tables, each checked before it is believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from humanst.catalog.checking_sources import twins
from humanst.catalog.curation import Curation
from humanst.catalog.listed import listed_study
from humanst.catalog.passwords import check_archives
from humanst.catalog.records import Catalog, Lattice, Published, Recipe, Resource, Section, Source, Study
from humanst.catalog.yaml_files import read_yaml, require_file, short_name
from humanst.errors import DataError, HostileError
from humanst.files import safe_relative_path
from humanst.findings import Findings
from humanst.schemas import check_document, document_faults, document_schema
from humanst.settings import data_path, settings


def load_catalog(path: Path | None = None) -> Catalog:
    """Read a catalog and the ``curation/`` folder beside it.

    Parameters
    ----------
    path
        Another ``catalog.yaml``; by default ``HUMANST_CATALOG``, else the one that ships with humanst.

    Raises
    ------
    DataError
        When the catalog, a recipe or a samples table breaks its schema; every fault is named by file and field.
    HostileError
        When a file path would leave its folder.
    UsageError
        When the catalog file does not exist.
    """
    path = path or settings().catalog or data_path("catalog.yaml")
    document = _document(path, "catalog", name=path.name)
    curation = Curation(path.parent / "curation", document["studies"])
    studies = {key: _study(key, document["studies"][key], path, curation) for key in sorted(document["studies"])}
    listed = {key: listed_study(key, entry) for key, entry in sorted(document.get("listed", {}).items())}
    resources = {key: resource_of(key, document["resources"][key], path.name) for key in sorted(document["resources"])}
    releases = {key: _published(key, document["releases"][key]) for key in sorted(document["releases"])}
    catalog = Catalog(path, studies=studies, resources=resources, releases=releases, listed=listed)
    check_ids({"studies": studies, "listed": listed, "resources": resources, "curation": catalog.folders()}, path.name)
    check_sample_ids(studies, path.name)
    return catalog


def check_ids(parts: Mapping[str, Iterable[str]], file: str) -> None:
    """Ids name folders of the cache, or are what commands are asked for: one id, one thing."""
    seen: dict[str, str] = {}
    for part, ids in parts.items():
        clash = sorted(set(ids) & set(seen))
        if clash:
            raise DataError(
                f"{clash[0]} is in {seen[clash[0]]} and in {part}",
                code="duplicate-id",
                file=file,
                field=f"{part}.{clash[0]}",
                expected="ids that are unique over studies, listed studies, resources and shared curation folders",
                found=", ".join(clash),
                todo="Rename one of them",
            )
        seen |= dict.fromkeys(ids, part)


def check_sample_ids(studies: Mapping[str, Study], file: str) -> None:
    """Sample ids name stores, keys and rows of every table: each stands for one section of the whole catalog."""
    seen: dict[str, str] = {}
    for study in studies.values():
        for section in study.sections:
            other = seen.setdefault(section.sample_id, study.study_id)
            if other != study.study_id:
                raise DataError(
                    "Two studies share a sample id",
                    code="duplicate-id",
                    study=study.study_id,
                    section=section.section_id,
                    file=file,
                    field="sample_id",
                    expected="ids that are unique over the catalog",
                    found=f"{section.sample_id}, also in {other}",
                    todo="Rename one of them in its samples.csv",
                )


def load_recipe(path: Path) -> Recipe:
    """Read a ``recipe.yaml``, a study's or a lab's own.

    Raises
    ------
    DataError
        When it breaks ``schemas/recipe.yaml``; every fault is named by field.
    UsageError
        When the file does not exist.
    """
    return recipe_from(_document(path, "recipe", name=short_name(path)))


def recipe_from(document: Mapping[str, Any]) -> Recipe:
    """A recipe from plain data that keeps to ``schemas/recipe.yaml``."""
    stated = document.get("um_per_pixel")
    scale = stated if isinstance(stated, dict) else {"value": stated, "source": document.get("um_per_pixel_source")}
    return Recipe(
        platform=document["platform"],
        gene_id_type=document["gene_id_type"],
        targeted=document["targeted"],
        absent_genes=document["absent_genes"],
        lattice=Lattice(
            kind=document["lattice"]["kind"],
            pitch_um=float(document["lattice"]["pitch_um"]),
            spot_diameter_um=float(document["lattice"]["spot_diameter_um"]),
        ),
        um_per_pixel=scale["value"],
        um_per_pixel_source=scale["source"],
        orientation=document.get("orientation", "as_given"),
        labels=document.get("labels"),
        oddities=tuple(document.get("oddities", ())),
        options=document.get("options", {}),
        files=document.get("files", {}),
    )


def _study(study_id: str, document: Mapping[str, Any], catalog: Path, curation: Curation) -> Study:
    rows = curation.rows(study_id)
    sections = []
    for section_id in sorted(document["sections"]):
        entry, row = document["sections"][section_id], rows[section_id]
        where = f"studies.{study_id}.sections.{section_id}"
        options = entry.get("options", {})
        check_options(options, catalog.name, f"{where}.options")
        sources = tuple(
            source_of(role, entry["files"][role], document, file=catalog.name, field=f"{where}.files.{role}")
            for role in sorted(entry["files"])
        )
        section = Section(study_id, section_id, row["sample_id"], row["status"], sources, row, options)
        check_status(section, catalog.name, where)
        sections.append(replace(section, slide=entry.get("slide"), spots_under_tissue=entry.get("spots_under_tissue")))
    check_twins(study_id, (source for section in sections for source in section.sources))
    check_archives(study_id, document, catalog.name)
    recipe = curation.recipe(study_id, load_recipe)
    check_platform(study_id, document, recipe, catalog.name)
    return Study(
        study_id=study_id,
        title=document["title"],
        platform=document["platform"],
        license=document["license"],
        license_url=document.get("license_url"),
        license_source=document["license_source"],
        doi=document.get("doi"),
        citation=document["citation"],
        hosts=tuple(document["hosts"]),
        recipe=recipe,
        sections=tuple(sections),
        accessions=document.get("accessions", {}),
        curation=curation.folder(study_id).name,
        n_sections=document.get("n_sections"),
    )


def check_platform(study_id: str, document: Mapping[str, Any], recipe: Recipe, file: str) -> None:
    """Catalog and recipe speak of one platform."""
    if recipe.platform != document["platform"]:
        raise DataError(
            "Catalog and recipe name different platforms",
            code="platform-differs",
            study=study_id,
            file=file,
            field=f"studies.{study_id}.platform",
            expected=repr(recipe.platform),
            found=repr(document["platform"]),
        )


def check_status(section: Section, file: str, where: str) -> None:
    """A listed section is one without files, and only that."""
    if (section.status == "listed") == (not section.sources):
        return
    raise DataError(
        "Status and files of a section contradict each other",
        code="status-differs",
        study=section.study_id,
        section=section.section_id,
        file=file,
        field=f"{where}.files",
        expected="files where samples.csv says active or deprecated, none where it says listed",
        found=f"{len(section.sources)} files, and {section.status!r} in samples.csv",
        todo="Correct the status in samples.csv, or the files",
    )


def resource_of(resource_id: str, document: Mapping[str, Any], file: str) -> Resource:
    """A resource from plain data that keeps to ``schemas/catalog.yaml``."""
    where = f"resources.{resource_id}"
    sources = tuple(
        source_of("file", entry, document, file=file, field=f"{where}.files[{number}]")
        for number, entry in enumerate(document["files"])
    )
    check_twins(resource_id, sources)
    resource = Resource(
        resource_id=resource_id,
        title=document["title"],
        license=document["license"],
        default=document["default"],
        sources=tuple(sorted(sources, key=lambda source: source.path)),
        hosts=tuple(document["hosts"]),
        aliases=tuple(document.get("aliases", {}).items()),
    )
    named = {"default": resource.default, **{f"aliases.{name}": path for name, path in resource.aliases}}
    for field, path in named.items():
        if path not in {source.path for source in sources}:
            raise DataError(
                "The default is not among the files" if field == "default" else "A short name stands for no file",
                code="unknown-file",
                file=file,
                field=f"{where}.{field}",
                expected="the path of one of its files",
                found=repr(path),
            )
    return resource


def _published(version: str, document: Mapping[str, Any]) -> Published:
    return Published(
        version=version,
        url=document["url"],
        manifest_sha256=document["manifest_sha256"],
        hosts=tuple(document["hosts"]),
        license=document["license"],
        bytes=document.get("bytes"),
    )


def source_of(role: str, entry: Mapping[str, Any], owner: Mapping[str, Any], *, file: str, field: str) -> Source:
    """A file from plain data; one whose path would leave its folder is refused."""
    path = entry["path"]
    try:
        for name in ("path", "member"):
            if name in entry:
                place = f"{field}.{name}"
                safe_relative_path(entry[name])
    except HostileError as error:
        raise error.located(file=file, field=place) from None
    base = owner.get("base_url")
    url = entry["url"] if "url" in entry else (None if base is None else base + quote(path))
    return Source(
        role=role,
        path=path,
        url=url,
        bytes=entry.get("bytes"),
        sha256=entry.get("sha256"),
        md5=entry.get("md5"),
        license=entry.get("license"),
        member=entry.get("member"),
        password=owner.get("archives", {}).get(path, {}).get("password"),
    )


def check_twins(owner: str, sources: Iterable[Source]) -> None:
    """Paths that differ only in case or in how accents are written fall on one file on many disks."""
    for place, expected, found in twins((source.path, source) for source in sources):
        raise DataError(
            "Two files of a study fall on one path",
            code="path-twins",
            study=owner,
            file="catalog.yaml",
            field=place,
            expected=expected,
            found=found,
            todo="Correct one of the paths",
        )


def check_options(options: Mapping[str, Any], file: str, field: str) -> None:
    """A section's own options keep to the recipe schema."""
    if not options:
        return
    from jsonschema import Draft202012Validator

    schema = document_schema("recipe")
    rule = {"$ref": "#/$defs/options", "$defs": schema["$defs"]}
    fault = next(Draft202012Validator(rule).iter_errors(options), None)
    if fault is not None:
        place, expected, found = next(document_faults(fault))
        raise DataError(
            "A section's options break the recipe schema",
            code="bad-options",
            file=file,
            field=f"{field}.{place}" if place else field,
            expected=expected,
            found=found,
        )


def _document(path: Path, kind: str, *, name: str) -> dict[str, Any]:
    require_file(path)
    document: dict[str, Any] = read_yaml(path, name=name)
    findings = Findings(file=name)
    check_document(document, kind, findings)
    findings.raise_if_refused()
    return document
