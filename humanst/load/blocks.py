"""The pairs of a split in the order of an epoch, read shard by shard in long runs.

Shards are permuted, then pairs inside blocks of at most 4,096 neighbours of a shard (a whole shard as humanst builds
them). Pairs were shuffled over all sections when the release was built, so a block is a fair sample of the split.

No tar is walked: the index gives the place of every pair, neighbours are read in one run, and the bytes that are held
are those of the wanted pairs of one block. While one block is decoded, the next shard of a release that lies
elsewhere is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from humanst.load.order import keyed_permutation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from humanst.load.pairs import PairReader

BLOCK_PAIRS = 4096
# Reading over a gap of this size costs less than a further request, on disks and on network file systems.
GAP_BYTES = 256 << 10
RUN_BYTES = 8 << 20

_Block = tuple[str, "NDArray[np.int64]"]


class Blocks:
    """Read pairs by their positions in the order of an epoch.

    Parameters
    ----------
    reader
        Rows and their shards.
    seed, shuffle
        The order is a pure function of the seed and the epoch; without ``shuffle`` it is that of the release.
    """

    def __init__(self, reader: PairReader, *, seed: int, shuffle: bool) -> None:
        self._reader, self._seed, self._shuffle = reader, seed, shuffle
        self._shards = reader.rows.by_shard()

    def at(self, epoch: int, positions: NDArray[np.int64]) -> Iterator[tuple[int, str, bytes]]:
        """Row, key and bytes of the pairs at ``positions`` (ascending) of an epoch."""
        blocks = self._blocks(epoch, positions)
        if self._reader.files.is_remote:
            blocks = self._fetching_ahead(blocks)
        for shard, rows in blocks:
            yield from self._read(shard, rows)

    def _blocks(self, epoch: int, positions: NDArray[np.int64]) -> Iterator[_Block]:
        """Shard and wanted rows in order, of each block that has some."""
        names = list(self._shards)
        numbers = keyed_permutation(len(names), "shards", self._seed, epoch) if self._shuffle else range(len(names))
        begin = 0
        for name in (names[number] for number in numbers):
            rows = self._shards[name]
            for first in range(0, rows.size, BLOCK_PAIRS):
                block = rows[first : first + BLOCK_PAIRS]
                wanted = positions[slice(*np.searchsorted(positions, (begin, begin + block.size)))] - begin
                begin += block.size
                if wanted.size and self._shuffle:
                    block = block[keyed_permutation(block.size, "block", self._seed, epoch, name, first)]
                if wanted.size:
                    yield name, block[wanted]

    def _fetching_ahead(self, blocks: Iterator[_Block]) -> Iterator[_Block]:
        with ThreadPoolExecutor(1) as pool:
            here = next(blocks, None)
            while here is not None:
                if (following := next(blocks, None)) is not None:
                    # A fault shows when the shard is read.
                    pool.submit(self._reader.files.prepare, following[0])
                yield here
                here = following

    def _read(self, shard: str, rows: NDArray[np.int64]) -> Iterator[tuple[int, str, bytes]]:
        held: dict[int, bytes] = {}
        for run in self._runs(rows):
            starts, stops = self._reader.rows.starts[run], self._reader.rows.stops[run]
            begin = int(starts[0])
            data = self._reader.files.read(shard, begin, int(stops.max()))
            for row, start, stop in zip(run.tolist(), starts.tolist(), stops.tolist(), strict=True):
                held[row] = data[start - begin : stop - begin]
        numbers = rows.tolist()
        for row, key in zip(numbers, self._reader.rows.keys_of(numbers), strict=True):
            yield row, key, held.pop(row)

    def _runs(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Rows in file order, cut where a gap is wide or a run grows long; each part is read at once."""
        in_file = rows[np.argsort(self._reader.rows.starts[rows], kind="stable")]
        starts, stops = self._reader.rows.starts[in_file], self._reader.rows.stops[in_file]
        if not in_file.size:
            return []
        wide = starts[1:] - stops[:-1] > GAP_BYTES
        long = np.diff((starts - starts[0]) // RUN_BYTES) > 0
        return np.split(in_file, np.flatnonzero(wide | long) + 1)
