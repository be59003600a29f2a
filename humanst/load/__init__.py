"""From a release to training: pairs of H&E patches and pathway targets, each exactly once, each verified.

Two front ends read the same files through the same index: :class:`PairDataset` by number (map-style, for shards on
local disk) and :class:`PairStream` in order (iterable, for cold or remote storage). Both work without torch as plain
Python objects; :func:`dataloader` wraps either in a ``torch.utils.data.DataLoader``.

Names resolve on first use: importing this package imports neither torch nor pyarrow. :class:`PairStream` inherits
from torch's ``IterableDataset`` when torch is installed, so *naming* it imports torch then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from humanst.load.batch import Pair
    from humanst.load.collating import collate
    from humanst.load.dataset import PairDataset
    from humanst.load.loader import dataloader
    from humanst.load.mixing import MixedStream
    from humanst.load.order import EpochSampler
    from humanst.load.release import Release, open_release
    from humanst.load.samplers import WeightedSampler, balanced_weights
    from humanst.load.slides import SlideBatchSampler
    from humanst.load.stream import PairStream
    from humanst.load.transforms import TimmTransform

_WHERE = {
    "Pair": "humanst.load.batch",
    "MixedStream": "humanst.load.mixing",
    "PairDataset": "humanst.load.dataset",
    "PairStream": "humanst.load.stream",
    "EpochSampler": "humanst.load.order",
    "Release": "humanst.load.release",
    "SlideBatchSampler": "humanst.load.slides",
    "TimmTransform": "humanst.load.transforms",
    "WeightedSampler": "humanst.load.samplers",
    "balanced_weights": "humanst.load.samplers",
    "collate": "humanst.load.collating",
    "dataloader": "humanst.load.loader",
    "open_release": "humanst.load.release",
}

__all__ = [
    "EpochSampler",
    "MixedStream",
    "Pair",
    "PairDataset",
    "PairStream",
    "Release",
    "SlideBatchSampler",
    "TimmTransform",
    "WeightedSampler",
    "balanced_weights",
    "collate",
    "dataloader",
    "open_release",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        message = f"module 'humanst.load' has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
