"""Whether the image lies under the spots the right way round.

A lattice keeps its pitch when the image is turned or mirrored, so the scale cannot see it. The tissue can: positions
that the vendor calls in tissue must lie on the tissue of the image, and the others must not. The agreement of the two
is measured as given, under the seven other ways to lay the image (as if it had been turned, mirrored or transposed
after the positions were made), and with positions of half and twice the size. Blind where the tissue fills the frame,
where it looks the same another way round, and where ``in_tissue`` was drawn on the same wrong image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from humanst.findings import Findings
from humanst.harmonize.space import LatticeFit, solve_affine
from humanst.harmonize.tissue import TissueMask

if TYPE_CHECKING:
    from humanst.platforms import RawSection

REFUSE_MARGIN = 0.1
# Where nobody wrote down which positions are out of tissue, more has to speak for another way.
REFUSE_MARGIN_INFERRED = 0.3
# Ways that are the same by symmetry differ by the last bits only.
TIE = 1e-6
COVER_FROM, COVER_TO = 0.30, 0.90
WEAK_AGREEMENT = 0.3
# Turning sense of (column, row) -> (x, y) on the real sections at hand: +1 on all but one, so it never refuses alone.
USUAL_HANDEDNESS = {"visium": 1, "st": 1}
# A spot list without out-of-tissue rows is completed with the lattice positions round it.
COMPLETED = ("st",)
MARGIN_OF_LATTICE = 1
MAX_POSITIONS = 100_000

Points = NDArray[np.float64]
_TURNS: dict[str, Callable[[Points, Points, float, float], tuple[Points, Points]]] = {
    "mirrored left to right": lambda x, y, w, h: (w - x, y),
    "mirrored top to bottom": lambda x, y, w, h: (x, h - y),
    "turned by 180 degrees": lambda x, y, w, h: (w - x, h - y),
    "x and y swapped": lambda x, y, w, h: (y, x),
    "x and y swapped, turned by 180 degrees": lambda x, y, w, h: (w - y, h - x),
    "turned by 90 degrees": lambda x, y, w, h: (w - y, x),
    "turned by 270 degrees": lambda x, y, w, h: (y, h - x),
}
_KEEPS_SENSE = frozenset(name for name in _TURNS if name.startswith("turned"))
_SIZES = {"positions of half the size": 0.5, "positions of twice the size": 2.0}


@dataclass(frozen=True, slots=True)
class Positions:
    """All positions of a lattice: ``(n, 2)`` (row, column), ``(n, 2)`` (x, y) in pixels, ``(n,)`` in tissue."""

    row_col: NDArray[np.int64]
    xy_px: Points
    inside: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well the positions called in tissue agree with the tissue of the image.

    Attributes
    ----------
    given
        Correlation over positions of the in-tissue flag with the tissue share under the spot, -1 to 1.
    turned, resized
        The same with the positions laid another way, by name.
    cover
        Share of the positions that are in tissue.
    inferred
        Whether out-of-tissue positions were not listed but completed from the lattice.
    """

    given: float
    turned: Mapping[str, float]
    resized: Mapping[str, float]
    cover: float
    inferred: bool

    def best(self) -> tuple[str, float]:
        """The best of the other ways, and by how much it beats the given one (negative when the given one is best)."""
        others = {**self.turned, **self.resized}
        name = max(sorted(others), key=lambda key: others[key])
        return name, others[name] - self.given


def turned(xy_px: Points, size_px: tuple[int, int]) -> dict[str, Points]:
    """Where ``(n, 2)`` positions (x, y) fall if the image of ``size_px`` (w, h) was laid another way afterwards.

    Each is exact for an image turned or mirrored as a whole: the frame is the image's, not that of the array in it.
    """
    x, y = xy_px[:, 0], xy_px[:, 1]
    width, height = float(size_px[0]), float(size_px[1])
    return {name: np.stack(move(x, y, width, height), axis=1) for name, move in _TURNS.items()}


def correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Pearson's correlation of two ``(n,)`` arrays; 0 where either does not vary."""
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.sqrt(np.sum(one * one) * np.sum(other * other)))
    return float(np.sum(one * other)) / scale if scale > 0 else 0.0


def measure_agreement(
    inside: NDArray[np.bool_],
    xy_px: Points,
    tissue: TissueMask,
    *,
    um_per_pixel: float,
    size_px: tuple[int, int],
    side_um: float,
    inferred: bool = False,
) -> Agreement | None:
    """Measure the agreement every way round; ``None`` where flags or tissue do not vary, so that nothing can be seen.

    Parameters
    ----------
    inside
        ``(n,)`` which positions are called in tissue.
    xy_px
        ``(n, 2)`` all positions, in pixels of the image.
    size_px
        (width, height) of the image.
    side_um
        Side of the square under a position whose tissue share counts.
    """
    if len(inside) > MAX_POSITIONS:
        # A lattice is sampled evenly enough by every n-th position; 7 + 2 ways of millions of bins would take minutes.
        every = -(-len(inside) // MAX_POSITIONS)
        inside, xy_px = inside[::every], xy_px[::every]
    if not len(inside) or inside.all() or not inside.any():
        return None
    flag = inside.astype(np.float64)
    ways = {"given": xy_px, **turned(xy_px, size_px), **{name: xy_px * factor for name, factor in _SIZES.items()}}
    # One call for all ways: the mask is summed up once.
    share = tissue.fraction(np.concatenate(list(ways.values())) * um_per_pixel, side_um).astype(np.float64)
    pieces = np.split(share, len(ways))
    if pieces[0].min() == pieces[0].max():
        return None
    found = {name: correlation(flag, piece) for name, piece in zip(ways, pieces, strict=True)}
    return Agreement(
        given=found["given"],
        turned={name: found[name] for name in _TURNS},
        resized={name: found[name] for name in _SIZES},
        cover=float(flag.mean()),
        inferred=inferred,
    )


def complete_lattice(
    row_col: NDArray[np.int64], xy_px: Points, margin: int = MARGIN_OF_LATTICE
) -> tuple[NDArray[np.bool_], Points]:
    """All positions of the rectangle round a list of spots, by an affine fit: ``(listed (n,), xy_px (n, 2))``."""
    low, high = row_col.min(axis=0) - margin, row_col.max(axis=0) + margin
    rows, columns = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1), indexing="ij")
    listed = np.zeros(rows.shape, dtype=bool)
    listed[row_col[:, 0] - low[0], row_col[:, 1] - low[1]] = True
    centre, middle = row_col.mean(axis=0), xy_px.mean(axis=0)
    solved = solve_affine(row_col - centre, xy_px - middle)
    if solved is None:  # pragma: no cover - a lattice that was fitted has two directions
        return np.ones(len(xy_px), dtype=bool), xy_px
    grid = np.stack([rows.ravel(), columns.ravel()], axis=1) - centre
    return listed.ravel(), middle + grid[:, :1] * solved[0] + grid[:, 1:] * solved[1]


def check_orientation(
    raw: RawSection, fit: LatticeFit, tissue: TissueMask, *, size_px: tuple[int, int]
) -> Agreement | None:
    """:func:`check_placement` of a raw section; findings go to ``raw.findings``."""
    return check_placement(
        Positions(raw.all_row_col, raw.all_xy_px, raw.all_in_tissue),
        fit,
        tissue,
        raw.findings,
        platform=raw.platform,
        size_px=size_px,
        # A bin that is pooled later stands for its own few um, not for the pseudo-spot's.
        side_um=min(raw.lattice.spot_diameter_um, raw.lattice.pitch_um),
    )


