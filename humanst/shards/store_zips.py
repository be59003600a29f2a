"""The section stores of a release: a task a section writes ``sections/<sample_id>.zarr.zip``.

What a zip holds is said by a card in the work folder, named by the store's files and written last; a build that goes
on, or makes another release of the same sections, finds it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from humanst import files
from humanst.builder import store_path
from humanst.errors import IntegrityError, InterruptedRun
from humanst.shards.extract import Extracted
from humanst.store import ZIP_VERSION, zip_store

ZIP_SCHEMA = "humanst.store-zip/1"


@dataclass(frozen=True, slots=True)
class ZipTask:
    """One section store to put into a release; picklable.

    Attributes
    ----------
    store
        Card of the store that was extracted: ``inputs``, ``n_files``, ``n_bytes``, ``tree_sha256``.
    staging
        Where the release is put together.
    earlier
        The finished release that may hold the same zip already.
    """

    sample_id: str
    store: Mapping[str, Any]
    staging: Path
    earlier: Path
    work: Path

    @property
    def name(self) -> str:
        """Path of the zip in the release."""
        return f"sections/{self.sample_id}.zarr.zip"

    @property
    def card(self) -> Path:
        """The card that says what the zip is."""
        return self.work / "zips" / f"{self.sample_id}-{self.inputs_hash()[:16]}.json"

    def inputs_hash(self) -> str:
        """Hash of all that the zip and its row are made from."""
        content = [ZIP_VERSION, self.sample_id, self.store["inputs"], self.store["tree_sha256"]]
        return hashlib.sha256(files.canonical_json(content)).hexdigest()


@dataclass(frozen=True, slots=True)
class Zipped:
    """A section store that is in the release that is put together.

    Attributes
    ----------
    row
        What the manifest says of it: ``path``, ``bytes`` and ``sha256`` of the zip, and of the store in it ``n_files``,
        ``n_bytes``, ``tree_sha256`` and ``inputs``, the hash of what it was made from.
    """

    sample_id: str
    path: Path
    row: Mapping[str, Any]


def zip_tasks(extracts: Iterable[Extracted], *, staging: Path, earlier: Path, work: Path) -> list[ZipTask]:
    """A task for every section that was extracted, in order."""
    return [ZipTask(extract.sample_id, extract.card["store"], staging, earlier, work) for extract in extracts]


def zip_section(task: ZipTask) -> Zipped:
    """Write the zip of one section and, last, its card; or find that they are done.

    Raises
    ------
    IntegrityError
        ``store-changed`` when the store in the work folder is not the one that was extracted.
    """
    path, row = task.staging / task.name, _committed(task)
    if row is not None:
        if _whole(path, row):
            return Zipped(task.sample_id, path, row)
        before = task.earlier / task.name
        if _whole(before, row) and files.link(before, path):
            return Zipped(task.sample_id, path, row)
    files.sweep_partials(path.parent)
    try:
        digest, n_bytes = zip_store(store_path(task.work, task.sample_id), path, expected=task.store)
    except IntegrityError as error:
        raise error.located(section=task.sample_id) from None
    about = {key: task.store[key] for key in ("inputs", "n_files", "n_bytes", "tree_sha256")}
    row = {"path": task.name, "bytes": n_bytes, "sha256": digest, **about}
    files.write_json(task.card, {"schema": ZIP_SCHEMA, "inputs_hash": task.inputs_hash(), "store": row})
    return Zipped(task.sample_id, path, row)


def collect_zips(tasks: Sequence[ZipTask]) -> dict[str, Zipped]:
    """All section stores of a release by sample_id, as their cards tell them.

    Raises
    ------
    InterruptedRun
        When some were never written.
    """
    found: dict[str, Zipped] = {}
    for task in tasks:
        path, row = task.staging / task.name, _committed(task)
        if row is not None and path.is_file() and path.stat().st_size == row["bytes"]:
            found[task.sample_id] = Zipped(task.sample_id, path, row)
    missing = [task.sample_id for task in tasks if task.sample_id not in found]
    if missing:
        raise InterruptedRun(
            f"{len(missing)} of {len(tasks)} section stores were not packed",
            code="not-packed",
            expected="a zip for every section",
            found=f"none for {', '.join(missing[:5])}" + (", ..." if len(missing) > 5 else ""),
            done="The release was not written",
            todo="Run the pack stage again: it does these alone",
        )
    return found


def _committed(task: ZipTask) -> dict[str, Any] | None:
    """What the manifest says of the zip, when its card is there; else ``None``."""
    try:
        card = json.loads(task.card.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    row: dict[str, Any] = card["store"]
    return row if card["inputs_hash"] == task.inputs_hash() else None


def _whole(path: Path, row: Mapping[str, Any]) -> bool:
    return path.is_file() and path.stat().st_size == row["bytes"] and files.sha256_file(path) == row["sha256"]
