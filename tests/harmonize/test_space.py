"""Scale from the lattice: exact on exact positions, robust to jitter, refused when positions are not the lattice's.

Each fault of a scale that the files can show is refused here; what only the image shows is in test_orientation.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from humanst.catalog import Lattice
from humanst.findings import Findings
from humanst.harmonize.space import (
    RESIDUAL_LIMITS,
    LatticeFit,
    check_residual,
    check_scale,
    fit_lattice,
    lattice_um,
)
from tests.harmonize.scenes import LATTICES, scene

HEX = Lattice(kind="hex", pitch_um=100.0, spot_diameter_um=55.0)
SQUARE = Lattice(kind="square", pitch_um=200.0, spot_diameter_um=100.0)


def hex_indices(rows: int, columns: int) -> np.ndarray:
    return np.array([(row, col) for row in range(rows) for col in range(row % 2, columns, 2)], dtype=np.int64)


def square_indices(rows: int, columns: int) -> np.ndarray:
    return np.array([(row, col) for row in range(rows) for col in range(columns)], dtype=np.int64)


def test_hex_pitch_along_a_row_is_100_um() -> None:
    """Two spots of one row, two columns apart, are one pitch apart; neighbours across rows too."""
    centres = lattice_um(np.array([[0, 0], [0, 2], [1, 1]]), HEX)
    assert np.linalg.norm(centres[1] - centres[0]) == pytest.approx(100.0)
    assert np.linalg.norm(centres[2] - centres[0]) == pytest.approx(100.0)


@given(
    um_per_pixel=st.floats(0.1, 2.0),
    degrees=st.floats(-180, 180),
    mirrored=st.booleans(),
    shift=st.tuples(st.floats(-5000, 5000), st.floats(-5000, 5000)),
)
def test_any_rotation_mirror_and_shift_keeps_the_scale(
    um_per_pixel: float, degrees: float, mirrored: bool, shift: tuple[float, float]
) -> None:
    indices = hex_indices(9, 14)
    turn = math.radians(degrees)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    flip = np.diag([1.0, -1.0 if mirrored else 1.0])
    xy = lattice_um(indices, HEX) @ (rotation @ flip).T / um_per_pixel + np.array(shift)
    fit = fit_lattice(indices, xy, HEX, Findings())
    assert fit is not None
    assert fit.um_per_pixel == pytest.approx(um_per_pixel, rel=1e-6)
    assert fit.handedness == (-1 if mirrored else 1)
    assert fit.residual_of_pitch < 1e-6


def test_jitter_of_a_real_array_moves_the_scale_by_less_than_half_a_percent() -> None:
    """Legacy ST spots scatter by 8 % of a pitch; all spots together still give the scale."""
    indices = square_indices(16, 18)
    noise = np.random.default_rng(5).normal(0, 0.06 * 200, (len(indices), 2))
    fit = fit_lattice(indices, (lattice_um(indices, SQUARE) + noise) / 0.69, SQUARE, Findings())
    assert fit is not None
    assert fit.um_per_pixel == pytest.approx(0.69, rel=5e-3)
    findings = Findings()
    check_residual(fit, SQUARE, findings, platform="st")
    assert not findings.refused


def residual_codes(platform: str, fit: LatticeFit | None) -> set[str]:
    assert fit is not None
    findings = Findings()
    check_residual(fit, LATTICES[platform], findings, platform=platform)
    return findings.codes()


@pytest.mark.parametrize("platform", sorted(LATTICES))
def test_one_per_cent_of_swapped_positions_is_refused(platform: str) -> None:
    """Positions swapped against their indices do not lie on the lattice, on any of twenty sections."""
    for seed in range(20):
        raw = scene(platform, seed).raw
        rng = np.random.default_rng(seed)
        swap = rng.choice(len(raw.all_xy_px), max(2, len(raw.all_xy_px) // 100), replace=False)
        xy = raw.all_xy_px.copy()
        xy[swap] = xy[np.roll(swap, 1)]
        assert residual_codes(platform, fit_lattice(raw.all_row_col, xy, raw.lattice, Findings())) == {
            "lattice-residual"
        }, seed


@pytest.mark.parametrize("platform", ["visium", "st"])
def test_two_neighbours_swapped_are_refused(platform: str) -> None:
    """One pair hardly moves the rms; the worst spot tells."""
    raw = scene(platform, 3).raw
    first = len(raw.all_xy_px) // 2
    xy = raw.all_xy_px.copy()
    xy[[first, first + 1]] = xy[[first + 1, first]]
    fit = fit_lattice(raw.all_row_col, xy, raw.lattice, Findings())
    assert residual_codes(platform, fit) == {"lattice-residual"}


@pytest.mark.parametrize("platform", sorted(LATTICES))
def test_clean_lattices_are_never_refused(platform: str) -> None:
    for seed in range(20):
        raw = scene(platform, seed).raw
        fit = fit_lattice(raw.all_row_col, raw.all_xy_px, raw.lattice, Findings())
        assert residual_codes(platform, fit) == set(), seed


def test_array_row_and_column_exchanged_are_no_hex_lattice() -> None:
    raw = scene("visium", 1).raw
    fit = fit_lattice(raw.all_row_col[:, ::-1], raw.all_xy_px, raw.lattice, Findings())
    assert fit is not None
    assert fit.stretch == pytest.approx(2.0, rel=0.02), "the affine fit follows: sqrt(3) times sqrt(3), less one"
    assert residual_codes("visium", fit) == {"lattice-stretched"}


@given(factor=st.floats(0.5, 2.0), degrees=st.floats(-180, 180), mirrored=st.booleans())
def test_stretch_is_the_ratio_of_singular_values(factor: float, degrees: float, mirrored: bool) -> None:
    """Against numpy's decomposition, however the array lies in the image that was scaled along x."""
    turn = math.radians(degrees)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    matrix = np.diag([factor, 1.0]) @ rotation @ np.diag([1.0, -1.0 if mirrored else 1.0]) / 0.4
    indices = hex_indices(9, 14)
    fit = fit_lattice(indices, lattice_um(indices, HEX) @ matrix.T, HEX, Findings())
    assert fit is not None
    values = np.linalg.svd(matrix, compute_uv=False)
    assert fit.stretch == pytest.approx(values[0] / values[1] - 1, abs=1e-9)
    findings = Findings()
    check_residual(fit, HEX, findings, platform="visium")
    wanted = "refuse" if fit.stretch > 0.05 else "warn" if fit.stretch > 0.02 else None
    assert [item.severity for item in findings] == ([wanted] if wanted else [])