def check_placement(
    positions: Positions,
    fit: LatticeFit,
    tissue: TissueMask,
    findings: Findings,
    *,
    platform: str,
    size_px: tuple[int, int],
    side_um: float,
) -> Agreement | None:
    """Refuse a section whose image was turned, mirrored or resized against its positions.

    Refused (``orientation``, ``placement-size``) where spots in tissue cover 30 to 90 % of the positions and another
    way beats the given one by >= 0.1 (0.3 where the files list no position out of tissue, so that those round the spots
    are taken for it); or where the lattice has the unusual turning sense and a mirrored way is the better one by 0.1.
    Otherwise warned; the turning sense alone only warns (``lattice-sign``).

    Parameters
    ----------
    size_px
        (width, height) of the image whose pixels the positions and the fit are in.
    side_um
        Diameter of a spot, or side of a bin.

    Returns
    -------
    What was measured; ``None`` (and the note ``orientation-unseen``) where nothing can tell.
    """
    inside, xy_px = positions.inside, positions.xy_px
    inferred = platform in COMPLETED and bool(inside.all())
    if inferred:
        inside, xy_px = complete_lattice(positions.row_col, positions.xy_px)
    odd = _check_sign(fit, platform, findings)
    reading = measure_agreement(
        inside,
        xy_px,
        tissue,
        um_per_pixel=fit.um_per_pixel,
        size_px=size_px,
        side_um=side_um,
        inferred=inferred,
    )
    if reading is None:
        findings.note(
            "orientation-unseen",
            "Nothing can tell the orientation of the image",
            field="in_tissue",
            expected="positions in and out of tissue, and an image with both",
            found="flags or tissue that do not vary",
        )
        return None
    _judge(reading, odd, findings)
    return reading


def _check_sign(fit: LatticeFit, platform: str, findings: Findings) -> bool:
    """Warn of an unusual turning sense; returns whether it is."""
    usual = USUAL_HANDEDNESS.get(platform, fit.handedness)
    if fit.handedness == usual:
        return False
    findings.warn(
        "lattice-sign",
        "Rows and columns of the lattice turn the other way round than usual",
        field="positions",
        expected=f"(column, row) -> (x, y) with sign {usual:+d}",
        found=f"{fit.handedness:+d}",
        todo="Check that x and y were not exchanged and the image was not mirrored",
    )
    return True


def _judge(reading: Agreement, odd: bool, findings: Findings) -> None:
    name, margin = reading.best()
    if margin > TIE:
        _tell(reading, name, margin, odd, findings)
    elif reading.given < WEAK_AGREEMENT:
        findings.warn(
            "orientation-weak",
            "Spots in tissue and the tissue of the image hardly agree",
            field="in_tissue",
            expected=f"a correlation of at least {WEAK_AGREEMENT}",
            found=f"{reading.given:.2f}",
            todo="Check that image and positions belong to one section",
        )
    else:
        findings.note(
            "orientation-agrees",
            "Spots in tissue lie on the tissue of the image",
            field="in_tissue",
            found=f"correlation {reading.given:.2f}; next best {reading.given + margin:.2f} ({name})",
        )


def _tell(reading: Agreement, name: str, margin: float, odd: bool, findings: Findings) -> None:
    resized = name in _SIZES
    twice_seen = margin >= REFUSE_MARGIN and odd and not resized and name not in _KEEPS_SENSE
    enough = REFUSE_MARGIN_INFERRED if reading.inferred else REFUSE_MARGIN
    seen = margin >= enough and COVER_FROM <= reading.cover <= COVER_TO
    tell = findings.refuse if seen or twice_seen else findings.warn
    tell(
        "placement-size" if resized else "orientation",
        f"The {'positions were made for an image of another size' if resized else 'image lies another way round'}",
        field="in_tissue",
        expected=f"the given placement to agree best with the tissue (correlation {reading.given:.2f})",
        found=f"{reading.given + margin:.2f} for {name}, at {reading.cover:.0%} of the positions in tissue",
        todo="Turn the image back, or check that it is the one the positions were made on",
    )
