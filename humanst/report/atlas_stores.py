"""The section stores of a folder, as a report asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.errors import HumanstError
from humanst.report.atlas_base import UNKNOWN, AtlasSource, Scores, common_row
from humanst.report.sources import AuditSource, store_sources, stores_identity
from humanst.store import StoredSection, read_attrs, read_card

if TYPE_CHECKING:
    import pandas as pd

    from humanst.pathways import PathwayChoice


class StoresSource(AtlasSource):
    """The section stores of a folder.

    Parameters
    ----------
    gene_sets, choice
        What spots are scored for, and how; without a file there are no scores.
    """

    kind = "stores"

    def __init__(self, path: Path, gene_sets: Path | None = None, choice: PathwayChoice | None = None) -> None:
        self._damaged: dict[str, HumanstError] = {}
        self._last: StoredSection | None = None
        self._found = store_sources([path], {}, self._damaged)
        n = len(self._found)
        super().__init__(path, self._found[0].sample_id if n == 1 else f"{n} sections", None, {})
        self.identity = stores_identity(self._found)
        self._gene_sets, self._choice = gene_sets, choice

    @property
    def normalisation(self) -> str:
        """What the spots are scored as, in words; empty without gene sets."""
        from humanst.pathways import PathwayChoice

        return "" if self._gene_sets is None else (self._choice or PathwayChoice()).normalisation

    def _sources(self) -> list[AuditSource]:
        return self._found

    @cached_property
    def _facts(self) -> dict[str, Mapping[str, Any]]:
        return {source.sample_id: self._attrs(source) for source in self._found}

    def _attrs(self, source: AuditSource) -> Mapping[str, Any]:
        if source.sample_id in self._damaged:
            return {"sample_id": source.sample_id, "spots_in": 0, "counts_out": 0}
        return read_attrs(source.store)

    @contextmanager
    def store(self, sample_id: str) -> Iterator[StoredSection]:
        """Its store; what is wrong with a damaged one is raised here."""
        if sample_id in self._damaged:
            raise self._damaged[sample_id]
        # A page asks for a store several times in a row.
        if self._last is None or self._last.attrs["sample_id"] != sample_id:
            with super().store(sample_id) as stored:
                self._last = stored
        yield self._last

    def facts(self, sample_id: str) -> Mapping[str, Any]:
        """The attributes of its store; of a damaged one hardly anything."""
        return self._facts[self._known(sample_id)]

    def study(self, sample_id: str) -> Mapping[str, Any]:
        """Its id alone."""
        name = str(self.facts(sample_id).get("study_id", UNKNOWN))
        return {"study_id": name, "title": name}

    def _row(self, sample_id: str) -> dict[str, Any]:
        source = self._by_name[sample_id]
        card = read_card(source.store)
        return common_row(self.facts(sample_id)) | {
            "study_title": source.donor_group,
            **dict.fromkeys(("organ", "disease", "donor_id", "group", "license"), UNKNOWN),
            "split": "",
            "redistributable": None,
            "pairs": 0,
            "store_bytes": 0 if card is None else int(card["n_bytes"]),
        }

    def pairs(self, sample_id: str) -> pd.DataFrame:
        """None."""
        import pandas as pd

        self._known(sample_id)
        return pd.DataFrame()

    def scores(self, sample_id: str) -> Scores:
        """Of all its spots, for the gene sets that were given."""
        from humanst.pathways import PathwayChoice
        from humanst.shards.scoring import score_store

        with self.store(sample_id) as stored:
            spots = stored.spots.index.to_numpy(str)
            if self._gene_sets is None:
                return spots, (), np.zeros((len(spots), 0), np.float32)
            found = score_store(stored, self._gene_sets, self._gene_sets.name, self._choice or PathwayChoice())
        return spots, tuple(found.names), found.scores

    def patches(self, sample_id: str, n: int) -> list[tuple[str, bytes]]:
        """None."""
        self._known(sample_id)
        return []
