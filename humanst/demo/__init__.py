"""The embedded mini atlas: vendor-format studies with known truth.

:func:`write_atlas` writes five studies, one a kind: Visium in the Space Ranger 2 and in the Space Ranger 1 layout,
legacy ST, Xenium with an H&E image that lies turned on it, and Visium HD; with a catalog and a mirror folder. The
engine reads them as it reads real data. All are drawn from one model of tissue and genes, and one block is cut for four
of the platforms, so that they can be held against each other. :func:`load_truth` gives what was painted, for tests.
"""

from __future__ import annotations

from humanst.demo.atlas import DemoAtlas, write_atlas
from humanst.demo.layout import SectionPlan, StudyPlan, atlas_layout, random_study
from humanst.demo.truth import Truth, load_truth

__all__ = [
    "DemoAtlas",
    "SectionPlan",
    "StudyPlan",
    "Truth",
    "atlas_layout",
    "load_truth",
    "random_study",
    "write_atlas",
]
