"""The head of a release that lies elsewhere: manifest, SHA256SUMS, samples and indices, each believed by its hash.

The manifest's hash comes from the catalog, a pin or a folder of one's own. The manifest holds that of SHA256SUMS and
of every index and shard, SHA256SUMS that of every other file, the index that of every member.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst.errors import DataError, HostileError, HumanstError, IntegrityError, UsageError
from humanst.fetch.engine import Wanted, fetch_file
from humanst.fetch.jobs import fetch_files
from humanst.fetch.receive import Progress
from humanst.fetch.releases import ReleaseRoot
from humanst.files import parse_json, safe_relative_path
from humanst.findings import Findings
from humanst.schemas import check_document
from humanst.settings import Settings
from humanst.shards.folder import MANIFEST, SUMS
from humanst.shards.spec import RELEASE_SCHEMA

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLES = "samples.parquet"
STATS = "targets/pathway_stats.parquet"
_SUM = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a release before any of its shards is asked for.

    Attributes
    ----------
    sums
        Path -> sha256 of every file but the manifest and SHA256SUMS.
    paths
        The files of the head on this disk, by their path in the release.
    """

    root: ReleaseRoot
    manifest: Mapping[str, Any]
    manifest_sha256: str
    sums: Mapping[str, str]
    paths: Mapping[str, Path]

    def index(self, split: str) -> pa.Table:
        """The index of a split that was asked for."""
        # Rows are taken out of it a shard at a time, which is slow where a column is in many chunks.
        return _table(self.paths[self.manifest["splits"][split]["index"]]).combine_chunks()

    def samples(self) -> pa.Table:
        """One row a section."""
        return _table(self.paths[SAMPLES])

    def wanted(self, path: str, *, n_bytes: int | None = None) -> Wanted:
        """A file of SHA256SUMS, as fetch takes it."""
        return self.root.wanted(path, n_bytes=n_bytes, sha256=self.sums[path])


def open_head(
    root: ReleaseRoot,
    splits: Sequence[str] | None,
    settings: Settings,
    *,
    pin: bool,
    jobs: int,
    progress: Progress | None = None,
) -> Head:
    """Fetch the small files of a release into the cache, and check that they belong together.

    Parameters
    ----------
    splits
        Those whose index is needed; ``None`` for all.
    pin
        Trust the manifest of an address that is not on record, and keep its hash.

    Raises
    ------
    IntegrityError
        ``unpinned`` for such an address without ``pin``; when a file is not the one on record, or hashes in the
        manifest and in SHA256SUMS contradict each other.
    UsageError
        For a split that the release does not have.
    DataError
        When the manifest breaks its schema.
    NetworkError, HostileError, NoRoomError
        See :func:`humanst.fetch.engine.fetch_file`; hostile, too, for an unsafe name in SHA256SUMS.
    """
    try:
        path, digest = fetch_file(root.wanted(MANIFEST, sha256=root.manifest_sha256, pin=pin), settings)
        manifest = read_manifest(path)
        asked = _splits(manifest, splits)
        sums_path, _ = fetch_file(root.wanted(SUMS, sha256=manifest["sha256sums"]), settings)
        sums = read_sums(sums_path, manifest)
        small = [SAMPLES, STATS, *(manifest["splits"][split]["index"] for split in asked)]
        found = {MANIFEST: path, SUMS: sums_path}
        wanted = {name: root.wanted(name, sha256=sums[name]) for name in small if name in sums}
        fetched = fetch_files(list(wanted.values()), settings, jobs=jobs, progress=progress)
        for name, item in wanted.items():
            outcome = fetched[item.key]
            if isinstance(outcome, HumanstError):
                raise outcome
            found[name] = outcome[0]
    except HumanstError as error:
        raise error.located(study=f"release {root.name}") from None
    return Head(root, manifest, digest, sums, found)


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest and check it against its schema.

    Raises
    ------
    DataError
        ``manifest-invalid``.
    """
    try:
        manifest = parse_json(path.read_bytes())
    except ValueError as error:
        raise DataError("The manifest is not JSON", code="manifest-invalid", file=MANIFEST, found=error) from error
    if not isinstance(manifest, dict) or manifest.get("schema") != RELEASE_SCHEMA:
        found = manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__
        what = "This manifest is of another kind"
        raise DataError(what, code="manifest-invalid", file=MANIFEST, expected=RELEASE_SCHEMA, found=found)
    findings = Findings(file=MANIFEST)
    check_document(manifest, "manifest", findings)
    findings.raise_if_refused()
    return manifest


def _splits(manifest: Mapping[str, Any], asked: Sequence[str] | None) -> list[str]:
    there = list(manifest["splits"])
    if unknown := sorted(set(asked or ()) - set(there)):
        raise UsageError(
            "This release has no such split",
            code="unknown-split",
            field="--split",
            expected=", ".join(there),
            found=", ".join(unknown),
        )
    return [split for split in there if asked is None or split in asked]


def read_sums(path: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Read SHA256SUMS: path -> sha256, checked against the hashes that the manifest holds.

    Raises
    ------
    DataError
        ``sums-invalid`` for a line that is none.
    IntegrityError
        ``sums-differ`` when both say something of a file, and not the same.
    HostileError
        For an unsafe name.
    """
    sums: dict[str, str] = {}
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        match = _SUM.fullmatch(line)
        if match is None or match[2] in sums or match[2] in (MANIFEST, SUMS):
            raise DataError(
                "A line cannot be read", code="sums-invalid", file=SUMS, field=f"line {number}", found=line[:80]
            )
        try:
            safe_relative_path(match[2])
        except HostileError as error:
            raise error.located(file=SUMS, field=f"line {number}") from error
        sums[match[2]] = match[1]
    promised = {SAMPLES: None}
    for split in manifest["splits"].values():
        promised[split["index"]] = split["index_sha256"]
        for shard in split["shards"]:
            promised |= {shard["path"]: shard["sha256"], card_of(shard["path"]): shard["card_sha256"]}
    promised |= {row["store"]["path"]: row["store"]["sha256"] for row in manifest["sections"] if "store" in row}
    for entry in manifest.get("targets", {}).values():
        promised |= dict.fromkeys((entry["columns"], *entry["beside"], *(file["path"] for file in entry["files"])))
    for name, digest in promised.items():
        if name not in sums or digest not in (None, sums[name]):
            raise IntegrityError(
                "The release contradicts itself",
                code="sums-differ",
                file=name,
                field="sha256",
                expected=f"{digest or 'a hash'} (the manifest)",
                found=f"{sums.get(name, 'none')} ({SUMS})",
                done="Nothing more was asked for",
                todo="Tell whoever published it",
            )
    return sums


def card_of(shard: str) -> str:
    """Path of the card of a shard."""
    return f"{shard.removesuffix('.tar')}.card.json"


def _table(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except pa.ArrowException as error:
        raise DataError("This is no parquet table", code="index-invalid", file=path.name, found=error) from error
