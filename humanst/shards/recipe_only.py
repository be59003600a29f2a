"""Sections of which a release holds no pairs, only what it takes to rebuild them and to know that it went right."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from humanst.shards.departures import Departure, closed_licenses

if TYPE_CHECKING:
    import pyarrow as pa

HASH_COLUMNS = ("uid", "sample_id", "jpg_hash", "json_hash", "npy_hash")
_HASHED: Mapping[str, Sequence[str]] = {
    "uids": ("uid",),
    "targets": ("uid", "npy_hash"),
    "members": ("uid", "jpg_hash", "json_hash", "npy_hash"),
}


def recipe_only_entries(
    manifest: Mapping[str, Any], leaving: Sequence[Departure], left: Mapping[str, pa.Table]
) -> list[dict[str, Any]]:
    """The manifest's ``recipe_only`` once sections have left: nothing stays of one that was taken down.

    Parameters
    ----------
    left
        Split -> the rows of the index that leave.
    """
    gone = {departure.sample_id for departure in leaving}
    entries = [dict(entry) for entry in manifest.get("recipe_only", []) if entry["sample_id"] not in gone]
    entries += [
        {
            **{name: departure.row[name] for name in ("sample_id", "study_id", "split", "group", "pairs")},
            "licenses": closed_licenses(manifest, departure.row),
            "reason": departure.reason,
            # Not there in a release that no build wrote it into.
            "extract_inputs": departure.row.get("extract_inputs", ""),
            "hashes": hashes_of(left[departure.row["split"]], departure.sample_id),
        }
        for departure in leaving
        if departure.reason != "taken-down"
    ]
    return sorted(entries, key=lambda entry: str(entry["sample_id"]))


def hashes_of(index: pa.Table, sample_id: str) -> dict[str, str]:
    """What the pairs of a section are known by, in whatever shards and order they lie.

    Parameters
    ----------
    index
        With the columns :data:`HASH_COLUMNS`.

    Returns
    -------
    dict
        sha256 over sorted lines: of the ``uids``; of uid and hash of the npy (``targets``); of uid and hashes of jpg,
        json and npy (``members``).
    """
    import pyarrow.compute as pc

    rows = index.select(list(HASH_COLUMNS)).filter(pc.equal(index["sample_id"], sample_id)).to_pylist()
    found = {}
    for name, columns in _HASHED.items():
        lines = sorted(" ".join(row[column] for column in columns) for row in rows)
        found[name] = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    return found
