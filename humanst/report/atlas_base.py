"""What a report asks of a release or of a folder of section stores: the same things in the same way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from humanst.errors import UsageError
from humanst.report.sources import AuditSource
from humanst.store import StoredSection

if TYPE_CHECKING:
    import pandas as pd

Scores = tuple[NDArray[np.str_], tuple[str, ...], NDArray[np.float32]]
"""Spot ids (n,), names of the P pathways, and (n, P) float32, NaN where unmeasured."""

UNKNOWN = "unknown"
COLUMNS = (
    "sample_id", "study_id", "study_title", "section_id", "platform", "organ", "disease", "donor_id", "group", "split",
    "license", "redistributable", "pairs", "spots_in", "spots", "counts", "um_per_pixel", "targeted", "target_shape",
    "target_side_um", "warnings", "store_bytes",
)  # fmt: skip


class AtlasSource(ABC):
    """Sections of one kind of source, by ``sample_id``.

    Attributes
    ----------
    path
        The folder.
    title, version
        As a page names them; a folder of stores has no version.
    manifest
        Of a release; empty for stores.
    identity
        What tells it from another of the same title; ``None`` where nothing does.
    """

    kind: Literal["release", "stores"]
    identity: str | None = None

    def __init__(self, path: Path, title: str, version: str | None, manifest: Mapping[str, Any]) -> None:
        self.path, self.title, self.version, self.manifest = path, title, version, manifest

    @cached_property
    def _by_name(self) -> dict[str, AuditSource]:
        return {source.sample_id: source for source in self._sources()}

    @property
    def sample_ids(self) -> tuple[str, ...]:
        """All sections, sorted."""
        return tuple(sorted(self._by_name))

    @property
    def normalisation(self) -> str:
        """What the pathway scores are, in words; empty where it is not on record."""
        return str(self.manifest.get("pathways", {}).get("normalisation", ""))

    @abstractmethod
    def _sources(self) -> list[AuditSource]: ...

    @abstractmethod
    def _row(self, sample_id: str) -> dict[str, Any]: ...

    @cached_property
    def _samples(self) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame([self._row(name) for name in self.sample_ids], columns=list(COLUMNS))

    def samples(self) -> pd.DataFrame:
        """One row a section, by ``sample_id``, with the columns ``COLUMNS``; text that is not known is ``unknown``.

        ``redistributable`` is ``None`` where no licence is on record; ``pairs`` is 0 and ``split`` empty for stores;
        ``store_bytes`` is the size of the store as it is passed on.
        """
        return self._samples.copy()

    @abstractmethod
    def facts(self, sample_id: str) -> Mapping[str, Any]:
        """What is on record of a section without opening its store: its row of the manifest, or the store's attributes.

        ``findings``, ``drops``, ``picture``, ``target`` and ``um_per_pixel`` mean the same in both.
        """

    @abstractmethod
    def study(self, sample_id: str) -> Mapping[str, Any]:
        """The study of a section as the manifest has it: title, doi, licence, citation; stores know its id alone."""

    @abstractmethod
    def pairs(self, sample_id: str) -> pd.DataFrame:
        """The rows of the index that are of a section, in shard order; empty for stores.

        Raises
        ------
        IntegrityError, DataError
            When the index is not the one on record.
        """

    @abstractmethod
    def scores(self, sample_id: str) -> Scores:
        """The pathway scores of a section: of its pairs in a release, in the order of :meth:`pairs`; else of all spots.

        Raises
        ------
        IntegrityError, DataError, HostileError
            When what they come from is not as it was written.
        """

    @abstractmethod
    def patches(self, sample_id: str, n: int) -> list[tuple[str, bytes]]:
        """Key and JPEG of the first ``n`` pairs of a section, which are in random order; none for stores.

        Raises
        ------
        IntegrityError
            When a shard or a patch is not the one on record.
        """

    @contextmanager
    def store(self, sample_id: str) -> Iterator[StoredSection]:
        """The store of a section, opened; unpacked for that time where a release has it as a zip.

        ``humanst.store.read_picture(stored.path, stored.attrs, least_px)`` gives the pixels of its picture.

        Raises
        ------
        DataError, IntegrityError
            When there is none, or it is not as it was written.
        """
        with self._by_name[self._known(sample_id)].opened() as stored:
            yield stored

    def _known(self, sample_id: str) -> str:
        if sample_id not in self._by_name:
            raise UsageError(
                "There is no such section here",
                code="unknown-section",
                file=self.path.name,
                expected=", ".join(self.sample_ids[:6]),
                found=repr(sample_id),
            )
        return sample_id


def common_row(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a row of the manifest and the attributes of a store say alike."""
    target = facts.get("target", {})
    return {
        **{name: str(facts.get(name, UNKNOWN)) for name in ("sample_id", "study_id", "section_id", "platform")},
        "spots_in": int(facts["spots_in"]),
        "spots": int(facts.get("spots_out", 0)),
        "counts": int(facts["counts_out"]),
        "um_per_pixel": float(facts.get("um_per_pixel") or np.nan),
        "targeted": bool(facts.get("targeted", False)),
        "target_shape": str(target.get("shape", UNKNOWN)),
        "target_side_um": float(target.get("side_um") or np.nan),
        "warnings": sum(finding["severity"] != "note" for finding in facts.get("findings", ())),
    }
