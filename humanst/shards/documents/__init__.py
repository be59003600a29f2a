"""The documents of a release: what other people's tools, and people, read of it.

Every one is a function of the manifest and of the small tables beside it, so that a build, an export, a further target
set and a part that was fetched tell the same of the same release. No date and no path of a machine enters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from humanst.shards.changes import changes_text
from humanst.shards.documents.bibliography import bibliography
from humanst.shards.documents.card import card
from humanst.shards.documents.croissant import croissant
from humanst.shards.documents.facts import Tables, filled_splits
from humanst.shards.documents.license_table import license_table
from humanst.shards.documents.readers import reader_files
from humanst.splits import SPLITS

_OF_THE_MANIFEST: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "README.md": card,
    "CHANGES.md": changes_text,
    "CITATION.bib": bibliography,
    "LICENSES.tsv": license_table,
}
_OF_A_SPLIT = ("sizes.json", "index.json")

DOCUMENTS = frozenset(
    {
        *_OF_THE_MANIFEST,
        "croissant.json",
        "data/_info.json",
        "data/index.json",
        *(f"data/{split}/{name}" for split in SPLITS for name in _OF_A_SPLIT),
    }
)
"""The names of all documents a release may have; those of an empty split are left out."""


def documents(manifest: Mapping[str, Any], tables: Tables) -> dict[str, str]:
    """Path -> text of the documents of a release.

    Parameters
    ----------
    manifest
        As ``schemas/manifest.yaml`` has it; ``sha256sums`` is not looked at.
    tables
        ``samples.parquet`` and the indexes, as they lie in the folder.
    """
    found = {name: write(manifest) for name, write in _OF_THE_MANIFEST.items()}
    found["croissant.json"] = croissant(manifest, tables)
    if filled_splits(manifest):
        found |= reader_files(manifest)
    return found
