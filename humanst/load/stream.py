"""Pairs in order: an iterable dataset that reads each shard from start to end (``humanst.load.blocks``).

Ranks and workers are cut out of the order of an epoch by position, not by shard (``humanst.load.order``): there may be
fewer shards than workers, every pair comes exactly once, and the batches of a rank do not depend on its number of
workers.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.errors import UsageError
from humanst.load.batch import Batch, Pair
from humanst.load.blocks import Blocks
from humanst.load.building import Building
from humanst.load.corrupt import MAX_CORRUPT
from humanst.load.order import (
    Tail,
    check_tail,
    dropped,
    find_rank,
    find_worker,
    in_worker,
    left_out,
    of_worker,
    rank_slice,
)
from humanst.load.pairs import PairReader, PairSource
from humanst.load.state import Order
from humanst.load.telling import tell_left_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from humanst.load.release import Release

CHUNK_PAIRS = 64


class PlainPairStream(PairSource):
    """Pairs of a split, shard after shard read from start to end; with torch an ``IterableDataset`` too.

    Its public name is ``PairStream``, of which this is the part that needs no torch.

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
    where, transform, verify, check_members, max_corrupt, targets
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
        max_corrupt: float = MAX_CORRUPT,
        targets: Sequence[str] = (),
    ) -> None:
        check_tail(tail, batch_size)
        self.rank, self.world = find_rank(rank, world)
        self._reader = PairReader(
            release,
            split,
            where=where,
            transform=transform,
            verify=verify,
            check_members=check_members,
            max_corrupt=max_corrupt,
            targets=targets,
        )
        self.split, self.seed, self.shuffle = split, seed, shuffle
        self.batch_size = batch_size or CHUNK_PAIRS
        self._blocks = Blocks(self._reader, seed=seed, shuffle=shuffle)
        total = len(self._reader.rows)
        self._slice = rank_slice(total, self.rank, self.world, tail=tail, batch_size=batch_size)
        self.n_left_out = left_out(total, self.world, tail=tail, batch_size=batch_size)
        tell_left_out(self.n_left_out, total, self.rank, dropped(self.world, batch_size))
        self.order = Order("stream", self._reader.source, total, seed, shuffle, tail, batch_size, self.rank, self.world)
        # Epoch, pairs to pass over, the worker among workers that these were counted in, and whether workers read.
        self._position: Any = [0, 0, 0, 1, 0]
        self._just_loaded = False
        self._given = 0

    @property
    def target_names(self) -> tuple[str, ...]:
        """The further target sets that were asked for."""
        return self._reader.targets.names

    @property
    def n_rows(self) -> int:
        """Pairs that all ranks choose from."""
        return self.order.n_pairs

    @property
    def epoch(self) -> int:
        """The epoch whose order the next iteration gives."""
        return int(self._position[0])

    def set_epoch(self, epoch: int, start: int | None = None) -> None:
        """Choose the epoch whose order the next iteration gives, and how many of the rank's pairs to pass over.

        Every rank must choose the same. With workers, ``start`` is a whole number of batches. Without ``start`` the
        epoch begins at its first pair; but right after :meth:`load_state_dict` of a state of this very epoch it goes
        on there, so that a loop which chooses every epoch resumes exactly.
        """
        loaded, self._just_loaded = self._just_loaded, False
        if start is None and loaded and epoch == self.epoch:
            return
        self._set_position(epoch, start or 0, 0, 1)

    def _set_position(self, *position: int) -> None:
        self._given = 0
        for place, number in enumerate(position):
            self._position[place] = number

    def state_dict(self) -> dict[str, Any]:
        """Where the iteration stands: pass it to :meth:`load_state_dict` of an equal stream to go on from there.

        Counts the pairs that this process gave. Where a ``DataLoader`` asks ahead, save the loader's state instead
        (:func:`humanst.load.dataloader`), or use torchdata's ``StatefulDataLoader``, which asks each worker.

        Raises
        ------
        UsageError
            ``state-in-workers`` when the pairs were read in worker processes and this is another process.
        """
        if int(self._position[4]) and not in_worker():
            raise _read_by_workers()
        worker, workers = find_worker()
        epoch, start = int(self._position[0]), int(self._position[1])
        return self.order.state(epoch, start + self._given) | {"worker": worker, "workers": workers}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken: the next iteration gives the rest of that epoch.

        Raises
        ------
        UsageError
            ``other-order`` for the state of another order.
        """
        epoch, pairs = self.order.position(state)
        self._set_position(epoch, pairs, int(state.get("worker", 0)), int(state.get("workers", 1)))
        self._just_loaded = True

    def __len__(self) -> int:
        return len(self._slice)

    def __iter__(self) -> Iterator[Pair]:
        self._given = given = 0
        for building in self._buildings():
            for place, pair in zip(building.places, building.done(), strict=True):
                self._given = given + place + 1
                yield pair
            self._given = given = given + len(building)

    def batches(self) -> Iterator[Batch]:
        """Iterate over whole batches of ``batch_size`` pairs (64 without one), the last one short."""
        self._given = 0
        for building in self._buildings():
            self._given += len(building)
            yield building.done()

    def pairs_at(self, epoch: int, places: NDArray[np.int64]) -> Iterator[Pair | None]:
        """The pairs at some places (ascending) of this rank's part of an epoch; ``None`` for one that is left out."""
        for row in self._blocks.at(epoch, places + self._slice.start):
            building = self._reader.build([row], len(self))
            yield building.done()[0] if building.places else None

    def _buildings(self) -> Iterator[Building]:
        """Chunk after chunk of this worker, each decoded as it is asked for."""
        epoch, passed, *counted_in = (int(number) for number in self._position[:4])
        self._position[4] = int(in_worker())
        worker, workers = find_worker()
        # What one of several workers gave is passed over in its own share; what a whole rank gave, in front of all.
        own = passed if counted_in != [0, 1] else 0
        if own and counted_in != [worker, workers]:
            raise _other_workers(counted_in, (worker, workers))
        start, n_pairs = self._slice.start + passed - own, len(self) // workers
        positions = np.arange(start, self._slice.stop)
        positions = positions[of_worker(positions, start, worker, workers, chunk=self.batch_size)][own:]
        rows = self._blocks.at(epoch, positions)
        # Cut where chunks were cut from the start of the epoch: the first may be short after a resume.
        borders = np.flatnonzero(np.diff((positions - start) // self.batch_size)) + 1
        for part in np.split(positions, borders) if positions.size else []:
            yield self._reader.build(list(islice(rows, part.size)), n_pairs)


def _read_by_workers() -> UsageError:
    return UsageError(
        "The pairs of this stream were read in worker processes; how far they came is not known here",
        code="state-in-workers",
        expected="a state of the loader that gave the batches",
        found="a state of the stream in the main process",
        todo="Save the state of humanst.load.dataloader, or use torchdata's StatefulDataLoader",
    )


def _other_workers(counted_in: list[int], here: tuple[int, int]) -> UsageError:
    return UsageError(
        "The state was counted in one of several workers and does not fit this one",
        code="other-order",
        expected=f"worker {counted_in[0]} of {counted_in[1]}",
        found=f"worker {here[0]} of {here[1]}",
        todo="Resume with as many workers, or save the state of humanst.load.dataloader, which fits any number",
    )


def _with_torch() -> type[PlainPairStream]:
    """``PlainPairStream`` as an ``IterableDataset``, which ``DataLoader`` insists on."""
    from inspect import signature

    import torch
    from torch.utils.data import IterableDataset

    class PairStream(PlainPairStream, IterableDataset):  # type: ignore[misc, type-arg, unused-ignore]
        # The position lies in shared memory, so that persistent workers see it change.
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._position = torch.tensor(self._position, dtype=torch.int64)
            self._position.share_memory_()

    PairStream.__doc__ = PlainPairStream.__doc__
    PairStream.__signature__ = signature(PlainPairStream)  # type: ignore[attr-defined, unused-ignore]
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
