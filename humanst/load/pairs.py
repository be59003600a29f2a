"""Pairs from the bytes of their shards. Both front ends make their pairs here, so they cannot differ."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.errors import HumanstError
from humanst.load.batch import Empty, Pair
from humanst.load.building import Building
from humanst.load.corrupt import MAX_CORRUPT, CorruptPairs
from humanst.load.decode import npy_values
from humanst.load.index import Rows
from humanst.load.memory import Memory
from humanst.load.release import Release, open_release
from humanst.load.shardfile import ShardFiles
from humanst.load.target_sets import TargetSets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


logger = logging.getLogger(__name__)


class PairReader:
    """Rows of a split, the bytes of their shards, and how to make pairs of them.

    Parameters
    ----------
    release
        A release folder or an opened release.
    split
        Name of the split.
    where
        Keep the pairs this expression over the index columns is true for.
    transform
        Called with each (side_px, side_px, 3) uint8 image; its result takes the image's place. Must be picklable
        where worker processes are spawned.
    verify
        Hash each shard when it is first opened in a process.
    check_members
        Also compare every member with its own hash in the index, each time it is read.
    max_corrupt
        Share of pairs that batches may leave out.
    targets
        Further target sets of the release that come along.
    """

    def __init__(
        self,
        release: str | Path | Release,
        split: str,
        *,
        where: str | None = None,
        transform: Callable[[NDArray[np.uint8]], Any] | None = None,
        verify: bool = True,
        check_members: bool = False,
        max_corrupt: float = MAX_CORRUPT,
        targets: Sequence[str] = (),
    ) -> None:
        self.release = open_release(release)
        self.corrupt = CorruptPairs(max_corrupt)
        self.rows = Rows(self.release, split, where=where)
        if where is not None and not len(self.rows):
            logger.warning("No pair of %s is selected by where=%r", split, where)
        self.source = _source(self.release.split(split).index_sha256, where)
        self.files = ShardFiles(self.release, split, verify=verify)
        self.targets = TargetSets(self.release, targets, self.rows)
        self.transform = transform
        self.empty: Empty = Memory()
        self.check_members = check_members

    def verify(self) -> None:
        """Hash every shard on this disk that these rows need now, for this process and those it starts.

        Raises
        ------
        IntegrityError
            For the first shard that is not the one on record.
        """
        # What lies elsewhere is verified when it comes.
        if not self.files.is_remote:
            self.files.verify(list(self.rows.by_shard()))

    def pair(self, row: int) -> Pair:
        """Read and decode one row.

        Raises
        ------
        IntegrityError, DataError, HostileError
            Naming shard and key.
        """
        return Building(self, [row]).fill().done()[0]

    def build(self, rows: Sequence[int], n_pairs: int) -> Building:
        """Read and decode several rows, without those that are corrupt while there are few of them.

        Parameters
        ----------
        n_pairs
            Pairs that this process reads in an epoch.

        Raises
        ------
        IntegrityError
            ``too-many-corrupt``, or when a shard is not the one on record.
        HostileError
            What is hostile is not merely corrupt.
        """
        return Building(self, rows).fill(n_pairs)

    def vectors(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """(n, P) float32: the targets of ``rows`` or of all, NaN where unmeasured; nothing else of the pairs is read.

        Raises
        ------
        IntegrityError, DataError, HostileError
            Naming shard and key.
        """
        n_pathways = len(self.release.pathway_names)
        asked = np.arange(len(self.rows), dtype=np.int64) if rows is None else rows
        found = np.empty((len(asked), n_pathways), dtype=np.float32)
        for place, row, shard, data in self._members("npy", asked):
            try:
                found[place] = np.frombuffer(npy_values(data, length=n_pathways), dtype="<f4")
            except HumanstError as error:
                raise error.located(file=shard, field=self.rows.key(row)) from error.__cause__
        return found

    def member_bytes(self, member: str, rows: NDArray[np.int64]) -> list[bytes]:
        """A member of several rows as it is in the shards: ``jpg``, ``json`` or ``npy``.

        Raises
        ------
        IntegrityError
            When a shard is not the one on record.
        """
        found = dict.fromkeys(range(len(rows)), b"")
        for place, _, _, data in self._members(member, rows):
            found[place] = data
        return list(found.values())

    def _members(self, member: str, rows: NDArray[np.int64]) -> Iterator[tuple[int, int, str, bytes]]:
        """Place among ``rows``, row, shard and bytes, a shard after the other."""
        spans = self.rows.places(member, rows)
        for shard, places in self.rows.by_shard(rows).items():
            for place in places.tolist():
                yield place, int(rows[place]), shard, self.files.read(shard, *spans[place])


class PairSource:
    """What both front ends say of the pairs they give."""

    _reader: PairReader

    @property
    def release(self) -> Release:
        """The opened release."""
        return self._reader.release

    @property
    def pathway_names(self) -> tuple[str, ...]:
        """Names of the P pathways, in the order of the target vectors."""
        return self.release.pathway_names

    @property
    def metadata_columns(self) -> tuple[str, ...]:
        """Names of the index columns that describe a pair."""
        return self._reader.rows.metadata_columns

    def target_columns(self, name: str) -> list[str]:
        """Names of the C columns of a further target set that was asked for: Ensembl ids, sets or components."""
        return self._reader.targets.columns(name)

    def verify(self) -> None:
        """Hash every shard these pairs need now; worker processes started afterwards need not do it again.

        Raises
        ------
        IntegrityError
            For the first shard that is not the one on record.
        """
        self._reader.verify()

    def use_memory(self, empty: Empty) -> None:
        """Decode batches into memory that ``empty`` makes, but for images that a transform replaces."""
        if self._reader.transform is None:
            self._reader.empty = empty


def _source(index_sha256: str, where: str | None) -> str:
    """Identity of the selected rows: the same index under the same condition."""
    return hashlib.sha256(f"{index_sha256}|{where or ''}".encode()).hexdigest()[:16]
