"""What pathway targets are worth: measured on sections and on a release, each figure beside random gene sets.

Aggregating genes into pathways is meant to remove noise and keep the spatial signal. Whether it did is measured here,
and a figure that matched-random sets reach as well says nothing for the pathway.
"""

from __future__ import annotations
