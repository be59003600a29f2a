"""One pair from the bytes of its shard. Both front ends make their pairs here, so they cannot differ."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from humanst.errors import DataError, HumanstError, IntegrityError
from humanst.load.corrupt import MAX_CORRUPT, CorruptPairs
from humanst.load.decode import decode_jpg, decode_json, decode_npy, split_targets
from humanst.load.index import Rows
from humanst.load.release import Release, open_release
from humanst.load.shardfile import ShardFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


class Pair(TypedDict):
    """What both front ends give for one pair.

    Attributes
    ----------
    image
        (side_px, side_px, 3) uint8, RGB; or what ``transform`` made of it.
    pathways
        (P,) float32, z per section; 0 where unmeasured.
    mask
        (P,) bool, true where measured.
    log10_counts_z
        float32, library size, z per section.
    label
        Organ code, named in ``Release.organs``.
    key, uid
        ``<sample_id>_<spot>``, and the id that stays the same over re-sharding.
    metadata
        The pair's row of the index, without the columns that only locate bytes.
    """

    image: Any
    pathways: NDArray[np.float32]
    mask: NDArray[np.bool_]
    log10_counts_z: np.float32
    label: int
    key: str
    uid: str
    metadata: dict[str, Any]


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
        Share of pairs that :meth:`decode_or_leave_out` may leave out.
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
    ) -> None:
        self.release = open_release(release)
        self.corrupt = CorruptPairs(max_corrupt)
        self.rows = Rows(self.release, split, where=where)
        self.source = _source(self.release.split(split).index_sha256, where)
        self.files = ShardFiles(self.release, split, verify=verify)
        self.transform = transform
        self.check_members = check_members

    def verify(self) -> None:
        """Hash every shard these rows need now, for this process and those it starts.

        Raises
        ------
        IntegrityError
            For the first shard that is not the one on record.
        """
        self.files.verify(list(self.rows.by_shard()))

    def pair(self, row: int) -> Pair:
        """Read and decode one row.

        Raises
        ------
        IntegrityError, DataError, HostileError
            Naming shard and key.
        """
        start, stop = int(self.rows.starts[row]), int(self.rows.stops[row])
        return self.decode(row, self.files.read(self.rows.shard(row), start, stop), start)

    def pair_or_leave_out(self, row: int, n_pairs: int) -> Pair | None:
        """Read one row; see :meth:`decode_or_leave_out`."""
        start, stop = int(self.rows.starts[row]), int(self.rows.stops[row])
        return self.decode_or_leave_out(row, self.files.read(self.rows.shard(row), start, stop), start, n_pairs)

    def decode(self, row: int, data: bytes, begin: int) -> Pair:
        """Decode one row from ``data``, which holds the bytes of its shard from ``begin`` on.

        Raises
        ------
        IntegrityError, DataError, HostileError
            Naming shard and key.
        """
        members = self.rows.members(row, data, begin)
        try:
            if self.check_members:
                self._check_hashes(row, members)
            document = decode_json(members["json"])
            image = decode_jpg(members["jpg"], side_px=self.release.side_px)
            vector = decode_npy(members["npy"], length=len(self.release.pathway_names))
        except HumanstError as error:
            raise error.located(file=self.rows.shard(row), field=self.rows.key(row)) from error.__cause__
        metadata = self.rows.metadata(row)
        if document["key"] != metadata["key"]:
            raise self._other_pair(row, document["key"])
        pathways, mask = split_targets(vector)
        return Pair(
            image=image if self.transform is None else self.transform(image),
            pathways=pathways,
            mask=mask,
            log10_counts_z=np.float32(metadata["log10_counts_z"]),
            label=document["label"],
            key=metadata["key"],
            uid=metadata["uid"],
            metadata=metadata,
        )

    def decode_or_leave_out(self, row: int, data: bytes, begin: int, n_pairs: int) -> Pair | None:
        """As :meth:`decode`; ``None`` for a corrupt pair while there are few of them among ``n_pairs``.

        Raises
        ------
        IntegrityError
            ``too-many-corrupt``.
        HostileError
            What is hostile is not merely corrupt.
        """
        try:
            return self.decode(row, data, begin)
        except (DataError, IntegrityError) as error:
            self.corrupt.leave_out(row, error, n_pairs)
            return None

    def _check_hashes(self, row: int, members: dict[str, bytes]) -> None:
        for member, data in members.items():
            expected, found = self.rows.hash_of(row, member), hashlib.blake2b(data, digest_size=8).hexdigest()
            if expected != found:
                raise IntegrityError(
                    f"The {member} of this pair changed after its shard was verified",
                    expected=f"blake2b-64 {expected}",
                    found=f"blake2b-64 {found}",
                    done="The pair was not used",
                    todo="Fetch this shard again",
                )

    def _other_pair(self, row: int, found: str) -> IntegrityError:
        return IntegrityError(
            "The index leads to another pair",
            file=self.rows.shard(row),
            expected=f"key {self.rows.key(row)}",
            found=f"key {found}",
            done="The pair was not used",
            todo="Run humanst verify on the release",
        )


def _source(index_sha256: str, where: str | None) -> str:
    """Identity of the selected rows: the same index under the same condition."""
    return hashlib.sha256(f"{index_sha256}|{where or ''}".encode()).hexdigest()[:16]
