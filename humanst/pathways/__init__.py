"""Pathways: gene sets, the bin-control score, its coverage mask, and library size beside it.

A pathway score here is relative to genes of the same expression level in the same spot, so that it says which programme
is on and not how many transcripts the spot gave. What a section did not measure is NaN, never zero.
"""

from __future__ import annotations

from humanst.pathways.choice import PathwayChoice, limited
from humanst.pathways.gene_sets import GeneSets, ResolvedSets, read_gmt, resolve
from humanst.pathways.score import LibrarySize, PathwayScores, library_size, score_section
from humanst.pathways.weighted_sets import read_weights

__all__ = [
    "GeneSets",
    "LibrarySize",
    "PathwayChoice",
    "PathwayScores",
    "ResolvedSets",
    "library_size",
    "limited",
    "read_gmt",
    "read_weights",
    "resolve",
    "score_section",
]
