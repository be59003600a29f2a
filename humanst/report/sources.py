"""Which sections an audit is of: built stores, folders of them, or a finished release with its stores."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from humanst import files
from humanst.builder import store_path
from humanst.errors import DataError, HumanstError, IntegrityError, UsageError
from humanst.pathways.audit.inputs import AuditSection
from humanst.shards.folder import MANIFEST
from humanst.shards.published import read_manifest
from humanst.shards.scoring import audit_section_of
from humanst.shards.unpack import unpack_store
from humanst.store import StoredSection, card_path, is_current, open_section, read_attrs, read_card


@dataclass(frozen=True, slots=True)
class AuditSource:
    """One section to audit; picklable.

    Attributes
    ----------
    store
        Where its store is, or is unpacked to while it is read.
    donor_group, split
        As the release has them; of a store alone the group is what the user says, else its study: sections of unknown
        donors may all be of one.
    packed, about
        The zip that holds the store and what the manifest says of it, or ``None``.
    targeted
        Whether it is of a targeted panel, as far as a release or the attributes of its store say.
    """

    sample_id: str
    store: Path
    donor_group: str
    split: str | None
    packed: Path | None = None
    about: Mapping[str, Any] | None = None
    targeted: bool | None = None

    @contextmanager
    def opened(self) -> Iterator[StoredSection]:
        """The store, unpacked if need be; what was unpacked is gone afterwards, so there is one a process at a time.

        Raises
        ------
        DataError
            ``no-store`` when there is none; or when it is not whole or does not fit together.
        IntegrityError
            When the zip is not what is on record.
        """
        if self.packed is None:
            if not self.store.is_dir():
                raise _no_store(self.sample_id)
            yield open_section(self.store)
            return
        try:
            unpack_store(self.packed, self.store, self.sample_id, self.about or {})
            yield open_section(self.store)
        finally:
            files.remove(self.store)
            files.remove(card_path(self.store))

    def panel(self) -> frozenset[str] | None:
        """The genes that it measured, if it is of a targeted panel; raises as :meth:`opened` does."""
        # What a release or the attributes of a store say of a section saves opening it.
        if self.targeted is False:
            return None
        with self.opened() as stored:
            if not stored.attrs["targeted"]:
                return None
            return frozenset(stored.genes.index[stored.genes["measured"].to_numpy(bool)].astype(str))

    def __call__(self) -> AuditSection:
        """Read it; raises as :meth:`opened` does."""
        with self.opened() as stored:
            return audit_section_of(stored, donor_group=self.donor_group, split=self.split)


def is_release(path: Path) -> bool:
    """Whether a folder is a finished release."""
    return (path / MANIFEST).is_file()


def release_identity(release: Path) -> str:
    """The sha256 of the manifest of a release: another of the same version has another."""
    return files.sha256_file(release / MANIFEST)


def stores_identity(sources: Sequence[AuditSource]) -> str | None:
    """The digest of the files of the one store, as its card has it; ``None`` of several, or of one that has no card."""
    card = read_card(sources[0].store) if len(sources) == 1 else None
    return None if card is None else card.get("tree_sha256")


def release_sources(release: Path, manifest: Mapping[str, Any], work: Path, scratch: Path) -> list[AuditSource]:
    """The sections of a release: the stores of its work folder if they are those it was built from, else its zips.

    A section whose store is missing or damaged says so when it is opened; the others are audited.

    Parameters
    ----------
    scratch
        Where zips are unpacked; it is the caller's to remove.
    """
    rows = sorted(manifest["sections"], key=lambda row: str(row["sample_id"]))
    return [_source_of(release, row, work, scratch) for row in rows]


def _source_of(release: Path, row: Mapping[str, Any], work: Path, scratch: Path) -> AuditSource:
    name, about = str(row["sample_id"]), row.get("store")
    facts = (str(row["group"]), str(row["split"]))
    targeted = bool(row["targeted"]) if "targeted" in row else None
    if about is not None:
        for store in (store_path(work, name), release / "sections" / f"{name}.zarr"):
            if is_current(store, about["inputs"]):
                return AuditSource(name, store, *facts, targeted=targeted)
        if (release / about["path"]).is_file():
            return AuditSource(name, scratch / f"{name}.zarr", *facts, release / about["path"], about, targeted)
    return AuditSource(name, scratch / f"{name}.zarr", *facts, targeted=targeted)


def _no_store(sample_id: str) -> DataError:
    return DataError(
        "The store of a section is not there",
        code="no-store",
        section=sample_id,
        expected="it in the work folder of the build, or its zip in the release",
        found="neither",
        done="The section was not audited",
        todo="Name the work folder with --work, or fetch the release with its section stores",
    )


def store_sources(
    paths: Sequence[Path], groups: Mapping[str, str], damaged: dict[str, HumanstError] | None = None
) -> list[AuditSource]:
    """The sections of stores and of folders of stores.

    Parameters
    ----------
    groups
        ``sample_id`` -> donor group, as far as the user says.
    damaged
        Where a store that is not finished or does not say what it is of is noted, by the name of its folder, which then
        is its ``sample_id``; by default such a store is an error, and one that is not finished is none.

    Raises
    ------
    UsageError
        ``no-sections`` for a path without a store, ``section-twice`` for a section that is in two of them;
        ``unknown-section`` for a group of a section that is not among them.
    IntegrityError
        ``store-damaged`` for a store that does not say what it is of.
    """
    found: dict[str, AuditSource] = {}
    for path in paths:
        for store in _stores_of(path, unfinished=damaged is not None):
            try:
                name, study, targeted = _named(store)
            except HumanstError as error:
                if damaged is None:
                    raise
                name, study, targeted = store.name.removesuffix(".zarr"), "unknown", False
                damaged[name] = error.located(section=name)
            if name in found and found[name].store.resolve() != store.resolve():
                raise UsageError(
                    "A section is given twice",
                    code="section-twice",
                    section=name,
                    expected="every section once",
                    found=f"{found[name].store} and {store}",
                )
            found[name] = AuditSource(name, store, groups.get(name, study), None, targeted=targeted)
    if unknown := sorted(groups.keys() - found.keys()):
        raise UsageError(
            "A group names a section that is not asked for",
            code="unknown-section",
            field="--groups",
            expected=", ".join(sorted(found)[:6]),
            found=unknown[0],
        )
    return [found[name] for name in sorted(found)]


def _named(store: Path) -> tuple[str, str, bool]:
    """``sample_id``, ``study_id`` and ``targeted`` of a store, without opening it."""
    try:
        if read_card(store) is None:
            raise ValueError(f"no card {card_path(store).name}")
        attrs = read_attrs(store)
        return str(attrs["sample_id"]), str(attrs["study_id"]), bool(attrs["targeted"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            "The attributes of a section store cannot be read",
            code="store-damaged",
            file=store.name,
            expected="a store as `humanst build` wrote it",
            found=f"{type(error).__name__}: {error}",
            done="Nothing was audited",
            todo="Build or fetch the section again",
        ) from error


def _stores_of(path: Path, *, unfinished: bool) -> list[Path]:
    inside = [found for folder in (path, path / "sections") for found in folder.glob("*.zarr") if found.is_dir()]
    stores = [path] if path.name.endswith(".zarr") else sorted(inside)
    stores = [store for store in stores if unfinished or read_card(store) is not None]
    if not stores:
        raise UsageError(
            "There is no section store here",
            code="no-sections",
            file=path.name,
            expected="a section store, a folder of section stores, or a release",
            found="none that is finished",
            todo="`humanst build` makes one of vendor files",
        )
    return stores


def read_groups(path: Path) -> dict[str, str]:
    """Read a CSV with ``sample_id`` and ``donor_id`` (or ``group``).

    Raises
    ------
    UsageError
        ``groups-malformed`` for another file.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _bad_groups(path, str(error)) from error
    groups: dict[str, str] = {}
    for row in rows:
        name, group = row.get("sample_id"), row.get("donor_id") or row.get("group")
        if not name or not group or name in groups:
            raise _bad_groups(path, repr(dict(row))[:80])
        groups[name] = group
    return groups


def _bad_groups(path: Path, found: str) -> UsageError:
    return UsageError(
        "The table of donor groups cannot be used",
        code="groups-malformed",
        field="--groups",
        file=path.name,
        expected="CSV with sample_id and donor_id, a row a section",
        found=found,
    )


def read_release(release: Path) -> dict[str, Any]:
    """The manifest of a release, checked against its schema: names in it become paths.

    Raises
    ------
    DataError
        ``no-manifest`` when it cannot be read, ``manifest-invalid`` when it breaks its schema.
    """
    try:
        return read_manifest(release / MANIFEST)
    except OSError as error:
        raise DataError(
            "The manifest of the release cannot be read", code="no-manifest", file=MANIFEST, found=str(error)
        ) from error
