"""The last step of every way to a release: documents, SHA256SUMS and, last, the manifest.

A build, an export and a new target set end here. The documents are functions of the manifest, so a release that loses
a section or gains a target set tells of it everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from humanst import files
from humanst.shards.documents import DOCUMENTS, documents
from humanst.shards.documents.facts import read_tables
from humanst.shards.folder import MANIFEST, write_sums
from humanst.shards.sidecars import exclusion_groups


def document_names() -> frozenset[str]:
    """Files that :func:`seal` may write besides SHA256SUMS and the manifest."""
    return DOCUMENTS


def seal(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write what follows from a manifest, and the manifest, into a folder that holds all the rest.

    Documents that another manifest left there are replaced, or removed where this one has none.

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
    told = {**manifest, "exclusion_groups": exclusion_groups(manifest["sections"])}
    texts = documents(told, read_tables(folder, told))
    for name in sorted(DOCUMENTS - set(texts)):
        files.remove(folder / name)
    for name, text in texts.items():
        files.write_bytes(folder / name, text.encode())
    sealed = {**told, "sha256sums": write_sums(folder)}
    files.write_json(folder / MANIFEST, sealed)
    return sealed
