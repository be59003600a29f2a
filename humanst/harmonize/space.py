"""Scale from the spot lattice, and the witnesses that must agree with it.

The lattice is the first witness: its pitch is known from the chemistry (100 um along a row of Visium, 200 um of legacy
ST), every spot takes part in the fit, and an affine fit by least squares keeps its residual. A second reading, where
the platform has one, must agree: the fiducial ring of Visium, the header of Visium HD, the alignment of Xenium, the
recipe. Spot diameters are no witness (8 to 21 % off on real files) and image resolution tags are never read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.catalog import Lattice
from humanst.findings import Findings

AGREE_WITHIN = 0.02
REFUSE_BEYOND = 0.05
MIN_SPOTS = 4
STRETCH_ERRORS = 3.0


@dataclass(frozen=True, slots=True)
class ResidualLimit:
    """How far spot centres may lie from the lattice of their indices.

    Attributes
    ----------
    rms_of_pitch, worst_of_pitch
        Limits of the rms over all spots and of the worst spot, as a share of the pitch.
    rms_px
        Where positions are exact, a tighter limit of the rms in full-resolution pixels, for pitches of many pixels.
    rounding_px
        What rounding alone may do to the rms, in full-resolution pixels; no limit goes below it.
    """

    rms_of_pitch: float
    worst_of_pitch: float
    rms_px: float = math.inf
    rounding_px: float = 0.5

    def in_px(self, pitch_px: float, image_scale: float = 1.0) -> tuple[float, float]:
        """(rms, worst) limits in pixels of an image with ``image_scale`` of its pixels a full-resolution pixel."""
        tight = max(self.rms_px * image_scale, 0.005 * pitch_px)
        rms = max(min(self.rms_of_pitch * pitch_px, tight), self.rounding_px * image_scale)
        return rms, max(self.worst_of_pitch * pitch_px, 4 * self.rounding_px * image_scale)


# Four real Visium lattices are off by rounding alone (rms 0.41 px, worst spot 0.70 px); 28 public ones by 1.00 px and
# 0.47 % of a pitch at most. Visium HD follows a fitted image alignment: 0.72 px, a tenth of its smallest bin. Legacy
# ST is placed by hand: rms 8 to 9 % of the pitch, worst spot 29 %. A Xenium grid is laid by us and exact.
RESIDUAL_LIMITS = {
    "visium": ResidualLimit(0.02, 0.10, rms_px=2.0),
    "visium_hd": ResidualLimit(0.02, 0.10, rms_px=2.0, rounding_px=1.5),
    "xenium": ResidualLimit(0.02, 0.10, rms_px=2.0),
    "st": ResidualLimit(0.15, 0.60),
}


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
    stretch
        How much longer um are in the image's most stretched direction than across it, 0 for a true likeness. Real
        Visium arrays have 0.0046, for their rows lie 87 um apart and not 86.6.
    stretch_error
        Root mean square of the stretch that the residual alone explains: percents for a few spots placed by hand.
    """

    um_per_pixel: float
    rms_residual_px: float
    max_residual_px: float
    residual_of_pitch: float
    handedness: int
    rotation_degrees: float
    stretch: float
    stretch_error: float

    def to_dict(self) -> dict[str, Any]:
        """The fit as plain data, rounded to six significant digits for the record."""
        numbers = {name: value for name, value in asdict(self).items() if name != "handedness"}
        return {**{name: float(f"{value:.6g}") for name, value in numbers.items()}, "handedness": self.handedness}


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
    solved = solve_affine(ideal, given) if len(row_col) >= MIN_SPOTS else None
    if solved is None:
        findings.refuse(
            "lattice-too-small",
            "Too few spots to find the scale",
            field="spots",
            expected=f"at least {MIN_SPOTS} spots that do not lie on one line",
            found=f"{len(row_col)} spots",
            todo="Check that the positions file belongs to this section",
        )
        return None
    return _describe_fit(ideal, given, *solved, lattice)