def test_few_spots_placed_by_hand_are_not_blamed_for_their_noise_and_a_real_stretch_is() -> None:
    """15 and 30 spots off by 9 % of the pitch, as real legacy arrays are: chance stretches the fit by percents."""
    rng = np.random.default_rng(0)
    stretches, errors = [], []
    for rows, columns in [(3, 5)] * 200 + [(5, 6)] * 200:
        indices = square_indices(rows, columns)
        placed = lattice_um(indices, SQUARE) / 0.69 + rng.normal(0, 0.09 / math.sqrt(2) * 200 / 0.69, (len(indices), 2))
        clean, stretched = (fit_lattice(indices, xy, SQUARE, Findings()) for xy in (placed, placed * [1.4, 1.0]))
        assert clean is not None
        assert stretched is not None
        assert "lattice-stretched" not in residual_codes("st", clean)
        assert "lattice-stretched" in residual_codes("st", stretched)
        stretches.append(clean.stretch)
        errors.append(clean.stretch_error)
    assert np.mean(np.array(stretches) > 0.02) > 0.2, "noise alone is beyond the limit of exact arrays"
    assert np.sqrt(np.mean(np.square(stretches))) == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=0.15)


def test_a_lattice_laid_onto_itself_is_not_seen() -> None:
    """What the lattice is blind to, held here so that docs/validation.md stays true: indices turned by 180 degrees as a
    whole lie as exactly as before. The fit does not know barcodes either."""
    raw = scene("visium", 1).raw
    given = fit_lattice(raw.all_row_col, raw.all_xy_px, raw.lattice, Findings())
    turned = fit_lattice(np.array([77, 127]) - raw.all_row_col, raw.all_xy_px, raw.lattice, Findings())
    assert given is not None
    assert turned is not None
    assert residual_codes("visium", turned) == set()
    assert (turned.um_per_pixel, turned.handedness) == (pytest.approx(given.um_per_pixel), given.handedness)


