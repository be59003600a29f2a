"""The last step of every way to a release: documents, SHA256SUMS and, last, the manifest.

A build, an export and a new target set end here. The documents are functions of the manifest, so a release that loses
a section or gains a target set tells of it everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from humanst import files
from humanst.shards.changes import changes_text
from humanst.shards.folder import MANIFEST, write_sums
from humanst.shards.sidecars import exclusion_groups


def document_names() -> frozenset[str]:
    """Files that :func:`seal` writes besides SHA256SUMS and the manifest."""
    return frozenset({"CHANGES.md"})


def seal(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write what follows from a manifest, and the manifest, into a folder that holds all the rest.

    Parameters
    ----------
    folder
        Where the release is put together, not where it is read.
    manifest
        Without ``sha256sums``, or with one that does not hold any more.

    Returns
    -------
    dict
        The manifest as written.
    """
    files.write_bytes(folder / "CHANGES.md", changes_text(manifest).encode())
    present = exclusion_groups(manifest["sections"])
    sealed = {**manifest, "exclusion_groups": present, "sha256sums": write_sums(folder)}
    files.write_json(folder / MANIFEST, sealed)
    return sealed
