"""The bin-control score: how much more a spot expresses a gene set than genes of the same expression level.

For spot i, set S of m measured genes, and log expression ``L = log1p(CP10k)``::

    s[i] = mean over g in S of ( L[i, g] - mean over h in bin(g) of L[i, h] )
         = (L @ W)[i] / m - ((L @ B) @ (B' W / m))[i]

``W`` (genes x sets) is 1 where a gene is in a set. Genes are put into bins of equal size by the rank of their mean log
expression in the section; ``B`` (genes x bins) is 1 where a gene is in a bin, its columns divided by the bin's size in
``L @ B``. Where genes have weights, W holds them and m is the sum of their absolute values. The plain mean of log
expression follows the number of transcripts of a spot; genes of one bin follow it alike, so their difference does not.
The idea of expression-matched control genes is that of Tirosh et al. 2016 (doi:10.1126/science.aad0501); taking the
whole bin in place of a random draw makes it exact and repeatable.

Everything is a sparse product in float64 with a fixed order of summation, so a spot's score does not depend on which
spots are scored beside it in one go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from humanst.pathways.sparse import csr_of, product, row_of_entries

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

COUNTS_PER = 1e4
GENES_PER_BIN = 100
MIN_BINS = 3
MAX_BINS = 25
_TABLED = 64


def bins_for(n_genes: int) -> int:
    """Return the number of expression bins, ``clip(n_genes // 100, 3, 25)``, at most one a measured gene."""
    return min(max(n_genes // GENES_PER_BIN, MIN_BINS), MAX_BINS, max(n_genes, 1))


def log_cp10k(counts: csr_matrix, totals: NDArray[np.float64] | None = None) -> csr_matrix:
    """Return ``log1p(10,000 * counts / total of the spot)``, float64, with the same zeros as ``counts``.

    Parameters
    ----------
    counts
        (n_spots, n_genes) non-negative integers, CSR. A spot without counts stays all zero.
    totals
        (n_spots,) total of each spot where it is known.
    """
    if totals is None:
        totals = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    # Nearly all counts are small: their logarithms are looked up in a table of spot and count.
    small = np.arange(_TABLED, dtype=np.float64)
    table = _log_of(np.broadcast_to(small, (len(totals), _TABLED)), totals[:, np.newaxis])
    place = row_of_entries(counts) * _TABLED
    large = np.flatnonzero(counts.data >= _TABLED)
    totals_of_large = totals[place[large] // _TABLED]
    # NumPy would add uint64 to int64 as floats.
    found = counts.data.astype(np.int64) if counts.dtype == np.uint64 else counts.data
    np.add(place, found, out=place, casting="same_kind")
    place[large] = 0
    # Every place is in the table; "clip" spares the search for one that is not.
    data = table.ravel().take(place, mode="clip")
    data[large] = _log_of(counts.data[large].astype(np.float64), totals_of_large)
    return csr_of(data, counts.indices, counts.indptr, counts.shape)


def _log_of(counts: NDArray[np.float64], totals: NDArray[np.float64]) -> NDArray[np.float64]:
    # An explicit zero in a spot without counts would be 0 / 0.
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    return np.log1p(COUNTS_PER * shares)


def expression_bins(mean_log: NDArray[np.float64], n_bins: int) -> NDArray[np.int64]:
    """Put each gene in a bin by the rank of its mean; bin sizes differ by at most one.

    Parameters
    ----------
    mean_log
        (n_genes,) mean log expression, genes in the order that breaks ties (Ensembl id).
    n_bins
        Number of bins.

    Returns
    -------
    (n_genes,) bin index, 0 for the lowest expression.
    """
    n_genes = len(mean_log)
    rank = np.empty(n_genes, dtype=np.int64)
    rank[np.argsort(mean_log, kind="stable")] = np.arange(n_genes)
    return rank * n_bins // max(n_genes, 1)


@dataclass(frozen=True, slots=True)
class BinControl:
    """The score of one collection of sets in one section, ready for any of its spots.

    Attributes
    ----------
    weights
        (n_genes, P + n_bins) float64 CSR: W, and beside it ``B`` divided by the size of each bin, so that
        ``L @ weights`` is the sum over each set and the mean of each bin.
    n_genes_of_set
        m, (P,) float64; the sum of absolute weights where genes have weights.
    bin_shares
        B'W / m, (n_bins, P) float64 CSR; the share of each set's genes that falls in each bin.
    """

    weights: csr_matrix
    n_genes_of_set: NDArray[np.float64]
    bin_shares: csr_matrix

    @classmethod
    def of(cls, membership: csr_matrix, bins: NDArray[np.int64]) -> BinControl:
        """Prepare the score from W and the bin of each gene.

        Parameters
        ----------
        membership
            (n_genes, P), 1 (or its weight) where a measured gene is in a set.
        bins
            (n_genes,) from :func:`expression_bins`.
        """
        from scipy.sparse import csr_matrix, hstack

        n_genes = len(bins)
        sizes = np.bincount(bins)
        shape = (n_genes, len(sizes))
        rows = np.arange(n_genes)
        in_bin = csr_matrix((np.ones(n_genes), (rows, bins)), shape=shape)
        bin_means = csr_matrix((1.0 / sizes[bins], (rows, bins)), shape=shape)
        per_set = np.asarray(abs(membership).sum(axis=0, dtype=np.float64)).ravel()
        per_set[per_set == 0] = 1.0
        shares = csr_matrix(in_bin.T @ membership)
        shares.sort_indices()
        shares.data /= per_set[shares.indices]
        return cls(hstack([membership, bin_means], format="csr"), per_set, shares)

    def score(self, log_expression: csr_matrix) -> NDArray[np.float64]:
        """Compute the raw score of each spot and set, in units of log expression.

        Parameters
        ----------
        log_expression
            L, (n_spots, n_genes) float64 CSR with sorted indices, from :func:`log_cp10k`.

        Returns
        -------
        (n_spots, P) float64.
        """
        n_sets = len(self.n_genes_of_set)
        # One pass over the counts for both products.
        sums = product(log_expression, self.weights)
        in_set = sums[:, :n_sets].toarray() / self.n_genes_of_set
        control = (sums[:, n_sets:] @ self.bin_shares).toarray()
        return np.asarray(in_set - control, dtype=np.float64)
