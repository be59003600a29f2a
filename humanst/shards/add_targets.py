"""Add target sets to a finished release without touching its shards, cards and indexes.

The release is put together anew beside itself: what stays gets a second name, the sets and the documents are written,
and the whole takes the release's place in one step. Whatever fails before that leaves the release as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from humanst import files
from humanst.errors import DataError, IntegrityError, UsageError
from humanst.locks import held
from humanst.shards.folder import MANIFEST, SUMS, require_own_folder
from humanst.shards.reliability import RELIABILITY, RELIABILITY_VERSION, write_reliability
from humanst.shards.seal import document_names, seal
from humanst.shards.spec import RELEASE_SCHEMA
from humanst.shards.target_sets import TargetSet
from humanst.shards.target_writing import Means, write_sets

WEIGHTS = "reliability"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Added:
    """What became of the sets that were asked for.

    Attributes
    ----------
    manifest
        Of the release as it is now.
    added, there
        Names of sets that were written, and of those that were there already; ``reliability`` stands for the weights.
    """

    manifest: Mapping[str, Any]
    added: tuple[str, ...]
    there: tuple[str, ...]


def add_targets(
    release: Path,
    sets: Sequence[TargetSet],
    means: Means,
    *,
    reliability: Path | None = None,
    replacing: bool = False,
) -> Added:
    """Add target sets to a release, and reliability weights.

    Parameters
    ----------
    reliability
        The gene sets that its pathways were scored with: weights of these are measured.
    replacing
        Whether a set of the same name and other content may be replaced.

    Raises
    ------
    DataError
        ``no-manifest`` for a folder that is no finished release, ``other-release`` for a part of one; ``no-store`` or
        ``other-store`` when the work folder does not hold the stores it was built from.
    UsageError
        ``set-exists`` when another set has the name; or for a folder that holds more than a release.
    IntegrityError
        ``hash`` when a file of the release is not the one on record. The release stays as it was.
    NoRoomError
        When the disk fills up; likewise.
    """
    # Refused before the lock, which would be made beside a folder that is none of ours.
    read_manifest(release)
    require_own_folder(release, means.work)
    with held(release, what=release.name):
        files.sweep_partials(release.parent)
        manifest = read_manifest(release)
        new = [one for one in sets if not _is_there(manifest, one, replacing=replacing)]
        weigh = reliability if replacing or not _has_weights(manifest) else None
        if new or weigh is not None:
            manifest = _rebuilt(release, manifest, new, weigh, means)
    asked = [*(one.name for one in sets), *([WEIGHTS] if reliability is not None else [])]
    added = [*(one.name for one in new), *([WEIGHTS] if weigh is not None else [])]
    return Added(manifest, tuple(added), tuple(name for name in asked if name not in added))


def _has_weights(manifest: Mapping[str, Any]) -> bool:
    """Whether it has the weights of this version: they follow from the release."""
    return bool(manifest.get(WEIGHTS, {}).get("version") == RELIABILITY_VERSION)


def read_manifest(release: Path) -> dict[str, Any]:
    """The manifest of a release that target sets can be added to.

    Raises
    ------
    DataError
        ``no-manifest`` for a folder that is no finished release, ``other-release`` for a part of one.
    IntegrityError
        When it is not JSON.
    """
    try:
        manifest = files.parse_json((release / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise DataError(
            "This folder holds no finished release",
            code="no-manifest",
            file=MANIFEST,
            expected="MANIFEST.json, which is written last",
            found="no such file",
            done="Nothing was written",
        ) from None
    except ValueError as error:
        raise IntegrityError("The manifest is not JSON", file=MANIFEST, found=str(error)) from error
    if not isinstance(manifest, dict) or manifest.get("schema") != RELEASE_SCHEMA or "selection" in manifest:
        raise DataError(
            "Target sets are added to whole releases that humanst built",
            code="other-release",
            file=MANIFEST,
            expected=RELEASE_SCHEMA,
            found="a part of a release" if isinstance(manifest, dict) and "selection" in manifest else "another kind",
            done="Nothing was written",
        )
    return manifest


def _is_there(manifest: Mapping[str, Any], one: TargetSet, *, replacing: bool) -> bool:
    """Whether the release has the set already.

    Raises
    ------
    UsageError
        When it has another one of that name, which may not be replaced.
    """
    entry = manifest.get("targets", {}).get(one.name)
    if entry is None:
        return False
    # What the file of gene sets was called does not matter.
    wanted = {"kind": one.kind, **one.parameters(), "gene_sets": None}
    found = {"kind": entry["kind"], **entry["parameters"], "gene_sets": None}
    if found == wanted:
        return True
    if replacing:
        return False
    differs = sorted(key for key in wanted.keys() | found.keys() if found.get(key) != wanted.get(key))
    raise UsageError(
        "The release has another target set of this name",
        code="set-exists",
        field=one.name,
        expected="the same content, or a new name",
        found=f"other {', '.join(differs)}",
        done="The release is as it was",
        todo="Choose another name, or say --replace",
    )


def _rebuilt(
    release: Path, before: Mapping[str, Any], new: Sequence[TargetSet], weigh: Path | None, means: Means
) -> dict[str, Any]:
    staging = release.with_name(f".{release.name}.next-targets")
    files.remove(staging)
    try:
        sums = _read_sums(release, before)
        gone = {f"targets/{one.name}/" for one in new}
        kept = {name for name in sums if not any(name.startswith(folder) for folder in gone)} - document_names()
        kept -= set() if weigh is None else {RELIABILITY}
        for name in sorted(kept):
            _take_over(release / name, staging / name, sums[name])
        after = {**before, "changes": [_change(before, new, weigh), *before["changes"]]}
        if new:
            after["targets"] = {**before.get("targets", {}), **write_sets(staging, before, new, means)}
        if weigh is not None:
            after[WEIGHTS] = write_reliability(staging, before, weigh, means)
        sealed = seal(staging, after)
        _require_unchanged(staging, sums, kept)
        files.put_folder(staging, release)
    finally:
        # Not there any more once it took the release's place.
        files.remove(staging)
    return sealed


def _read_sums(release: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Path -> sha256 of every file on record."""
    path = release / SUMS
    found = files.sha256_file(path) if path.is_file() else "no such file"
    if found != manifest["sha256sums"]:
        raise _damaged(SUMS, str(manifest["sha256sums"]), found)
    return {line[66:]: line[:64] for line in path.read_text("utf-8").splitlines()}


