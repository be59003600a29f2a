"""Independent re-validation of a release: every byte by its hash, every pair by its tar, every split by its groups.

Nothing of the writer is reused here but the names of the files: tars are walked with Python's own tarfile, offsets
and hashes of the index are checked against what lies there.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from humanst import files
from humanst.errors import DataError, IntegrityError
from humanst.findings import Findings
from humanst.schemas import check_document
from humanst.shards.verify_documents import check_documents
from humanst.shards.verify_index import MEMBERS, json_object, pair_faults, read_indexes, rows_of_shard
from humanst.shards.verify_stores import check_stores, is_unpacked_store
from humanst.shards.verify_targets import check_reliability, check_targets

INTEGRITY_CODES = frozenset({"hash", "missing-file", "stranger", "shard", "index", "document", "store", "targets"})


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked.

    Attributes
    ----------
    files, shards, pairs
        How many were checked.
    findings
        Every fault; empty when the release is whole.
    """

    version: str
    files: int
    shards: int
    pairs: int
    findings: Findings

    def raise_if_bad(self) -> None:
        """Raise the first fault with the others beside it: exit 6 for bytes, 5 for content."""
        refusals = self.findings.of("refuse")
        if any(finding.facts.code in INTEGRITY_CODES for finding in refusals):
            first = next(finding.facts for finding in refusals if finding.facts.code in INTEGRITY_CODES)
            raise IntegrityError(
                f"The release is not as it was built ({len(refusals)} faults): {first.what}",
                code=first.code,
                file=first.file,
                expected=first.expected,
                found=first.found,
                todo="Fetch or build it again; `humanst verify --json` lists every fault",
            )
        self.findings.raise_if_refused()


# The manifest of a release of ten thousand sections has some twenty million.
MAX_DOCUMENT_BYTES = 1 << 30


def verify_release(release: Path, *, progress: Callable[[int, int], None] | None = None) -> Verification:
    """Check a release folder.

    Parameters
    ----------
    progress
        Called with (shards done, shards in all).

    Raises
    ------
    DataError
        ``no-manifest`` or ``unknown-release`` for a folder that is no release.
    """
    findings = Findings()
    manifest = _read_manifest(release)
    findings.file = "MANIFEST.json"
    check_document(manifest, "manifest", findings)
    findings.raise_if_refused()
    findings.file = None
    n_files = _check_sums(release, manifest, findings)
    if findings.refused:
        # What is not the bytes on record is not worth reading any further.
        return Verification(str(manifest["version"]), n_files, 0, 0, findings)
    indexes = read_indexes(release, manifest, findings)
    if findings.of("refuse"):
        return Verification(str(manifest["version"]), n_files, 0, 0, findings)
    shards = [(name, shard) for name, split in manifest["splits"].items() for shard in split["shards"]]
    keys: set[str] = set()
    for number, (split, shard) in enumerate(shards, 1):
        rows = rows_of_shard(indexes[split], shard["path"])
        _check_shard(release, rows, shard, len(manifest["pathways"]["names"]), keys, findings)
        if progress is not None:
            progress(number, len(shards))
    for split, entry in manifest["splits"].items():
        _check_index(indexes[split].num_rows, entry, findings)
    _check_sections(manifest, findings)
    _check_pairs(release, manifest, indexes, findings)
    check_stores(release, manifest, findings)
    check_documents(release, manifest, findings)
    if not findings.refused:
        check_targets(release, manifest, findings)
        check_reliability(release, manifest, findings)
    return Verification(str(manifest["version"]), n_files, len(shards), len(keys), findings)


def _read_manifest(release: Path) -> Mapping[str, Any]:
    path = release / "MANIFEST.json"
    try:
        manifest = files.read_json(path, max_bytes=MAX_DOCUMENT_BYTES)
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(
            "This folder holds no finished release",
            code="no-manifest",
            file=path.name,
            expected="MANIFEST.json, which is written last",
            found="no such file",
            done="Nothing was checked",
            todo="Run `humanst build-shards` again: it goes on where it stopped",
        ) from None
    except ValueError as error:
        raise IntegrityError("The manifest is not JSON", file=path.name, found=str(error)) from error
    if not isinstance(manifest, dict) or manifest.get("schema") != "humanst.release/1":
        found = manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__
        raise DataError(
            "This manifest is of another kind",
            code="unknown-release",
            file=path.name,
            field="schema",
            expected="humanst.release/1",
            found=repr(found)[:80],
        )
    return manifest


