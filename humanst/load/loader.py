"""One call from a release to a ``torch.utils.data.DataLoader`` with defaults that neither lose nor repeat a pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.load import stream as streams
from humanst.load.dataset import PairDataset
from humanst.load.order import EpochSampler, Tail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch.utils.data import DataLoader

    from humanst.load.pairs import Pair
    from humanst.load.release import Release
    from humanst.load.stream import PlainPairStream


def collate(pairs: Sequence[Pair]) -> dict[str, Any]:
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
    """
    import torch

    columns = {name: [pair["metadata"][name] for pair in pairs] for name in pairs[0]["metadata"]}
    return {
        "image": _stack_images([pair["image"] for pair in pairs]),
        "pathways": torch.from_numpy(np.stack([pair["pathways"] for pair in pairs])),
        "mask": torch.from_numpy(np.stack([pair["mask"] for pair in pairs])),
        "log10_counts_z": torch.tensor([float(pair["log10_counts_z"]) for pair in pairs], dtype=torch.float32),
        "label": torch.tensor([pair["label"] for pair in pairs], dtype=torch.int64),
        "key": [pair["key"] for pair in pairs],
        "uid": [pair["uid"] for pair in pairs],
        "metadata": {name: _column(values) for name, values in columns.items()},
    }


def _stack_images(images: list[Any]) -> Any:
    import torch

    first = images[0]
    if isinstance(first, np.ndarray) and first.dtype == np.uint8 and first.ndim == 3 and first.shape[2] == 3:
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return torch.stack([torch.as_tensor(image) for image in images])


def _column(values: list[Any]) -> Any:
    import torch

    if not all(isinstance(value, int | float) for value in values):
        return values
    whole = all(isinstance(value, int) for value in values)
    return torch.tensor(values, dtype=torch.int64 if whole else torch.float64)


def dataloader(
    release: str | Path | Release,
    split: str,
    batch_size: int,
    *,
    workers: int = 0,
    stream: bool = False,
    shuffle: bool | None = None,
    seed: int = 0,
    rank: int | None = None,
    world: int | None = None,
    tail: Tail = "exact",
    where: str | None = None,
    transform: Callable[[NDArray[np.uint8]], Any] | None = None,
    verify: bool = True,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """Read a split in batches of ``batch_size`` pairs a rank; the batches are those of :func:`collate`.

    Parameters
    ----------
    release, split, where, transform, verify
        See ``PairDataset``. With workers, shards are verified here, once, instead of in every worker.
    workers, pin_memory
        Worker processes (the batches are the same with any number of them), and page-locked memory as in torch.
    stream
        Read in order (``PairStream``) instead of by number (``PairDataset``).
    shuffle
        Another order each epoch; by default for the split called ``train`` only.
    seed, rank, world, tail
        See ``PairStream``; the same for both ways of reading. Training with DDP needs ``tail="drop"``.

    Returns
    -------
    torch.utils.data.DataLoader
        Each time it is iterated it goes on to the next epoch; ``set_epoch(epoch)`` chooses one.

    Raises
    ------
    DataError, IntegrityError, UsageError
        See ``PairDataset`` and ``PairStream``.
    """
    order: dict[str, Any] = {"seed": seed, "rank": rank, "world": world, "tail": tail, "batch_size": batch_size}
    order["shuffle"] = split == "train" if shuffle is None else shuffle
    reading = {"where": where, "transform": transform, "verify": verify}
    dataset, sampler = _front_end(release, split, order, reading, stream=stream)
    if verify and workers:
        dataset.verify()
    return _loader(dataset, sampler, batch_size=batch_size, num_workers=workers, pin_memory=pin_memory)


def _front_end(
    release: str | Path | Release, split: str, order: dict[str, Any], reading: dict[str, Any], *, stream: bool
) -> tuple[PairDataset | PlainPairStream, EpochSampler | None]:
    if stream:
        # Taken from the module now: the name stands for the IterableDataset, which is made when it is first asked for.
        return streams.PairStream(release, split, **order, **reading), None
    dataset = PairDataset(release, split, **reading)
    return dataset, EpochSampler(len(dataset), **order)


def _loader(dataset: Any, sampler: EpochSampler | None, **options: Any) -> DataLoader[Any]:
    from humanst.load.torch_loader import PairLoader

    return PairLoader(dataset, sampler=sampler, collate_fn=collate, **options)