@pytest.mark.parametrize(
    ("pitch_px", "image_scale", "rms_px"),
    [(273.0, 1.0, 2.0), (137.0, 1.0, 2.0), (1000.0, 1.0, 5.0), (21.4, 1.0, 0.5), (22.5, 0.0825, 0.165)],
)
def test_the_limit_of_an_exact_lattice_is_rounding_and_little_more(
    pitch_px: float, image_scale: float, rms_px: float
) -> None:
    """2 px at full resolution on usual files, half a per cent of a huge pitch, rounding on a tiny one."""
    assert RESIDUAL_LIMITS["visium"].in_px(pitch_px, image_scale)[0] == pytest.approx(rms_px)


def test_too_few_spots_are_refused_and_not_fitted() -> None:
    findings = Findings()
    line = np.array([[0, column] for column in range(10)])
    assert fit_lattice(line, line.astype(float), SQUARE, findings) is None
    assert findings.codes() == {"lattice-too-small"}


@pytest.mark.parametrize(
    ("factor", "severity"),
    [(1.0, None), (1.019, None), (1.03, "warn"), (0.96, "warn"), (1.07, "refuse"), (2.0, "refuse")],
)
def test_two_witnesses_agree_within_2_warn_to_5_and_refuse_beyond(factor: float, severity: str | None) -> None:
    indices = square_indices(6, 6)
    fit = fit_lattice(indices, lattice_um(indices, SQUARE) / 0.5, SQUARE, Findings())
    assert fit is not None
    findings = Findings()
    check_scale(fit, {"header": 0.5 * factor}, findings)
    assert [finding.severity for finding in findings] == ([severity] if severity else [])


def test_a_lone_witness_is_said() -> None:
    indices = square_indices(6, 6)
    fit = fit_lattice(indices, lattice_um(indices, SQUARE) / 0.5, SQUARE, Findings())
    assert fit is not None
    findings = Findings()
    check_scale(fit, {}, findings)
    assert findings.codes() == {"scale-one-witness"}
    assert not findings.refused


WITNESS_FAULTS = {
    "half": lambda true: true * 0.5,
    "twice": lambda true: true * 2,
    "the literal 1.0": lambda true: 1.0,
    "a 65 um spot taken for the 105 um ring": lambda true: true * 105 / 65,
    "55 um written for 65": lambda true: true * 55 / 65,
    "print resolution, 300 dpi": lambda true: 25400 / 300,
}


@pytest.mark.parametrize("fault", WITNESS_FAULTS)
@pytest.mark.parametrize("platform", sorted(LATTICES))
def test_every_wrong_witness_is_refused_on_twenty_sections(platform: str, fault: str) -> None:
    for seed in range(20):
        raw = scene(platform, seed)
        fit = fit_lattice(raw.raw.all_row_col, raw.raw.all_xy_px, raw.raw.lattice, Findings())
        assert fit is not None
        findings = Findings()
        check_scale(fit, {"witness": WITNESS_FAULTS[fault](raw.um_per_pixel)}, findings)
        assert {item.facts.code for item in findings.of("refuse")} == {"scale-disagrees"}, seed
        findings = Findings()
        check_scale(fit, {"witness": raw.um_per_pixel}, findings)
        assert len(findings) == 0, (seed, "a right witness agrees")
