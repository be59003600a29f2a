"""Sections planned at random: each has a tissue, size, cover, scale and turn of its own.

That no clean one is refused is asked in ``tests/faults/test_clean.py``, and over any number of them in
``benchmarks/clean_sections.py``.
"""

from __future__ import annotations

from humanst.demo import random_study


def test_planned_sections_differ_in_everything() -> None:
    plans = random_study("xenium", 20).sections
    for name in (
        "section_id",
        "donor_id",
        "block",
        "um_per_pixel",
        "width_um",
        "height_um",
        "coverage",
        "turn_degrees",
    ):
        assert len({getattr(plan, name) for plan in plans}) == 20, name
    assert plans[:3] == random_study("xenium", 3).sections
    assert not {plan.block for plan in plans} & {plan.block for plan in random_study("xenium", 20, seed=1).sections}
