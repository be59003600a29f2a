"""How often an image finds its own pathways in a batch, and how often the counts would find themselves: the ceiling.

Where a spot that is counted a second time is seldom its own nearest neighbour, most negatives of a contrastive loss are
noise, and no image model can do better. The ceiling is that of ``humanst audit``: one half of the counts looks for the
other, among the pairs of the run's own batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stamp_train.losses import gather, near_neighbours

if TYPE_CHECKING:
    from humanst.load.dataset import PairDataset
    from stamp_train.align_targets import Source
    from stamp_train.count_targets import Fitted
    from stamp_train.losses import Outputs
    from stamp_train.pair_targets import Targets

N_BATCHES = 20


def recall_at_1(likeness: Tensor, allowed: Tensor) -> float:
    """Share of rows that are most like their own column.

    Parameters
    ----------
    likeness, allowed
        (B, B) float and bool: who is compared with whom. Where others are as alike as the own one, it is found in the
        share of orders that put it first, so that what tells nothing gives chance.
    """
    own = likeness.diagonal().unsqueeze(1)
    nearer = ((likeness > own) & allowed).sum(dim=1)
    equal = ((likeness == own) & allowed).sum(dim=1)
    return float(((1 - nearer) / equal).clamp(0, 1).mean())


def retrieval(outputs: Outputs, allowed: Tensor) -> float:
    """:func:`recall_at_1` of images among the pathways of the batch over all ranks; every rank has to call it.

    Parameters
    ----------
    outputs
        Of this rank.
    allowed
        (B, B) bool, over all ranks: who is compared with whom.
    """
    with torch.no_grad():
        image, pathway = gather(outputs.image.detach()), gather(outputs.pathway.detach())
        return recall_at_1(image @ pathway.T, allowed)


def ceiling(
    source: Source,
    targets: Targets,
    dataset: PairDataset,
    batches: Sequence[NDArray[np.int64]],
    *,
    near_um: float,
    seed: int,
) -> float | None:
    """What half the counts finds of the other half, mean over batches; ``None`` where it cannot be told.

    Parameters
    ----------
    source, targets, dataset
        What is aligned to, and its values for these pairs. Targets made of counts are made again of two halves of them
        (binomial thinning). The pathways of a release are drawn a second time, from what was measured of them: each
        with the correlation between halves that its weight stands for, w / (2 - w) (Spearman 1910, Brown 1910), and
        noise of its own. Pathways that share genes share noise too, so that this ceiling is rather too high.
    batches
        Rows of each.
    near_um
        As in the loss.
    seed
        Of the thinning, or the noise.
    """
    halves = _halves(source, targets, dataset, batches, np.random.default_rng([seed, 1]))
    if halves is None:
        return None
    found = []
    for rows, (first, second) in zip(batches, halves, strict=True):
        known = ~(np.isnan(first) | np.isnan(second)).any(axis=0)
        one, two = (torch.from_numpy(half[:, known].astype(np.float64)) for half in (first, second))
        near = near_neighbours(torch.from_numpy(targets.section[rows]), torch.from_numpy(targets.xy_um[rows]), near_um)
        found.append(recall_at_1(-torch.cdist(one, two), ~near))
    return float(np.mean(found)) if found else None


def _halves(
    source: Source,
    targets: Targets,
    dataset: PairDataset,
    batches: Sequence[NDArray[np.int64]],
    rng: np.random.Generator,
) -> list[tuple[NDArray[Any], NDArray[Any]]] | None:
    if source.measured:
        weights = np.clip(np.nan_to_num(source.reliability.astype(np.float64)), 0, 1)
        half = weights / (2 - weights)
        values = [targets.values[rows].astype(np.float64) for rows in batches]
        return [(one, half * one + np.sqrt(1 - half**2) * rng.standard_normal(one.shape)) for one in values]
    if source.fitted is None:
        return None
    rows = np.unique(np.concatenate(batches))
    first, second = _thinned(source.fitted, dataset, targets, rows, rng)
    place = np.searchsorted(rows, batches)
    return [(first[where], second[where]) for where in place]


def _thinned(
    fitted: Fitted, dataset: PairDataset, targets: Targets, rows: NDArray[np.int64], rng: np.random.Generator
) -> list[NDArray[np.float32]]:
    """The targets of some rows from one half of their counts and from the other, z within sections."""
    from stamp_train.counts import read_counts
    from stamp_train.pair_targets import z_within

    whole = read_counts(dataset.release, (dataset.split,)).take(rows)
    one, two = whole.matrix.copy(), whole.matrix.copy()
    one.data = rng.binomial(whole.matrix.data, 0.5).astype(one.data.dtype)
    two.data = whole.matrix.data - one.data
    section = targets.section[rows]
    names = np.array(targets.sections)[section]
    return [z_within(fitted(replace(whole, matrix=half), names), section) for half in (one, two)]