def _take_over(source: Path, target: Path, sha256: str) -> None:
    """Give a file of the release a second name, or a copy where the file system has none."""
    if not source.is_file():
        raise _damaged(source.name, sha256, "no such file")
    files.link_or_copy(source, target)


def _require_unchanged(staging: Path, sums: Mapping[str, str], kept: set[str]) -> None:
    """Ask that what was taken over is what was on record: new sums must not bless a damaged file."""
    now = {line[66:]: line[:64] for line in (staging / SUMS).read_text("utf-8").splitlines()}
    for name in sorted(kept):
        if now.get(name) != sums[name]:
            raise _damaged(name, sums[name], now.get(name, "no such file"))


def _damaged(name: str, expected: str, found: str) -> IntegrityError:
    return IntegrityError(
        "A file of the release is not the one on record",
        code="hash",
        file=name,
        expected=expected,
        found=found,
        done="The release is as it was",
        todo="Fetch or build the release again; `humanst verify` lists every fault",
    )


def _change(before: Mapping[str, Any], new: Sequence[TargetSet], weigh: Path | None) -> dict[str, Any]:
    here = before.get("targets", {})
    notes = [
        f"The target set {one.name} was {'replaced' if one.name in here else 'added'}; the pairs are as they were"
        for one in new
    ]
    if weigh is not None:
        done = "replaced" if WEIGHTS in before else "added"
        notes.append(f"Reliability weights of the pathways were {done}; the pairs are as they were")
    return {"version": before["version"], "notes": notes}
