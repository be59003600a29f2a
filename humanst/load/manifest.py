"""``MANIFEST.json`` of a release, read field by field.

Every field that is used is checked for presence and kind, and every path for staying below the release folder, before
anything is built from it. Fields this version does not know are kept and ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from humanst.errors import DataError, HostileError
from humanst.files import parse_json, require_plain, safe_relative_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMA = "humanst.release/1"
MANIFEST = "MANIFEST.json"

_Kind = TypeVar("_Kind")


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar of a split as the manifest records it.

    Attributes
    ----------
    name
        File name as in the ``shard`` column of the index, for example ``"train-00000.tar"``.
    path
        Path relative to the release folder.
    n_bytes, sha256
        Size and hex digest of the file.
    n_pairs
        Number of pairs in it.
    """

    name: str
    path: str
    n_bytes: int
    sha256: str
    n_pairs: int


@dataclass(frozen=True, slots=True)
class Split:
    """One split as the manifest records it: its index and its shards, in order."""

    name: str
    n_pairs: int
    index: str
    index_sha256: str
    shards: tuple[Shard, ...]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a release folder and check that its schema is the one known here.

    Raises
    ------
    DataError
        When the manifest is missing, is no JSON object, or has another schema.
    """
    try:
        require_plain(folder / MANIFEST)
        text = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(
            "This is not a release: a release exists only when its manifest exists",
            code="no-manifest",
            file=str(folder / MANIFEST),
            expected="a file",
            found="none",
            todo="Let humanst build-shards finish, or give the folder that holds MANIFEST.json",
        ) from error
    try:
        manifest = parse_json(text)
    except ValueError as error:
        raise invalid("", "a JSON document", str(error)) from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        found = manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__
        raise invalid("schema", SCHEMA, repr(found), todo="Read this release with the humanst it was made for")
    return manifest


def parse_split(manifest: Mapping[str, Any], name: str) -> Split:
    """Take one split out of a manifest.

    Raises
    ------
    DataError
        When a field is missing or of the wrong kind, or the numbers of pairs do not add up.
    HostileError
        When a path leaves the release folder.
    """
    field = f"splits.{name}"
    listed = get_field(manifest, f"{field}.shards", list)
    split = Split(
        name=name,
        n_pairs=get_field(manifest, f"{field}.n_pairs", int),
        index=get_field(manifest, f"{field}.index", str),
        index_sha256=get_field(manifest, f"{field}.index_sha256", str),
        shards=tuple(_shard(entry, f"{field}.shards[{i}]") for i, entry in enumerate(listed)),
    )
    _named_file(split.index, f"{field}.index")
    if len({shard.name for shard in split.shards}) != len(split.shards):
        raise invalid(f"{field}.shards", "each shard name once", "a name that comes twice")
    if (total := sum(shard.n_pairs for shard in split.shards)) != split.n_pairs:
        raise invalid(f"{field}.n_pairs", f"{total} (the sum over its shards)", str(split.n_pairs))
    return split


def _shard(entry: object, field: str) -> Shard:
    path = get_field(entry, "path", str, below=field)
    return Shard(
        name=_named_file(path, f"{field}.path").name,
        path=path,
        n_bytes=get_field(entry, "bytes", int, below=field),
        sha256=get_field(entry, "sha256", str, below=field),
        n_pairs=get_field(entry, "n_pairs", int, below=field),
    )


def _named_file(relative: str, field: str) -> Path:
    try:
        return safe_relative_path(relative)
    except HostileError as error:
        raise error.located(file=MANIFEST, field=field) from error


def get_field(document: object, field: str, kind: type[_Kind], *, below: str = "") -> _Kind:
    """Look up a dotted field and insist on its type; ``below`` only completes the name in the message.

    Raises
    ------
    DataError
        Naming the field, the expected type and what is there.
    """
    value: object = document
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        where = f"{below}.{field}" if below else field
        raise invalid(where, f"a value of type {kind.__name__}", "nothing" if value is None else repr(value)[:80])
    return value


def invalid(field: str, expected: str, found: str, *, todo: str | None = None) -> DataError:
    """Make the error for a manifest that cannot be used because of ``field``."""
    return DataError(
        "The manifest cannot be used",
        code="manifest-invalid",
        file=MANIFEST,
        field=field or None,
        expected=expected,
        found=found,
        todo=todo,
    )
