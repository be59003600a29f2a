"""One call from a release to a ``torch.utils.data.DataLoader`` with defaults that neither lose nor repeat a pair."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.errors import UsageError
from humanst.load import stream as streams
from humanst.load.corrupt import MAX_CORRUPT
from humanst.load.dataset import PairDataset
from humanst.load.mixing import MixedStream
from humanst.load.order import EpochSampler, Tail, available_cpus, rank_slice
from humanst.load.release import open_release
from humanst.load.samplers import WeightedSampler, balanced_weights
from humanst.load.slides import SlideBatchSampler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch.utils.data import DataLoader

    from humanst.load.release import Release
    from humanst.load.state import Order
    from humanst.load.stream import PlainPairStream

logger = logging.getLogger(__name__)

BATCH_SIZE = 256
MAX_WORKERS = 8


def dataloader(
    release: str | Path | Release | Mapping[str | Path, float],
    batch_size: int | None = None,
    *,
    split: str = "train",
    where: str | None = None,
    stream: bool = False,
    shuffle: bool | None = None,
    balance: str | None = None,
    slides: Mapping[str, Any] | None = None,
    seed: int = 0,
    rank: int | None = None,
    world: int | None = None,
    tail: Tail = "exact",
    targets: Sequence[str] = (),
    transform: Callable[[NDArray[np.uint8]], Any] | Mapping[str, Any] | None = None,
    verify: bool = True,
    max_corrupt: float = MAX_CORRUPT,
    workers: int | None = None,
    pin_memory: bool | None = None,
) -> DataLoader[Any]:
    """Read a split in batches of ``batch_size`` pairs a rank; the batches are those of :func:`collate`.

    Parameters
    ----------
    release, split, where, targets, verify, max_corrupt
        See ``PairDataset``. With workers, shards are verified here, once, instead of in every worker. Several
        releases with their weights (``{"one": 1.0, "two": 0.5}``) make a ``MixedStream``.
    batch_size
        256 by default; with ``slides`` it follows from them.
    stream
        Read in order (``PairStream``) instead of by number (``PairDataset``).
    shuffle
        Another order each epoch; by default for the split called ``train`` only.
    balance
        Draw with replacement such that every value of this (``"study_id"``, ``"organ"``, ...) comes equally often.
    slides
        Options of ``SlideBatchSampler`` for batches grouped by slide, for example ``{"slides": 16, "per_slide": 32}``.
    seed, rank, world, tail
        See ``PairStream``; the same for all ways of reading. Training with DDP needs ``tail="drop"``.
    transform
        Called with each (side_px, side_px, 3) uint8 image, or a timm data config that says how.
    workers, pin_memory
        Worker processes (the batches are the same with any number of them; by default one a free core, at most 8;
        without any, threads of this process decode on all cores it may use), and page-locked memory as in torch (by
        default where there is a CUDA device).

    Returns
    -------
    torch.utils.data.DataLoader
        Each time it is iterated it goes on to the next epoch; ``set_epoch(epoch)`` chooses one. ``state_dict()``
        between two batches and ``load_state_dict()`` on an equal loader, with any number of workers, go on exactly.
        ``next_epoch`` is the epoch that the next iteration gives.

    Raises
    ------
    DataError, IntegrityError, UsageError
        See ``PairDataset`` and ``PairStream``.

    Examples
    --------
    >>> loader = dataloader("humanst-1.0.0", batch_size=256)  # doctest: +SKIP
    >>> for batch in loader:  # doctest: +SKIP
    ...     loss = step(batch["image"], batch["pathways"], batch["mask"])
    """
    _check_ways(batch_size, release, stream=stream, balance=balance, slides=slides, shuffle=shuffle)
    reading: dict[str, Any] = {"split": split, "where": where, "verify": verify, "max_corrupt": max_corrupt}
    reading |= {"transform": transform, "targets": targets}
    ranks: dict[str, Any] = {"seed": seed, "rank": rank, "world": world}
    order = {**ranks, "tail": tail, "batch_size": BATCH_SIZE if batch_size is None else batch_size}
    order["shuffle"] = split == "train" if shuffle is None else shuffle
    loading: tuple[PairDataset | PlainPairStream | MixedStream, dict[str, Any]]
    if isinstance(release, Mapping):
        loading = _mixed(release, reading, order)
    elif stream:
        loading = _streamed(open_release(release), reading, order)
        _warn_of_unequal_steps(loading[0])
    elif slides is not None:
        loading = _by_slide(open_release(release), reading, {**slides, **ranks})
    else:
        loading = _by_number(open_release(release), reading, order, balance)
    n_workers = min(MAX_WORKERS, max(0, available_cpus() - 1)) if workers is None else workers
    return _loader(*loading, workers=n_workers, verify=verify, pin_memory=pin_memory)


def _check_ways(
    batch_size: int | None,
    release: object,
    *,
    stream: bool,
    balance: str | None,
    slides: Mapping[str, Any] | None,
    shuffle: bool | None,
) -> None:
    ways = {"slides": slides is not None, "balance": balance is not None, "stream": stream}
    ways["several releases"] = isinstance(release, Mapping)
    given = [name for name, here in ways.items() if here]
    wrong = None
    if len(given) > 1 and given != ["stream", "several releases"]:
        wrong = (" and ".join(given), "one of slides, balance and stream; several releases are a stream")
    elif slides is not None and batch_size is not None:
        wrong = ("slides and batch_size", "slides alone: their product is the batch size")
    elif shuffle is False and (slides is not None or balance is not None or ways["several releases"]):
        wrong = (f"{given[-1]} and shuffle=False", f"{given[-1]}, which is a draw")
    if wrong:
        raise UsageError("These do not go together", code="loader-options", expected=wrong[1], found=wrong[0])


def _by_number(
    release: Release, reading: dict[str, Any], order: dict[str, Any], balance: str | None
) -> tuple[PairDataset, dict[str, Any]]:
    dataset = _pairs(release, reading)
    order["source"] = dataset.source
    sampler: EpochSampler | WeightedSampler
    if balance is None:
        sampler = EpochSampler(len(dataset), **order)
    else:
        order.pop("shuffle")
        sampler = WeightedSampler(balanced_weights(dataset, balance), **order)
    _warn_of_unequal_steps(sampler)
    return dataset, {"sampler": sampler, "batch_size": order["batch_size"]}


def _warn_of_unequal_steps(ordered: Any) -> None:
    order: Order = ordered.order
    if order.tail != "exact" or not order.shuffle or order.rank or not order.batch_size:
        return
    parts = (rank_slice(order.n_pairs, rank, order.world) for rank in range(order.world))
    steps = {-(-len(part) // order.batch_size) for part in parts}
    if len(steps) > 1:
        logger.warning(
            "Ranks give %d or %d batches an epoch: a step that waits for all of them would wait for ever. "
            "Training with DDP needs tail='drop'",
            *sorted(steps),
        )


def _by_slide(release: Release, reading: dict[str, Any], slides: dict[str, Any]) -> tuple[PairDataset, dict[str, Any]]:
    dataset = _pairs(release, reading)
    return dataset, {"batch_sampler": SlideBatchSampler(dataset, **slides)}


def _streamed(
    release: Release, reading: dict[str, Any], order: dict[str, Any]
) -> tuple[PlainPairStream, dict[str, Any]]:
    # Taken from the module now: the name stands for the IterableDataset, which is made when it is first asked for.
    return streams.PairStream(release, **_reading(release, reading), **order), {"batch_size": None}


def _mixed(
    releases: Mapping[Any, float], reading: dict[str, Any], order: dict[str, Any]
) -> tuple[MixedStream, dict[str, Any]]:
    order |= {"tail": "exact", "shuffle": True}
    sources = [_streamed(open_release(one), reading, order)[0] for one in releases]
    return MixedStream(sources, list(releases.values()), seed=order["seed"]), {"batch_size": None}


def _pairs(release: Release, reading: dict[str, Any]) -> PairDataset:
    return PairDataset(release, **_reading(release, reading))


def _reading(release: Release, reading: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(reading["transform"], Mapping):
        return reading
    from humanst.load.transforms import TimmTransform

    return {**reading, "transform": TimmTransform(reading["transform"], release.side_px)}


def _loader(
    dataset: PairDataset | PlainPairStream | MixedStream,
    order: dict[str, Any],
    *,
    workers: int,
    verify: bool,
    pin_memory: bool | None,
) -> DataLoader[Any]:
    try:
        import torch
    except ImportError as error:
        raise UsageError(
            "A dataloader needs torch, which cannot be imported here",
            code="no-torch",
            found=str(error),
            todo="pip install 'humanst[train]'; PairDataset and PairStream give the same pairs without torch",
        ) from error

    from humanst.load.torch_loader import PairLoader, StreamBatches

    if verify and workers:
        dataset.verify()
    loaded = dataset if isinstance(dataset, PairDataset) else StreamBatches(dataset)
    pin = torch.cuda.is_available() if pin_memory is None else pin_memory
    return PairLoader(loaded, num_workers=workers, pin_memory=pin, persistent_workers=workers > 0, **order)
