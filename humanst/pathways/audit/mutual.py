"""Mutual information between the two halves of the counts, pathway by pathway, beside that of shuffled spots.

What the halves share is what the tissue says and the counting noise does not. For two variables that are jointly normal
with correlation r it is ``-1/2 log2(1 - r^2)`` bits; the estimator of Kraskov, Stoegbauer and Grassberger (2004,
doi:10.1103/PhysRevE.69.066138) asks for no such form and is a cross-check. Both are taken within sections.

The second also sees what is not linear, and not only biology: where few genes of a set are counted at all, many spots
hold the same value of the score but for what it subtracts, and that follows library size, which the halves share. Far
more bits by KSG than by the closed form are a sign of such a score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from humanst.pathways.audit.pca import within_sections

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

N_SHUFFLES = 199
PERCENTILE = 99
KSG_NEIGHBOURS = 3
KSG_SHUFFLES = 3
# The cross-check is of some sections and some of their spots: it is slow, and more of them tell little more.
KSG_SECTIONS = 12
KSG_SPOTS = 1_000
KSG_PAIRS = 1_200
# A correlation of 1 would be boundless information; halves of integer counts that agree wholly get 10 bits.
MAX_R2 = 1.0 - 2.0**-20
COLUMNS = (
    "pathway", "gaussian_bits", "ksg_bits", "shuffled_p99_bits", "shuffled_median_bits", "ksg_shuffled_bits",
    "above_shuffled", "n_sections", "n_spots", "reason",
)  # fmt: skip


def mutual(
    halves: NDArray[np.float32], section: NDArray[np.int64], names: tuple[str, ...], *, seed: int
) -> pd.DataFrame:
    """Measure what the halves of each pathway's score share.

    Parameters
    ----------
    halves
        (2, n, P) scores of both halves, NaN in a masked pathway.
    section
        (n,) the section of each spot.
    names
        (P,) pathways.
    seed
        Of the shuffles.

    Returns
    -------
    A row a pathway:

    pathway
        Its name.
    gaussian_bits, ksg_bits
        Mutual information in bits, mean over the sections in which it is valid; of KSG with 3 neighbours, over at most
        12 sections (1 from 1,200 pathways on) and 1,000 spots of each, at least 0. NaN where the pathway is in none.
    shuffled_p99_bits, shuffled_median_bits
        Of ``gaussian_bits`` over 199 shuffles of the spots within each section. The median is the bias of few spots.
    ksg_shuffled_bits
        The largest ``ksg_bits`` of 3 such shuffles.
    above_shuffled
        Whether ``gaussian_bits`` is above ``shuffled_p99_bits``.
    n_sections, n_spots
        Sections in which the pathway is valid, and their spots.
    reason
        Why there is no figure, None where there is.
    """
    import pandas as pd

    rng = np.random.default_rng([seed, 3])
    sections = np.unique(section)
    z = [within_sections(half, section, scale=True) for half in halves]
    valid = np.array([~np.isnan(halves[:, section == one]).any(axis=(0, 1)) for one in sections]).reshape(
        len(sections), len(names)
    )
    bits, shuffled = _gaussian(z, section, valid, rng)
    ksg, ksg_shuffled = _ksg(z, section, valid, rng)
    n_sections = valid.sum(axis=0)
    sizes = np.array([(section == one).sum() for one in sections])
    high, middle = np.percentile(shuffled, PERCENTILE, axis=0), np.median(shuffled, axis=0)
    table = pd.DataFrame(
        {
            "pathway": list(names),
            "gaussian_bits": bits,
            "ksg_bits": ksg,
            "shuffled_p99_bits": high,
            "shuffled_median_bits": middle,
            "ksg_shuffled_bits": ksg_shuffled,
            "above_shuffled": bits > high,
            "n_sections": n_sections,
            "n_spots": (valid * sizes[:, np.newaxis]).sum(axis=0),
            "reason": [None if n else "not valid in any section" for n in n_sections],
        }
    )
    return table[list(COLUMNS)]


def gaussian_bits(r: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``-1/2 log2(1 - r^2)``, the mutual information of two jointly normal variables, at most 10 bits."""
    return np.asarray(-0.5 * np.log2(1.0 - np.minimum(r * r, MAX_R2)), dtype=np.float64)


def _gaussian(
    z: list[NDArray[np.float64]], section: NDArray[np.int64], valid: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(P,) bits and (N_SHUFFLES, P) bits of shuffled spots, means over the sections in which a pathway is valid."""
    n_sets = valid.shape[1]
    bits, shuffled = np.zeros(n_sets), np.zeros((N_SHUFFLES, n_sets))
    for number, one in enumerate(np.unique(section)):
        first, second = (half[section == one] for half in z)
        bits += np.where(valid[number], gaussian_bits((first * second).mean(axis=0)), 0.0)
        for shuffle in range(N_SHUFFLES):
            other = second[rng.permutation(len(second))]
            r = np.einsum("ij,ij->j", first, other) / len(first)
            shuffled[shuffle] += np.where(valid[number], gaussian_bits(r), 0.0)
    return _mean(bits, valid.sum(axis=0)), _mean(shuffled, valid.sum(axis=0))


def _ksg(
    z: list[NDArray[np.float64]], section: NDArray[np.int64], valid: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(P,) bits, and the largest of a few shuffles."""
    n_sets = valid.shape[1]
    total, n = np.zeros((1 + KSG_SHUFFLES, n_sets)), np.zeros(n_sets, dtype=np.int64)
    numbers = np.arange(len(valid))
    most = max(1, min(KSG_SECTIONS, KSG_PAIRS // max(n_sets, 1)))
    if len(numbers) > most:
        numbers = np.sort(rng.choice(numbers, most, replace=False))
    for number in numbers:
        rows = np.flatnonzero(section == np.unique(section)[number])
        rows = rows if len(rows) <= KSG_SPOTS else np.sort(rng.choice(rows, KSG_SPOTS, replace=False))
        first, second = (half[rows] for half in z)
        orders = [np.arange(len(rows)), *(rng.permutation(len(rows)) for _ in range(KSG_SHUFFLES))]
        for p in np.flatnonzero(valid[number]):
            total[:, p] += [ksg_bits(first[:, p], second[order, p]) for order in orders]
        n += valid[number]
    means = _mean(total, n)
    return means[0], means[1:].max(axis=0)


def ksg_bits(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return the mutual information of two variables in bits, by KSG with 3 neighbours, at least 0.

    Parameters
    ----------
    x, y
        (n,) of continuous values; more than 3.
    """
    from sklearn.feature_selection import mutual_info_regression

    nats = mutual_info_regression(x[:, np.newaxis], y, n_neighbors=KSG_NEIGHBOURS, random_state=0)[0]
    return float(nats / np.log(2.0))


def _mean(total: NDArray[np.float64], n: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0), dtype=np.float64)
