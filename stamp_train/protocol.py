"""What the columns of the probe predict, and what noise lets anybody reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from humanst.errors import DataError
from stamp_train.ridge import pearson

Half = tuple[NDArray[np.integer], NDArray[np.integer]]
"""(n, g) counts and (n,) totals."""


@dataclass(frozen=True, slots=True)
class Column:
    """One protocol.

    Attributes
    ----------
    name
        How tables call it.
    normalised
        Target: log1p of counts per 10,000 of the spot's total, rather than log1p of raw counts.
    by_formula
        Ridge of HEST-Bench (alpha by formula, no intercept), rather than alpha by inner cross-validation.
    by_section
        Pearson's r within each test section, then their mean, rather than over all spots of the fold.
    """

    name: str
    normalised: bool
    by_formula: bool
    by_section: bool


COLUMNS = (
    Column("hest-compat", normalised=False, by_formula=True, by_section=False),
    Column("cv-alpha", normalised=False, by_formula=False, by_section=False),
    Column("norm", normalised=True, by_formula=False, by_section=True),
)
PATHWAYS = Column("pathways", normalised=True, by_formula=False, by_section=True)


@dataclass(frozen=True, slots=True)
class Spots:
    """What a probe needs beside features, a row a spot.

    Attributes
    ----------
    totals
        (n,) total counts over all genes, above 0.
    donors, sections
        (n,) names.
    """

    totals: NDArray[np.int64]
    donors: NDArray[np.str_]
    sections: NDArray[np.str_]

    @classmethod
    def of(cls, totals: ArrayLike, donors: Sequence[str], sections: Sequence[str]) -> Spots:
        """Take them from the columns ``n_counts``, ``donor_group`` and ``sample_id`` of an index.

        Raises
        ------
        DataError
            When lengths differ or a spot has no count.
        """
        spots = cls(np.asarray(totals, dtype=np.int64), np.asarray(donors, str), np.asarray(sections, str))
        if not spots.totals.shape == spots.donors.shape == spots.sections.shape:
            raise DataError("Every spot needs a total, a donor and a section", code="shapes")
        if n_empty := int((spots.totals <= 0).sum()):
            raise DataError(
                "Spots have no count", code="counts-none", expected="a total above 0", found=f"{n_empty} spots"
            )
        return spots

    @property
    def library_size(self) -> NDArray[np.float64]:
        """(n, 1) log10 of the totals: the baseline that knows nothing of the image."""
        return np.log10(self.totals)[:, None]


def targets_of(column: Column, counts: NDArray[np.integer], totals: NDArray[np.integer]) -> NDArray[np.float64]:
    """(n, g) float64: what a column predicts, of (n, g) counts and (n,) totals over all genes."""
    scale = (1e4 / np.maximum(totals, 1))[:, None] if column.normalised else 1.0
    found: NDArray[np.float64] = np.log1p(counts * scale)
    return found


def thinned(counts: NDArray[np.integer], totals: NDArray[np.integer], seed: int) -> tuple[Half, Half]:
    """Two halves of the counts and totals: every transcript falls into one of them by the toss of a coin.

    Raises
    ------
    DataError
        When the genes of a spot have more counts than the spot.
    """
    rng = np.random.default_rng(seed)
    first = rng.binomial(counts, 0.5)
    rest = totals - counts.sum(axis=1, dtype=np.int64)
    if (rest < 0).any():
        raise DataError("Genes have more counts than their spot", code="counts-total")
    total = first.sum(axis=1) + rng.binomial(rest, 0.5)
    return (first, total), (counts - first, totals - total)


def ceiling_of(column: Column, halves: Sequence[tuple[Half, Half]]) -> NDArray[np.float64]:
    """The r that a perfect prediction of the noiseless target would have with the measured one.

    Square root of the reliability, which is Spearman and Brown's 2r / (1 + r) of the mean r between halves; 0 where the
    halves do not agree, NaN where a half is constant.

    Parameters
    ----------
    column
        What is predicted.
    halves
        Pairs of halves, as :func:`thinned` gives them.

    Returns
    -------
    ndarray
        (g,).
    """
    r = np.mean([pearson(*(targets_of(column, *half) for half in pair)) for pair in halves], axis=0)
    reliability: NDArray[np.float64] = np.clip(2 * r / (1 + np.maximum(r, 0)), 0, 1)
    return np.sqrt(reliability)
