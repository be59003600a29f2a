"""Who reads which pair when: pure functions of numbers, the same on every machine, rank and worker.

An epoch is one sequence of positions 0 to n - 1. Ranks take consecutive slices of it; workers of a rank take chunks
of one batch in turn, the way ``torch.utils.data.DataLoader`` collects their batches. The batches of a rank are
therefore the same with any number of workers, and every position belongs to exactly one worker of one rank.
"""

from __future__ import annotations

import hashlib
import os
import sys
from typing import TYPE_CHECKING, Literal

import numpy as np

from humanst.errors import UsageError
from humanst.load.state import Order
from humanst.load.telling import tell_left_out, tell_rank

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

Tail = Literal["exact", "drop"]

# SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195). numpy's own generators may change their
# streams between versions; an order that is part of a published run may not.
_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


def keyed_permutation(n: int, *key: str | int) -> NDArray[np.int64]:
    """Permute 0 to n - 1 as a pure function of ``key``.

    Parameters
    ----------
    n
        How many.
    *key
        What the order depends on, for example seed, epoch and the name of a shard.

    Returns
    -------
    ndarray
        (n,) int64, each number from 0 to n - 1 once: the order of SplitMix64 of the position, started from the
        blake2b-64 of the key.
    """
    return np.argsort(_mixed(n, key), kind="stable").astype(np.int64)


def keyed_uniform(n: int, *key: str | int) -> NDArray[np.float64]:
    """Draw n numbers in [0, 1) as a pure function of ``key``: the upper 53 bits of SplitMix64 of the position."""
    return (_mixed(n, key) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(n: int, key: tuple[str | int, ...]) -> NDArray[np.uint64]:
    text = "|".join(str(part) for part in key)
    start = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
    mixed = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(_GAMMA) + np.uint64(start)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_MIX_1)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_MIX_2)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def check_tail(tail: str, batch_size: int | None) -> None:
    """Refuse an unknown ``tail``, or ``"drop"`` without a batch size.

    Raises
    ------
    UsageError
        See above.
    """
    if tail not in ("exact", "drop"):
        raise UsageError("Unknown tail", code="unknown-tail", expected="'exact' or 'drop'", found=repr(tail))
    if batch_size is not None and batch_size < 1:
        raise UsageError("A batch needs at least one pair", code="batch-size", expected=">= 1", found=str(batch_size))
    if tail == "drop" and batch_size is None:
        raise UsageError(
            "tail='drop' needs the batch size to give every rank the same number of steps",
            code="batch-size",
            expected="batch_size=",
            found="None",
        )