def _check_sums(release: Path, manifest: Mapping[str, Any], findings: Findings) -> int:
    sums = release / "SHA256SUMS"
    if not sums.is_file() or sums.stat().st_size > MAX_DOCUMENT_BYTES:
        findings.refuse(
            "missing-file",
            "SHA256SUMS is missing, or no list of files",
            file="SHA256SUMS",
            expected=f"a file of at most {MAX_DOCUMENT_BYTES:,} bytes",
        )
        return 0
    if (found := files.sha256_file(sums)) != manifest["sha256sums"]:
        expected = manifest["sha256sums"]
        findings.refuse("hash", "SHA256SUMS differs", file="SHA256SUMS", expected=expected, found=found)
    listed = {line[66:]: line[:64] for line in sums.read_text("utf-8", "replace").splitlines()}
    here = _files_of(release, findings)
    strangers = here - set(listed) - {"MANIFEST.json", "SHA256SUMS"}
    for name in sorted(name for name in strangers if not is_unpacked_store(name, manifest)):
        findings.refuse("stranger", "A file that is not on record", file=name, expected="only files of SHA256SUMS")
    for name, expected in sorted(listed.items()):
        if name not in here:
            findings.refuse("missing-file", "A file of the release is missing", file=name, expected=expected)
        elif (found := files.sha256_file(release / name)) != expected:
            findings.refuse("hash", "A file differs from its hash", file=name, expected=expected, found=found)
    return len(listed)


def _files_of(release: Path, findings: Findings) -> set[str]:
    """Names of its files. A link to a folder is not walked into; a pipe or a device has no bytes to hash."""
    here = set()
    for path in release.rglob("*"):
        name = path.relative_to(release).as_posix()
        if path.is_file():
            here.add(name)
        elif path.is_symlink() or not path.is_dir():
            findings.refuse(
                "stranger",
                "Neither a file nor a folder",
                file=name,
                expected="plain files",
                found="a link, pipe or device",
            )
    return here


def _check_shard(
    release: Path,
    rows: list[dict[str, Any]],
    shard: Mapping[str, Any],
    n_pathways: int,
    keys: set[str],
    findings: Findings,
) -> None:
    path = release / shard["path"]
    if not path.is_file():
        findings.refuse("missing-file", "A shard is missing", file=shard["path"])
        return
    _check_shard_record(release, path, shard, findings)
    try:
        with tarfile.open(path, "r:") as tar, path.open("rb") as handle:
            members = tar.getmembers()
            faults = pair_faults(members, rows, handle, n_pathways)
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        # A header may name a size, a time or an offset beyond what a file can have.
        findings.refuse("shard", "The shard is not a tar file", file=shard["path"], found=str(error))
        return
    if len(members) != len(MEMBERS) * len(rows) or len(rows) != shard["n_pairs"]:
        faults.insert(0, f"{len(members)} members, {len(rows)} index rows, {shard['n_pairs']} pairs in the manifest")
    if faults:
        findings.refuse(
            "shard",
            "Shard and index disagree",
            file=shard["path"],
            expected="every pair where the index says",
            found=f"{len(faults)} faults, first: {faults[0]}",
        )
    here = [row["key"] for row in rows]
    repeated = sorted(keys.intersection(here)) or [one for one, other in pairwise(sorted(here)) if one == other]
    if repeated:
        findings.refuse("shard", "A key occurs twice", file=shard["path"], found=repeated[0])
    keys.update(here)


def _check_shard_record(release: Path, path: Path, shard: Mapping[str, Any], findings: Findings) -> None:
    """Manifest, card and bytes of a shard say the same."""
    card = path.with_suffix(".card.json")
    content = json_object(card.read_bytes()) if card.is_file() else {}
    found = {"sha256": files.sha256_file(path), "bytes": path.stat().st_size, "path": shard["path"]}
    found["card_sha256"] = files.sha256_file(card) if card.is_file() else "no card"
    for name, value in found.items():
        for where, record in (("manifest", shard), ("card", content)):
            if name != "card_sha256" or where == "manifest":
                _expect(findings, "shard", shard["path"], f"{where}: {name}", record.get(name), value)
    _expect(findings, "shard", shard["path"], "card: n_pairs", content.get("n_pairs"), shard["n_pairs"])


