"""The embedded mini atlas: vendor-format studies with known truth.

:func:`write_atlas` writes a Visium study (Space Ranger 2 layout), a Visium study in the Space Ranger 1 layout and a
legacy ST study, with a catalog and a mirror folder; the engine reads them as it reads real data. :func:`load_truth`
gives what was painted, for tests.
"""

from __future__ import annotations

from humanst.demo.atlas import DemoAtlas, write_atlas
from humanst.demo.layout import SectionPlan, StudyPlan, atlas_layout
from humanst.demo.truth import Truth, load_truth

__all__ = ["DemoAtlas", "SectionPlan", "StudyPlan", "Truth", "atlas_layout", "load_truth", "write_atlas"]
