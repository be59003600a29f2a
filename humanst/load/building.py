"""A batch in the making: bytes of pairs read, looked at and decoded into the memory of the batch."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, wait
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from humanst.errors import DataError, HumanstError, IntegrityError
from humanst.load.batch import Batch
from humanst.load.decode import decode_jpg, decode_json, label_on_record, npy_values
from humanst.load.decoding import in_turns, start
from humanst.load.index import MEMBERS, Rows
from humanst.load.transforms import transformed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from humanst.load.pairs import PairReader


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
        decoding: list[Future[dict[int, HumanstError]]] = []
        failed: dict[int, HumanstError] = {}
        try:
            for numbers in in_turns(len(self)):
                sound = self._look_at(numbers, n_pairs)
                decode = partial(self._decode, len(self.places), sound)
                self.places.extend(sound)
                # After the last turn there is nothing to do here but to decode it.
                if numbers.stop < len(self):
                    decoding.append(start(decode))
                else:
                    failed = decode()
        finally:
            # Whatever goes wrong, nothing may write into the batch once this is left.
            wait(decoding)
        failed = {place: error for turn in decoding for place, error in turn.result().items()} | failed
        if failed:
            self._close_gaps(failed, n_pairs)
        return self

    def _look_at(self, numbers: range, n_pairs: int | None) -> dict[int, bytes]:
        """Read some pairs, and note labels and vectors; gives the bytes of those that are sound so far."""
        # One step after the other for all of them: each finds in the processor's caches what it needs.
        held = [self._reader.files.read(*self._runs[number][:3]) for number in numbers]
        sound: dict[int, bytes] = {}
        for number, data in zip(numbers, held, strict=True):
            try:
                label, vector = self._facts(number, data)
            except HumanstError as error:
                self._leave_out(number, error, n_pairs)
                continue
            sound[number] = data
            self._labels.append(label)
            self._vectors.append(vector)
        return sound

    def _decode(self, first: int, sound: dict[int, bytes]) -> dict[int, HumanstError]:
        """Decode images into the places of the batch from ``first`` on; gives what went wrong, by place."""
        failed: dict[int, HumanstError] = {}
        for place, (number, data) in enumerate(sound.items(), start=first):
            begin, end = self._runs[number][3][:2]
            try:
                # The image is not copied out of what was read.
                decode_jpg(memoryview(data)[begin:end], side_px=self._side_px, out=self._images[place])
            except HumanstError as error:
                failed[place] = error
        return failed

    def _close_gaps(self, failed: dict[int, HumanstError], n_pairs: int | None) -> None:
        for place, error in failed.items():
            self._leave_out(self.places[place], error, n_pairs)
        kept = [place for place in range(len(self.places)) if place not in failed]
        self._images[: len(kept)] = self._images[kept]
        self.places = [self.places[place] for place in kept]
        self._labels = [self._labels[place] for place in kept]
        self._vectors = [self._vectors[place] for place in kept]

    def _leave_out(self, number: int, error: HumanstError, n_pairs: int | None) -> None:
        """Count a pair that cannot be used, or stop at it."""
        named = error.located(file=self._runs[number][0], field=self._keys[number])
        if n_pairs is None or not isinstance(error, DataError | IntegrityError):
            raise named from error.__cause__
        self._reader.corrupt.leave_out(int(self._rows[number]), named, n_pairs)

    def _facts(self, number: int, data: bytes) -> tuple[int, bytes]:
        """Label and target vector of a pair."""
        cuts, key = self._runs[number][3], self._keys[number]
        text, numbers = data[cuts[2] : cuts[3]], data[cuts[4] : cuts[5]]
        if self._reader.check_members:
            members = data[cuts[0] : cuts[1]], text, numbers
            _check_hashes(self._reader.rows, int(self._rows[number]), members)
        label = label_on_record(text, self._json_hashes[number], key)
        return _label(text, key) if label is None else label, npy_values(numbers, length=self._n_pathways)

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
