"""Histograms of a section as SVG without a style attribute: the policy of a page has its style sheet alone colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_BINS = 24
WIDTH, HEIGHT, FOOT, HEAD = 280, 112, 18, 6


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram, drawn and in numbers.

    Attributes
    ----------
    bins
        Lower edge, upper edge and how many, of each.
    figures
        n, least, quartiles and most, as text.
    svg
        The drawing; empty where there is no value.
    """

    name: str
    unit: str
    n: int
    n_missing: int
    figures: tuple[tuple[str, str], ...]
    bins: tuple[tuple[str, str, int], ...]
    svg: str


def number(value: float | None, digits: int = 3) -> str:
    """A figure for a reader: ``digits`` significant, whole numbers with their thousands apart."""
    if value is None or not np.isfinite(value):
        return "-"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    text = f"{value:.{digits}g}"
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if "e" in text and abs(value) > 1e-6 else text


def histogram(
    name: str, values: NDArray[np.floating[Any]], unit: str, limits: tuple[float, float] | None = None
) -> Histogram:
    """The histogram of ``(n,)`` values, NaN being left out and counted.

    Parameters
    ----------
    limits
        Of the axis; those of the values without them.
    """
    known = np.asarray(values, np.float64)[np.isfinite(values)]
    n_missing = len(values) - len(known)
    if not len(known):
        return Histogram(name, unit, 0, n_missing, (), (), "")
    low, high = limits or (float(known.min()), float(known.max()))
    if not high > low:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(known, bins=N_BINS, range=(low, high))
    least, first, median, third, most = np.percentile(known, [0, 25, 50, 75, 100]).tolist()
    figures = {"spots": f"{len(known):,}", "lowest": least, "first quartile": first, "median": median}
    figures |= {"third quartile": third, "highest": most}
    return Histogram(
        name,
        unit,
        len(known),
        n_missing,
        tuple((key, value if isinstance(value, str) else number(value)) for key, value in figures.items()),
        tuple((number(a), number(b), int(c)) for a, b, c in zip(edges[:-1], edges[1:], counts, strict=True)),
        _svg(counts, (low, high), median),
    )


def _svg(counts: NDArray[np.int64], limits: tuple[float, float], median: float) -> str:
    """Bars, their axis and a line at the median; its numbers and no other text stand in it."""
    floor, step = HEIGHT - FOOT, WIDTH / len(counts)
    scale = (floor - HEAD) / max(int(counts.max()), 1)
    parts = [
        f'<svg class="hs-hist" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" aria-hidden="true">'
    ]
    for place, count in enumerate(counts.tolist()):
        if count:
            tall, left = max(count * scale, 1.0), place * step + 0.5
            size = f'width="{step - 1:.1f}" height="{tall:.1f}"'
            parts.append(f'<rect x="{left:.1f}" y="{floor - tall:.1f}" {size}/>')
    at = (median - limits[0]) / (limits[1] - limits[0]) * WIDTH
    parts.append(f'<line class="hs-median" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{floor}"/>')
    parts.append(f'<line class="hs-axis" x1="0" x2="{WIDTH}" y1="{floor}" y2="{floor}"/>')
    parts.append(f'<text x="0" y="{HEIGHT - 3}">{number(limits[0])}</text>')
    parts.append(f'<text x="{WIDTH}" y="{HEIGHT - 3}" text-anchor="end">{number(limits[1])}</text></svg>')
    return "".join(parts)
