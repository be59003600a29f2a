"""A release without some of its sections: what may be passed on, or what is left after a takedown.

Everything is put together beside the output and takes its place in one step. What nobody left is not written again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from humanst import files
from humanst.errors import DataError, UsageError
from humanst.locks import held
from humanst.shards import sidecars
from humanst.shards.departures import Departure, departures
from humanst.shards.folder import MANIFEST, SUMS, names_in, require_release_folder, unpacked_section, write_sums
from humanst.shards.opened import OpenedRelease, broken, open_folder
from humanst.shards.part_files import rows_of
from humanst.shards.part_targets import target_names
from humanst.shards.published import SAMPLES, STATS, card_of, read_sums
from humanst.shards.reliability import RELIABILITY
from humanst.shards.remainder import remaining_manifest
from humanst.shards.request import Progress
from humanst.shards.seal import document_names, seal
from humanst.shards.selection import SECTION_STORES
from humanst.shards.thin_targets import thin_targets
from humanst.shards.thinning import Thinned, carry, thin_splits

STORE_SUFFIX = ".zarr.zip"


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is asked for.

    Attributes
    ----------
    redistributable
        Leave out what may not be passed on.
    without
        Take these sections and donors down (:func:`humanst.shards.departures.departures`).
    version
        Name of the new release's version; that of the source without one.
    """

    source: Path
    output: Path
    redistributable: bool = False
    without: tuple[str, ...] = ()
    version: str | None = None

    @property
    def in_place(self) -> bool:
        """Whether the release itself is replaced."""
        return self.source.resolve() == self.output.resolve()


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was done.

    Attributes
    ----------
    manifest
        Of the new release.
    gone
        The sections that are not in it any more.
    thinned
        What became of the shards.
    earlier
        What the output held before: ``none``, the ``same`` release, or an ``other`` one, which was replaced.
    """

    output: Path
    manifest: Mapping[str, Any]
    gone: tuple[Departure, ...]
    thinned: Thinned
    earlier: str


def export_release(request: ExportRequest, *, progress: Progress | None = None) -> ExportReport:
    """Write a release that holds what another one holds, but for the sections that leave.

    The source is read only, unless it is the output. The same request gives the same bytes.

    Raises
    ------
    UsageError
        For an unknown or ambiguous name, ``empty-selection`` when nothing would be left, an output folder that holds
        something else, or a request to drop in place what may be kept.
    DataError
        ``no-manifest`` for a source that is no finished release; ``unknown-file`` when it holds files that this version
        of humanst does not know, which could speak of what leaves.
    IntegrityError
        When something of the source is not what is on record. Nothing is written.
    NoRoomError
        When the disk is too small, before, or as soon as it is full. An earlier output stays as it is.
    """
    _check_folders(request)
    with held(request.output, what=request.output.name):
        for folder in {request.output.parent, request.source.parent}:
            files.sweep_partials(folder)
        source = open_folder(request.source)
        leaving = departures(source.manifest, redistributable=request.redistributable, without=request.without)
        _require_something_left(source.manifest, leaving)
        require_release_folder(request.output, unpacked=request.in_place)
        require_known_files(source)
        before = _bytes_of(request.output / MANIFEST)
        _require_room(source, request.output)
        with files.folder_aside(request.output, keep_hidden=True) as staging:
            manifest, thinned = _Export(request, source, leaving, staging).write(progress or _silent)
        now = _bytes_of(request.output / MANIFEST)
        earlier = "none" if before is None else "same" if before == now else "other"
        return ExportReport(request.output, manifest, tuple(leaving), thinned, earlier)


def _silent(step: str, done: int, total: int, pairs: int) -> None:
    """Tell nobody."""


def _bytes_of(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _check_folders(request: ExportRequest) -> None:
    source, output = request.source.resolve(), request.output.resolve()
    if not (request.redistributable or request.without):
        raise UsageError(
            "Nothing is asked to leave",
            field="--redistributable",
            expected="--redistributable, --without SECTION|DONOR, or both",
            found="neither",
            done="Nothing was written",
        )
    if request.in_place and request.redistributable:
        raise UsageError(
            "What may not be passed on may be kept, and this would remove it for good",
            code="in-place",
            field="-o",
            expected="another folder than the release; only a takedown alone replaces it",
            found=request.output.name,
            done="Nothing was written",
        )
    if source in output.parents or output in source.parents:
        raise UsageError(
            "The release and the output lie inside each other",
            field="-o",
            expected="two folders beside each other, or the release itself",
            found=f"{source.name} and {output.name}",
            done="Nothing was written",
        )


def _require_something_left(manifest: Mapping[str, Any], leaving: Sequence[Departure]) -> None:
    gone = {departure.sample_id for departure in leaving}
    if not {row["sample_id"] for row in manifest["sections"]} - gone:
        raise UsageError(
            "No pair would be left",
            code="empty-selection",
            expected="at least one section that stays",
            found=f"all {len(manifest['sections'])} sections leave",
            done="Nothing was written",
            todo="To take all of it down, remove the folder",
        )


def require_known_files(source: OpenedRelease) -> None:
    """Refuse a release with files on record that its manifest does not speak of.

    Raises
    ------
    DataError
        ``unknown-file``.
    """
    manifest = source.manifest
    known = {*document_names(), SAMPLES, STATS, RELIABILITY, *target_names(manifest)}
    known |= {f"{SECTION_STORES}{row['sample_id']}{STORE_SUFFIX}" for row in manifest["sections"]}
    for split in manifest["splits"].values():
        known.add(split["index"])
        for shard in split["shards"]:
            known |= {shard["path"], card_of(shard["path"])}
    strangers = sorted(set(source.sums) - known)
    if strangers:
        raise DataError(
            "The release holds files that this version of humanst does not know: they may be of what must not leave it",
            code="unknown-file",
            file=strangers[0],
            expected="the files of a release",
            found=f"{len(strangers)} others, such as {', '.join(strangers[:3])}",
            done="Nothing was written",
            todo="Use the version of humanst that made the release",
        )


def _require_room(source: OpenedRelease, output: Path) -> None:
    """Room for all of it on another disk. On the same one, what stays takes none: see thinning for the rest."""
    if files.existing_folder(output.parent).stat().st_dev != source.folder.stat().st_dev:
        here = (source.folder / name for name in source.sums)
        files.require_room(output.parent, sum(path.stat().st_size for path in here if path.is_file()))


@dataclass(frozen=True, slots=True)
class _Export:
    """One export at work: what leaves, and the folder where the new release is put together."""

    request: ExportRequest
    source: OpenedRelease
    leaving: Sequence[Departure]
    output: Path

    @property
    def gone(self) -> frozenset[str]:
        return frozenset(departure.sample_id for departure in self.leaving)

    def write(self, tell: Progress) -> tuple[dict[str, Any], Thinned]:
        before = self.source.manifest
        thinned, left = thin_splits(self.source, self.gone, self.output, tell)
        self._stores(thinned)
        if not self.leaving and self.request.version in (None, before["version"]):
            manifest = self._copy(thinned)
        else:
            targets = thin_targets(self.source, thinned, self._tables(), self.output)
            splits, version = thinned.splits, self.request.version
            manifest = seal(self.output, remaining_manifest(before, self.leaving, splits, targets, left, version))
        self._check_carried(thinned, read_sums(self.output / SUMS, manifest))
        return manifest, thinned

    def _stores(self, thinned: Thinned) -> None:
        """Zips of the stores that stay; unpacked ones, which are on no record, stay where they are."""
        for name in sorted(self.source.sums):
            if name.startswith(SECTION_STORES) and self._stays(name.removesuffix(STORE_SUFFIX)):
                carry(self.source, thinned, self.output, name)
        if self.request.in_place:
            for name in names_in(self.source.folder):
                section = unpacked_section(name)
                if section is not None and self._stays(section):
                    files.link_or_copy(self.source.folder / name, self.output / name)

    def _stays(self, store: str) -> bool:
        return store.removeprefix(SECTION_STORES) not in self.gone

    def _copy(self, thinned: Thinned) -> dict[str, Any]:
        """Nothing leaves: the very same release."""
        for name in sorted(set(self.source.sums) - set(thinned.carried)):
            carry(self.source, thinned, self.output, name)
        digest = write_sums(self.output)
        if digest != self.source.manifest["sha256sums"]:
            self._check_carried(thinned, read_sums(self.output / SUMS, self.source.manifest))
        files.link_or_copy(self.source.folder / MANIFEST, self.output / MANIFEST)
        return dict(self.source.manifest)

    def _tables(self) -> list[str]:
        """The small tables, without the rows of the sections that leave; returns who stays."""
        stay = [row["sample_id"] for row in self.source.manifest["sections"] if row["sample_id"] not in self.gone]
        for name in (SAMPLES, STATS):
            if name in self.source.sums:
                sidecars.write_table(self.output / name, rows_of(self.source.table(name), stay))
        if RELIABILITY in self.source.sums:
            files.write_bytes(self.output / RELIABILITY, self.source.checked(RELIABILITY).read_bytes())
        return stay

    def _check_carried(self, thinned: Thinned, sums: Mapping[str, str]) -> None:
        """Every file that was taken over has the bytes on record: nobody looked at them before.

        Raises
        ------
        IntegrityError
            Naming the first that has not.
        """
        for name in thinned.carried:
            if sums[name] != self.source.sums[name]:
                raise broken(name, "hash-differs", self.source.sums[name], sums[name])
