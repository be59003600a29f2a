"""Pairs to a batch of torch tensors. torch is imported when a batch is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from humanst.errors import IntegrityError
from humanst.load.batch import Batch, Pair


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
        of length B; 64-bit as Python has them. With further target sets, ``targets`` and ``target_masks``: name to
        (B, C) numbers, 0 where unmeasured, and bool.

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
    made = {
        "image": _stack_images(batch),
        "pathways": torch.from_numpy(batch.pathways),
        "mask": torch.from_numpy(batch.mask),
        "log10_counts_z": columns["log10_counts_z"].float(),
        "label": torch.from_numpy(batch.labels),
        "key": columns["key"],
        "uid": columns["uid"],
        "metadata": columns,
    }
    if batch.targets:
        made["targets"] = {name: torch.from_numpy(values) for name, values in batch.targets.items()}
        made["target_masks"] = {name: torch.from_numpy(mask) for name, mask in batch.target_masks.items()}
    return made


def _stack_images(batch: Batch) -> Any:
    import torch

    if isinstance(batch.images, np.ndarray):
        return torch.from_numpy(batch.images).permute(0, 3, 1, 2)
    return torch.stack([torch.as_tensor(image) for image in batch.images])


def _column(values: Any) -> Any:
    import torch

    if not isinstance(values, np.ndarray):
        return values
    return torch.from_numpy(values.astype(np.int64 if values.dtype.kind in "iu" else np.float64))
