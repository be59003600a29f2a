"""What fetch gives to the readers: the verified local files of a section, or one file of a resource."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from humanst.catalog import Resource, Section, Source, Study, without_files
from humanst.errors import HumanstError, IntegrityError
from humanst.fetch.engine import Wanted, expectation, fetch_file
from humanst.fetch.jobs import DEFAULT_JOBS, Fetched, fetch_files
from humanst.fetch.members import is_archive, unpack_members
from humanst.fetch.receive import Progress
from humanst.settings import Settings, settings


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """The files of one section, each verified against its digest on record.

    Attributes
    ----------
    paths
        Role -> local file.
    sha256
        Role -> hex digest of the local file.
    names
        Role -> path in the catalog, for provenance and messages; ``<archive>/<member>`` for what lay in an archive.
    """

    study_id: str
    section_id: str
    paths: Mapping[str, Path]
    sha256: Mapping[str, str]
    names: Mapping[str, str]


def fetch_section(
    study: Study,
    section: Section,
    *,
    roles: Collection[str] | None = None,
    pin: bool = False,
    jobs: int = DEFAULT_JOBS,
    progress: Progress | None = None,
) -> LocalFiles:
    """Fetch and verify the files of one section.

    Parameters
    ----------
    roles
        Only these roles; ``None`` for every file. Roles the section has no file for are left out of the result.
        Archives (see :func:`humanst.fetch.members.unpack_members`) are fetched for the roles they hold.
    pin
        Take files without a digest on record, trusting the first download and pinning it.
    jobs
        How many files to fetch at a time.
    progress
        Called with (``<study>/<path>``, bytes so far, bytes expected or ``None``) while bytes arrive.

    Raises
    ------
    IntegrityError
        When a file is not the one on record anywhere; code ``unpinned`` names every file without a digest.
    NetworkError
        When a file is nowhere to be had; code ``offline`` names every file that is missing.
    HostileError, NoRoomError, UsageError
        See :func:`humanst.fetch.engine.fetch_file`; ``listed-section`` for a section without files.
    DataError
        See :func:`humanst.fetch.members.unpack_members`.
    """
    current = settings()
    wanted = wanted_files(study, section, roles=roles, pin=pin)
    try:
        _refuse_listed(study, section)
        _refuse_unpinned(wanted, current)
        return _assembled(study, section, roles, wanted, fetch_files(wanted, current, jobs=jobs, progress=progress))
    except HumanstError as error:
        raise error.located(study=study.study_id, section=section.section_id) from None


def fetch_sections(
    pairs: Sequence[tuple[Study, Section]],
    *,
    pin: bool = False,
    jobs: int = DEFAULT_JOBS,
    progress: Progress | None = None,
) -> list[LocalFiles | HumanstError]:
    """Fetch the files of many sections, side by side over all files; a file of several sections is fetched once.

    Parameters
    ----------
    pin, jobs, progress
        As for :func:`fetch_section`.

    Returns
    -------
    list
        For each section its files, or the error it would raise alone.
    """
    current = settings()
    found: list[LocalFiles | HumanstError] = []
    refused: dict[int, HumanstError] = {}
    wanted = [wanted_files(study, section, pin=pin) for study, section in pairs]
    for number, items in enumerate(wanted):
        try:
            _refuse_listed(*pairs[number])
            _refuse_unpinned(items, current)
        except HumanstError as error:
            refused[number] = error
    asked = [item for number, items in enumerate(wanted) if number not in refused for item in items]
    fetched = fetch_files(asked, current, jobs=jobs, progress=progress)
    for number, (study, section) in enumerate(pairs):
        try:
            if number in refused:
                raise refused[number]
            found.append(_assembled(study, section, None, wanted[number], fetched))
        except HumanstError as error:
            found.append(error.located(study=study.study_id, section=section.section_id))
    return found


def wanted_files(
    study: Study, section: Section, *, roles: Collection[str] | None = None, pin: bool = False
) -> list[Wanted]:
    """The files a section needs: those of the roles asked for, and archives that hold such roles."""
    patterns = _patterns(study, section, roles)
    sources = [source for source in section.sources if _is_wanted(source, section, roles, patterns)]
    return [Wanted(study.study_id, source, study.hosts, pin) for source in sources]


def _patterns(study: Study, section: Section, roles: Collection[str] | None) -> Mapping[str, str]:
    patterns: Mapping[str, str] = study.recipe.for_section(section).options.get("members", {})
    return {role: pattern for role, pattern in patterns.items() if roles is None or role in roles}


def _assembled(
    study: Study,
    section: Section,
    roles: Collection[str] | None,
    wanted: Sequence[Wanted],
    fetched: Mapping[str, Fetched],
) -> LocalFiles:
    """The files of a section out of what was fetched, its archives unpacked."""
    paths: dict[str, Path] = {}
    sha256: dict[str, str] = {}
    missing: list[HumanstError] = []
    for item in wanted:
        outcome = fetched[item.key]
        if isinstance(outcome, HumanstError):
            if outcome.facts.code != "offline":
                raise outcome
            missing.append(outcome)
            continue
        paths[item.source.role], sha256[item.source.role] = outcome
    _raise_all(missing)
    sources = [item.source for item in wanted]
    names = {source.role: source.path for source in sources}
    local = LocalFiles(study.study_id, section.section_id, paths, sha256, names)
    members = {source.role: source.member for source in sources if source.member is not None}
    passwords = {source.role: source.password for source in sources if source.password is not None}
    cache, patterns = settings().resolved_cache_dir(), _patterns(study, section, roles)
    return unpack_members(local, cache=cache, members=members, patterns=patterns, passwords=passwords)


def _is_wanted(source: Source, section: Section, roles: Collection[str] | None, patterns: Mapping[str, str]) -> bool:
    """Whether a file is asked for itself, or is an archive that holds a role asked for."""
    if roles is None or source.role in roles:
        return True
    return is_archive(source.role) and any(section.source(role) is None for role in patterns)


def fetch_resource(
    resource: Resource, path: str | None = None, *, pin: bool = False, progress: Progress | None = None
) -> Path:
    """Fetch and verify one file of a resource (its default without ``path``).

    Raises
    ------
    UsageError
        When the resource has no such file.
    IntegrityError, NetworkError, HostileError, NoRoomError
        See :func:`humanst.fetch.engine.fetch_file`.
    """
    wanted = Wanted(resource.resource_id, resource.source(path), resource.hosts, pin)
    try:
        return fetch_file(wanted, settings(), progress=progress)[0]
    except HumanstError as error:
        raise error.located(study=resource.resource_id) from None


def resource_files(resource: Resource, *, pin: bool = False) -> list[Wanted]:
    """Every file of a resource."""
    return [Wanted(resource.resource_id, source, resource.hosts, pin) for source in resource.sources]


def _refuse_listed(study: Study, section: Section) -> None:
    """A section on record alone has nothing to fetch, which is not the same as having all of it."""
    if not section.sources:
        raise without_files(study.study_id, [section.sample_id])


def _refuse_unpinned(wanted: list[Wanted], current: Settings) -> None:
    refused: list[HumanstError] = []
    for item in wanted:
        try:
            expectation(item, current)
        except IntegrityError as error:
            if error.facts.code != "unpinned":
                raise
            refused.append(error)
    _raise_all(refused)


def _raise_all(errors: list[HumanstError]) -> None:
    """Raise the first of several errors of one kind, naming the files of all."""
    if not errors:
        return
    first = errors[0].facts
    if len(errors) == 1:
        raise errors[0]
    raise type(errors[0])(
        f"{first.what} (and {len(errors) - 1} more)",
        code=first.code,
        file=", ".join(str(error.facts.file) for error in errors),
        field=first.field,
        expected=first.expected if first.code == "unpinned" else "these files in a mirror or at their host",
        found=first.found,
        done=first.done,
        todo=first.todo,
    )
