"""What a release audit keeps of each section: small arrays of the two halves of its counts.

The sections are gone through twice, one in memory at a time. The first pass (:mod:`humanst.pathways.audit.survey`)
learns of the genes. The second, here, scores both halves of every section, and keeps of at most some ten thousand spots
in all: pathway scores, those of matched-random sets, the target genes, principal components and library size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from humanst.pathways.audit.genes import BLOCK_SPOTS
from humanst.pathways.audit.inputs import AuditOptions, AuditSection
from humanst.pathways.audit.random_sets import joined, matched_random, some_sets
from humanst.pathways.audit.survey import TARGET_GENES, Halves, Survey
from humanst.pathways.bincontrol import log_cp10k
from humanst.pathways.expression import totals_of
from humanst.pathways.score import score_section

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from humanst.pathways.audit.genes import GeneFigures
    from humanst.pathways.gene_sets import ResolvedSets
    from humanst.pathways.score import PathwayScores

# Kept over all sections: at most so many spots, in at most so many bytes; of one section never fewer than the last.
KEPT_SPOTS = 30_000
KEPT_BYTES = 192 << 20
MIN_KEPT = 50
# Sections that some spots are kept of, whatever the room.
MIN_SECTIONS = 24
# Random sets scored beside a collection: all draws of a small one, fewer of a large one.
RANDOM_SETS = 1_000
# Scores of every spot of a section held at a time: 128 MiB of float64.
SCORES_AT_A_TIME = 1 << 24


def random_collection(sets: ResolvedSets, figures: GeneFigures, options: AuditOptions) -> list[ResolvedSets]:
    """Draw the matched-random sets of a release: the same genes in every section, from those all measured."""
    n_draws = max(1, min(options.n_draws, RANDOM_SETS // max(len(sets.names), 1)))
    return [
        matched_random(sets, figures.ids, figures.mean_log, seed=options.seed, draw=draw) for draw in range(n_draws)
    ]


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and spread of the whole counts' scores of a section, over its fitting spots; NaN in a masked pathway.

    Attributes
    ----------
    n
        Spots.
    raw_mean, raw_sd, z_mean, z_sd
        (P,) float64, population sd.
    """

    n: int
    raw_mean: NDArray[np.float64]
    raw_sd: NDArray[np.float64]
    z_mean: NDArray[np.float64]
    z_sd: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SpotFeatures:
    """The kept spots of one section, or of all one after the other; the first axis of a pair is the half.

    Attributes
    ----------
    library
        (2, n) float32, log10 counts.
    pathways
        (2, n, P) float32, NaN in a masked pathway.
    random
        (n, n_draws, P) float32, first half on every draw of matched-random sets, NaN in a masked one.
    random_again
        (n, P) float32, second half on the first draw.
    log_cp10k, log_raw
        (2, n, T) float32, of the target genes.
    axes
        (n, n_folds, k) float32: first half on the axes of each fold's training sections, NaN where they were fewer.
    hvg_axes
        (2, n, k) float32: both halves on the axes of all sections' variable genes.
    """

    library: NDArray[np.float32]
    pathways: NDArray[np.float32]
    random: NDArray[np.float32]
    random_again: NDArray[np.float32]
    log_cp10k: NDArray[np.float32]
    log_raw: NDArray[np.float32]
    axes: NDArray[np.float32]
    hvg_axes: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the second pass makes of each section.

    Attributes
    ----------
    sets, random
        The gene sets, and draws of matched-random ones.
    learned
        From the first pass.
    fold_axes
        A (G, <= k) array a fold.
    hvg_axes
        (H, <= k), on the variable genes.
    k
        Axes wanted.
    options
        Of the audit.
    """

    sets: ResolvedSets
    random: list[ResolvedSets]
    learned: Survey
    fold_axes: list[NDArray[np.float64]]
    hvg_axes: NDArray[np.float64]
    k: int
    options: AuditOptions

    def room(self, n_sections: int) -> tuple[int, NDArray[np.int64]]:
        """Spots to keep of each section, and which sections to keep some of: all, or as many as there is room for."""
        n_sets = len(self.sets.names)
        n_values = (3 + len(self.random)) * n_sets + 4 * TARGET_GENES + (2 + len(self.fold_axes)) * self.k + 2
        most = min(KEPT_SPOTS, KEPT_BYTES // (4 * n_values))
        n_kept = min(n_sections, max(most // MIN_KEPT, MIN_SECTIONS))
        # Evenly over their order, so that every study has its share.
        chosen = np.arange(n_kept, dtype=np.int64) * n_sections // max(n_kept, 1)
        return max(MIN_KEPT, -(-most // max(n_kept, 1))), chosen


def features_of(section: AuditSection, place: int, n_kept: int, wanted: Wanted) -> tuple[SpotFeatures | None, Moments]:
    """Thin a section as the first pass did, and keep what the figures of a release need of it.

    Parameters
    ----------
    section
        One that the first pass could use.
    place
        Its number among all, for the draw of spots.
    n_kept
        Spots to keep at most; 0 for the moments alone.
    wanted
        What to make.
    """
    options = wanted.options
    halves = Halves.of(section, options.seed)
    if not n_kept:
        return None, _moments(halves, wanted.sets, options)
    rows = halves.some(n_kept, np.random.default_rng([options.seed, 2, place]))
    first, second = halves.parts
    parts = [_expression(half, rows, halves.ids, wanted) for half in halves.parts]
    random = _scores_at(halves, first, joined(wanted.random), options, rows)
    return SpotFeatures(
        library=np.stack([np.log10(totals_of(half)[rows]) for half in halves.parts]).astype(np.float32),
        pathways=np.stack([_scores_at(halves, half, wanted.sets, options, rows) for half in halves.parts]),
        random=random.reshape(len(rows), len(wanted.random), len(wanted.sets.names)),
        random_again=_scores_at(halves, second, wanted.random[0], options, rows),
        log_cp10k=np.stack([part.log_cp10k for part in parts]),
        log_raw=np.stack([part.log_raw for part in parts]),
        axes=parts[0].axes,
        hvg_axes=np.stack([part.hvg_axes for part in parts]),
    ), _moments(halves, wanted.sets, options)


@dataclass(frozen=True, slots=True)
class _Expression:
    """Genes and axes of some spots of one half, as in :class:`SpotFeatures` without the axis of halves."""

    log_cp10k: NDArray[np.float32]
    log_raw: NDArray[np.float32]
    axes: NDArray[np.float32]
    hvg_axes: NDArray[np.float32]


def _expression(counts: csr_matrix, rows: NDArray[np.int64], ids: NDArray[np.str_], wanted: Wanted) -> _Expression:
    """Read target genes and axes off the counts of some spots, some of them at a time."""
    learned, k = wanted.learned, wanted.k
    columns = np.searchsorted(ids, learned.figures.ids)
    targets = columns[learned.targets]
    out = _Expression(
        log_cp10k=np.zeros((len(rows), len(targets)), dtype=np.float32),
        log_raw=np.zeros((len(rows), len(targets)), dtype=np.float32),
        axes=np.full((len(rows), len(wanted.fold_axes), k), np.nan, dtype=np.float32),
        hvg_axes=np.full((len(rows), k), np.nan, dtype=np.float32),
    )
    for start in range(0, len(rows), BLOCK_SPOTS):
        here = slice(start, start + BLOCK_SPOTS)
        block = counts[rows[here]]
        logs = log_cp10k(block)
        out.log_cp10k[here] = logs[:, targets].toarray()
        out.log_raw[here] = np.log1p(block[:, targets].toarray())
        logs = logs[:, columns]
        for fold, axes in enumerate(wanted.fold_axes):
            out.axes[here, fold, : axes.shape[1]] = logs @ axes
        out.hvg_axes[here, : wanted.hvg_axes.shape[1]] = logs[:, learned.hvg] @ wanted.hvg_axes
    return out


def _scores(halves: Halves, counts: csr_matrix, sets: ResolvedSets, options: AuditOptions) -> PathwayScores:
    section = halves.section
    return score_section(
        counts,
        halves.ids,
        np.ones(len(halves.ids), dtype=np.bool_),
        sets,
        in_fit=section.in_fit,
        targeted=section.targeted,
        scoring=options.scoring,
        lattice=(section.row, section.col, section.lattice),
    )


def _parts_of(sets: ResolvedSets, n_spots: int) -> Iterator[ResolvedSets]:
    """As many sets at a time as memory should hold scores of; one part of no sets where there are none."""
    size = max(SCORES_AT_A_TIME // max(n_spots, 1), 1)
    for start in range(0, max(len(sets.names), 1), size):
        yield some_sets(sets, start, start + size)


def _scores_at(
    halves: Halves, counts: csr_matrix, sets: ResolvedSets, options: AuditOptions, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(len(rows), P) scores of some spots of a section."""
    parts = _parts_of(sets, counts.shape[0])
    return np.concatenate([_scores(halves, counts, part, options).scores[rows] for part in parts], axis=1)


