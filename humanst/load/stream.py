"""Pairs in order: an iterable dataset that reads each shard from start to end.

The order of an epoch is a pure function of the seed and the epoch: shards are permuted, then pairs inside blocks of
at most 4,096 neighbours of a shard (a whole shard as humanst builds them). Pairs were shuffled over all sections when
the release was built, so a block is a fair sample of the split. Ranks and workers are cut out of that order by
position, not by shard (``humanst.load.order``): there may be fewer shards than workers, every pair comes exactly
once, and the batches of a rank do not depend on its number of workers.

No tar is walked: the index gives the place of every pair, neighbours are read in one run, and the bytes a worker
holds are those of its own pairs of one block.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.load.order import Tail, check_tail, find_rank, find_worker, keyed_permutation, of_worker, rank_slice
from humanst.load.pairs import Pair, PairReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from humanst.load.release import Release

logger = logging.getLogger(__name__)

BLOCK_PAIRS = 4096
CHUNK_PAIRS = 64
# Reading over a gap of this size costs less than a further request, on disks and on network file systems.
GAP_BYTES = 256 << 10
RUN_BYTES = 8 << 20


class PlainPairStream:
    """The stream without torch. Use ``PairStream``, which is this class where torch is not installed.

    Parameters
    ----------
    release
        A release folder or an opened release.
    split
        Name of the split, for example ``"train"``.
    seed
        Orders differ between seeds and are equal for one seed.
    rank, world
        This process among its peers; by default from ``torch.distributed`` when it is initialised, else from the
        environment's ``RANK`` and ``WORLD_SIZE``, else alone. Taken when the stream is made.
    tail
        ``"exact"``: every pair once over all ranks; ranks may differ by one pair, hence by one step. ``"drop"``:
        every rank gives the same number of whole batches; fewer than ``world * batch_size`` pairs stay out, others
        each epoch when shuffled. Training with DDP needs ``"drop"``.
    batch_size
        Pairs a batch of one rank. Give the one the ``DataLoader`` uses: the workers take whole batches in turn.
    shuffle
        False gives the pairs in the order of the release, each epoch.
    where, transform, verify, check_members
        As in ``PairDataset``.

    Raises
    ------
    DataError
        When the folder is no release, or index and manifest do not fit.
    IntegrityError
        When the index, or later a shard, is not the one on record.
    UsageError
        For an unknown split, an expression that cannot be used, or a rank that does not fit.

    Notes
    -----
    Batches grouped by slide need random access; use ``PairDataset`` for them.
    """

    def __init__(
        self,
        release: str | Path | Release,
        split: str,
        *,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
        tail: Tail = "exact",
        batch_size: int | None = None,
        shuffle: bool = True,
        where: str | None = None,
        transform: Callable[[NDArray[np.uint8]], Any] | None = None,
        verify: bool = True,
        check_members: bool = False,
    ) -> None:
        check_tail(tail, batch_size)
        self.rank, self.world = find_rank(rank, world)
        self._reader = PairReader(
            release, split, where=where, transform=transform, verify=verify, check_members=check_members
        )
        self.split, self.seed, self.shuffle = split, seed, shuffle
        self._chunk = batch_size or CHUNK_PAIRS
        self._shards = self._reader.rows.by_shard()
        total = len(self._reader.rows)
        self._slice = rank_slice(total, self.rank, self.world, tail=tail, batch_size=batch_size)
        self.n_left_out = total % (self.world * self._chunk) if tail == "drop" else 0
        self._epoch: Any = 0
        logger.info(
            "Stream of %s: rank %d of %d reads %d of %d pairs an epoch; %d are left out",
            *(split, self.rank, self.world, len(self._slice), total, self.n_left_out),
        )

    @property
    def release(self) -> Release:
        """The opened release."""
        return self._reader.release

    @property
    def pathway_names(self) -> tuple[str, ...]:
        """Names of the P pathways, in the order of the target vectors."""
        return self.release.pathway_names

    @property
    def epoch(self) -> int:
        """The epoch whose order the next iteration gives."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives. Every rank must choose the same."""
        self._epoch = epoch

    def verify(self) -> None:
        """Hash every shard of the stream now; worker processes started afterwards need not do it again.

        Raises
        ------
        IntegrityError
            For the first shard that is not the one on record.
        """
        self._reader.verify()

    def __len__(self) -> int:
        return len(self._slice)

    def __iter__(self) -> Iterator[Pair]:
        worker, workers = find_worker()
        for shard, begin, rows in self._blocks(self.epoch):
            positions = np.arange(begin, begin + rows.size)
            mine = (positions >= self._slice.start) & (positions < self._slice.stop)
            mine &= of_worker(positions, self._slice.start, worker, workers, chunk=self._chunk)
            yield from self._pairs(shard, rows[mine])

    def _blocks(self, epoch: int) -> Iterator[tuple[str, int, NDArray[np.int64]]]:
        """Shard, first position, rows in order: for each block that has positions of this rank."""
        names = list(self._shards)
        order = keyed_permutation(len(names), "shards", self.seed, epoch) if self.shuffle else range(len(names))
        position = 0
        for name in (names[number] for number in order):
            rows = self._shards[name]
            for first in range(0, rows.size, BLOCK_PAIRS):
                block = rows[first : first + BLOCK_PAIRS]
                begin, position = position, position + block.size
                if begin >= self._slice.stop or position <= self._slice.start:
                    continue
                if self.shuffle:
                    block = block[keyed_permutation(block.size, "block", self.seed, epoch, name, first)]
                yield name, begin, block

    def _pairs(self, shard: str, rows: NDArray[np.int64]) -> Iterator[Pair]:
        held: dict[int, bytes] = {}
        for run in self._runs(rows):
            starts, stops = self._reader.rows.starts[run], self._reader.rows.stops[run]
            begin = int(starts[0])
            data = self._reader.files.read(shard, begin, int(stops.max()))
            for row, start, stop in zip(run.tolist(), starts.tolist(), stops.tolist(), strict=True):
                held[row] = data[start - begin : stop - begin]
        for row in rows.tolist():
            yield self._reader.decode(row, held.pop(row), int(self._reader.rows.starts[row]))

    def _runs(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Rows in file order, cut where a gap is wide or a run grows long; each part is read at once."""
        in_file = rows[np.argsort(self._reader.rows.starts[rows], kind="stable")]
        starts, stops = self._reader.rows.starts[in_file], self._reader.rows.stops[in_file]
        if not in_file.size:
            return []
        wide = starts[1:] - stops[:-1] > GAP_BYTES
        long = np.diff((starts - starts[0]) // RUN_BYTES) > 0
        return np.split(in_file, np.flatnonzero(wide | long) + 1)


def _with_torch() -> type[PlainPairStream]:
    """``PlainPairStream`` as an ``IterableDataset``, which ``DataLoader`` insists on."""
    import torch
    from torch.utils.data import IterableDataset

    class PairStream(PlainPairStream, IterableDataset):  # type: ignore[misc, type-arg, unused-ignore]
        # The epoch lies in shared memory, so that persistent workers see it change.
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._epoch = torch.zeros((), dtype=torch.int64)
            self._epoch.share_memory_()

        def set_epoch(self, epoch: int) -> None:
            self._epoch.fill_(epoch)

    PairStream.__doc__ = PlainPairStream.__doc__
    PairStream.__qualname__ = "PairStream"
    return PairStream


if TYPE_CHECKING:
    PairStream = PlainPairStream
else:

    def __getattr__(name: str) -> Any:
        # Pickle looks the class up by name in spawned workers, which leads here as well.
        if name != "PairStream":
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        from importlib.util import find_spec

        made = _with_torch() if find_spec("torch") else PlainPairStream
        globals()["PairStream"] = made
        return made
