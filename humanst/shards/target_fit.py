"""What target sets are fitted with, over training pairs alone: the most variable genes, principal components.

Sums are float64 in a fixed order, section after section by sample_id, and no BLAS adds them up. The eigenvectors are
LAPACK's, in one thread, with the largest loading of each made positive: the same for one lock file and CPU family.
They are kept as float32 in the release, and scores are made from what is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError
from humanst.runner import Outcome
from humanst.shards.target_counts import AxisReader, log_expression
from humanst.shards.target_layout import SectionRows
from humanst.shards.target_sets import MAX_SHARE_MISSING, PCA_GENES
from humanst.shards.target_sources import MOMENTS

# Sections whose products one task adds up: fixed, for the order of sums must not depend on who adds.
SECTIONS_A_TASK = 16


@dataclass(frozen=True, slots=True)
class RankedGenes:
    """Genes that may be chosen, the most variable first; equal ones by id.

    Attributes
    ----------
    variance
        Of log1p(CP10k) within sections, over the training pairs whose section measured the gene (population).
    n_pairs
        How many these are.
    """

    ensembl_ids: NDArray[np.str_]
    symbols: NDArray[np.str_]
    variance: NDArray[np.float64]
    n_pairs: NDArray[np.int64]

    def first(self, n: int) -> RankedGenes:
        """The first ``n``."""
        return RankedGenes(self.ensembl_ids[:n], self.symbols[:n], self.variance[:n], self.n_pairs[:n])


@dataclass(frozen=True, slots=True)
class Components:
    """Principal components.

    Attributes
    ----------
    mean
        ``(n_genes,)`` float64: what a gene that a section lacks is taken to be, so that it adds nothing.
    loadings
        ``(n_genes, k)`` float32.
    variance, share
        ``(k,)`` of the training pairs along each, and its share of all variance of these genes.
    fitted_on
        Numbers of the sections.
    """

    genes: RankedGenes
    mean: NDArray[np.float64]
    loadings: NDArray[np.float32]
    variance: NDArray[np.float64]
    share: NDArray[np.float64]
    fitted_on: tuple[int, ...]


def rank_genes(sections: Sequence[SectionRows], sources: Sequence[Path]) -> RankedGenes:
    """Rank the genes that the sections of at least half of the training pairs measured.

    Raises
    ------
    DataError
        ``no-training-pairs`` for a release without any.
    """
    fitted = [number for number, section in enumerate(sections) if section.fits]
    if not fitted:
        raise DataError(
            "There is nothing to fit a target set on",
            code="no-training-pairs",
            expected="sections in the train split",
            found="none",
            done="The set was not made",
        )
    reader = AxisReader()
    symbol_of: dict[str, str] = {}
    for number in fitted:
        genes = reader.of(sources[number])
        for gene, symbol in zip(genes.ensembl_ids.tolist(), genes.symbols.tolist(), strict=True):
            symbol_of.setdefault(gene, symbol)
    ids = np.array(sorted(symbol_of), dtype=np.str_)
    squares, n_pairs = np.zeros(len(ids)), np.zeros(len(ids), dtype=np.int64)
    for number in fitted:
        genes = reader.of(sources[number])
        places = np.searchsorted(ids, genes.ensembl_ids[genes.measured])
        squares[places] += np.load(sources[number] / MOMENTS, allow_pickle=False)[1, genes.measured]
        n_pairs[places] += len(sections[number].spot_ids)
    total = sum(len(sections[number].spot_ids) for number in fitted)
    variance = squares / np.maximum(n_pairs, 1)
    may = np.flatnonzero(2 * n_pairs >= total)
    order = may[np.lexsort((ids[may], -variance[may]))]
    symbols = np.array([symbol_of[gene] for gene in ids[order].tolist()], dtype=np.str_)
    return RankedGenes(ids[order], symbols, variance[order], n_pairs[order])


def most_variable(ranked: RankedGenes, n: int) -> RankedGenes:
    """The ``n`` most variable genes.

    Raises
    ------
    DataError
        ``too-few-genes`` when there are fewer.
    """
    if n > len(ranked.ensembl_ids):
        raise _too_few("genes measured for half of the training pairs", n, len(ranked.ensembl_ids))
    return ranked.first(n)


def _too_few(what: str, wanted: int, found: int) -> DataError:
    return DataError(
        f"There are too few {what}",
        code="too-few-genes",
        expected=f"at least {wanted}",
        found=str(found),
        done="The set was not made",
        todo="Ask for fewer",
    )


@dataclass(frozen=True, slots=True)
class ProductTask:
    """Some sections whose products of genes are to be added up; picklable."""

    sources: tuple[Path, ...]
    place_of: Mapping[str, int]
    mean: NDArray[np.float64]


def products(task: ProductTask) -> NDArray[np.float64]:
    """``(n_genes, n_genes)`` sum over pairs of the products of centred genes; a gene that is lacking adds nothing."""
    reader, n_genes = AxisReader(task.place_of), len(task.mean)
    total, sums, n_pairs = np.zeros((n_genes, n_genes)), np.zeros(n_genes), 0
    for source in task.sources:
        logs, _ = log_expression(source, reader)
        # A sparse product adds the pairs one after the other.
        found = (logs.T.tocsr() @ logs).toarray()
        own = np.asarray(np.bincount(logs.indices, weights=logs.data, minlength=n_genes), dtype=np.float64)
        if (lacking := ~reader.is_measured(source)).any():
            _centre(found, own, task.mean, logs.shape[0])
            found[lacking, :] = 0
            found[:, lacking] = 0
        else:
            sums += own
            n_pairs += logs.shape[0]
        total += found
    # Once for all sections that have every gene: tables of all genes by all genes are most of the work.
    _centre(total, sums, task.mean, n_pairs)
    return total


def _centre(found: NDArray[np.float64], sums: NDArray[np.float64], mean: NDArray[np.float64], n_pairs: int) -> None:
    """Turn sums of products, in place, into sums of products around the mean."""
    across = np.multiply.outer(sums, mean)
    found -= across
    found -= across.T
    found += n_pairs * np.multiply.outer(mean, mean)


Run = Callable[
    [Sequence[ProductTask], Callable[[ProductTask], NDArray[np.float64]]],
    Generator[Outcome[ProductTask, NDArray[np.float64]]],
]


def fit_components(
    ranked: RankedGenes, k: int, sections: Sequence[SectionRows], sources: Sequence[Path], run: Run
) -> Components:
    """Principal components of the most variable genes.

    Parameters
    ----------
    run
        Runs tasks, here or elsewhere.

    Raises
    ------
    DataError
        ``too-few-genes`` when there are fewer genes, or pairs, than components.
    """
    genes = ranked.first(PCA_GENES)
    place_of = {gene: place for place, gene in enumerate(genes.ensembl_ids.tolist())}
    reader = AxisReader(place_of)
    fitted = [n for n, section in enumerate(sections) if section.fits and not lacks_too_much(reader, sources[n])]
    n_pairs = sum(len(sections[number].spot_ids) for number in fitted)
    if k > min(len(place_of), n_pairs):
        raise _too_few("genes or training pairs for so many components", k, min(len(place_of), n_pairs))
    mean = mean_logs(fitted, sections, sources, reader)
    groups = [fitted[start : start + SECTIONS_A_TASK] for start in range(0, len(fitted), SECTIONS_A_TASK)]
    tasks = [ProductTask(tuple(sources[number] for number in group), place_of, mean) for group in groups]
    covariance = _in_order(tasks, run) / n_pairs
    values, vectors = _eigen(covariance, k)
    share = values / max(float(np.trace(covariance)), np.finfo(float).tiny)
    return Components(genes, mean, vectors.astype(np.float32), values, share, tuple(fitted))


def lacks_too_much(reader: AxisReader, source: Path) -> bool:
    """Whether a section lacks too many genes of the common axis to be placed by the others."""
    return float((~reader.is_measured(source)).mean()) > MAX_SHARE_MISSING


def mean_logs(
    fitted: Sequence[int], sections: Sequence[SectionRows], sources: Sequence[Path], reader: AxisReader
) -> NDArray[np.float64]:
    """``(n_genes,)`` mean of log1p(CP10k) over the pairs of some sections, each gene over those that measured it."""
    sums, n_pairs = np.zeros(len(reader.place_of)), np.zeros(len(reader.place_of), dtype=np.int64)
    for number in fitted:
        genes, n_rows = reader.of(sources[number]), len(sections[number].spot_ids)
        here = genes.measured & (genes.places >= 0)
        sums[genes.places[here]] += np.load(sources[number] / MOMENTS, allow_pickle=False)[0, here] * n_rows
        n_pairs[genes.places[here]] += n_rows
    return sums / np.maximum(n_pairs, 1)


def _in_order(tasks: Sequence[ProductTask], run: Run) -> NDArray[np.float64]:
    """The sum over all tasks, in their order, whichever ends first."""
    waiting: dict[int, NDArray[np.float64]] = {}
    total, n_added = np.zeros((len(tasks[0].mean),) * 2), 0
    with closing(run(tasks, products)) as outcomes:
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
            if outcome.result is not None:
                waiting[outcome.position] = outcome.result
            while n_added in waiting:
                total += waiting.pop(n_added)
                n_added += 1
    return total


def _eigen(covariance: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ``k`` largest eigenvalues, descending, and their vectors as columns of fixed sign."""
    from scipy.linalg import eigh
    from threadpoolctl import threadpool_limits

    n = len(covariance)
    # How many threads share the work changes the order of sums.
    with threadpool_limits(1):
        values, vectors = eigh(covariance, subset_by_index=(n - k, n - 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.where(vectors[largest, np.arange(k)] < 0, -1.0, 1.0)
    return np.maximum(values, 0), vectors * signs
