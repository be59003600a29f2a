"""How far a score stands for what it is taken for: of a panel for all genes, and of a target for its patch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.errors import DataError
from humanst.pathways.audit.correlation import pearson
from humanst.pathways.audit.section import expression_of, scores_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from humanst.pathways.audit.inputs import AuditOptions, AuditSection
    from humanst.pathways.gene_sets import ResolvedSets

WEAK_BELOW = 0.5
# Squares of n x n targets within squares of m x m: they cover 4/9, 1/4 and 1/9 of them.
BLOCKS = ((2, 3), (1, 2), (1, 3))
# Overlapping blocks are many times their section; this many, evenly spread, are enough for a correlation.
MOST_BLOCKS = 4096
_PANEL_COLUMNS = ("sample_id", "panel", "pathway", "n_panel_genes", "n_measured", "r", "weak")
_GEOMETRY_COLUMNS = (
    "sample_id",
    "target_side_um",
    "block_side_um",
    "covered_share",
    "n_blocks",
    "pathway",
    "r",
    "weak",
)


def agreement_by_panel(
    section: AuditSection, sets: ResolvedSets, panels: Mapping[str, NDArray[np.bool_]], options: AuditOptions
) -> pd.DataFrame:
    """Correlate scores from a panel's genes alone with scores from all genes of the same section.

    Counts of other genes are taken away before totals, bins and coverage, as if they had never been measured. The
    counts that stay are the same on both sides, noise included, so a real panel of its own chemistry agrees less; and
    noise that differs, for other genes were taken away, lowers the figure of a shallow section.

    Parameters
    ----------
    section
        A section of the whole transcriptome; of a targeted one, the comparison is with its own panel.
    panels
        Name of a panel -> (n_genes,) bool, the genes of the section that are on it.
    sets, options
        Gene sets, and the scorer.

    Returns
    -------
    One row a panel and pathway: sample_id, panel, pathway, n_panel_genes (measured genes of the whole panel),
    n_measured (of the pathway, on the panel), r (Pearson over the fitting spots; NaN where either side is masked, by
    the rule of targeted panels on the panel's side) and weak (r is below 0.5; False where r is NaN).

    Raises
    ------
    DataError
        ``audit-shape`` when a panel is not one flag a gene.
    """
    import pandas as pd

    if not panels:
        return _empty(_PANEL_COLUMNS)
    fit = expression_of(section).fit
    whole = scores_of(section, sets, options.scoring)
    frames = []
    for name, on_panel in panels.items():
        if np.shape(on_panel) != section.measured.shape:
            what = "a panel has not one flag for each gene of the section"
            expected, found = section.measured.shape, np.shape(on_panel)
            raise DataError(
                what, code="audit-shape", section=section.sample_id, field=name, expected=expected, found=found
            )
        measured = section.measured & np.asarray(on_panel, dtype=np.bool_)
        scores = scores_of(section, sets, options.scoring, measured=measured, targeted=True)
        r = pearson(scores.scores[fit], whole.scores[fit])
        columns: dict[str, Any] = {
            "sample_id": section.sample_id,
            "panel": name,
            "pathway": list(sets.names),
            "n_panel_genes": int(measured.sum()),
            "n_measured": scores.n_measured,
            "r": r,
            "weak": r < WEAK_BELOW,
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def agreement_by_geometry(section: AuditSection, sets: ResolvedSets, options: AuditOptions) -> pd.DataFrame:
    """Correlate the scores of targets with those of larger squares they lie in, by the share they cover of them.

    What a patch shows and its target does not cover is what this is about: a 55 um spot covers 19 % of a 112 um
    patch. Where targets are squares that touch, counts pooled over 3 x 3 of them stand for the patch, and one of them
    for a target that covers a ninth. Both sides hold the target's own counts, noise included, and a small target
    has more noise, so the figure mixes geometry and depth as targets do.

    Parameters
    ----------
    section
        A section of square targets that touch (Xenium and Visium HD as pooled here).
    sets, options
        Gene sets, and the scorer; smoothing is left out, for blocks overlap.

    Returns
    -------
    One row a share and pathway: sample_id, target_side_um, block_side_um, covered_share, n_blocks (blocks whose
    targets are all in the fit), pathway, r (Pearson over blocks) and weak (r is below 0.5; False where r is NaN).
    Without rows where the lattice does not allow it, and ``attrs["reason"]`` says why: ``not-contiguous`` for targets
    with gaps between them, ``no-blocks`` where no block is whole.
    """
    import pandas as pd

    if section.lattice != "square" or section.target_shape != "square":
        return _empty(_GEOMETRY_COLUMNS, "not-contiguous")
    fit = expression_of(section).fit
    frames = []
    for inner, outer in BLOCKS:
        blocks = _blocks(section, fit, outer)
        if not len(blocks):
            continue
        within = slice((outer - inner) // 2, (outer - inner) // 2 + inner)
        r = pearson(
            _block_scores(section, sets, options, blocks[:, within, within]),
            _block_scores(section, sets, options, blocks),
        )
        columns: dict[str, Any] = {
            "sample_id": section.sample_id,
            "target_side_um": inner * section.target_side_um,
            "block_side_um": outer * section.target_side_um,
            "covered_share": (inner / outer) ** 2,
            "n_blocks": len(blocks),
            "pathway": list(sets.names),
            "r": r,
            "weak": r < WEAK_BELOW,
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True) if frames else _empty(_GEOMETRY_COLUMNS, "no-blocks")


def _empty(columns: tuple[str, ...], reason: str | None = None) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame({name: [] for name in columns})
    if reason is not None:
        frame.attrs["reason"] = reason
    return frame


def _blocks(section: AuditSection, fit: NDArray[np.bool_], side: int) -> NDArray[np.int64]:
    """(n, side, side) the spots of each square of ``side`` x ``side`` places whose spots are all in the fit."""
    spots = np.flatnonzero(fit)
    row, col = section.row[spots].astype(np.int64), section.col[spots].astype(np.int64)
    if not len(spots):
        return np.zeros((0, side, side), dtype=np.int64)
    row, col = row - row.min(), col - col.min()
    at = np.full((int(row.max()) + side, int(col.max()) + side), -1, dtype=np.int64)
    at[row, col] = spots
    windows = np.lib.stride_tricks.sliding_window_view(at, (side, side))
    whole: NDArray[np.bool_] = np.all(windows >= 0, axis=(2, 3))
    step = 1
    while whole[::step, ::step].sum() > MOST_BLOCKS:
        step += 1
    return np.ascontiguousarray(windows[::step, ::step][whole[::step, ::step]])


def _block_scores(
    section: AuditSection, sets: ResolvedSets, options: AuditOptions, members: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Scores of pooled counts, a row a block; ``members`` are the spots of each, (n, ...)."""
    from scipy.sparse import csr_matrix

    n_blocks = len(members)
    spots = members.reshape(n_blocks, -1)
    pointers = np.arange(n_blocks + 1) * spots.shape[1]
    ones = np.ones(spots.size, dtype=np.int64)
    pool = csr_matrix((ones, spots.ravel(), pointers), shape=(n_blocks, section.counts.shape[0]))
    pooled = replace(
        section,
        counts=csr_matrix(pool @ section.counts),
        in_fit=np.ones(n_blocks, dtype=np.bool_),
        row=np.arange(n_blocks),
        col=np.zeros(n_blocks, dtype=np.int64),
    )
    return scores_of(pooled, sets, replace(options.scoring, smooth=0.0)).scores
