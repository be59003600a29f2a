"""Scale and handedness from the spot lattice.

The lattice is the witness: its pitch is known from the chemistry (100 um along a row of Visium, 200 um of legacy ST),
every spot takes part in the fit, and an affine fit by least squares keeps its residual. Image metadata are never
trusted alone; a second reading, where the platform has one, must agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.catalog import Lattice
from humanst.findings import Findings

AGREE_WITHIN = 0.02
REFUSE_BEYOND = 0.05
# Real Visium files hold rounding only (worst 0.47 % of a pitch); hand-placed ST spots scatter by about 8 %.
MAX_RESIDUAL_OF_PITCH = {"hex": 0.02, "square": 0.15}
MIN_SPOTS = 4


@dataclass(frozen=True, slots=True)
class LatticeFit:
    """An affine fit of pixel centres on the integer lattice.

    Attributes
    ----------
    um_per_pixel
        From the pitch along a row (hex) or the area of a cell (square).
    rms_residual_px, max_residual_px
        Distance between the given and the fitted centres, in pixels.
    residual_of_pitch
        ``rms_residual_px`` as a share of the pitch.
    handedness
        +1 when (column, row) -> (x, y) keeps its turning sense, -1 when it is mirrored.
    rotation_degrees
        Direction of a row in the image, from the x axis towards the y axis.
    """

    um_per_pixel: float
    rms_residual_px: float
    max_residual_px: float
    residual_of_pitch: float
    handedness: int
    rotation_degrees: float

    def to_dict(self) -> dict[str, Any]:
        """The fit as plain data, rounded to six significant digits for the record."""
        names = ("um_per_pixel", "rms_residual_px", "max_residual_px", "residual_of_pitch", "rotation_degrees")
        return {**{name: float(f"{getattr(self, name):.6g}") for name in names}, "handedness": self.handedness}


def lattice_um(row_col: NDArray[np.int64], lattice: Lattice) -> NDArray[np.float64]:
    """Ideal spot centres ``(n, 2)`` (x, y) in um for lattice indices ``(n, 2)`` (row, column).

    A hex (Visium) column index steps half a pitch and rows are ``pitch * sqrt(3) / 2`` apart.
    """
    row = row_col[:, 0].astype(np.float64)
    column = row_col[:, 1].astype(np.float64)
    if lattice.kind == "hex":
        return np.stack([column * lattice.pitch_um / 2, row * lattice.pitch_um * math.sqrt(3) / 2], axis=1)
    return np.stack([column * lattice.pitch_um, row * lattice.pitch_um], axis=1)


def fit_lattice(
    row_col: NDArray[np.int64], xy_px: NDArray[np.float64], lattice: Lattice, findings: Findings
) -> LatticeFit | None:
    """Fit pixel centres on the integer lattice; ``None`` (and a refusal) when the spots cannot carry a fit.

    The 2 x 2 normal equations are solved by hand in float64: no BLAS, so the same spots give the same bits.

    Parameters
    ----------
    row_col
        ``(n, 2)`` int lattice indices.
    xy_px
        ``(n, 2)`` float64 centres in pixels.
    """
    ideal = lattice_um(row_col, lattice)
    ideal = ideal - ideal.mean(axis=0)
    given = xy_px - xy_px.mean(axis=0)
    suu, svv = float(np.sum(ideal[:, 0] ** 2)), float(np.sum(ideal[:, 1] ** 2))
    suv = float(np.sum(ideal[:, 0] * ideal[:, 1]))
    determinant = suu * svv - suv * suv
    if len(row_col) < MIN_SPOTS or determinant <= 1e-9 * max(suu, svv, 1.0) ** 2:
        findings.refuse(
            "lattice-too-small",
            "Too few spots to find the scale",
            field="spots",
            expected=f"at least {MIN_SPOTS} spots that do not lie on one line",
            found=f"{len(row_col)} spots",
            todo="Check that the positions file belongs to this section",
        )
        return None
    along, across = np.empty(2), np.empty(2)
    for axis in (0, 1):
        su = float(np.sum(ideal[:, 0] * given[:, axis]))
        sv = float(np.sum(ideal[:, 1] * given[:, axis]))
        along[axis] = (su * svv - sv * suv) / determinant
        across[axis] = (sv * suu - su * suv) / determinant
    return _describe_fit(ideal, given, along, across, lattice)


def _describe_fit(
    ideal: NDArray[np.float64],
    given: NDArray[np.float64],
    along: NDArray[np.float64],
    across: NDArray[np.float64],
    lattice: Lattice,
) -> LatticeFit:
    fitted = ideal[:, :1] * along + ideal[:, 1:] * across
    distance = np.sqrt(np.sum((given - fitted) ** 2, axis=1))
    cell = float(along[0] * across[1] - along[1] * across[0])
    px_per_um = math.hypot(along[0], along[1]) if lattice.kind == "hex" else math.sqrt(abs(cell))
    rms = math.sqrt(float(np.mean(distance**2)))
    return LatticeFit(
        um_per_pixel=float(f"{1.0 / px_per_um:.9g}") if px_per_um > 0 else math.inf,
        rms_residual_px=rms,
        max_residual_px=float(distance.max()),
        residual_of_pitch=rms / (lattice.pitch_um * px_per_um) if px_per_um > 0 else math.inf,
        handedness=1 if cell > 0 else -1,
        rotation_degrees=math.degrees(math.atan2(along[1], along[0])),
    )


def check_residual(fit: LatticeFit, lattice: Lattice, findings: Findings) -> None:
    """Refuse positions that do not lie on their own lattice (swapped barcodes, columns of another file)."""
    limit = MAX_RESIDUAL_OF_PITCH[lattice.kind]
    if not fit.residual_of_pitch <= limit:
        findings.refuse(
            "lattice-residual",
            "Spot centres do not lie on the lattice of their indices",
            field="positions",
            expected=f"rms residual <= {limit:.0%} of the {lattice.pitch_um:g} um pitch",
            found=f"{fit.residual_of_pitch:.1%} (rms {fit.rms_residual_px:.1f} px, worst {fit.max_residual_px:.1f} px)",
            todo="Check that positions and array indices belong together",
        )


def check_scale(fit: LatticeFit, witnesses: Mapping[str, float], findings: Findings) -> None:
    """Compare the lattice's um per pixel with every other witness.

    Agreement within 2 % passes, up to 5 % warns, beyond is refused; without a second witness the section carries the
    warning ``scale-one-witness``.
    """
    if not witnesses:
        findings.warn(
            "scale-one-witness",
            "The scale rests on the spot lattice alone",
            field="um_per_pixel",
            expected="two independent witnesses",
            found=f"lattice {fit.um_per_pixel:.4f} um per pixel",
            todo="Give um_per_pixel with its source in the recipe if a second reading exists",
        )
    for name, value in sorted(witnesses.items()):
        difference = abs(value / fit.um_per_pixel - 1) if value > 0 else math.inf
        if difference <= AGREE_WITHIN:
            continue
        tell = findings.refuse if difference > REFUSE_BEYOND else findings.warn
        tell(
            "scale-disagrees",
            "Two witnesses disagree about the scale",
            field="um_per_pixel",
            expected=f"{name} within {AGREE_WITHIN:.0%} of the lattice's {fit.um_per_pixel:.4f} um per pixel",
            found=f"{value:.4f} um per pixel ({difference:.1%} off)",
            todo="Check the scale factors and that image and positions belong together",
        )
