"""Spot QC names every drop; the tissue mask and the stain check on synthetic and real images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from humanst.findings import Findings
from humanst.harmonize.spots import SpotQC, measure, select_spots
from humanst.harmonize.tissue import TissueMask, check_stain, tissue_mask


@given(st.integers(0, 2**32 - 1))
def test_spots_and_counts_in_equal_out_plus_named_drops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dense = rng.poisson(rng.choice([0.0, 0.5, 4.0], size=(30, 1)), size=(30, 120))
    counts = csr_matrix(dense)
    ids = np.array([f"s{n:02d}" for n in range(30)])
    measures = measure(counts, np.arange(120) < 5)
    keep, drops, flags = select_spots(measures, ids, SpotQC(min_counts=100, min_genes=40))
    assert keep.sum() + sum(drop.n for drop in drops) == 30
    assert dense[keep].sum() + sum(drop.counts for drop in drops) == dense.sum()
    expected = (dense.sum(1) >= 100) & ((dense > 0).sum(1) >= 40)
    assert (keep == expected).all()
    high = dense[:, :5].sum(1) / np.maximum(dense.sum(1), 1) > 0.3
    assert ((flags == "high-mt") == high).all()


def test_explicit_zeros_are_not_detected_genes() -> None:
    counts = csr_matrix((np.array([0, 3, 0, 2]), np.array([0, 1, 0, 2]), np.array([0, 2, 4])), shape=(2, 3))
    assert measure(counts, np.zeros(3, dtype=bool)).n_genes.tolist() == [1, 1]


def test_a_targeted_panel_has_its_own_threshold() -> None:
    assert SpotQC.for_recipe(targeted=True).min_counts == 30
    assert SpotQC.for_recipe(targeted=False, overrides={"min_genes": 7}).min_genes == 7


def test_tissue_fraction_equals_a_direct_count() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((60, 80)) > 0.6
    tissue = TissueMask(mask=mask, um_per_pixel=8.0, source="test")
    centres = np.array([[320.0, 240.0], [0.0, 0.0], [640.0, 480.0], [100.0, 400.0]])
    shares = tissue.fraction(centres, 112.0)
    for (x, y), share in zip(centres, shares, strict=True):
        x0, x1, y0, y1 = (round(v / 8) for v in (x - 56, x + 56, y - 56, y + 56))
        window = mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
        assert share == pytest.approx(window.sum() / ((x1 - x0) * (y1 - y0)), abs=1e-6)


def disc(colour: tuple[int, int, int], background: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:300, :300]
    inside = (x - 150) ** 2 + (y - 140) ** 2 < 80**2
    rgb = np.empty((300, 300, 3), dtype=np.uint8)
    rgb[:], rgb[inside] = background, colour
    noise = np.random.default_rng(1).integers(-6, 7, rgb.shape)
    return np.clip(rgb.astype(int) + noise, 0, 255).astype(np.uint8), inside


@pytest.mark.parametrize("background", [(244, 243, 245), (189, 191, 188), (219, 207, 223)])
def test_the_mask_finds_a_pink_disc_on_any_glass(background: tuple[int, int, int]) -> None:
    pink = tuple(int(value * factor) for value, factor in zip(background, (0.85, 0.6, 0.8), strict=True))
    rgb, inside = disc(pink, background)
    mask = tissue_mask(rgb, 8.0).mask
    assert (mask == inside).mean() > 0.99
    findings = Findings()
    check_stain(rgb, findings, file="x.png")
    assert not findings.refused


def test_blacked_out_surroundings_are_not_tissue() -> None:
    rgb, inside = disc((180, 120, 170), (230, 228, 231))
    y, x = np.mgrid[:300, :300]
    rgb[(x - 150) ** 2 + (y - 140) ** 2 > 100**2] = 0
    assert (tissue_mask(rgb, 8.0).mask == inside).mean() > 0.98


@pytest.mark.parametrize("colour", [(20, 180, 60), (200, 190, 30), (30, 160, 160)])
def test_fluorescence_hues_are_refused(colour: tuple[int, int, int]) -> None:
    rgb, _ = disc(colour, (3, 3, 3))
    findings = Findings(section="s1")
    check_stain(rgb, findings, file="if.png")
    assert findings.codes() == {"not-he"}
    assert "if.png" in findings.items[0].facts.sentence()


def test_an_empty_slide_is_refused() -> None:
    findings = Findings()
    check_stain(np.full((200, 200, 3), 240, dtype=np.uint8), findings, file="blank.png")
    assert findings.codes() == {"no-tissue"}
