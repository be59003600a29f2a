"""Counts with known causes: programmes, library size, batch, over-dispersion and dropout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from humanst.demo.seeding import Field, named_rng, smooth_noise
from humanst.demo.tissue import CLASSES, PROGRAMME_NAMES, Tissue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from humanst.demo.genes import DemoGenes
    from humanst.demo.layout import SectionPlan

DISPERSION = 4.0
DROPOUT = 0.25
BATCH_SD = 0.25
DONOR_SD = 0.15
# Spots where permeabilisation failed, as every real section has: spot QC must drop them by name.
FAILED_SPOTS = 2
FAILED_FACTOR = 0.02
DEEP_UM = 50.0
# Spots drawn at a time: what fits a processor's cache is drawn faster, and whole sections of bins in less memory.
BLOCK = 128
_LIBRARY_BY_CLASS = (1.25, 0.85, 0.60, 1.15, 0.50, 1.05)


@dataclass(frozen=True, slots=True)
class Expression:
    """Counts of a section's spots and the truth behind them.

    Attributes
    ----------
    counts
        (n_spots, n_genes) int32.
    library_factor
        (n_spots,) float32, expected size of the spot's library over the section's typical size.
    activity
        (n_spots, P) float32, programme activity.
    """

    counts: NDArray[np.int32]
    library_factor: Field
    activity: Field


def draw_counts(
    tissue: Tissue, plan: SectionPlan, xy_um: NDArray[np.float64], *, genes: DemoGenes, seed: int, typical_size: float
) -> Expression:
    """Draw the counts of spots centred at (n, 2) ``xy_um``.

    Negative binomial (gamma-Poisson) around rate x library size, then dropout that spares high counts.
    """
    mean, library, activity = _expected(tissue, plan, xy_um, genes=genes, seed=seed, typical_size=typical_size)
    counts, _ = _draw(mean, named_rng(seed, plan.sample_id, "counts"))
    return Expression(counts, library.astype(np.float32), activity)


def draw_again(
    tissue: Tissue,
    plan: SectionPlan,
    xy_um: NDArray[np.float64],
    *,
    genes: DemoGenes,
    seed: int,
    typical_size: float,
    copies: int,
) -> tuple[NDArray[np.int32], ...]:
    """Draw counts that the very spots of :func:`draw_counts` could as well have given: what measuring noise is.

    Every spot keeps its intensity for each gene, which is rate x library size x over-dispersion, or zero where the
    gene dropped out. Only the Poisson counts around it are drawn anew.

    Parameters
    ----------
    copies
        How many times.

    Returns
    -------
    ``copies`` arrays of (n_spots, n_genes) int32, independent of each other and of ``draw_counts`` given intensities.
    """
    mean, _, _ = _expected(tissue, plan, xy_um, genes=genes, seed=seed, typical_size=typical_size)
    _, again = _draw(mean, named_rng(seed, plan.sample_id, "counts"), named_rng(seed, plan.sample_id, "again"), copies)
    return again


def _expected(
    tissue: Tissue, plan: SectionPlan, xy_um: NDArray[np.float64], *, genes: DemoGenes, seed: int, typical_size: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], Field]:
    """Mean counts (n_spots, n_genes), library factor and activity of the spots."""
    activity = tissue.at(tissue.activity, xy_um)
    membership = tissue.at(tissue.membership, xy_um)
    library = _library(tissue, plan, xy_um, membership, seed=seed)
    rate = _rates(plan, activity, membership, genes, seed=seed)
    return rate * (library * typical_size)[:, None], library, activity


def _draw(
    mean: NDArray[np.float64], rng: np.random.Generator, again: np.random.Generator | None = None, copies: int = 0
) -> tuple[NDArray[np.int32], tuple[NDArray[np.int32], ...]]:
    """Counts around ``mean`` from ``rng``; then, of the same intensities, copies of them from ``again``."""
    lit = np.empty(mean.shape, np.int32)
    others = tuple(np.empty(mean.shape, np.int32) for _ in range(copies))
    for first in range(0, len(mean), BLOCK):
        rows = slice(first, first + BLOCK)
        intensity = mean[rows] * rng.gamma(DISPERSION, 1.0 / DISPERSION, mean[rows].shape)
        lit[rows] = rng.poisson(intensity)
        if again is not None:
            for other in others:
                other[rows] = again.poisson(intensity)
    seen = np.nonzero(lit)
    lost = rng.uniform(size=len(seen[0])) < DROPOUT * np.exp(-mean[seen])
    if again is not None:
        # Whether a gene without counts dropped out was never drawn: it is free to be drawn now.
        dropped = again.uniform(size=mean.shape) < DROPOUT * np.exp(-mean)
        dropped[seen] = lost
        for other in others:
            other[dropped] = 0
    lit[seen[0][lost], seen[1][lost]] = 0
    return lit, others


def _library(
    tissue: Tissue, plan: SectionPlan, xy_um: NDArray[np.float64], membership: Field, *, seed: int
) -> NDArray[np.float64]:
    """Library size over the typical one: by class, by a smooth field, and by spot."""
    rng = named_rng(seed, plan.sample_id, "library")
    field = tissue.at(smooth_noise(rng, tissue.mask.shape, 30.0), xy_um).astype(np.float64)
    by_class = (membership * np.array(_LIBRARY_BY_CLASS)).sum(axis=1)
    factor: NDArray[np.float64] = by_class * np.exp(0.3 * field + rng.normal(0.0, 0.1, len(xy_um)))
    deep = np.flatnonzero(tissue.at(tissue.depth_um, xy_um) > DEEP_UM)
    factor[rng.choice(deep, FAILED_SPOTS, replace=False)] = FAILED_FACTOR
    return factor


def _rates(
    plan: SectionPlan, activity: Field, membership: Field, genes: DemoGenes, *, seed: int
) -> NDArray[np.float64]:
    """(n_spots, n_genes) share of each gene in a spot's transcripts; rows sum to 1."""
    n_genes = len(genes.symbols)
    atlas = named_rng(seed, "genes")
    base = _base(genes, atlas)
    loading = atlas.uniform(1.3, 2.2, n_genes)
    taste = np.where(atlas.uniform(size=n_genes) < 0.15, 1.0, 0.0) * atlas.normal(0.0, 0.5, (len(CLASSES), n_genes))
    taste[:, np.array(genes.gene_sets) != ""] = 0.0
    donor = named_rng(seed, plan.donor_id, "genes").normal(0.0, DONOR_SD, n_genes)
    batch = named_rng(seed, plan.sample_id, "batch").normal(0.0, BATCH_SD, n_genes)
    log_rate = np.tile(base + donor + batch, (len(activity), 1))
    for p, name in enumerate(PROGRAMME_NAMES):
        members = genes.members(name)
        log_rate[:, members] += activity[:, p, None] * loading[members]
    for k in range(len(CLASSES)):
        tasted = np.flatnonzero(taste[k])
        log_rate[:, tasted] += membership[:, k, None] * taste[k, tasted]
    rate = np.exp(log_rate)
    shares: NDArray[np.float64] = rate / rate.sum(axis=1, keepdims=True)
    return shares


def _base(genes: DemoGenes, rng: np.random.Generator) -> NDArray[np.float64]:
    """Log expression of each gene: spread over orders of magnitude, mitochondrial and ribosomal genes on top."""
    base = rng.normal(0.0, 1.5, len(genes.symbols)).clip(-4.0, 3.5)
    in_set = np.array(genes.gene_sets) != ""
    base[in_set] = 0.7 + 0.45 * base[in_set]
    symbols = np.array(genes.symbols)
    base[np.char.startswith(symbols, "MT-")] += 3.8
    base[np.char.startswith(symbols, "RPL") | np.char.startswith(symbols, "RPS")] += 2.0
    return base