def rank_slice(n: int, rank: int, world: int, *, tail: Tail = "exact", batch_size: int | None = None) -> range:
    """Cut out the positions of one rank.

    Parameters
    ----------
    n
        Positions in the epoch.
    rank, world
        This rank and the number of ranks.
    tail
        ``"exact"``: every position belongs to one rank, slices differ by at most one position. ``"drop"``: every
        rank gets the same whole number of batches; the last ``n mod (world * batch_size)`` positions stay out.
    batch_size
        Pairs a batch of one rank, for ``"drop"``.

    Returns
    -------
    range
        Consecutive positions.
    """
    if tail == "drop" and batch_size is not None:
        n -= n % (world * batch_size)
    return range(n * rank // world, n * (rank + 1) // world)


def left_out(n: int, world: int, *, tail: Tail, batch_size: int | None) -> int:
    """How many of ``n`` positions :func:`rank_slice` gives to nobody.

    Raises
    ------
    UsageError
        When these are all there are: a run without a step would end as if it had trained.
    """
    if tail != "drop" or batch_size is None:
        return 0
    if 0 < n < world * batch_size:
        fits = f"batch_size of at most {n // world}" if n >= world else f"at most {n} ranks"
        raise UsageError(
            "tail='drop' would leave out every pair: they do not fill one step of all ranks",
            code="batch-size",
            expected=f"{fits}, for {n:,} pairs",
            found=f"{world} x batch_size {batch_size}",
            todo="Take smaller batches, or tail='exact'",
        )
    return n % (world * batch_size)


def dropped(world: int, batch_size: int | None) -> str:
    """Why pairs are left out with ``tail="drop"``."""
    return f"tail='drop' gives whole steps of {world} x {batch_size} pairs (other pairs each epoch when shuffled)"


def of_worker(positions: NDArray[np.int64], begin: int, worker: int, workers: int, *, chunk: int) -> NDArray[np.bool_]:
    """Which positions a worker reads: chunks of ``chunk`` positions from ``begin`` on go to the workers in turn.

    Returns
    -------
    ndarray
        (n,) bool.
    """
    turn: NDArray[np.bool_] = (positions - begin) // chunk % workers == worker
    return turn


def find_rank(rank: int | None = None, world: int | None = None) -> tuple[int, int]:
    """Find this process among its peers.

    Both given; else ``torch.distributed`` when it is initialised; else the environment's ``RANK`` and ``WORLD_SIZE``;
    else alone. ``torch`` is not imported for this: what is not imported is not initialised.

    Returns
    -------
    rank, world
        ``0 <= rank < world``.

    Raises
    ------
    UsageError
        When only one of the two is known or they do not fit: guessing would read pairs twice or not at all.
    """
    source = "the call"
    found: tuple[str | int | None, str | int | None] = (rank, world)
    if found == (None, None) and (group := _process_group()) is not None:
        source, found = "torch.distributed", group
    if found == (None, None):
        source, found = "the environment", (os.environ.get("RANK"), os.environ.get("WORLD_SIZE"))
    if found == (None, None):
        tell_rank(0, 1, "no process group, and RANK and WORLD_SIZE are not set")
        return 0, 1
    try:
        numbers = int(str(found[0])), int(str(found[1]))
    except ValueError:
        numbers = (-1, -1)
    if not 0 <= numbers[0] < numbers[1]:
        raise UsageError(
            f"Rank and world size from {source} do not fit",
            code="rank-world",
            expected="0 <= rank < world size, both given",
            found=f"rank {found[0]}, world size {found[1]}",
            todo="Give rank= and world=, or set both RANK and WORLD_SIZE",
        )
    tell_rank(*numbers, f"from {source}")
    return numbers


def available_cpus() -> int:
    """Cores that this process may use: its share, where ``torchrun`` says how many ranks this machine has."""
    n_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ranks_here = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, n_cpus // int(ranks_here)) if ranks_here.isdecimal() and int(ranks_here) else n_cpus


def _process_group() -> tuple[int, int] | None:
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed.get_rank(), distributed.get_world_size()


def find_worker() -> tuple[int, int]:
    """Find the number of this DataLoader worker and how many there are: ``(0, 1)`` outside of workers."""
    data = sys.modules.get("torch.utils.data")
    info = None if data is None else data.get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)


def in_worker() -> bool:
    """Whether this is a worker process of a DataLoader."""
    data = sys.modules.get("torch.utils.data")
    return data is not None and data.get_worker_info() is not None


class RankSampler:
    """What samplers of rows share: this rank's part of an epoch of ``n`` positions, and where to begin in it."""

    def __init__(
        self, n: int, *, seed: int, rank: int | None, world: int | None, tail: Tail, batch_size: int | None
    ) -> None:
        check_tail(tail, batch_size)
        self.seed = seed
        self.rank, self.world = find_rank(rank, world)
        self._slice = rank_slice(n, self.rank, self.world, tail=tail, batch_size=batch_size)
        self.n_left_out = left_out(n, self.world, tail=tail, batch_size=batch_size)
        tell_left_out(self.n_left_out, n, self.rank, dropped(self.world, batch_size))
        self.epoch, self.start = 0, 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch whose order the next iteration gives, and how many of its rows to pass over."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        return len(self._slice)


class EpochSampler(RankSampler):
    """Row numbers of one rank for a map-style dataset, epoch by epoch; a sampler for ``DataLoader(sampler=...)``.

    Parameters
    ----------
    n
        Number of rows, for example ``len(dataset)``.
    shuffle
        Another order each epoch; else ascending.
    seed
        Orders differ between seeds and are equal for one seed.
    rank, world
        See :func:`find_rank`.
    tail, batch_size
        See :func:`rank_slice`.
    source
        Identity of the rows, which a saved state must share (``PairDataset.source``).

    Raises
    ------
    UsageError
        For arguments that do not fit.
    """

    def __init__(
        self,
        n: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
        tail: Tail = "exact",
        batch_size: int | None = None,
        source: str = "",
    ) -> None:
        super().__init__(n, seed=seed, rank=rank, world=world, tail=tail, batch_size=batch_size)
        self.n, self.shuffle = n, shuffle
        self.order = Order("rows", source, n, seed, shuffle, tail, batch_size, self.rank, self.world)

    def __iter__(self) -> Iterator[int]:
        rows = self._slice[self.start :]
        if not self.shuffle:
            yield from rows
            return
        order = keyed_permutation(self.n, "rows", self.seed, self.epoch)
        yield from order[rows.start : rows.stop].tolist()
