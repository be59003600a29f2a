"""Files that lie inside other files: members of a study's archives, and single files that were gzipped.

They are unpacked into ``<cache>/unpacked/<sha256 of the file they came from>/``, written aside and hashed on the way,
and kept as long as they are what was written. Gzipped text tables stay as they are: readers take them so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from humanst import files
from humanst.errors import DataError, HumanstError
from humanst.fetch.archives import gunzip, list_members, read_member
from humanst.fetch.stamps import stamped_sha256, write_stamp

if TYPE_CHECKING:
    from humanst.fetch.local import LocalFiles

ARCHIVE_ROLE = re.compile(r"archive(_[a-z0-9_]+)?")
SECTION = "{section}"
_GZIP_SUFFIX = ".gz"
_TEXT_SUFFIXES = frozenset({".csv", ".tsv", ".txt", ".mtx"})


def is_archive(role: str) -> bool:
    """Whether a role names an archive that holds other roles: ``archive``, or ``archive_<something>``."""
    return ARCHIVE_ROLE.fullmatch(role) is not None


def unpack_members(
    local: LocalFiles,
    *,
    cache: Path,
    members: Mapping[str, str] | None = None,
    patterns: Mapping[str, str] | None = None,
    passwords: Mapping[str, str] | None = None,
) -> LocalFiles:
    """Replace archives and gzipped binary files by what they hold.

    Parameters
    ----------
    local
        Verified files. Roles ``archive`` and ``archive_<something>`` are searched for ``patterns`` and left out.
    cache
        The cache folder.
    members
        Role -> name of the member that this role's file, an archive, is there for.
    patterns
        Role -> pattern of member names (``options.members`` of the recipe; see :func:`member_pattern`). A role that has
        a file of its own keeps it.
    passwords
        Role -> password of that role's file, an encrypted archive.

    Returns
    -------
    LocalFiles
        ``sha256`` of an unpacked role is that of the unpacked bytes; ``names`` say ``<archive>/<member>``.

    Raises
    ------
    DataError, HostileError, IntegrityError, NoRoomError, UsageError
        ``no-member``, ``ambiguous-member``, and those of :func:`humanst.fetch.archives.read_member`.
    """
    passwords = passwords or {}
    wanted = {role: (role, member) for role, member in (members or {}).items() if role in local.paths}
    archives = [role for role in local.paths if is_archive(role)]
    if archives and patterns:
        sought = {role: text for role, text in patterns.items() if role not in local.paths or is_archive(role)}
        wanted |= _matching(local, archives, sought, passwords)
    paths, sha256, names = dict(local.paths), dict(local.sha256), dict(local.names)
    for role, (source, member) in wanted.items():
        name = f"{local.names[source]}/{member}"
        packed = _Packed(local.paths[source], local.sha256[source], member, passwords.get(source))
        paths[role], sha256[role] = _unpacked(packed, name, cache)
        names[role] = name
    for role in [role for role in paths if role not in wanted and not is_archive(role)]:
        if _is_gzipped_binary(names[role]):
            paths[role], sha256[role] = _unpacked(_Packed(paths[role], sha256[role]), names[role], cache)
    for role in archives:
        del paths[role], sha256[role], names[role]
    return replace(local, paths=paths, sha256=sha256, names=names)


def member_pattern(pattern: str, section_id: str) -> re.Pattern[str]:
    """The pattern of a recipe for one section: ``{section}`` is its id, and ``*`` matches within one path part."""
    pieces = re.split(r"(\*|\{section\})", pattern)
    spelled = {"*": "[^/]*", SECTION: re.escape(section_id)}
    return re.compile("".join(spelled.get(piece) or re.escape(piece) for piece in pieces))


def _matching(
    local: LocalFiles, archives: list[str], patterns: Mapping[str, str], passwords: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """Role -> (archive's role, member) for every pattern that one member matches."""
    listed = [
        (archive, member)
        for archive in archives
        for member in list_members(local.paths[archive], name=local.names[archive], password=passwords.get(archive))
    ]
    found = {}
    for role, pattern in patterns.items():
        expression = member_pattern(pattern, local.section_id)
        # A name that one archive holds twice is one hit here, and refused as hostile where it is read.
        hits = list(dict.fromkeys((archive, member) for archive, member in listed if expression.fullmatch(member)))
        if len(hits) > 1:
            raise _unclear(
                local,
                "ambiguous-member",
                f"Several members match the recipe's pattern for {role}",
                f"options.members.{role}",
                f"one member for {pattern!r}",
                [member for _, member in hits],
            )
        if hits:
            found[role] = hits[0]
    if patterns and not found:
        expected = ", ".join(sorted(patterns.values()))
        what = "No member of the archive matches the recipe"
        raise _unclear(local, "no-member", what, "options.members", expected, [member for _, member in listed])
    return found


def _unclear(local: LocalFiles, code: str, what: str, field: str, expected: str, found: list[str]) -> DataError:
    return DataError(
        what,
        code=code,
        study=local.study_id,
        section=local.section_id,
        file="recipe.yaml",
        field=field,
        expected=expected,
        found=", ".join(found[:4]) or "an empty archive",
        todo="Correct the patterns in the recipe, or name the members in the catalog",
    )


def _is_gzipped_binary(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix == _GZIP_SUFFIX and PurePosixPath(path.stem).suffix.lower() not in _TEXT_SUFFIXES


@dataclass(frozen=True, slots=True)
class _Packed:
    """What is to be unpacked: a member of the archive at ``path``, or without one the gzipped file itself."""

    path: Path
    sha256: str
    member: str | None = None
    password: str | None = None

    @property
    def inner(self) -> str:
        return self.member or self.path.name

    def blocks(self, name: str) -> Iterator[bytes]:
        """Its bytes, decompressed when its name ends in .gz."""
        if self.member is None:
            raw = _file_blocks(self.path)
        else:
            archive = name.removesuffix(f"/{self.member}")
            raw = read_member(self.path, self.member, name=archive, password=self.password)
        return gunzip(raw, name=name) if self.inner.endswith(_GZIP_SUFFIX) else raw


def _unpacked(packed: _Packed, name: str, cache: Path) -> tuple[Path, str]:
    """The unpacked file and its sha256: the one that is there, when it is still what was written, else made now."""
    target = _target(packed.sha256, packed.inner, cache, name)
    if (known := stamped_sha256(target)) is not None:
        return target, known
    with files.locked(target, what=name):
        if (known := stamped_sha256(target)) is not None:
            return target, known
        files.sweep_partials(target.parent)
        with files.write_aside(target) as aside:
            for block in packed.blocks(name):
                aside.write(block)
            found = aside.sha256
        write_stamp(target, found)
    return target, found


def _target(sha256: str, inner: str, cache: Path, name: str) -> Path:
    """Where it goes; gzipped or not has a folder each, for an archive may hold both under one stem."""
    try:
        is_gzipped = inner.endswith(_GZIP_SUFFIX)
        safe = files.safe_relative_path(inner.removesuffix(_GZIP_SUFFIX))
    except HumanstError as error:
        raise error.located(file=name) from None
    return cache / "unpacked" / sha256 / ("gz" if is_gzipped else "plain") / safe


def _file_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as handle:
        while block := handle.read(files.CHUNK_BYTES):
            yield block
