"""Targets made of raw counts: the most variable genes, and principal components of genes, fitted on training sections.

The rules are those of the release's own sets ``hvg-N`` and ``pca-K``: log1p of counts per 10,000 over all measured
genes, variance within sections, genes that the sections of at least half of the training pairs measured, and sections
of targeted panels only where there is nothing else to fit on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError

if TYPE_CHECKING:
    from stamp_train.counts import Counts

PCA_GENES = 2000
MAX_SHARE_MISSING = 0.05


@dataclass(frozen=True, slots=True)
class Fitted:
    """Genes, and what is made of them.

    Attributes
    ----------
    names
        (C,) Ensembl ids of genes, or ``PC1`` on.
    genes
        (G',) columns of the counts that are read.
    mean, loadings
        (G',) and (G', C) float64 of principal components; ``None`` for the genes themselves.
    """

    names: tuple[str, ...]
    genes: NDArray[np.int64]
    mean: NDArray[np.float64] | None = None
    loadings: NDArray[np.float64] | None = None

    def __call__(self, counts: Counts, sections: NDArray[np.str_]) -> NDArray[np.float32]:
        """The values of pairs.

        Parameters
        ----------
        counts
            With the columns that it was fitted on.
        sections
            (n,) section of each row.

        Returns
        -------
        ndarray
            (n, C) float32, NaN where a section did not measure a gene, or for components more than 5 % of the genes; a
            gene that is missing among fewer is taken to be at the mean.
        """
        logs = log_cp10k(counts.matrix)[:, self.genes]
        found = np.full((logs.shape[0], len(self.names)), np.nan, dtype=np.float32)
        for section in np.unique(sections):
            rows = np.flatnonzero(sections == section)
            measured = counts.measured[str(section)][self.genes]
            if self.loadings is None or self.mean is None:
                found[rows] = np.where(measured, logs[rows].toarray(), np.nan)
            elif (~measured).mean() <= MAX_SHARE_MISSING:
                found[rows] = logs[rows] @ self.loadings - (self.mean * measured) @ self.loadings
        return found


def log_cp10k(matrix: Any) -> Any:
    """log1p of counts per 10,000 of the row's total, (n, G) float64 CSR; a row without counts stays empty."""
    import scipy.sparse as sp

    totals = np.asarray(matrix.sum(axis=1), dtype=np.float64).ravel()
    scaled = sp.diags(1e4 / np.maximum(totals, 1)) @ matrix.astype(np.float64)
    return sp.csr_matrix(scaled.log1p())


def most_variable(
    counts: Counts, sections: NDArray[np.str_], n_genes: int, *, targeted: frozenset[str] = frozenset()
) -> Fitted:
    """The genes that vary most within sections, the most variable first; equal ones by id.

    Parameters
    ----------
    counts, sections
        Of the training pairs.
    targeted
        Sections of targeted panels; they have no say where there are others.

    Raises
    ------
    DataError
        ``too-few-genes``.
    """
    ranked = _ranked(counts, sections, targeted)
    if len(ranked) < n_genes:
        raise DataError(
            "There are fewer genes than the target set asks for",
            code="too-few-genes",
            field="target_set",
            expected=f"{n_genes} genes that the sections of half of the training pairs measured",
            found=len(ranked),
        )
    chosen = ranked[:n_genes]
    return Fitted(tuple(counts.ensembl_ids[gene] for gene in chosen), chosen)


def components(counts: Counts, sections: NDArray[np.str_], k: int, *, targeted: frozenset[str] = frozenset()) -> Fitted:
    """Principal components of the 2,000 most variable genes, centred, not scaled; the largest loading is positive.

    Parameters
    ----------
    counts, sections, targeted
        As in :func:`most_variable`.
    k
        How many.

    Raises
    ------
    DataError
        ``too-few-genes`` when there are fewer genes or pairs than components.
    """
    from scipy.linalg import eigh
    from threadpoolctl import threadpool_limits

    genes = _ranked(counts, sections, targeted)[:PCA_GENES]
    logs, taken = log_cp10k(counts.matrix)[:, genes], []
    for name in _with_a_say(sections, targeted):
        measured = counts.measured[name][genes]
        if (~measured).mean() <= MAX_SHARE_MISSING:
            taken.append((logs[np.flatnonzero(sections == name)], measured))
    n = sum(part.shape[0] for part, _ in taken)
    if k > min(len(genes), n - 1):
        raise DataError(
            "There are fewer genes or pairs than components",
            code="too-few-genes",
            field="target_set",
            expected=f"more than {k}",
            found=f"{len(genes)} genes, {n} training pairs",
        )
    measuring = sum(part.shape[0] * measured for part, measured in taken)
    mean = sum(np.asarray(part.sum(axis=0)).ravel() for part, _ in taken) / np.maximum(measuring, 1)
    with threadpool_limits(limits=1):
        _, vectors = eigh(_scatter(taken, mean), subset_by_index=(len(genes) - k, len(genes) - 1))
    vectors = vectors[:, ::-1]
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(k)])
    return Fitted(tuple(f"PC{number + 1}" for number in range(k)), genes, mean, vectors)


def _scatter(taken: list[tuple[Any, NDArray[np.bool_]]], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over rows of the products of what is centred, where a gene that was not measured lies at the mean."""
    found = np.zeros((len(mean), len(mean)))
    for part, measured in taken:
        middle, sums = mean * measured, np.asarray(part.sum(axis=0)).ravel()
        found += (part.T @ part).toarray() - np.outer(sums, middle) - np.outer(middle, sums)
        found += part.shape[0] * np.outer(middle, middle)
    return found


def _with_a_say(sections: NDArray[np.str_], targeted: frozenset[str]) -> list[str]:
    names = [str(name) for name in np.unique(sections)]
    return [name for name in names if name not in targeted] or names


def _ranked(counts: Counts, sections: NDArray[np.str_], targeted: frozenset[str]) -> NDArray[np.int64]:
    """Genes that may be chosen, the most variable first."""
    logs = log_cp10k(counts.matrix)
    squares, n_pairs, total = np.zeros(logs.shape[1]), np.zeros(logs.shape[1], dtype=np.int64), 0
    for name in _with_a_say(sections, targeted):
        part = logs[np.flatnonzero(sections == name)]
        n, measured = part.shape[0], counts.measured[name]
        within = np.asarray(part.multiply(part).sum(axis=0)).ravel() - np.asarray(part.sum(axis=0)).ravel() ** 2 / n
        squares, n_pairs, total = squares + within * measured, n_pairs + n * measured, total + n
    variance = squares / np.maximum(n_pairs, 1)
    may, ids = np.flatnonzero(2 * n_pairs >= total), np.array(counts.ensembl_ids)
    return may[np.lexsort((ids[may], -variance[may]))]
