"""The sections of a release, as a report asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.report.atlas_base import UNKNOWN, AtlasSource, Scores, common_row
from humanst.report.sources import AuditSource, read_release, release_identity, release_sources

if TYPE_CHECKING:
    import pandas as pd

    from humanst.load.pairs import PairReader


class ReleaseSource(AtlasSource):
    """The sections of a release."""

    kind = "release"

    def __init__(self, path: Path, work: Path, scratch: Path) -> None:
        manifest = read_release(path)
        super().__init__(path, f"release {manifest['version']}", str(manifest["version"]), manifest)
        self.identity = release_identity(path)
        self._work, self._scratch = work, scratch
        self._readers: dict[str, PairReader] = {}
        self._rows_of: dict[str, dict[str, NDArray[np.int64]]] = {}

    def _sources(self) -> list[AuditSource]:
        return release_sources(self.path, self.manifest, self._work, self._scratch)

    @cached_property
    def _facts(self) -> dict[str, Mapping[str, Any]]:
        return {str(row["sample_id"]): row for row in self.manifest["sections"]}

    @cached_property
    def _studies(self) -> dict[str, Mapping[str, Any]]:
        return {str(study["study_id"]): study for study in self.manifest["studies"]}

    def facts(self, sample_id: str) -> Mapping[str, Any]:
        """The row of the manifest."""
        return self._facts[self._known(sample_id)]

    def study(self, sample_id: str) -> Mapping[str, Any]:
        """The study as the manifest has it."""
        name = str(self.facts(sample_id)["study_id"])
        return self._studies.get(name, {"study_id": name, "title": name})

    def _row(self, sample_id: str) -> dict[str, Any]:
        row = self.facts(sample_id)
        licenses = row.get("licenses") or [row.get("license", UNKNOWN)]
        return common_row(row) | {
            "study_title": self.study(sample_id)["title"],
            "organ": row.get("organ", UNKNOWN),
            "disease": row.get("metadata", {}).get("disease", UNKNOWN),
            "donor_id": row.get("donor_id", UNKNOWN),
            "group": row["group"],
            "split": row["split"],
            "license": " and ".join(map(str, licenses)),
            "redistributable": row.get("redistributable"),
            "pairs": row["pairs"],
            "store_bytes": row.get("store", {}).get("bytes", 0),
        }

    def _reader(self, sample_id: str) -> tuple[PairReader, NDArray[np.int64]]:
        """What the pairs of a split are read with, and which of its rows are of a section."""
        from humanst.load.pairs import PairReader
        from humanst.load.sections import codes, rows_of

        split = str(self.facts(sample_id)["split"])
        if split not in self._readers:
            reader = PairReader(self.path, split)
            names, group = codes(reader.rows.table["sample_id"])
            self._readers[split] = reader
            self._rows_of[split] = dict(zip(names, rows_of(group, len(names)), strict=True))
        return self._readers[split], self._rows_of[split].get(sample_id, np.zeros(0, np.int64))

    def pairs(self, sample_id: str) -> pd.DataFrame:
        """The rows of the index of its split."""
        reader, rows = self._reader(sample_id)
        table = reader.rows.table.select(list(reader.rows.metadata_columns))
        found: pd.DataFrame = table.take(rows).to_pandas()
        return found

    def scores(self, sample_id: str) -> Scores:
        """Of its pairs, as they are in the shards."""
        reader, rows = self._reader(sample_id)
        spots = reader.rows.table["spot_id"].take(rows).to_pylist()
        return np.array(spots, dtype=np.str_), reader.release.pathway_names, reader.vectors(rows)

    def patches(self, sample_id: str, n: int) -> list[tuple[str, bytes]]:
        """Of its first pairs, as they are in the shards."""
        reader, rows = self._reader(sample_id)
        return list(zip(reader.rows.keys_of(rows[:n]), reader.member_bytes("jpg", rows[:n]), strict=True))
