"""Pathways: gene sets, scorers, the coverage mask, and library size beside the scores.

The default score is relative to genes of the same expression level in the same spot, so that it says which programme
is on and not how many transcripts the spot gave. What a section did not measure is NaN, never zero.
"""

from __future__ import annotations

from humanst.pathways.choice import PathwayChoice, limited
from humanst.pathways.depth import LibrarySize, library_size
from humanst.pathways.gene_sets import GeneSets, ResolvedSets, read_gmt, resolve
from humanst.pathways.options import SCORERS, Scoring
from humanst.pathways.score import PathwayScores, score_section
from humanst.pathways.weighted_sets import read_weights

__all__ = [
    "SCORERS",
    "GeneSets",
    "LibrarySize",
    "PathwayChoice",
    "PathwayScores",
    "ResolvedSets",
    "Scoring",
    "library_size",
    "limited",
    "read_gmt",
    "read_weights",
    "resolve",
    "score_section",
]
