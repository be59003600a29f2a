"""The pairs of a split in the order of an epoch, shard by shard, read in long runs.

Shards are permuted, then pairs inside blocks of at most 4,096 neighbours of a shard (a whole shard as humanst builds
them). Pairs were shuffled over all sections when the release was built, so a block is a fair sample of the split.

No tar is walked: the index gives the place of every pair. While one block is decoded the next is on its way: the system
is asked to read its neighbours in one run into the page cache, once for all workers, or the next shard of a release
that lies elsewhere is fetched. So the disk reads in order, and no process holds or copies pairs that it does not give.
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

_Block = tuple[str, "NDArray[np.int64]"]


class Blocks:
    """Find pairs by their positions in the order of an epoch.

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

    def at(self, epoch: int, positions: NDArray[np.int64]) -> Iterator[int]:
        """Rows of the pairs at ``positions`` (ascending) of an epoch; bytes of the next ones are asked for ahead."""
        blocks = self._blocks(epoch, positions)
        ahead = self._fetching_ahead if self._reader.files.is_remote else self._reading_ahead
        for _, rows in ahead(blocks):
            yield from rows.tolist()

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

    def _reading_ahead(self, blocks: Iterator[_Block]) -> Iterator[_Block]:
        here = next(blocks, None)
        self._will_need(here)
        while here is not None:
            self._will_need(following := next(blocks, None))
            yield here
            here = following

    def _will_need(self, block: _Block | None) -> None:
        """Ask the system for the bytes of a block: near pairs and what lies between them as one."""
        if block is None:
            return
        shard, rows = block
        starts, stops = np.sort(self._reader.rows.starts[rows]), np.sort(self._reader.rows.stops[rows])
        wide = np.flatnonzero(starts[1:] - stops[:-1] > GAP_BYTES)
        begins, ends = starts[[0, *(wide + 1)]], stops[[*wide, -1]]
        self._reader.files.will_need(shard, list(zip(begins.tolist(), ends.tolist(), strict=True)))
