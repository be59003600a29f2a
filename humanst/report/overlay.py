"""What a map paints on its spots: numbers packed for a page, the range of their colours, and the colours.

A layer is packed as little-endian uint16: value = ``low`` + ``step`` x code, code 65535 being no value. Half a step,
1/131,068 of the range of the layer, is all that is lost.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

NO_VALUE = 65535
Z_LIMIT = 2.5
"""z scores beyond it share the last colour: one scale for all pathways and sections."""
# What lies beyond these percentiles shares the last colour too.
LOW_PERCENTILE, HIGH_PERCENTILE = 2.0, 98.0
# Blue over near white to orange: told apart with any colour vision (Okabe and Ito 2008), the middle being neutral.
BLUE_ORANGE = ("#00508c", "#0072b2", "#74b3d8", "#f7f7f7", "#f4b866", "#d55e00", "#a63c00")

Kind = Literal["two-sided", "one-sided"]

QUALITY: Mapping[str, tuple[str, str]] = {
    "log10_counts": ("Library size", "log10 transcripts"),
    "n_genes": ("Genes a spot", "genes"),
    "mt_fraction": ("Mitochondrial fraction", "share of transcripts"),
    "tissue_fraction": ("Tissue fraction of the patch", "share of the patch"),
    "blur": ("Sharpness of the patch", "variance of the Laplacian"),
}
"""Column of the spots or pairs -> name and unit; blurred patches have a small variance."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One thing that spots can show.

    Attributes
    ----------
    group
        ``pathway`` or ``quality``.
    low, high
        Of the colours; what lies beyond is painted as they are.
    base, step, codes
        The values as packed, see above.
    n, least, median, most
        Of the spots with a value; ``None`` where there are none.
    reason
        Why there is no value at all; empty where there is one.
    """

    name: str
    unit: str
    group: Literal["pathway", "quality"]
    kind: Kind
    low: float
    high: float
    base: float
    step: float
    codes: str
    n: int
    n_spots: int
    least: float | None
    median: float | None
    most: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Spots:
    """The spots of a map.

    Attributes
    ----------
    xy_um
        Base64 of little-endian float32 ``(n, 2)`` centres (x, y).
    shape, side_um, turn_degrees
        ``circle`` or ``square``; diameter or side; direction of the sides of squares, from x towards y.
    pitch_um
        To the next spot, at the median: how large spots are when enlarged.
    """

    ids: tuple[str, ...]
    xy_um: str
    shape: str
    side_um: float
    turn_degrees: float
    pitch_um: float

    @property
    def n(self) -> int:
        """How many."""
        return len(self.ids)

    @property
    def touch(self) -> bool:
        """Whether they lie side by side, with nothing to be seen between them."""
        return self.shape == "square" and self.pitch_um <= 1.02 * self.side_um


def spots_of(table: pd.DataFrame, *, shape: str, side_um: float, turn_degrees: float) -> Spots:
    """The spots of a table that is indexed by spot id, with ``x_um`` and ``y_um``."""
    xy_um = table[["x_um", "y_um"]].to_numpy(np.float64)
    pitch_um = max(_pitch(xy_um, default=side_um), side_um)
    packed = base64.b64encode(xy_um.astype("<f4").tobytes()).decode()
    return Spots(tuple(map(str, table.index)), packed, shape, side_um, turn_degrees, pitch_um)


def layer_of(
    name: str,
    values: NDArray[np.floating[Any]],
    *,
    unit: str,
    group: Literal["pathway", "quality"],
    limits: tuple[float, float] | None = None,
    reason: str = "",
) -> Layer:
    """A layer of ``(n,)`` values, NaN where a spot has none.

    Parameters
    ----------
    limits
        Of the colours; from the percentiles of the values without them, for scores below and above 0 round it.
    reason
        Told where no spot has a value.
    """
    values = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    known = values[~np.isnan(values)]
    # Scores that are no z may all be above 0, as ranks are: there is no middle to them.
    kind: Kind = "two-sided" if group == "pathway" and (limits is not None or (known < 0).any()) else "one-sided"
    low, high = limits or _limits(known, kind)
    base, step = (
        (float(known.min()), (float(known.max()) - float(known.min())) / (NO_VALUE - 1)) if len(known) else (0.0, 0.0)
    )
    codes = np.full(len(values), NO_VALUE, dtype="<u2")
    if len(known):
        codes[~np.isnan(values)] = np.rint((known - base) / step) if step > 0 else 0
    return Layer(
        name=name,
        unit=unit,
        group=group,
        kind=kind,
        low=low,
        high=high,
        base=base,
        step=step,
        codes=base64.b64encode(codes.tobytes()).decode(),
        n=len(known),
        n_spots=len(values),
        least=float(known.min()) if len(known) else None,
        median=float(np.median(known)) if len(known) else None,
        most=float(known.max()) if len(known) else None,
        reason="" if len(known) else reason or "no spot has a value",
    )


def quality_layers(table: pd.DataFrame) -> list[Layer]:
    """Layers of those columns of ``QUALITY`` that a table of spots has."""
    found = []
    for column, (name, unit) in QUALITY.items():
        if column in table.columns:
            values = table[column].to_numpy(np.float64)
            limits = (0.0, 1.0) if column == "tissue_fraction" else None
            found.append(layer_of(name, values, unit=unit, group="quality", limits=limits))
    return found


def pathway_layers(
    ids: Sequence[str],
    scored: Sequence[str],
    names: Sequence[str],
    scores: NDArray[np.float32],
    *,
    is_z: bool,
    reasons: Mapping[str, str],
) -> list[Layer]:
    """Layers of pathways, on the spots of a map.

    Parameters
    ----------
    ids
        Spots of the map, in order.
    scored, scores
        Spots that were scored, ``(n, P)`` float32 in their order, NaN where unmeasured.
    is_z
        Whether scores are z over the section.
    reasons
        Pathway -> why it was not measured.
    """
    place = {name: number for number, name in enumerate(ids)}
    rows = np.array([place.get(name, -1) for name in scored], dtype=np.int64)
    on_map = np.full((len(ids), len(names)), np.nan, dtype=np.float32)
    on_map[rows[rows >= 0]] = scores[rows >= 0]
    unit = "z within the section" if is_z else "score"
    return [
        layer_of(
            name,
            on_map[:, column],
            unit=unit,
            group="pathway",
            limits=(-Z_LIMIT, Z_LIMIT) if is_z else None,
            reason=reasons.get(name, "no spot of this section has a score"),
        )
        for column, name in enumerate(names)
    ]


def colours(kind: Kind) -> NDArray[np.uint8]:
    """``(256, 3)`` colours from the lowest to the highest value: viridis, or blue over white to orange."""
    from matplotlib import colormaps
    from matplotlib.colors import Colormap, LinearSegmentedColormap

    table: Colormap = (
        LinearSegmentedColormap.from_list("blue-orange", list(BLUE_ORANGE))
        if kind == "two-sided"
        else colormaps["viridis"]
    )
    found: NDArray[np.uint8] = np.rint(table(np.linspace(0, 1, 256))[:, :3] * 255).astype(np.uint8)
    return found


def _limits(known: NDArray[np.float64], kind: Kind) -> tuple[float, float]:
    if not len(known):
        return (-1.0, 1.0) if kind == "two-sided" else (0.0, 1.0)
    if kind == "two-sided":
        most = float(np.percentile(np.abs(known), HIGH_PERCENTILE)) or 1.0
        return -most, most
    low, high = (float(value) for value in np.percentile(known, [LOW_PERCENTILE, HIGH_PERCENTILE]))
    # Nothing of quality is below 0.
    return (low, high) if high > low else (max(low - 0.5, 0.0), low + 0.5)


def _pitch(xy_um: NDArray[np.float64], default: float) -> float:
    from scipy.spatial import cKDTree

    if len(xy_um) < 2:
        return default
    distance, _ = cKDTree(xy_um).query(xy_um, k=2)
    return float(np.median(distance[:, 1]))
