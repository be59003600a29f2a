"""One document of a release, for somewhere else than its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from humanst import files
from humanst.errors import UsageError
from humanst.shards.documents.card import card
from humanst.shards.documents.croissant import croissant
from humanst.shards.documents.datasheet_page import datasheet_page
from humanst.shards.documents.facts import read_tables
from humanst.shards.folder import MANIFEST, is_our_manifest
from humanst.shards.opened import OpenedRelease, open_folder

HELD = {"card": "README.md", "croissant": "croissant.json"}
"""Form -> the file of a release that is it."""
_OF_THE_MANIFEST: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"card": card, "datasheet": datasheet_page}


@dataclass(frozen=True, slots=True)
class WrittenForm:
    """What was written.

    Attributes
    ----------
    version
        Of the release.
    document
        Path in the release of the file whose bytes it has; ``None`` for one that was made for this.
    earlier
        What was at the output: ``none``, the ``same`` bytes or ``other`` ones, which were replaced.
    """

    output: Path
    version: str
    document: str | None
    n_bytes: int
    sha256: str
    earlier: Literal["none", "same", "other"]


def write_form(form: str, release: Path, output: Path) -> WrittenForm:
    """Write a document of a release: the bytes that lie in it, else those that follow from its manifest.

    Parameters
    ----------
    form
        ``card``, ``croissant`` or ``datasheet``.

    Raises
    ------
    UsageError
        For an output that is no plain file, or lies inside a release, where it would be a stranger.
    DataError
        ``no-manifest`` for what is no finished release.
    IntegrityError
        When the document is not the one on record.
    NoRoomError
        When the disk is full.
    """
    source = open_folder(release)
    held = HELD[form] if HELD.get(form) in source.sums else None
    data = _made(form, source) if held is None else source.checked(held).read_bytes()
    return put_form(data, release, output, version=str(source.manifest["version"]), document=held)


def _made(form: str, source: OpenedRelease) -> bytes:
    """A document that is not in the release, from the manifest and, for Croissant, the tables on record."""
    if form in _OF_THE_MANIFEST:
        return _OF_THE_MANIFEST[form](source.manifest).encode()
    tables = read_tables(source.folder, source.manifest)
    for name in tables:
        source.checked(name)
    return croissant(source.manifest, tables).encode()


def put_form(data: bytes, release: Path, output: Path, *, version: str, document: str | None = None) -> WrittenForm:
    """Put the bytes of a document in their place, outside of the release.

    Raises
    ------
    UsageError
        For an output that is no plain file, such as a folder or a device, or lies inside a release.
    NoRoomError
        When the disk is full.
    """
    if place := _unfit(output, release):
        raise UsageError(
            "A document goes to a file outside of a release",
            field="-o",
            expected="a file",
            found=f"{output.name}, {place}",
            done="Nothing was written",
        )
    earlier: Literal["none", "same", "other"] = "none"
    if output.is_file():
        earlier = "same" if output.read_bytes() == data else "other"
    digest = files.write_bytes(output, data)
    return WrittenForm(output, version, document, len(data), digest, earlier)


def _unfit(output: Path, release: Path) -> str | None:
    """Why nothing can be put there: what is replaced is gone, be it a device or a document of another release."""
    above = output.resolve().parents
    if output.is_dir():
        return "a folder"
    if release.resolve() in above:
        return "inside the release"
    if output.exists() and not output.is_file():
        return "neither a file nor a folder"
    if any(is_our_manifest(folder / MANIFEST) for folder in above):
        return "inside another release"
    return None
