"""Further target sets of a release, by the pair: ``targets/<set>/<split>-00000.*``, row-aligned to the shards."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.errors import IntegrityError, UsageError
from humanst.files import sha256_file
from humanst.load.release import not_on_record
from humanst.load.sections import codes
from humanst.load.targets import SparseCounts, read_targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from humanst.load.index import Rows
    from humanst.load.release import Release

SUMS = "SHA256SUMS"
OPEN_FILES = 256


class TargetSets:
    """The rows of target sets that belong to the selected pairs of a split.

    Parameters
    ----------
    release
        The release.
    names
        Sets of its manifest.
    rows
        The selected pairs.

    Raises
    ------
    UsageError
        For a set that the release does not have.
    IntegrityError
        When a table of a set, or later one of its files, is not the one on record.
    """

    def __init__(self, release: Release, names: Sequence[str], rows: Rows) -> None:
        known: Mapping[str, Any] = release.manifest.get("targets", {})
        if unknown := [name for name in names if name not in known]:
            raise UsageError(
                "This release has no such target set",
                code="unknown-targets",
                expected=", ".join(sorted(known)) or "none: it has pathways alone",
                found=", ".join(unknown),
                todo="`humanst add-targets` adds one to a release of one's own",
            )
        self.names, self._release, self._rows = tuple(names), release, rows
        self._entries = {name: known[name] for name in names}
        self._sums = _sums(release) if names else {}
        self._measured = {name: self._read_measured(name) for name in names if known[name]["kind"] == "counts"}
        self._open: OrderedDict[str, Any] = OrderedDict()

    def columns(self, name: str) -> list[str]:
        """Names of the columns of a set: Ensembl ids, or sets and components."""
        import pyarrow.parquet as pq

        table = pq.read_table(self.file(self._entries[name]["columns"]))
        found: list[str] = table.column(0).to_pylist()
        return found

    def take(self, rows: Sequence[int]) -> dict[str, tuple[Any, NDArray[np.bool_]]]:
        """Set -> (B, C) values, float32 or int32, 0 where unmeasured; and (B, C) bool, true where measured."""
        return {name: self._take(name, rows) for name in self.names}

    def _take(self, name: str, rows: Sequence[int]) -> tuple[Any, NDArray[np.bool_]]:
        entry = self._entries[name]
        counts = entry["kind"] == "counts"
        values = np.zeros((len(rows), entry["n_columns"]), dtype=np.int32 if counts else np.float32)
        for number, row in enumerate(rows):
            shard = self._rows.shard(row).removesuffix(".tar")
            file = self._opened(f"targets/{name}/{shard}.{'npz' if counts else 'npy'}")
            values[number] = file[self._rows.place_in_shard(row)]
        if counts:
            flags, section_of_row = self._measured[name]
            return values, flags[section_of_row[np.asarray(rows, dtype=np.int64)]]
        mask = ~np.isnan(values)
        values[~mask] = 0
        return values, mask

    def _read_measured(self, name: str) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """(S, C) bool: what each section measured; and (n,) int64: the section of each selected pair."""
        import pyarrow.parquet as pq

        table = pq.read_table(self.file(f"targets/{name}/measured.parquet"))
        flags = dict(zip(table["sample_id"].to_pylist(), table["measured"].to_pylist(), strict=True))
        ids, section_of_row = codes(self._rows.table["sample_id"])
        if missing := [name for name in ids if name not in flags]:
            raise IntegrityError(
                "The target set does not tell what a section measured",
                file=f"targets/{name}/measured.parquet",
                expected=f"a row for {missing[0]}",
                found=f"rows for {len(flags)} sections",
            )
        return np.array([flags[name] for name in ids], dtype=np.bool_), section_of_row

    def _opened(self, path: str) -> Any:
        if path not in self._open:
            if len(self._open) >= OPEN_FILES:
                self._open.popitem(last=False)
            found = read_targets(self.file(path))
            self._open[path] = found if isinstance(found, SparseCounts) else np.asarray(found)
        self._open.move_to_end(path)
        return self._open[path]

    def file(self, path: str) -> Path:
        """A file of the release whose bytes are those on record."""
        if path not in self._sums:
            raise not_on_record(path, expected=f"a line of {SUMS}", found="none")
        file = self._release.local(path, self._sums[path])
        if self._release.remote is None:
            digest = sha256_file(file) if file.is_file() else "no file"
            if digest != self._sums[path]:
                raise not_on_record(path, expected=f"sha256 {self._sums[path]}", found=digest)
        return file

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}


def _sums(release: Release) -> dict[str, str]:
    """Path -> sha256 of all files of a release."""
    digest = str(release.manifest.get("sha256sums"))
    try:
        data = release.local(SUMS, digest).read_bytes()
    except OSError as error:
        raise not_on_record(SUMS, expected=f"sha256 {digest}", found=str(error)) from error
    if (found := hashlib.sha256(data).hexdigest()) != digest:
        raise not_on_record(SUMS, expected=f"sha256 {digest}", found=f"sha256 {found}")
    return {line[66:]: line[:64] for line in data.decode("utf-8", "replace").splitlines()}
