"""Principal components of expression within sections, over any part of them, without a dense table of spots and genes.

Spots are few beside genes, so the products of all pairs of spots are made once, in blocks of genes; centring within
sections and every choice of training sections are then small matrix steps on those products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

BLOCK_GENES = 1000


@dataclass(frozen=True, slots=True)
class SpotProducts:
    """Log expression of some spots of every section, and their products.

    Attributes
    ----------
    logs
        L, (n, G) CSR.
    section
        (n,) the section of each spot.
    products
        (n, n) float64: ``A A'``, where A is L with the mean of each section taken off.
    """

    logs: csr_matrix
    section: NDArray[np.int64]
    products: NDArray[np.float64]

    @classmethod
    def of(cls, logs: csr_matrix, section: NDArray[np.int64]) -> SpotProducts:
        """Multiply all spots with one another; memory is that of n x n and of ``BLOCK_GENES`` genes."""
        by_gene = logs.tocsc()
        products = np.zeros((logs.shape[0], logs.shape[0]))
        for start in range(0, logs.shape[1], BLOCK_GENES):
            block = within_sections(by_gene[:, start : start + BLOCK_GENES].toarray().astype(np.float64), section)
            products += block @ block.T
        return cls(logs, section, products)

    def axes(self, sections: NDArray[np.int64], k: int) -> NDArray[np.float64]:
        """Return the first principal axes of the spots of these sections, each centred within its section.

        Parameters
        ----------
        sections
            Sections to take the axes from.
        k
            Axes wanted.

        Returns
        -------
        (G, <= k) float64, orthonormal columns by falling variance; fewer where the spots do not span so many. The sign
        of an axis makes the sum of its entries positive.
        """
        rows = np.flatnonzero(np.isin(self.section, sections))
        k = min(k, len(rows), self.logs.shape[1])
        if k < 1:
            return np.zeros((self.logs.shape[1], 0))
        products = self.products[np.ix_(rows, rows)]
        # Spots that do not differ within their sections, or no genes, have no axes; the solver refuses zeros.
        if not products.any():
            return np.zeros((self.logs.shape[1], 0))
        spread, directions = _largest(products, k)
        # Below this share of the first, an eigenvalue is rounding.
        kept = np.flatnonzero(spread > max(spread[-1], 0.0) * 1e-9)[::-1]
        # A'u = L'u: u sums to nothing within each section, as A does.
        axes = self.logs[rows].T @ (directions[:, kept] / np.sqrt(spread[kept]))
        signs = np.where(axes.sum(axis=0) < 0, -1.0, 1.0)
        return np.asarray(axes * signs, dtype=np.float64)


def _largest(products: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The k largest eigenvalues, rising, and their vectors."""
    from scipy.linalg import eigh
    from scipy.sparse.linalg import eigsh

    n = len(products)
    if n <= 8 * k:
        values, vectors = eigh(products, subset_by_index=(n - k, n - 1))
    else:
        # A start of ones would be orthogonal to all of them: they sum to nothing. The spread of noise is flat, and a
        # wide basis settles it in few steps.
        start = np.random.default_rng(0).normal(size=n)
        values, vectors = eigsh(products, k=k, v0=start, ncv=3 * k + 10)
    return np.asarray(values), np.asarray(vectors)


def within_sections(values: NDArray[Any], section: NDArray[np.int64], *, scale: bool = False) -> NDArray[np.float64]:
    """Take the mean of its section off each value, and with ``scale`` divide by the sd in the section.

    Parameters
    ----------
    values
        (n, ...) float.
    section
        (n,) the section of each row.
    scale
        Whether to divide by the population sd; what does not vary in a section becomes 0 there.
    """
    out = np.empty(values.shape, dtype=np.float64)
    for one in np.unique(section):
        rows = section == one
        part = values[rows].astype(np.float64)
        part = part - part.mean(axis=0)
        if scale:
            sd = np.sqrt((part * part).mean(axis=0))
            part = np.divide(part, sd, out=np.zeros_like(part), where=sd > 1e-9)
        out[rows] = part
    return out
