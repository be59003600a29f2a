"""What every scorer is given and gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

import numpy as np

from humanst.pathways.sparse import product

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from humanst.pathways.expression import Block, Expression
    from humanst.pathways.gene_sets import ResolvedSets


@dataclass(frozen=True, slots=True)
class SetWeights:
    """Gene sets on the measured genes of a section.

    Attributes
    ----------
    matrix
        W, (n_genes, P) float64 CSR with an entry for every measured gene of a set: 1, or the gene's weight.
    n_measured
        m, (P,) int64, genes of each set that were measured.
    is_weighted
        Whether genes have weights of their own.
    """

    matrix: csr_matrix
    n_measured: NDArray[np.int64]
    is_weighted: bool

    @classmethod
    def of(cls, sets: ResolvedSets, genes: NDArray[np.str_]) -> SetWeights:
        """Put gene sets on the measured genes, which are sorted; genes that were not measured are left out."""
        from scipy.sparse import csr_matrix

        weights = getattr(sets, "weights", None)
        place = {gene: row for row, gene in enumerate(genes.tolist())}
        rows: list[int] = []
        columns: list[int] = []
        data: list[float] = []
        for index, members in enumerate(sets.ensembl_ids):
            of_members = [1.0] * len(members) if weights is None else weights[index]
            found = [(place[gene], weight) for gene, weight in zip(members, of_members, strict=True) if gene in place]
            rows += [row for row, _ in found]
            data += [weight for _, weight in found]
            columns += [index] * len(found)
        places = (np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64))
        matrix = csr_matrix((np.array(data, dtype=np.float64), places), shape=(len(genes), len(sets.names)))
        return cls(matrix, np.bincount(places[1], minlength=len(sets.names)).astype(np.int64), weights is not None)

    def only(self, chosen: NDArray[np.int64]) -> SetWeights:
        """Return some of the sets."""
        return SetWeights(self.matrix[:, chosen], self.n_measured[chosen], self.is_weighted)

    @property
    def norm(self) -> NDArray[np.float64]:
        """(P,) the sum of absolute weights, which is m where genes have none; 1 for a set of nothing but zeros."""
        sums = np.asarray(abs(self.matrix).sum(axis=0, dtype=np.float64)).ravel()
        return np.where(sums > 0, sums, 1.0)


class Scorer(Protocol):
    """A score, ready for any spot of one section."""

    takes_weights: ClassVar[bool]
    """Whether weights of genes mean something to it."""
    n_bins: int
    """Expression bins it used; 0 for a scorer that has none."""

    @classmethod
    def fit(cls, expression: Expression, sets: SetWeights) -> Self:
        """Take from the fitting spots of a section what the score needs; every set has measured genes."""
        ...

    def score(self, block: Block) -> NDArray[np.float64]:
        """Score a block of spots.

        Returns
        -------
        (n, P) float64, finite also for a spot without counts, whose scores mean nothing. A spot's scores do not
        depend on the spots beside it, nor a set's on the sets beside it.
        """
        ...


@dataclass(frozen=True, slots=True)
class LinearScorer:
    """A score that is linear in log expression, ``(L @ matrix) - shift``: one sparse product.

    Attributes
    ----------
    matrix
        (n_genes, P) float64 CSR.
    shift
        (P,) float64.
    n_bins
        See :class:`Scorer`.
    """

    takes_weights: ClassVar[bool] = True
    matrix: csr_matrix
    shift: NDArray[np.float64]
    n_bins: int = 0

    def score(self, block: Block) -> NDArray[np.float64]:
        """See :meth:`Scorer.score`."""
        return np.asarray(product(block.logs, self.matrix).toarray() - self.shift, dtype=np.float64)


def scaled(
    matrix: csr_matrix, *, rows: NDArray[np.float64] | None = None, columns: NDArray[np.float64] | None = None
) -> csr_matrix:
    """Multiply the entries of a CSR matrix by a factor of their row and of their column."""
    result = matrix.copy()
    if rows is not None:
        result.data *= np.repeat(rows, np.diff(matrix.indptr))
    if columns is not None:
        result.data *= columns[matrix.indices]
    return result
