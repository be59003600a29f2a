"""Pairs from the bytes of their shards. Both front ends make their pairs here, so they cannot differ."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from humanst.errors import DataError, HumanstError, IntegrityError
from humanst.load.batch import Batch, Empty, Pair
from humanst.load.corrupt import MAX_CORRUPT, CorruptPairs
from humanst.load.decode import decode_jpg, decode_json, label_on_record, npy_values
from humanst.load.index import MEMBERS, Rows
from humanst.load.memory import Memory
from humanst.load.release import Release, open_release
from humanst.load.shardfile import ShardFiles
from humanst.load.target_sets import TargetSets
from humanst.load.transforms import transformed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

TURN_PAIRS = 16
"""Pairs that are read before they are decoded: few enough for their bytes to stay in the processor's cache."""

_Found = TypeVar("_Found")


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

    def vectors(self) -> NDArray[np.float32]:
        """(n, P) float32: the targets of all rows, NaN where unmeasured; nothing else of the pairs is read.

        Raises
        ------
        IntegrityError, DataError, HostileError
            Naming shard and key.
        """
        n_pathways = len(self.release.pathway_names)
        found = np.empty((len(self.rows), n_pathways), dtype=np.float32)
        for shard, rows in self.rows.by_shard().items():
            for row, (start, stop) in zip(rows.tolist(), self.rows.places("npy", rows), strict=True):
                data = self.files.read(shard, start, stop)
                try:
                    found[row] = np.frombuffer(npy_values(data, length=n_pathways), dtype="<f4")
                except HumanstError as error:
                    raise error.located(file=shard, field=self.rows.key(row)) from error.__cause__
        return found


class Building:
    """A batch that is being filled, in memory for the images of all its rows.

    Parameters
    ----------
    reader
        What the pairs are read with.
    rows
        What is to be read.

    Attributes
    ----------
    places
        Of each pair in the batch: its number among ``rows``, some of which may be left out.
    """

    def __init__(self, reader: PairReader, rows: Sequence[int]) -> None:
        self._reader = reader
        self._rows = np.asarray(rows, dtype=np.int64)
        self._keys, self._runs = reader.rows.keys_of(self._rows), reader.rows.runs(self._rows)
        self._json_hashes = reader.rows.hashes_of("json", self._rows)
        self._side_px, self._n_pathways = reader.release.side_px, len(reader.release.pathway_names)
        self._images, self._holder = reader.empty((len(rows), self._side_px, self._side_px, 3))
        self._labels: list[int] = []
        self._vectors: list[bytes] = []
        self.places: list[int] = []

    def __len__(self) -> int:
        return len(self._rows)

    def fill(self, n_pairs: int | None = None) -> Self:
        """Read and decode all rows.

        Parameters
        ----------
        n_pairs
            Leave out corrupt pairs while there are few of them among so many; ``None`` leaves out none.

        Raises
        ------
        IntegrityError, DataError, HostileError
            Naming shard and key; see :meth:`PairReader.build`.
        """
        # Decoding an image empties the processor's caches of all else. So a few pairs are read and looked at in turn
        # before their images are decoded.
        for begin in range(0, len(self), TURN_PAIRS):
            numbers = range(begin, min(begin + TURN_PAIRS, len(self)))
            held = [self._reader.files.read(*self._runs[number][:3]) for number in numbers]
            known = [
                self._tried(self._facts, number, data, n_pairs) for number, data in zip(numbers, held, strict=True)
            ]
            for number, data, facts in zip(numbers, held, known, strict=True):
                if facts is not None and self._tried(self._decode, number, data, n_pairs) is not None:
                    self.places.append(number)
                    self._labels.append(facts[0])
                    self._vectors.append(facts[1])
        return self

    def _tried(
        self, step: Callable[[int, bytes], _Found], number: int, data: bytes, n_pairs: int | None
    ) -> _Found | None:
        """What a step gives; ``None`` for a corrupt pair that is left out."""
        try:
            return step(number, data)
        except HumanstError as error:
            named = error.located(file=self._runs[number][0], field=self._keys[number])
            if n_pairs is None or not isinstance(error, DataError | IntegrityError):
                raise named from error.__cause__
            self._reader.corrupt.leave_out(int(self._rows[number]), named, n_pairs)
            return None

    def _facts(self, number: int, data: bytes) -> tuple[int, bytes]:
        """Label and target vector of a pair."""
        cuts, key = self._runs[number][3], self._keys[number]
        text, numbers = data[cuts[2] : cuts[3]], data[cuts[4] : cuts[5]]
        if self._reader.check_members:
            members = data[cuts[0] : cuts[1]], text, numbers
            _check_hashes(self._reader.rows, int(self._rows[number]), members)
        label = label_on_record(text, self._json_hashes[number], key)
        return _label(text, key) if label is None else label, npy_values(numbers, length=self._n_pathways)

    def _decode(self, number: int, data: bytes) -> bool:
        begin, end = self._runs[number][3][:2]
        # The image is not copied out of what was read.
        decode_jpg(memoryview(data)[begin:end], side_px=self._side_px, out=self._images[len(self.places)])
        return True

    def done(self) -> Batch:
        """The batch of the pairs that were added."""
        rows, transform = self._rows[self.places], self._reader.transform
        vectors = np.frombuffer(b"".join(self._vectors), dtype="<f4").astype(np.float32)
        images: NDArray[np.uint8] | list[Any] = self._images[: rows.size]
        if transform is not None:
            images = transformed(transform, images, rows.tolist(), self._reader.rows)
        return Batch(
            images,
            self._holder if transform is None else None,
            vectors.reshape(rows.size, self._n_pathways),
            self._labels,
            self._reader.rows.columns_of(rows),
            self._reader.targets.take(rows.tolist()),
        )


def _check_hashes(rows: Rows, row: int, members: tuple[bytes, ...]) -> None:
    for member, data in zip(MEMBERS, members, strict=True):
        expected, found = rows.hash_of(row, member), hashlib.blake2b(data, digest_size=8).hexdigest()
        if expected != found:
            raise IntegrityError(
                f"The {member} of this pair changed after its shard was verified",
                expected=f"blake2b-64 {expected}",
                found=f"blake2b-64 {found}",
                done="The pair was not used",
                todo="Fetch this shard again",
            )


def _label(text: bytes, key: str) -> int:
    document = decode_json(text)
    if document["key"] != key:
        raise IntegrityError(
            "The index leads to another pair",
            expected=f"key {key}",
            found=f"key {document['key']}",
            done="The pair was not used",
            todo="Run humanst verify on the release",
        )
    return int(document["label"])


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
