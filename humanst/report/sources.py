"""Which sections an audit is of: built stores, folders of them, or a finished release with its stores."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from humanst.builder import store_path
from humanst.errors import DataError, UsageError
from humanst.pathways.audit.inputs import AuditSection
from humanst.shards.folder import MANIFEST
from humanst.shards.published import read_manifest
from humanst.shards.scoring import audit_section_of
from humanst.shards.unpack import unpack_store
from humanst.store import is_current, open_section, read_attrs, read_card


@dataclass(frozen=True, slots=True)
class AuditSource:
    """One section to audit; picklable.

    Attributes
    ----------
    donor_group, split
        As the release has them; of a store alone the group is what the user says, else its study: sections of unknown
        donors may all be of one.
    """

    sample_id: str
    store: Path
    donor_group: str
    split: str | None

    def __call__(self) -> AuditSection:
        """Read it.

        Raises
        ------
        DataError, IntegrityError
            When the store is not whole or does not fit together.
        """
        return audit_section_of(open_section(self.store), donor_group=self.donor_group, split=self.split)


def is_release(path: Path) -> bool:
    """Whether a folder is a finished release."""
    return (path / MANIFEST).is_file()


def release_sources(
    release: Path, manifest: Mapping[str, Any], work: Path, scratch: Path, tell: Callable[[int, int], None]
) -> list[AuditSource]:
    """The sections of a release: from the stores of its work folder, else unpacked from its zips.

    Parameters
    ----------
    scratch
        Where zips are unpacked; it is the caller's to remove.
    tell
        Called with (sections found, sections in all).

    Raises
    ------
    DataError
        ``no-store`` when a section has neither.
    IntegrityError
        When a zip is not what is on record.
    """
    rows = sorted(manifest["sections"], key=lambda row: str(row["sample_id"]))
    found = []
    for number, row in enumerate(rows):
        tell(number, len(rows))
        name = str(row["sample_id"])
        found.append(AuditSource(name, _store_of(release, row, work, scratch), str(row["group"]), str(row["split"])))
    tell(len(rows), len(rows))
    return found


def _store_of(release: Path, row: Mapping[str, Any], work: Path, scratch: Path) -> Path:
    name, about = str(row["sample_id"]), row.get("store")
    built = store_path(work, name)
    if about is not None and is_current(built, about["inputs"]):
        return built
    beside = release / "sections" / f"{name}.zarr"
    if about is not None and is_current(beside, about["inputs"]):
        return beside
    if about is not None and (release / about["path"]).is_file():
        target = scratch / f"{name}.zarr"
        unpack_store(release / about["path"], target, name, about)
        return target
    raise DataError(
        "The store of a section is not there",
        code="no-store",
        study=str(row.get("study_id")),
        section=name,
        expected="it in the work folder of the build, or its zip in the release",
        found="neither",
        done="Nothing was written",
        todo="Name the work folder with --work, or fetch the release with its section stores",
    )


def store_sources(paths: Sequence[Path], groups: Mapping[str, str]) -> list[AuditSource]:
    """The sections of stores and of folders of stores.

    Parameters
    ----------
    groups
        ``sample_id`` -> donor group, as far as the user says.

    Raises
    ------
    UsageError
        ``no-sections`` for a path without a store, ``section-twice`` for a section that is in two of them;
        ``unknown-section`` for a group of a section that is not among them.
    """
    found: dict[str, AuditSource] = {}
    for path in paths:
        for store in _stores_of(path):
            attrs = read_attrs(store)
            name = str(attrs["sample_id"])
            if name in found and found[name].store.resolve() != store.resolve():
                raise UsageError(
                    "A section is given twice",
                    code="section-twice",
                    section=name,
                    expected="every section once",
                    found=f"{found[name].store} and {store}",
                )
            found[name] = AuditSource(name, store, groups.get(name, str(attrs["study_id"])), None)
    if unknown := sorted(groups.keys() - found.keys()):
        raise UsageError(
            "A group names a section that is not asked for",
            code="unknown-section",
            field="--groups",
            expected=", ".join(sorted(found)[:6]),
            found=unknown[0],
        )
    return [found[name] for name in sorted(found)]


def _stores_of(path: Path) -> list[Path]:
    inside = [found for folder in (path, path / "sections") for found in folder.glob("*.zarr") if found.is_dir()]
    stores = [path] if path.name.endswith(".zarr") else sorted(inside)
    stores = [store for store in stores if read_card(store) is not None]
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


def iter_panel_lines(path: Path) -> Iterator[str]:
    """The gene names of a panel: the first field of every line, without a heading and comments.

    Raises
    ------
    UsageError
        ``panel-malformed`` for a file that cannot be read.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "A panel cannot be read", code="panel-malformed", field="--panel", file=path.name, found=str(error)
        ) from error
    for line in text.splitlines():
        name = line.replace(",", "\t").split("\t")[0].strip().strip('"')
        if name and not name.startswith("#"):
            yield name
