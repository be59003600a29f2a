"""Plots of an audit as SVG text for a page: small, sharp, the same bytes for the same figures.

Colours are those of Okabe and Ito (2008), which tell apart with any colour vision; what colour says, shape or place
says too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#999999"
# A plot of more rows than this is a wall; the tables have all.
MOST_ROWS = 60
# A dot each in the text of a page; more of them are one picture.
MOST_DOTS = 2000
_ROW_INCHES, _HEAD_INCHES, _WIDTH_INCHES = 0.17, 0.9, 7.2


def half_r_plot(summary: pd.DataFrame) -> str:
    """Agreement of halves of every pathway against the 95th percentile of its random sets."""
    return _against_null(summary, "half_r", "half_r_null_p95", "correlation of halves")


def moran_plot(summary: pd.DataFrame) -> str:
    """Moran's I without library size against the 95th percentile of random sets."""
    return _against_null(summary, "moran_residual", "moran_residual_null_p95", "Moran's I without library size")


def library_plot(summary: pd.DataFrame, sections: pd.DataFrame) -> str:
    """Correlation of every pathway with library size, a dot a section."""
    rows = _shown(summary, "half_r")
    place_of = {name: place for place, name in enumerate(rows["pathway"])}
    mine = sections[sections["r_library"].notna() & sections["pathway"].isin(list(place_of))]
    figure, axes = _figure(len(rows))
    axes.axvspan(-0.2, 0.2, color=GREY, alpha=0.2, lw=0)
    axes.axvline(0, color=GREY, lw=0.8)
    picture = len(mine) > MOST_DOTS
    places = mine["pathway"].map(place_of)
    axes.scatter(mine["r_library"], places, s=18, color=BLUE, alpha=0.6, lw=0, zorder=3, rasterized=picture)
    axes.set_xlabel("correlation with log10 counts (grey: |r| < 0.2)")
    axes.set_xlim(-1, 1)
    _names(axes, rows["pathway"])
    return _svg(figure)


def coverage_plot(sections: pd.DataFrame) -> str:
    """Share of genes measured, a row a pathway and a column a section; what is masked is crossed out."""
    rows, columns = (list(dict.fromkeys(sections[name]))[:MOST_ROWS] for name in ("pathway", "sample_id"))
    sections = sections[sections["pathway"].isin(rows) & sections["sample_id"].isin(columns)]
    shares = sections.pivot_table(index="pathway", columns="sample_id", values="share", sort=False)
    masked = sections.assign(masked=sections["reason"].notna()).pivot_table(
        index="pathway", columns="sample_id", values="masked", sort=False
    )
    figure, axes = _figure(len(shares), foot_inches=1.2)
    image = axes.imshow(shares.to_numpy(float), cmap="cividis", vmin=0, vmax=1, aspect="auto")
    row, column = np.nonzero(masked.to_numpy(float) > 0)
    axes.scatter(column, row, marker="x", s=14, color="white", lw=1)
    axes.set_xticks(np.arange(shares.shape[1]), [_short(name) for name in shares.columns], rotation=90, fontsize=7)
    _names(axes, shares.index)
    figure.colorbar(image, ax=axes, label="share of genes measured (x: not valid)", fraction=0.04)
    return _svg(figure)


def information_plot(information: pd.DataFrame) -> str:
    """What each kind of features keeps of the genes, as a share of the ceiling, a panel a target."""
    known = information[information["share_of_ceiling"].notna()]
    targets = list(dict.fromkeys(known["target"]))
    kinds = list(dict.fromkeys(known["features"]))
    figure, axes = _figure(len(kinds) * max(len(targets), 1))
    height = 0.8 / max(len(targets), 1)
    for number, target in enumerate(targets):
        mine = known[known["target"] == target].set_index("features")["share_of_ceiling"].reindex(kinds)
        places = np.arange(len(kinds)) + (number - (len(targets) - 1) / 2) * height
        colour, hatch = (BLUE, None) if number == 0 else (ORANGE, "//")
        axes.barh(places, mine, height=height, color=colour, hatch=hatch, edgecolor="white", label=str(target))
        for place, value in zip(places, mine, strict=True):
            if np.isfinite(value):
                axes.text(max(value, 0) + 0.01, place, f"{value:.0%}", va="center", fontsize=7)
    axes.set_xlabel("share of the ceiling that is kept")
    axes.set_xlim(0, max(1.05, float(known["share_of_ceiling"].max()) + 0.1) if len(known) else 1.05)
    if targets:
        axes.legend(fontsize=7, loc="lower right", frameon=False)
    _names(axes, kinds)
    return _svg(figure)


def _against_null(summary: pd.DataFrame, value: str, null: str, label: str) -> str:
    rows = _shown(summary, value)
    figure, axes = _figure(len(rows))
    places = np.arange(len(rows))
    beats = (rows[value] > rows[null]).to_numpy(bool)
    axes.hlines(places, rows[null], rows[value], color=GREY, lw=0.8)
    axes.scatter(rows[null], places, marker="|", s=60, color="black", label="95th percentile of random sets", zorder=2)
    for which, colour, marker, text in (
        (beats, BLUE, "o", "above it"),
        (~beats, ORANGE, "s", "not above it"),
    ):
        axes.scatter(rows[value][which], places[which], s=22, color=colour, marker=marker, label=text, zorder=3)
    axes.axvline(0, color=GREY, lw=0.8)
    axes.set_xlabel(label)
    axes.legend(fontsize=7, loc="lower right", frameon=False)
    _names(axes, rows["pathway"])
    return _svg(figure)


def rows_told(n_rows: int) -> str:
    """Which of the pathways that have a figure are drawn, for a caption; nothing where all are."""
    half = MOST_ROWS // 2
    return f" Drawn are the {half} highest and {half} lowest of {n_rows:,} pathways." if n_rows > MOST_ROWS else ""


def cells_told(n_rows: int, n_columns: int) -> str:
    """The same of pathways and sections in the order of their table."""
    if max(n_rows, n_columns) <= MOST_ROWS:
        return ""
    rows, columns = (min(n, MOST_ROWS) for n in (n_rows, n_columns))
    return f" Drawn are the first {rows} of {n_rows:,} pathways and the first {columns} of {n_columns:,} sections."


def _shown(summary: pd.DataFrame, by: str) -> pd.DataFrame:
    known = summary[summary[by].notna()].sort_values([by, "pathway"], ascending=[False, True])
    if len(known) > MOST_ROWS:
        import pandas as pd

        return pd.concat([known.head(MOST_ROWS // 2), known.tail(MOST_ROWS // 2)])
    return known


def _figure(n_rows: int, foot_inches: float = 0.0) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_INCHES, _HEAD_INCHES + foot_inches + _ROW_INCHES * max(n_rows, 3)), layout="tight")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)
    return figure, axes


def _names(axes: Any, names: Sequence[str] | pd.Series[Any] | pd.Index[Any]) -> None:
    """Rows from the top, as in a table."""
    axes.set_yticks(np.arange(len(names)), [_short(name) for name in names], fontsize=7)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _short(name: Any) -> str:
    # A dollar begins a formula.
    text = "".join(c if c.isprintable() else "?" for c in str(name)).replace("$", r"\$")
    return text if len(text) <= 48 else f"{text[:47]}..."


def _svg(figure: Figure) -> str:
    """The figure as an svg element, without what differs from run to run."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "humanst"}):
        figure.savefig(buffer, format="svg", dpi=200, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # Several figures share a page, where an id stands once; nothing refers to groups.
    return re.sub(r'<g id="[^"]*"', "<g", text)
