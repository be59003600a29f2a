"""How often one half of a spot's counts finds the other half of the same spot among many: a ceiling for any model.

A model that matches an image to expression can at best know the expression itself. Where even the same spot, counted
again, is seldom its own nearest neighbour, a loss that calls every other spot of the batch wrong mostly teaches noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.pathways.audit.pca import within_sections

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from humanst.pathways.audit.features import SpotFeatures

BATCH = 512
MAX_BATCHES = 40
AT = (1, 5)
COLUMNS = (
    "features", "batch", "r_at_1", "r_at_5", "chance_at_1", "chance_at_5", "n_batches", "n_features", "n_sections",
    "reason",
)  # fmt: skip


def retrieval(spots: SpotFeatures, section: NDArray[np.int64], *, k: int, seed: int) -> pd.DataFrame:
    """Look for each spot's second half by its first, in batches mixed over the sections.

    Parameters
    ----------
    spots
        Of all sections.
    section
        (n,) the section of each spot.
    k
        Components asked for, for the name of their row.
    seed
        Of the batches.

    Returns
    -------
    A row for each kind of features:

    features
        ``pathways`` and ``random_sets`` (first draw), z within sections, over those valid in every section: a mask
        would tell the section; ``hvg_pca_<k>``, components of the 1,000 most variable genes, centred within sections;
        ``library_size``, log10 counts, z within sections.
    batch
        Spots in a batch, 512, or all where there are fewer.
    r_at_1, r_at_5
        Share of spots whose own half is the nearest, or among the five nearest (Euclidean); equal distances share.
    chance_at_1, chance_at_5
        1 and 5 out of the batch.
    n_batches, n_features, n_sections
        What the figures are of.
    reason
        Why there is no figure, None where there is.
    """
    import pandas as pd

    batches = batches_of(len(section), np.random.default_rng([seed, 4]))
    kinds = {
        "pathways": _valid(spots.pathways, section),
        "random_sets": _valid(np.stack([spots.random[:, 0], spots.random_again]), section),
        f"hvg_pca_{k}": _centred(spots.hvg_axes, section),
        "library_size": _valid(spots.library[:, :, np.newaxis], section),
    }
    rows = [_row(name, halves, batches, len(np.unique(section))) for name, halves in kinds.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def batches_of(n: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Deal spots into batches of 512, the rest left over; fewer than 512 are one batch."""
    order = rng.permutation(n)
    size = min(BATCH, n)
    return [order[start : start + size] for start in range(0, n - size + 1, max(size, 1))][:MAX_BATCHES] if n else []


def recall(first: NDArray[np.float64], second: NDArray[np.float64], at: int) -> float:
    """Return the share of rows of ``first`` whose own row of ``second`` is among the ``at`` nearest.

    Parameters
    ----------
    first, second
        (n, d).
    at
        Neighbours looked at. Where others are as near as the own row, it is found in the share of orders that put it
        among them, so that features that tell nothing give chance.
    """
    from scipy.spatial.distance import cdist

    distance = cdist(first, second, "sqeuclidean")
    own = np.diagonal(distance)[:, np.newaxis]
    nearer = (distance < own).sum(axis=1)
    equal = (distance == own).sum(axis=1)
    return float(np.clip((at - nearer) / equal, 0.0, 1.0).mean())


def _row(name: str, halves: NDArray[np.float64], batches: list[NDArray[np.int64]], n_sections: int) -> dict[str, Any]:
    batch, n_features = (len(batches[0]) if batches else 0), halves.shape[2]
    found = dict.fromkeys(AT, float("nan"))
    reason = None
    if not batches:
        reason = "no section has enough spots"
    elif not n_features:
        reason = "no such feature is valid in every section"
    else:
        found = {at: float(np.mean([recall(halves[0, rows], halves[1, rows], at) for rows in batches])) for at in AT}
    return {
        "features": name,
        "batch": batch,
        **{f"r_at_{at}": found[at] for at in AT},
        **{f"chance_at_{at}": min(at / batch, 1.0) if batch else float("nan") for at in AT},
        "n_batches": len(batches),
        "n_features": n_features,
        "n_sections": n_sections,
        "reason": reason,
    }


def _valid(halves: NDArray[np.float32], section: NDArray[np.int64]) -> NDArray[np.float64]:
    kept = ~np.isnan(halves).any(axis=(0, 1))
    return np.stack([within_sections(half[:, kept], section, scale=True) for half in halves])


def _centred(halves: NDArray[np.float32], section: NDArray[np.int64]) -> NDArray[np.float64]:
    kept = ~np.isnan(halves).any(axis=(0, 1))
    return np.stack([within_sections(half[:, kept], section) for half in halves])