def solve_affine(
    source: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Least squares ``target = source[:, :1] * along + source[:, 1:] * across`` for centred ``(n, 2)`` points.

    The 2 x 2 normal equations are solved by hand in float64: no BLAS, so the same points give the same bits. ``None``
    for points on one line.
    """
    suu, svv = float(np.sum(source[:, 0] ** 2)), float(np.sum(source[:, 1] ** 2))
    suv = float(np.sum(source[:, 0] * source[:, 1]))
    determinant = suu * svv - suv * suv
    if determinant <= 1e-9 * max(suu, svv, 1.0) ** 2:
        return None
    along, across = np.empty(2), np.empty(2)
    for axis in (0, 1):
        su = float(np.sum(source[:, 0] * target[:, axis]))
        sv = float(np.sum(source[:, 1] * target[:, axis]))
        along[axis] = (su * svv - sv * suv) / determinant
        across[axis] = (sv * suu - su * suv) / determinant
    return along, across


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
        stretch=_stretch(along, across),
        stretch_error=_stretch_error(ideal, rms, px_per_um),
    )


def _stretch(along: NDArray[np.float64], across: NDArray[np.float64]) -> float:
    """Ratio of the singular values of the 2 x 2 map, minus 1, in closed form."""
    turning = math.hypot(along[0] + across[1], along[1] - across[0])
    mirroring = math.hypot(along[0] - across[1], along[1] + across[0])
    shorter = abs(turning - mirroring)
    return (turning + mirroring) / shorter - 1.0 if shorter > 0 else math.inf


def _stretch_error(ideal: NDArray[np.float64], rms_px: float, px_per_um: float) -> float:
    """Root mean square of the stretch that noise of this residual gives: of the two pitches, and of their angle.

    Each of the four numbers of the map has the standard error of a slope, noise over the spread of the lattice; three
    are fitted along each axis. The stretch has two parts, along the axes and between them, of equal size.
    """
    n_spots = len(ideal)
    spread = np.sqrt(np.sum(ideal**2, axis=0)) * px_per_um
    if n_spots <= 3 or not spread.min() > 0:
        return math.inf
    noise_px = rms_px / math.sqrt(2) * math.sqrt(n_spots / (n_spots - 3))
    return math.sqrt(2) * math.hypot(*(noise_px / spread).tolist())


def check_residual(
    fit: LatticeFit, lattice: Lattice, findings: Findings, *, platform: str, image_scale: float = 1.0
) -> None:
    """Refuse positions that do not lie on their own lattice (swapped barcodes, columns of another file).

    The fit may stretch: an image scaled along one axis, or rows taken for columns, keep every spot on a lattice. The
    pitch along and across must therefore agree as two witnesses do, within 2 %, with a warning to 5 %, and three
    times the error of the stretch beside, which only arrays of a few spots placed by hand have to speak of.

    Parameters
    ----------
    platform
        Chooses the :data:`RESIDUAL_LIMITS`; a platform without its own has those of Visium.
    image_scale
        Pixels of the fit's image per full-resolution pixel, for rounding happened at full resolution.
    """
    limits = RESIDUAL_LIMITS.get(platform, RESIDUAL_LIMITS["visium"])
    pitch_px = lattice.pitch_um / fit.um_per_pixel
    rms_px, worst_px = limits.in_px(pitch_px, image_scale)
    if not (fit.rms_residual_px <= rms_px and fit.max_residual_px <= worst_px):
        findings.refuse(
            "lattice-residual",
            "Spot centres do not lie on the lattice of their indices",
            field="positions",
            expected=f"rms <= {rms_px:.3g} px and no spot beyond {worst_px:.3g} px (pitch {pitch_px:.4g} px)",
            found=f"rms {fit.rms_residual_px:.3g} px ({fit.residual_of_pitch:.1%} of the pitch), "
            f"worst {fit.max_residual_px:.4g} px",
            todo="Check that positions and array indices belong together",
        )
    noise = STRETCH_ERRORS * fit.stretch_error
    if not fit.stretch <= AGREE_WITHIN + noise:
        tell = findings.warn if fit.stretch <= REFUSE_BEYOND + noise else findings.refuse
        tell(
            "lattice-stretched",
            "The lattice is stretched in one direction",
            field="positions",
            expected=f"the same um per pixel along and across, within {AGREE_WITHIN + noise:.1%}",
            found=f"{fit.stretch:.1%} apart",
            todo="Check that array rows and columns were not exchanged and the image was not scaled along one axis",
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
