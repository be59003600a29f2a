"""What several documents ask of a manifest, and of the tables beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from humanst import files
from humanst.splits import SPLITS

SAMPLES = "samples.parquet"
_SPDX = "https://spdx.org/licenses/{}.html"
_NOT_SPDX = "LicenseRef-"


@dataclass(frozen=True, slots=True)
class Table:
    """A parquet file as it lies in a release.

    Attributes
    ----------
    columns
        Name -> Arrow type, in order.
    """

    n_bytes: int
    sha256: str
    columns: Mapping[str, str]


Tables = Mapping[str, Table]
"""Path -> the table there."""


def read_tables(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Table]:
    """Size, hash and columns of ``samples.parquet`` and of the indexes, as far as they are there."""
    import pyarrow.parquet as pq

    paths = [SAMPLES, *(split["index"] for split in manifest["splits"].values())]
    found = {}
    for name in paths:
        path = folder / name
        if path.is_file():
            schema = pq.read_schema(path)
            columns = {field.name: str(field.type) for field in schema}
            found[name] = Table(path.stat().st_size, files.sha256_file(path), columns)
    return found


def filled_splits(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The splits that hold pairs, in their order."""
    return {name: split for name, split in all_splits(manifest).items() if split["shards"]}


def all_splits(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """All splits: train, val, test, whatever order a file that was read back has them in."""
    found = manifest["splits"]
    return {name: found[name] for name in (*SPLITS, *sorted(set(found) - set(SPLITS))) if name in found}


def studies(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The studies of the sections that are in, by id, in the manifest's order."""
    here = {section["study_id"] for section in manifest["sections"]}
    return {study["study_id"]: study for study in manifest["studies"] if study["study_id"] in here}


def licenses_of(section: Mapping[str, Any]) -> tuple[str, ...]:
    """SPDX ids of all licences a section comes under; of what says nothing, nobody read the terms."""
    return tuple(section.get("licenses") or (section.get("license", "LicenseRef-unknown"),))


def license_url(license_id: str, study: Mapping[str, Any] | None = None) -> str | None:
    """Where a licence can be read: where the study says, else at SPDX; ``None`` for one that SPDX does not list."""
    own = study is not None and study["license"] == license_id
    if own and study is not None and study["license_url"]:
        return str(study["license_url"])
    return None if license_id.startswith(_NOT_SPDX) else _SPDX.format(license_id)


def pairs_by(manifest: Mapping[str, Any], field: str) -> dict[str, tuple[int, int]]:
    """Value of a field of the sections -> how many sections and pairs have it, sorted; ``unknown`` where it is none."""
    sections: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    for section in manifest["sections"]:
        value = str(section.get(field) or section.get("metadata", {}).get(field) or "unknown")
        sections[value] += 1
        pairs[value] += section["pairs"]
    return {value: (sections[value], pairs[value]) for value in sorted(sections)}


def n_pairs(manifest: Mapping[str, Any]) -> int:
    """Pairs of all splits."""
    return sum(int(split["n_pairs"]) for split in manifest["splits"].values())


def listed(names: list[str]) -> str:
    """Names in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
