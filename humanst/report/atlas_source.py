"""What a report is of: a release, or a folder of section stores, asked for the same things in the same way."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from humanst import files
from humanst.errors import HumanstError, UsageError
from humanst.report.sources import AuditSource, is_release, read_release, release_sources, store_sources
from humanst.store import StoredSection, read_attrs, read_card

if TYPE_CHECKING:
    import pandas as pd

    from humanst.load.pairs import PairReader
    from humanst.pathways import PathwayChoice

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
    """

    kind: Literal["release", "stores"]

    def __init__(self, path: Path, title: str, version: str | None, manifest: Mapping[str, Any]) -> None:
        self.path, self.title, self.version, self.manifest = path, title, version, manifest

    @cached_property
    def _by_name(self) -> dict[str, AuditSource]:
        return {source.sample_id: source for source in self._sources()}

    @property
    def sample_ids(self) -> tuple[str, ...]:
        """All sections, sorted."""
        return tuple(sorted(self._by_name))

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


class ReleaseSource(AtlasSource):
    """The sections of a release."""

    kind = "release"

    def __init__(self, path: Path, work: Path, scratch: Path) -> None:
        manifest = read_release(path)
        super().__init__(path, f"release {manifest['version']}", str(manifest["version"]), manifest)
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
        return self._facts[self._known(sample_id)]

    def study(self, sample_id: str) -> Mapping[str, Any]:
        name = str(self.facts(sample_id)["study_id"])
        return self._studies.get(name, {"study_id": name, "title": name})

    def _row(self, sample_id: str) -> dict[str, Any]:
        row = self.facts(sample_id)
        licenses = row.get("licenses") or [row.get("license", UNKNOWN)]
        return _common(row) | {
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
        reader, rows = self._reader(sample_id)
        table = reader.rows.table.select(list(reader.rows.metadata_columns))
        found: pd.DataFrame = table.take(rows).to_pandas()
        return found

    def scores(self, sample_id: str) -> Scores:
        reader, rows = self._reader(sample_id)
        spots = reader.rows.table["spot_id"].take(rows).to_pylist()
        return np.array(spots, dtype=np.str_), reader.release.pathway_names, reader.vectors(rows)

    def patches(self, sample_id: str, n: int) -> list[tuple[str, bytes]]:
        reader, rows = self._reader(sample_id)
        return list(zip(reader.rows.keys_of(rows[:n]), reader.member_bytes("jpg", rows[:n]), strict=True))


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
        self._gene_sets, self._choice = gene_sets, choice

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
        if sample_id in self._damaged:
            raise self._damaged[sample_id]
        # A page asks for a store several times in a row.
        if self._last is None or self._last.attrs["sample_id"] != sample_id:
            with super().store(sample_id) as stored:
                self._last = stored
        yield self._last

    def facts(self, sample_id: str) -> Mapping[str, Any]:
        return self._facts[self._known(sample_id)]

    def study(self, sample_id: str) -> Mapping[str, Any]:
        name = str(self.facts(sample_id).get("study_id", UNKNOWN))
        return {"study_id": name, "title": name}

    def _row(self, sample_id: str) -> dict[str, Any]:
        source = self._by_name[sample_id]
        card = read_card(source.store)
        return _common(self.facts(sample_id)) | {
            "study_title": source.donor_group,
            **dict.fromkeys(("organ", "disease", "donor_id", "group", "license"), UNKNOWN),
            "split": "",
            "redistributable": None,
            "pairs": 0,
            "store_bytes": 0 if card is None else int(card["n_bytes"]),
        }

    def pairs(self, sample_id: str) -> pd.DataFrame:
        import pandas as pd

        self._known(sample_id)
        return pd.DataFrame()

    def scores(self, sample_id: str) -> Scores:
        from humanst.pathways import PathwayChoice
        from humanst.shards.scoring import score_store

        with self.store(sample_id) as stored:
            spots = stored.spots.index.to_numpy(str)
            if self._gene_sets is None:
                return spots, (), np.zeros((len(spots), 0), np.float32)
            found = score_store(stored, self._gene_sets, self._gene_sets.name, self._choice or PathwayChoice())
        return spots, tuple(found.names), found.scores

    def patches(self, sample_id: str, n: int) -> list[tuple[str, bytes]]:
        self._known(sample_id)
        return []


def open_source(
    path: Path,
    *,
    work: Path | None = None,
    scratch: Path | None = None,
    gene_sets: Path | None = None,
    choice: PathwayChoice | None = None,
) -> AtlasSource:
    """Open a release folder, a section store, or a folder of section stores.

    Parameters
    ----------
    work
        The work folder a release was built with, whose stores need no unpacking; ``<release>.work`` by default.
    scratch
        Where the zips of a release are unpacked, each for the time it is open; below the system's folder of temporary
        files by default.
    gene_sets, choice
        What the spots of stores are scored for, and how. A release has its scores.

    Raises
    ------
    DataError
        When the manifest of a release cannot be used.
    UsageError
        ``no-sections`` where there are none. A store that is not finished or is damaged is one of the sections; opening
        it raises what is wrong with it.
    """
    folder = path.resolve()
    if is_release(folder):
        aside = scratch or files.partial_path(Path(tempfile.gettempdir()) / "humanst-report")
        return ReleaseSource(folder, work or folder.with_name(f"{folder.name}.work"), aside)
    return StoresSource(folder, gene_sets, choice)


def _common(facts: Mapping[str, Any]) -> dict[str, Any]:
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
