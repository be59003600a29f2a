"""Copies of one image: any true copy passes, exchanged factors and images of another size are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from humanst.findings import Findings
from humanst.harmonize.image_sizes import check_image_sizes

FULL = (24240, 22000)
COPIES = {"image": 1.0, "hires": 2000 / 24240, "lowres": 600 / 24240}


def sizes(full: tuple[int, int] = FULL) -> dict[str, tuple[int, int]]:
    return {role: (round(full[0] * scale), round(full[1] * scale)) for role, scale in COPIES.items()}


def size_codes(sizes_px: dict[str, tuple[int, int]], scales: dict[str, float]) -> set[str]:
    findings = Findings()
    check_image_sizes(sizes_px, scales, findings, file="scalefactors_json.json")
    assert findings.refused == bool(len(findings))
    return findings.codes()


@given(
    width=st.integers(2000, 60000),
    height=st.integers(2000, 60000),
    full_is_here=st.booleans(),
    longest=st.sampled_from([2000, 4000, 6000]),
)
def test_true_copies_of_any_image_pass(width: int, height: int, full_is_here: bool, longest: int) -> None:
    scales = {role: min(1.0, side / max(width, height)) for role, side in (("hires", longest), ("lowres", 600))}
    sizes_px = {role: (round(width * scale), round(height * scale)) for role, scale in scales.items()}
    if full_is_here:
        scales["image"], sizes_px["image"] = 1.0, (width, height)
    assert size_codes(sizes_px, scales) == set()


def test_swapped_scale_factors_are_refused() -> None:
    swapped = {**COPIES, "hires": COPIES["lowres"], "lowres": COPIES["hires"]}
    assert size_codes(sizes(), swapped) == {"scalefactors-swapped", "image-size"}
    only_hires = {"hires": sizes()["hires"]}
    assert size_codes(only_hires, swapped) == {"scalefactors-swapped"}, "also where one copy is here"


@pytest.mark.parametrize("factor", [0.5, 2.0, 0.99])
def test_an_image_of_another_size_is_refused(factor: float) -> None:
    """The lattice and the fiducials are in full-resolution pixels both: they agree whatever image is given."""
    other = {**sizes(), "image": (round(FULL[0] * factor), round(FULL[1] * factor))}
    assert size_codes(other, COPIES) == {"image-size"}


def test_copies_without_the_full_image_are_compared_with_each_other() -> None:
    here = {role: size for role, size in sizes().items() if role != "image"}
    assert size_codes(here, COPIES) == set()
    assert size_codes({**here, "lowres": (600, 500)}, COPIES) == {"image-size"}


def test_a_factor_of_one_written_by_hand_is_refused() -> None:
    assert size_codes(sizes(), {**COPIES, "hires": 1.0}) == {"image-size"}


def test_one_copy_alone_tells_nothing() -> None:
    assert size_codes({"hires": (2000, 1815)}, {"hires": 0.08}) == set()