def _moments(halves: Halves, sets: ResolvedSets, options: AuditOptions) -> Moments:
    """Mean and sd of raw scores and of z; the z are those of the section's targets, clipped where those are."""
    fit = np.flatnonzero(np.asarray(halves.section.in_fit, dtype=np.bool_) & (totals_of(halves.whole) > 0))
    figures = []
    for part in _parts_of(sets, halves.whole.shape[0]):
        found = _scores(halves, halves.whole, part, options)
        mean, sd = (np.where(found.is_valid, figure, np.nan) for figure in (found.raw_mean, found.raw_sd))
        z = found.scores[fit].astype(np.float64)
        if not options.scoring.z:
            z = (z - mean) / sd
        z_mean = z.mean(axis=0)
        z -= z_mean
        z *= z
        figures.append((mean, sd, z_mean, np.sqrt(z.mean(axis=0))))
    raw_mean, raw_sd, z_mean, z_sd = (np.concatenate(columns) for columns in zip(*figures, strict=True))
    return Moments(len(fit), raw_mean, raw_sd, z_mean, z_sd)


def concatenated(parts: list[SpotFeatures]) -> SpotFeatures:
    """Put the spots of all sections one after the other."""
    first = ("random", "random_again", "axes")
    names = [field.name for field in fields(SpotFeatures)]
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts], axis=int(name not in first)) for name in names
    }
    return SpotFeatures(**joined)


def no_spots(wanted: Wanted) -> SpotFeatures:
    """Nothing of any section, in the shapes of something."""
    n_sets, k = len(wanted.sets.names), wanted.k
    shapes = {
        "library": (2, 0),
        "pathways": (2, 0, n_sets),
        "random": (0, len(wanted.random), n_sets),
        "random_again": (0, n_sets),
        "log_cp10k": (2, 0, len(wanted.learned.targets)),
        "log_raw": (2, 0, len(wanted.learned.targets)),
        "axes": (0, len(wanted.fold_axes), k),
        "hvg_axes": (2, 0, k),
    }
    return SpotFeatures(**{name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()})
