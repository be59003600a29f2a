"""Scale from the lattice: exact on exact positions, robust to jitter, refused when positions are not the lattice's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from humanst.catalog import Lattice
from humanst.findings import Findings
from humanst.harmonize.space import check_residual, check_scale, fit_lattice, lattice_um

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
    check_residual(fit, SQUARE, findings)
    assert not findings.refused


def test_swapped_positions_are_refused() -> None:
    """One per cent of barcodes swapped against their indices does not lie on the lattice any more."""
    indices = hex_indices(40, 60)
    xy = lattice_um(indices, HEX) / 0.36
    order = np.arange(len(indices))
    swap = np.random.default_rng(3).choice(len(order), 12, replace=False)
    order[swap] = order[np.roll(swap, 1)]
    fit = fit_lattice(indices, xy[order], HEX, Findings())
    assert fit is not None
    findings = Findings()
    check_residual(fit, HEX, findings)
    assert findings.codes() == {"lattice-residual"}


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
