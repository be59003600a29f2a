"""A finished release in a folder, opened to make another one of it: each file believed by its hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst import files
from humanst.errors import DataError, IntegrityError
from humanst.shards.folder import MANIFEST, SUMS
from humanst.shards.published import read_manifest, read_sums
from humanst.shards.sidecars import read_table

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class OpenedRelease:
    """A release whose manifest and SHA256SUMS belong together.

    Attributes
    ----------
    sums
        Path -> sha256 of every file but these two.
    """

    folder: Path
    manifest: Mapping[str, Any]
    manifest_sha256: str
    sums: Mapping[str, str]

    def checked(self, name: str) -> Path:
        """The path of a file, once its bytes are found to be those on record.

        Raises
        ------
        IntegrityError
            ``missing-file`` or ``hash-differs``.
        """
        path = self.folder / name
        if not path.is_file():
            raise broken(name, "missing-file", self.sums.get(name, "a file"), "no such file")
        if (found := files.sha256_file(path)) != self.sums[name]:
            raise broken(name, "hash-differs", self.sums[name], found)
        return path

    def table(self, name: str) -> pa.Table:
        """A parquet table of the release, checked and read.

        Raises
        ------
        IntegrityError
            See :meth:`checked`.
        """
        return read_table(self.checked(name)).combine_chunks()


def open_folder(folder: Path) -> OpenedRelease:
    """Open a release that lies in a folder.

    Raises
    ------
    DataError
        ``no-manifest`` for a folder that holds no finished release; ``manifest-invalid``, ``sums-invalid``.
    IntegrityError
        When SHA256SUMS is not the file that the manifest speaks of.
    """
    path, sums = folder / MANIFEST, folder / SUMS
    if not path.is_file():
        raise DataError(
            "This folder holds no finished release",
            code="no-manifest",
            file=folder.name,
            expected=f"{MANIFEST}, which is written last",
            found="no such file" if folder.is_dir() else "no such folder",
            done="Nothing was written",
        )
    manifest = read_manifest(path)
    found = files.sha256_file(sums) if sums.is_file() else "no such file"
    if found != manifest["sha256sums"]:
        raise broken(SUMS, "hash-differs", manifest["sha256sums"], found)
    return OpenedRelease(folder, manifest, files.sha256_file(path), read_sums(sums, manifest))


def broken(name: str, code: str, expected: str, found: str) -> IntegrityError:
    """What a release is told whose file is not the one on record."""
    return IntegrityError(
        "A file of the release is not the one on record",
        code=code,
        file=name,
        expected=expected,
        found=found,
        done="Nothing was written",
        todo="`humanst verify` lists all that is wrong with it; fetch or build it again",
    )
