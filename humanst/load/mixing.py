"""Several releases, or parts of one, as one stream with given weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.errors import UsageError
from humanst.load.batch import Batch, Empty, Pair
from humanst.load.order import find_worker, keyed_permutation, of_worker
from humanst.load.state import Order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from humanst.load.stream import PlainPairStream


class MixedStream:
    """Pairs of several streams in turn, each source in its own order, in exact proportions.

    Parameters
    ----------
    streams
        One a source, with the same ``batch_size``, rank, world and pathways. A source that ends begins its next epoch.
    weights
        Positive: shares of the pairs. By default the sizes of the sources, so that each comes about once an epoch.
    n_pairs
        Pairs an epoch and rank, cut down to whole batches; by default a rank's share of all pairs of the sources.
    seed
        Of the order in which sources take turns.

    Attributes
    ----------
    organs
        Organ to label code: the codes of all sources, made one. The labels of pairs follow it. ``metadata`` of a pair
        has the columns that the index of every source has, and ``release``.

    Raises
    ------
    UsageError
        For sources that do not go together.

    Notes
    -----
    Which source comes at a position, and which of its pairs, is a pure function of seed, epoch and position: the
    stream resumes by arithmetic, with any number of workers. It is meant for training: ranks give equally many
    batches, and no epoch promises each pair.
    """

    def __init__(
        self,
        streams: Sequence[PlainPairStream],
        weights: Sequence[float] | None = None,
        *,
        n_pairs: int | None = None,
        seed: int = 0,
    ) -> None:
        _check(streams, weights)
        self.streams, self.seed = tuple(streams), seed
        first = streams[0]
        self.batch_size, self.rank, self.world = first.batch_size, first.rank, first.world
        whole = sum(stream.n_rows for stream in streams) // self.world
        wanted = whole if n_pairs is None else n_pairs
        self._n = max(1, wanted // self.batch_size) * self.batch_size
        shares = np.array(weights or [stream.n_rows for stream in streams], dtype=np.float64)
        self._of_source = _apportioned(self._n, shares)
        self.organs = _joined_organs(streams)
        self._columns = _common_columns(streams)
        self._labels = [_recoded(stream.release.organs, self.organs) for stream in streams]
        self.order = Order(
            kind="mixed",
            source="|".join(f"{stream.order.source}:{stream.order.seed}" for stream in streams),
            n_pairs=self._n,
            seed=seed,
            shuffle=True,
            tail="drop",
            batch_size=self.batch_size,
            rank=self.rank,
            world=self.world,
            details=f"{self._of_source.tolist()} pairs an epoch",
        )
        self._epoch, self._start = 0, 0

    @property
    def pathway_names(self) -> tuple[str, ...]:
        """Names of the P pathways, in the order of the target vectors."""
        return self.streams[0].pathway_names

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch of the next iteration, and how many of its pairs, in whole batches, to pass over."""
        self._epoch, self._start = epoch, start

    def verify(self) -> None:
        """Hash every shard of all sources now.

        Raises
        ------
        IntegrityError
            For the first shard that is not the one on record.
        """
        for stream in self.streams:
            stream.verify()

    def use_memory(self, empty: Empty) -> None:
        """Ignored: batches of several sources are put together in memory of their own."""

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[Pair]:
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[Batch]:
        """Iterate over whole batches of ``batch_size`` pairs."""
        worker, workers = find_worker()
        positions = np.arange(self._start, self._n)
        positions = positions[of_worker(positions, self._start, worker, workers, chunk=self.batch_size)]
        source = self._sources(self._epoch)
        pairs = [self._pairs_of(number, source, positions) for number in range(len(self.streams))]
        for begin in range(0, positions.size, self.batch_size):
            here = source[positions[begin : begin + self.batch_size]]
            found = {number: iter(list(islice(pairs[number], int((here == number).sum())))) for number in set(here)}
            turn = (next(found[number]) for number in here.tolist())
            yield Batch.of([pair for pair in turn if pair is not None])

    def _sources(self, epoch: int) -> NDArray[np.int64]:
        """(n,) int64: the source at each position of an epoch."""
        in_blocks = np.repeat(np.arange(len(self.streams)), self._of_source)
        return in_blocks[keyed_permutation(self._n, "mixed", self.seed, epoch)]

    def _pairs_of(self, number: int, source: NDArray[np.int64], positions: NDArray[np.int64]) -> Iterator[Pair | None]:
        """The pairs of one source at the positions that it has of these, in order."""
        stream = self.streams[number]
        # How many pairs of the source came before, in earlier epochs and in this one.
        before = self._epoch * int(self._of_source[number]) + np.cumsum(source == number) - 1
        ordinals = before[positions[source[positions] == number]]
        epochs, places = np.divmod(ordinals, len(stream))
        parts = ((int(epoch), places[epochs == epoch]) for epoch in np.unique(epochs))
        found = chain.from_iterable(stream.pairs_at(epoch, of_epoch) for epoch, of_epoch in parts)
        for pair in found:
            if pair is not None:
                pair["label"] = self._labels[number][pair["label"]]
                pair["metadata"] = {name: pair["metadata"][name] for name in self._columns}
                pair["metadata"]["release"] = stream.release.version
            yield pair


def _check(streams: Sequence[PlainPairStream], weights: Sequence[float] | None) -> None:
    wrong = None
    if not streams or any(not len(stream) for stream in streams):
        wrong = ("at least one stream, none empty", f"{len(streams)} streams")
    elif len({(stream.batch_size, stream.rank, stream.world) for stream in streams}) > 1:
        wrong = ("one batch size, rank and world", "several")
    elif len({(stream.pathway_names, stream.release.side_px) for stream in streams}) > 1:
        wrong = ("the same pathways in the same order, and patches of one size", "others")
    elif len({str([(name, stream.target_columns(name)) for name in stream.target_names]) for stream in streams}) > 1:
        wrong = ("the same target sets with the same columns", "others")
    elif weights is not None and (len(weights) != len(streams) or not all(weight > 0 for weight in weights)):
        wrong = (f"{len(streams)} weights above 0", str(list(weights)))
    if wrong:
        raise UsageError("These streams cannot be mixed", code="mixed-streams", expected=wrong[0], found=wrong[1])


def _common_columns(streams: Sequence[PlainPairStream]) -> list[str]:
    """The describing columns of the index that all sources have: a batch has the same ones whatever it is made of."""
    first, *others = ([*stream.metadata_columns] for stream in streams)
    return [name for name in first if all(name in columns for columns in others)]


def _apportioned(n: int, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Cut ``n`` into whole parts in proportion to shares, by largest remainders."""
    exact = n * shares / shares.sum()
    parts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    parts[np.argsort(parts - exact, kind="stable")[: n - int(parts.sum())]] += 1
    return parts


def _joined_organs(streams: Sequence[PlainPairStream]) -> dict[str, int]:
    names = sorted({name for stream in streams for name in stream.release.organs})
    return {name: code for code, name in enumerate(names)}


def _recoded(organs: Mapping[str, int], joined: Mapping[str, int]) -> dict[int, Any]:
    return {code: joined[name] for name, code in organs.items()}
