"""The page of an audit: one HTML file with its tables, plots, style and script in it.

Everything that comes from a file is escaped. The page says itself that nothing but its own script, by its hash, may
run, and that nothing is fetched from anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from humanst.report import plots
from humanst.report.rendering import environment, script_hash, template_text
from humanst.report.verdicts import VERDICTS

if TYPE_CHECKING:
    import pandas as pd

# A browser sorts some thousand rows at once; the parquet beside the page has all.
MOST_ROWS = 3000
SYMBOLS = {"trust": "●", "with care": "◐", "do not trust": "○", "not measured": "-"}

_SUMMARY = {
    "pathway": "pathway", "verdict": "verdict", "n_valid": "valid in", "share": "share measured", "half_r": "half r",
    "half_r_null_p95": "random p95", "reliability": "reliability", "ceiling": "ceiling",
    "moran_residual": "Moran I (no library)", "moran_residual_null_p95": "random p95 ", "abs_r_library": "|r| library",
    "gaussian_bits": "bits shared", "between_donor": "between donors (raw)",
}  # fmt: skip
_SECTIONS = (
    "sample_id", "pathway", "n_measured", "n_members", "reason", "half_r", "half_r_null_p95", "reliability", "ceiling",
    "moran", "moran_residual", "moran_residual_null_p95", "r_library", "passes",
)  # fmt: skip

_NULL = "a row a pathway, beside the 95th percentile of random sets of the same sizes and expression."
_HALF_R = f"Correlation of the scores of two halves of the counts, {_NULL}"
_MORAN = f"Moran's I of what library size does not explain, {_NULL}"
_LIBRARY = "Correlation of each pathway with log10 counts, a dot a section."
_INFORMATION = (
    "How well features of half of the counts predict the genes of the other half in donors left out, as a share of the "
    "ceiling that noise sets."
)
_COVERAGE = "Share of the genes of each pathway that each section measured; crossed out where it is not valid."


@dataclass(frozen=True, slots=True)
class Shown:
    """A table as the page shows it.

    Attributes
    ----------
    rows
        Of ``(text, key to sort by)``.
    n_rows
        In the parquet file, of which no more than ``MOST_ROWS`` are here.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[tuple[str, str], ...], ...]
    n_rows: int


def audit_page(facts: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> str:
    """The page.

    Parameters
    ----------
    facts
        ``title``, ``command``, what was scored and how.
    tables
        Those of the audit, ``pathways`` among them.

    Returns
    -------
    HTML. The same facts and tables, the same text.
    """
    from markupsafe import Markup

    script = template_text("sort.js")
    summary = tables["pathways"]
    order = {verdict: number for number, verdict in enumerate(VERDICTS)}
    ranked = summary.assign(_rank=summary["verdict"].map(order)).sort_values(
        ["_rank", "half_r", "pathway"], ascending=[True, False, True]
    )
    return (
        environment()
        .get_template("audit.html.j2")
        .render(
            facts=facts,
            symbols=SYMBOLS,
            verdicts=[(verdict, int((summary["verdict"] == verdict).sum())) for verdict in VERDICTS],
            n_sections=tables["sections"]["sample_id"].nunique(),
            n_pathways=len(summary),
            n_together=n_together(tables),
            summary=_shown("pathways", ranked, tuple(_SUMMARY), tuple(_SUMMARY.values())),
            paragraphs=list(ranked[["pathway", "verdict", "paragraph"]].itertuples(index=False, name=None)),
            # Drawn here, by a library that escapes what it draws.
            figures=[(title, alt, Markup(svg)) for title, alt, svg in _figures(tables)],  # noqa: S704
            details=[_shown(name, tables[name], columns) for name, columns in _details(tables)],
            script=script,
            script_hash=script_hash(script),
            most_rows=MOST_ROWS,
        )
    )


def n_together(tables: Mapping[str, pd.DataFrame]) -> int:
    """Sections that the figures of all sections together are of: those with enough spots, as far as there is room."""
    found = tables["retrieval"].get("n_sections")
    return int(found.max()) if found is not None and len(found) else 0


def _figures(tables: Mapping[str, pd.DataFrame]) -> list[tuple[str, str, str]]:
    """Title, what it shows in words, and the plot, of all plots there is something to draw of."""
    summary, information, sections = tables["pathways"], tables["information"], tables["sections"]
    drawn = []
    if summary["half_r"].notna().any():
        told = plots.rows_told(int(summary["half_r"].notna().sum()))
        spatial = plots.rows_told(int(summary["moran_residual"].notna().sum()))
        drawn += [
            ("Reliability", _HALF_R + told, plots.half_r_plot(summary)),
            ("Pattern in space", _MORAN + spatial, plots.moran_plot(summary)),
            ("Library size", _LIBRARY + told, plots.library_plot(summary, sections)),
        ]
    if information["share_of_ceiling"].notna().any():
        drawn.append(("Information kept", _INFORMATION, plots.information_plot(information)))
    cells = plots.cells_told(sections["pathway"].nunique(), sections["sample_id"].nunique())
    return [*drawn, ("Coverage", _COVERAGE + cells, plots.coverage_plot(sections))]


def _details(tables: Mapping[str, pd.DataFrame]) -> list[tuple[str, tuple[str, ...]]]:
    wanted = {name: tuple(tables[name].columns) for name in ("information", "retrieval", "mutual", "variance")}
    wanted |= {name: tuple(tables[name].columns) for name in ("panels", "geometry")}
    wanted["sections"] = tuple(name for name in _SECTIONS if name in tables["sections"])
    return [(name, columns) for name, columns in wanted.items() if len(tables[name])]


def _shown(name: str, table: pd.DataFrame, columns: Sequence[str], heads: Sequence[str] | None = None) -> Shown:
    rows = table[list(columns)].head(MOST_ROWS).itertuples(index=False, name=None)
    shown = tuple(tuple(_cell(value) for value in row) for row in rows)
    return Shown(name, tuple(heads or (column.replace("_", " ") for column in columns)), shown, len(table))


def _cell(value: Any) -> tuple[str, str]:
    """The text of a value, and what it is sorted by."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-", ""
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return ("yes", "1") if value else ("no", "0")
    if isinstance(value, int) or type(value).__name__.startswith("int"):
        return f"{int(value):,}", str(int(value))
    if isinstance(value, float):
        return f"{value:.3f}", repr(float(value))
    return str(value), str(value).lower()