def _expect(findings: Findings, code: str, file: str, field: str, expected: object, found: object) -> None:
    if expected != found:
        what = "The release contradicts itself"
        findings.refuse(code, what, file=file, field=field, expected=expected, found=found)


def _check_pairs(release: Path, manifest: Mapping[str, Any], indexes: Mapping[str, Any], findings: Findings) -> None:
    """What the manifest says of sections and totals is what the index holds."""
    pairs: dict[tuple[str, str, str], int] = {}
    uids: list[str] = []
    for split, entry in manifest["splits"].items():
        path = release / entry["index"]
        _expect(findings, "index", entry["index"], "sha256", entry["index_sha256"], files.sha256_file(path))
        table = indexes[split]
        uids += table["uid"].to_pylist()
        for sample, group in zip(table["sample_id"].to_pylist(), table["donor_group"].to_pylist(), strict=True):
            pairs[sample, split, group] = pairs.get((sample, split, group), 0) + 1
    promised = {(row["sample_id"], row["split"], row["group"]): row["pairs"] for row in manifest["sections"]}
    _expect(findings, "index", "MANIFEST.json", "pairs a section, split and group", promised, pairs)
    _expect(findings, "index", "MANIFEST.json", "distinct uids", len(uids), len(set(uids)))
    totals = manifest.get("totals", {})
    found = {"sections": len(promised), "pairs": len(uids), "donor_groups": len({group for _, _, group in pairs})}
    for name, value in found.items():
        _expect(findings, "index", "MANIFEST.json", f"totals.{name}", totals.get(name), value)


def _check_index(n_rows: int, entry: Mapping[str, Any], findings: Findings) -> None:
    promised = sum(shard["n_pairs"] for shard in entry["shards"])
    if not n_rows == entry["n_pairs"] == promised:
        findings.refuse(
            "index",
            "Index, manifest and shards count differently",
            file=entry["index"],
            expected=f"{entry['n_pairs']} pairs",
            found=f"{n_rows} rows, {promised} pairs in shards",
        )


def _check_sections(manifest: Mapping[str, Any], findings: Findings) -> None:
    """Every spot of the source is a pair or a named drop; every group stays on one side, recipe-only sections too."""
    sides: dict[str, set[str]] = {}
    here = {section["sample_id"] for section in manifest["sections"]}
    for entry in manifest.get("recipe_only", []):
        sides.setdefault(entry["group"], set()).add(entry["split"])
        if entry["sample_id"] in here:
            _expect(
                findings, "recipe-only", "MANIFEST.json", "recipe_only", "sections without pairs", entry["sample_id"]
            )
    for section in manifest["sections"]:
        sides.setdefault(section["group"], set()).add(section["split"])
        spots_lost = sum(drop["n"] for drop in section["drops"] if drop["what"] == "spots")
        pairs_lost = sum(drop["n"] for drop in section.get("pair_drops", ()))
        if section["spots_in"] != section["pairs"] + spots_lost + pairs_lost:
            findings.refuse(
                "spots-not-conserved",
                "Spots were lost without a name",
                section=section["sample_id"],
                expected=f"{section['spots_in']} spots = pairs + named drops",
                found=f"{section['pairs']} pairs + {spots_lost} + {pairs_lost} dropped by name",
            )
        counts_lost = sum(drop["counts"] for drop in section["drops"])
        if section["counts_in"] != section["counts_out"] + counts_lost:
            findings.refuse(
                "counts-not-conserved",
                "Transcripts were lost without a name",
                section=section["sample_id"],
                expected=f"{section['counts_in']:,} in",
                found=f"{section['counts_out']:,} out + {counts_lost:,} dropped by name",
            )
    for group, splits in sorted(sides.items()):
        if len(splits) > 1:
            findings.refuse(
                "leakage",
                "A group of related sections is in several splits",
                section=group,
                expected="one split a group",
                found=", ".join(sorted(splits)),
            )
