"""A lab's own folder and a recipe as a study, without a catalog: the same records, so the same checks follow.

Sections are found by matching the recipe's ``files`` patterns against the folder; files are hashed when they are read.
What nobody wrote down stays ``unknown``: the donor, so that the whole folder is one split group, and the licence, so
that nothing made from it may be passed on.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from humanst import files
from humanst.builder.matching import Matches, list_files, match_sections, safe_id, unique_ids
from humanst.catalog import Recipe, Section, Source, Study
from humanst.errors import DataError, HostileError, HumanstError, UsageError
from humanst.fetch import LocalFiles, fetch_section
from humanst.fetch.archives import list_members
from humanst.fetch.members import is_archive, unpack_members
from humanst.schemas import table_schema
from humanst.settings import settings

UNKNOWN_LICENSE = "LicenseRef-unknown"
# Sorts after every release, so that a lab's own sections never become the anchor of an atlas group.
UNRELEASED = "unreleased"
# Names that vendors give to every output folder say nothing: the folder above names the study.
NO_NAMES = frozenset({"outs", "output", "outputs", "results", "data", "spatial", "binned_outputs"})
# Slides and transcript tables have tens of gigabytes; a file of terabytes has holes.
MAX_FILE_BYTES = 256 << 30
# Between an archive and its member in a match; no file system allows it in a name.
INSIDE = "\0"


@dataclass(frozen=True, slots=True)
class FolderStudy(Study):
    """A study whose files lie in a folder of this machine.

    Attributes
    ----------
    folder
        Paths of its sources are relative to it.
    """

    folder: Path = Path()


def section_files(
    study: Study, section: Section, *, roles: Collection[str] | None = None, pin: bool = False
) -> LocalFiles:
    """The verified local files of a section: fetched for a catalog study, hashed on the spot for a folder.

    Parameters
    ----------
    roles
        Only these roles; ``None`` for every file. Roles the section has no file for are left out of the result.
    pin
        Take files without a digest on record, trusting the first download.

    Raises
    ------
    DataError
        ``ambiguous-file`` when a pattern of the recipe matched several files of the section.
    HumanstError
        What :func:`humanst.fetch.fetch_section` raises.
    """
    if not isinstance(study, FolderStudy):
        return fetch_section(study, section, roles=roles, pin=pin)
    paths: dict[str, Path] = {}
    names: dict[str, str] = {}
    for source in section.sources:
        if roles is not None and source.role not in roles:
            continue
        if source.role in paths:
            raise _ambiguous(study, section, source.role)
        paths[source.role], names[source.role] = study.folder / source.path, source.path
    try:
        digests = {role: _sha256(path, names[role]) for role, path in paths.items()}
    except HumanstError as error:
        raise error.located(study=study.study_id, section=section.section_id) from None
    local = LocalFiles(study.study_id, section.section_id, paths, digests, names)
    members = {
        source.role: source.member for source in section.sources if source.member is not None and source.role in paths
    }
    return unpack_members(local, cache=settings().resolved_cache_dir(), members=members)


def _ambiguous(study: Study, section: Section, role: str) -> DataError:
    found = [source.member or source.path for source in section.sources if source.role == role]
    return DataError(
        f"Several files match the recipe's pattern for {role}",
        code="ambiguous-file",
        study=study.study_id,
        section=section.section_id,
        file="recipe.yaml",
        field=f"files.{role}",
        expected=f"one file a section for {study.recipe.files.get(role, role)!r}",
        found=", ".join(found[:4]),
        todo="Make the pattern in the recipe tell them apart",
    )


def _sha256(path: Path, name: str) -> str:
    try:
        files.require_plain(path, name=name)
        about = path.stat()
        if about.st_size > MAX_FILE_BYTES:
            raise _too_large(name, about.st_size)
        return _digest(path, about)
    except OSError as error:
        raise DataError(
            "This file cannot be read",
            code="file-unreadable",
            file=name,
            expected="a file that may be read",
            found=error.strerror or str(error),
            done="The section was refused",
            todo="Change its rights, or correct the link",
        ) from error


def _too_large(name: str, size: int) -> HostileError:
    return HostileError(
        "This file is larger than any file of a section",
        code="file-too-large",
        file=name,
        expected=f"at most {MAX_FILE_BYTES:,} bytes",
        found=f"{size:,} bytes",
        done="It was not read",
        todo="Check where it comes from",
    )


def _digest(path: Path, about: os.stat_result) -> str:
    return _hashed(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=4096)
def _hashed(path: Path, size: int, mtime_ns: int) -> str:
    """A file is read twice in one build (genes, then counts) and hashed once, unless it changed in between."""
    return files.sha256_file(path)


def study_from_folder(folder: Path, recipe: Recipe, *, taken: Container[str] = ()) -> FolderStudy:
    """The sections of a folder, found with the recipe's patterns.

    Parameters
    ----------
    folder
        Where the files lie.
    recipe
        ``files`` maps roles to patterns; ``{section}`` is the section id and ``*`` matches within one path part.
    taken
        Ids of other studies: a folder of such a name gets ``lab-`` before it, for a copy of a published study has
        neither its donors nor its licence on record.

    Raises
    ------
    UsageError
        ``no-patterns`` for a recipe without ``files``, ``no-sections`` when nothing in the folder matches them.
    """
    if not recipe.files:
        raise UsageError(
            "The recipe does not say which files to read",
            code="no-patterns",
            file="recipe.yaml",
            field="files",
            expected="role -> path pattern, such as counts: '{section}/counts.tsv.gz'",
            found="nothing",
            todo="`humanst curate propose FOLDER` drafts them",
        )
    study_id = safe_id(_name_of(folder)).lower()
    if not (study_id[0].isalpha() and len(study_id) > 1) or study_id in taken:
        study_id = f"lab-{study_id}"
    paths = list_files(folder)
    found = _matches(folder, paths, recipe)
    if not found:
        raise UsageError(
            "No file of the folder matches the recipe",
            code="no-sections",
            study=study_id,
            file="recipe.yaml",
            field="files",
            expected=", ".join(f"{role}: {pattern}" for role, pattern in sorted(recipe.files.items())),
            found=f"{len(paths)} files, none of them matching, in {folder.name}",
            todo="Correct the patterns, or give the folder they are relative to",
        )
    ids = unique_ids(sorted(found))
    sections = tuple(_section(study_id, ids[raw], folder, dict(sorted(found[raw].items()))) for raw in sorted(found))
    return FolderStudy(
        study_id=study_id,
        title=f"Folder {_name_of(folder)}",
        platform=recipe.platform,
        license=UNKNOWN_LICENSE,
        license_url=None,
        license_source="none given: a folder outside the catalog",
        doi=None,
        citation="unpublished",
        hosts=(),
        recipe=recipe,
        sections=sections,
        folder=folder,
    )


def _matches(folder: Path, paths: list[str], recipe: Recipe) -> Matches:
    """Sections and their files; members of an archive count as files, unless a role has a file of its own."""
    own = {role: pattern for role, pattern in recipe.files.items() if not is_archive(role)}
    found = match_sections(paths, own)
    holders = match_sections(paths, {role: pattern for role, pattern in recipe.files.items() if is_archive(role)})
    archives = sorted({path for roles in holders.values() for hits in roles.values() for path in hits})
    for archive in archives:
        files.require_plain(folder / archive, name=archive)
        inside = match_sections(list_members(folder / archive, name=archive), recipe.options.get("members", {}))
        for section, roles in inside.items():
            mine = found.setdefault(section, {})
            for role, members in roles.items():
                if role not in own or role not in mine:
                    named = tuple(f"{archive}{INSIDE}{member}" for member in members)
                    mine[role] = (*mine.get(role, ()), *named)
    return found


def _section(study_id: str, section_id: str, folder: Path, roles: Mapping[str, tuple[str, ...]]) -> Section:
    sample_id = safe_id(f"{study_id}_{section_id}")
    sources = tuple(_source(role, match, folder) for role, matches in roles.items() for match in matches)
    row = dict.fromkeys(table_schema("samples").columns, "unknown")
    row |= dict.fromkeys(("exclusion_groups", "known_duplicates", "xref_hest", "notes"), "")
    row |= {"sample_id": sample_id, "section_id": section_id, "status": "active", "release_added": UNRELEASED}
    return Section(study_id, section_id, sample_id, "active", sources, row)


def _source(role: str, match: str, folder: Path) -> Source:
    path, _, member = match.partition(INSIDE)
    try:
        size = (folder / path).stat().st_size
    except OSError:
        # A link that leads nowhere costs its own section, when that is read.
        size = None
    return Source(role, path, bytes=size, member=member or None)


def _name_of(folder: Path) -> str:
    parts = Path(os.path.abspath(folder)).parts  # noqa: PTH100 - a linked folder keeps the name it was given by
    return next((part for part in reversed(parts) if part.lower() not in NO_NAMES and part != os.sep), "folder")


def same_ids(studies: list[Study]) -> None:
    """Ask that no two studies share an id, as two folders of one name do.

    Raises
    ------
    UsageError
        ``duplicate-id``.
    """
    seen: dict[str, Study] = {}
    for study in studies:
        other = seen.setdefault(study.study_id, study)
        if other is not study:
            raise UsageError(
                "Two of the things asked for have one name",
                code="duplicate-id",
                study=study.study_id,
                expected="folders (and studies) with different names",
                found=f"{other.title!r} and {study.title!r}",
                todo="Rename a folder, or build them one at a time",
            )
