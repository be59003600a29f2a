"""Re-validation of the section stores of a release: the zips with Python's own zipfile, the unpacked ones file by file.

Nothing of the writer is reused: the digest over the members is made anew, and the number of spots is read from the
zarr metadata in the zip, without zarr.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from humanst.files import parse_json
from humanst.findings import Findings
from humanst.shards.folder import unpacked_section

CHUNK_BYTES = 1 << 20
_TABLE = "tables/table"
_DAMAGE = (zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError, EOFError, NotImplementedError, OSError)


def check_stores(release: Path, manifest: Mapping[str, Any], findings: Findings) -> None:
    """Check the zip of every section that has one, and its unpacked copy where there is one; others there are none."""
    here = {row["sample_id"] for row in manifest["sections"]}
    for path in sorted(release.glob("sections/*.zarr.zip")):
        if path.name.removesuffix(".zarr.zip") not in here:
            findings.refuse(
                "store",
                "The store of a section that is not in the release",
                file=f"sections/{path.name}",
                expected="stores of the sections of the manifest alone",
                found="no such section",
            )
    for row in manifest["sections"]:
        if "store" not in row:
            continue
        store = row["store"]
        path = release / store["path"]
        if not path.is_file():
            findings.refuse("missing-file", "The store of a section is missing", file=store["path"])
            continue
        _check_record(row, path, findings)
        try:
            _check_zip(row, path, findings)
        except _DAMAGE as error:
            findings.refuse(
                "store",
                "The zip of a section store cannot be read",
                section=row["sample_id"],
                file=store["path"],
                found=f"{type(error).__name__}: {error}",
            )
        _check_unpacked(row, path.with_name(path.name.removesuffix(".zip")), findings)


def is_unpacked_store(name: str, manifest: Mapping[str, Any]) -> bool:
    """Whether a path is one of the unpacked copy of a store that the release has."""
    section = unpacked_section(name)
    return section is not None and any(row["sample_id"] == section and "store" in row for row in manifest["sections"])


def _check_record(row: Mapping[str, Any], path: Path, findings: Findings) -> None:
    """The name, size and hash of a zip are those of the manifest."""
    store = row["store"]
    with path.open("rb") as handle:
        found = {
            "path": f"sections/{row['sample_id']}.zarr.zip",
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(handle, "sha256").hexdigest(),
        }
    for name, value in found.items():
        _expect(findings, row, f"store.{name}", store[name], value)


def _check_zip(row: Mapping[str, Any], path: Path, findings: Findings) -> None:
    """Safe names; the digest over the members; the spots and the section in it are those of the manifest."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        names = [info.filename for info in infos]
        if bad := [name for name in names if not _is_inside(name)]:
            _expect(findings, row, "store", "members below the store", f"{len(bad)} others, such as {bad[0]!r}")
            return
        if names != sorted(set(names)):
            _expect(findings, row, "store", "members sorted by name, each once", f"{len(names)} in another order")
            return
        n_bytes = sum(info.file_size for info in infos)
        _expect(findings, row, "store.n_files", row["store"]["n_files"], len(infos))
        _expect(findings, row, "store.n_bytes", row["store"]["n_bytes"], n_bytes)
        if n_bytes != row["store"]["n_bytes"]:
            # What is longer than the record says is not unpacked, not even to be looked at.
            return
        tree = _tree(names, lambda name: archive.open(name))
        _expect(findings, row, "store.tree_sha256", row["store"]["tree_sha256"], tree)
        root = _json(archive, "zarr.json")["attributes"]["humanst"]
        for name in ("sample_id", "spots_out", "counts_out"):
            if name in row:
                _expect(findings, row, name, row[name], root[name])
        index = _json(archive, f"{_TABLE}/obs/zarr.json")["attributes"]["_index"]
        shape = _json(archive, f"{_TABLE}/obs/{index}/zarr.json")["shape"]
        _expect(findings, row, "spots in the table", [row.get("spots_out", root["spots_out"])], shape)


def _json(archive: zipfile.ZipFile, name: str) -> Any:
    return parse_json(archive.read(name))


def _is_inside(name: str) -> bool:
    parts = name.split("/")
    return "\\" not in name and all(part not in ("", ".", "..") and ":" not in part for part in parts)


def _tree(names: list[str], opened: Callable[[str], IO[bytes]]) -> str:
    """The digest over the lines ``<path> NUL <sha256> LF``, by path."""
    tree = hashlib.sha256()
    for name in sorted(names):
        digest = hashlib.sha256()
        with opened(name) as handle:
            while block := handle.read(CHUNK_BYTES):
                digest.update(block)
        tree.update(name.encode() + b"\0" + digest.hexdigest().encode() + b"\n")
    return tree.hexdigest()


def _check_unpacked(row: Mapping[str, Any], folder: Path, findings: Findings) -> None:
    if not folder.is_dir():
        return
    names = [found.relative_to(folder).as_posix() for found in folder.rglob("*") if found.is_file()]
    found = _tree(names, lambda name: (folder / name).open("rb"))
    if found != row["store"]["tree_sha256"]:
        findings.refuse(
            "store",
            "An unpacked section store is not the one in its zip",
            section=row["sample_id"],
            file=f"sections/{folder.name}",
            expected=f"tree sha256 {row['store']['tree_sha256']}",
            found=found,
            todo="Move it elsewhere if somebody works with it, else remove it and fetch the release again",
        )


def _expect(findings: Findings, row: Mapping[str, Any], field: str, expected: object, found: object) -> None:
    if expected != found:
        findings.refuse(
            "store",
            "The store of a section is not the one on record",
            section=row["sample_id"],
            file=row["store"]["path"],
            field=field,
            expected=str(expected),
            found=str(found),
        )
