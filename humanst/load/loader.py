"""One call from a release to a ``torch.utils.data.DataLoader`` with defaults that neither lose nor repeat a pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.errors import IntegrityError, UsageError
from humanst.load import stream as streams
from humanst.load.batch import Batch
from humanst.load.corrupt import MAX_CORRUPT
from humanst.load.dataset import PairDataset
from humanst.load.order import EpochSampler, Tail, available_cpus
from humanst.load.release import open_release
from humanst.load.samplers import WeightedSampler, balanced_weights
from humanst.load.slides import SlideBatchSampler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch.utils.data import DataLoader

    from humanst.load.batch import Pair
    from humanst.load.release import Release
    from humanst.load.stream import PlainPairStream


def collate(pairs: Batch | Sequence[Pair]) -> dict[str, Any]:
    """Make a batch of B pairs.

    Parameters
    ----------
    pairs
        Pairs of one release.

    Returns
    -------
    dict
        ``image``: uint8 tensor (B, 3, side_px, side_px), RGB, 0 to 255, in ``channels_last`` memory order (images
        another ``transform`` made are stacked as they are). ``pathways``: float32 (B, P), 0 where unmeasured.
        ``mask``: bool (B, P), true where measured. ``log10_counts_z``: float32 (B,). ``label``: int64 (B,).
        ``key`` and ``uid``: lists of text. ``metadata``: column name to a tensor of numbers or a list of text, each
        of length B; 64-bit as Python has them.

    Raises
    ------
    IntegrityError
        When there is none.
    """
    import torch

    batch = pairs if isinstance(pairs, Batch) else Batch.of(pairs)
    if not len(batch):
        raise IntegrityError(
            "No pair of this batch can be read",
            code="empty-batch",
            expected="at least one pair",
            found="none",
            todo="Run humanst verify on the release",
        )
    columns = {name: _column(values) for name, values in batch.columns.items()}
    return {
        "image": _stack_images(batch),
        "pathways": torch.from_numpy(batch.pathways),
        "mask": torch.from_numpy(batch.mask),
        "log10_counts_z": columns["log10_counts_z"].float(),
        "label": torch.from_numpy(batch.labels),
        "key": columns["key"],
        "uid": columns["uid"],
        "metadata": columns,
    }


def _stack_images(batch: Batch) -> Any:
    import torch

    if isinstance(batch.images, np.ndarray):
        images = torch.from_numpy(batch.images) if batch.holder is None else batch.holder[0][: len(batch)]
        return images.permute(0, 3, 1, 2)
    return torch.stack([torch.as_tensor(image) for image in batch.images])


def _column(values: Any) -> Any:
    import torch

    if not isinstance(values, np.ndarray):
        return values
    return torch.from_numpy(values.astype(np.int64 if values.dtype.kind in "iu" else np.float64))


BATCH_SIZE = 256
MAX_WORKERS = 8


def dataloader(
    release: str | Path | Release,
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
    transform: Callable[[NDArray[np.uint8]], Any] | Mapping[str, Any] | None = None,
    verify: bool = True,
    max_corrupt: float = MAX_CORRUPT,
    workers: int | None = None,
    pin_memory: bool | None = None,
) -> DataLoader[Any]:
    """Read a split in batches of ``batch_size`` pairs a rank; the batches are those of :func:`collate`.

    Parameters
    ----------
    release, split, where, verify, max_corrupt
        See ``PairDataset``. With workers, shards are verified here, once, instead of in every worker.
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
        Worker processes (the batches are the same with any number of them; by default one a free core, at most 8),
        and page-locked memory as in torch (by default where there is a CUDA device).

    Returns
    -------
    torch.utils.data.DataLoader
        Each time it is iterated it goes on to the next epoch; ``set_epoch(epoch)`` chooses one. ``state_dict()``
        between two batches and ``load_state_dict()`` on an equal loader, with any number of workers, go on exactly.

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
    opened = open_release(release)
    _check_ways(batch_size, stream=stream, balance=balance, slides=slides, shuffle=shuffle)
    reading = {"where": where, "transform": _transform(transform, opened.side_px), "verify": verify}
    reading["max_corrupt"] = max_corrupt
    ranks: dict[str, Any] = {"seed": seed, "rank": rank, "world": world}
    dataset: PairDataset | PlainPairStream
    order: dict[str, Any]
    if slides is not None:
        dataset = pairs = PairDataset(opened, split, **reading)
        order = {"batch_sampler": SlideBatchSampler(pairs, **slides, **ranks)}
    else:
        ranks |= {"tail": tail, "batch_size": batch_size or BATCH_SIZE}
        chosen = split == "train" if shuffle is None else shuffle
        dataset, order = _front_end(opened, split, ranks, reading, stream=stream, shuffle=chosen, balance=balance)
        order["batch_size"] = batch_size or BATCH_SIZE
    n_workers = min(MAX_WORKERS, max(0, available_cpus() - 1)) if workers is None else workers
    if verify and n_workers:
        dataset.verify()
    return _loader(dataset, order, workers=n_workers, pin_memory=pin_memory)


def _check_ways(
    batch_size: int | None, *, stream: bool, balance: str | None, slides: Any, shuffle: bool | None
) -> None:
    ways = {"slides": slides is not None, "balance": balance is not None, "stream": stream}
    given = [name for name, here in ways.items() if here]
    wrong = None
    if len(given) > 1:
        wrong = (" and ".join(given), "one of slides, balance and stream: the last reads in the order of the shards")
    elif slides is not None and batch_size is not None:
        wrong = ("slides and batch_size", "slides alone: their product is the batch size")
    elif shuffle is False and (slides is not None or balance is not None):
        wrong = (f"{given[0]} and shuffle=False", f"{given[0]}, which is a draw")
    if wrong:
        raise UsageError("These do not go together", code="loader-options", expected=wrong[1], found=wrong[0])


def _transform(transform: Any, side_px: int) -> Any:
    if not isinstance(transform, Mapping):
        return transform
    from humanst.load.transforms import TimmTransform

    return TimmTransform(transform, side_px)


def _front_end(
    release: Release,
    split: str,
    ranks: dict[str, Any],
    reading: dict[str, Any],
    *,
    stream: bool,
    shuffle: bool,
    balance: str | None,
) -> tuple[PairDataset | PlainPairStream, dict[str, Any]]:
    if stream:
        # Taken from the module now: the name stands for the IterableDataset, which is made when it is first asked for.
        return streams.PairStream(release, split, shuffle=shuffle, **ranks, **reading), {}
    dataset = PairDataset(release, split, **reading)
    if balance is None:
        return dataset, {"sampler": EpochSampler(len(dataset), shuffle=shuffle, source=dataset.source, **ranks)}
    weights = balanced_weights(dataset, balance)
    return dataset, {"sampler": WeightedSampler(weights, source=dataset.source, **ranks)}


def _loader(dataset: Any, order: dict[str, Any], *, workers: int, pin_memory: bool | None) -> DataLoader[Any]:
    import torch

    from humanst.load.torch_loader import PairLoader, StreamBatches

    if not isinstance(dataset, PairDataset):
        dataset, order = StreamBatches(dataset, order["batch_size"]), {"batch_size": None}
    pin = torch.cuda.is_available() if pin_memory is None else pin_memory
    return PairLoader(dataset, num_workers=workers, pin_memory=pin, persistent_workers=workers > 0, **order)
