"""What an audit says of each pathway: one summary row, one verdict and one paragraph, by fixed rules.

The rules are written down in ``docs/audit.md``. Figures are medians over the sections in which a pathway is valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from humanst.pathways.audit.agreement import WEAK_BELOW

if TYPE_CHECKING:
    import pandas as pd

    from humanst.pathways import ResolvedSets

Verdict = Literal["trust", "with care", "do not trust", "not measured"]
VERDICTS: tuple[Verdict, ...] = ("trust", "with care", "do not trust", "not measured")

# Of the valid sections, those in which halves agree more than chance: enough for trust, too few for any use.
MOST_SECTIONS = 2 / 3
FEW_SECTIONS = 1 / 3
# Absolute correlation with library size: hardly any, and half of the variance of a score.
LITTLE_LIBRARY = 0.2
MUCH_LIBRARY = 0.7
MUCH_BETWEEN = 0.5
CEILING_WORTH_TELLING = 0.7

_MEDIANS = (
    "share", "half_r", "half_r_null_p95", "half_r_rank", "reliability", "ceiling", "moran", "moran_null_p95",
    "moran_residual", "moran_residual_null_p95", "moran_residual_rank",
)  # fmt: skip
REASONS: Mapping[str, str] = {
    "too-few-genes": "fewer than 10 of its genes are measured",
    "too-small-share": "too small a share of its genes is measured",
    "no-fit-spots": "no spot passes QC",
    "no-counts": "none of its genes has a single count",
    "no-variation": "its score does not vary",
}


def summary_of(sets: ResolvedSets, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The figures, verdict and paragraph of every pathway.

    Parameters
    ----------
    sets
        The P gene sets, in order.
    tables
        ``sections``, ``panels``, ``geometry``, ``mutual``, ``variance`` as the audit makes them.

    Returns
    -------
    P rows: ``pathway``, ``n_members``, ``n_sections``, ``n_valid``, ``n_passes``, ``masked_because`` (the commonest
    reason, empty without any); medians over valid sections; ``r_library`` and ``abs_r_library``, medians of the
    correlation and of its size; ``gaussian_bits``, ``above_shuffled``, ``between_donor`` (of raw scores);
    ``weak_panels`` (names, comma-separated), ``verdict`` and ``paragraph``.
    """
    import pandas as pd

    # Grouped once: looking a thousand pathways up in millions of rows takes an hour.
    mine = {name: _by_pathway(tables[name]) for name in ("sections", "panels", "geometry", "mutual", "variance")}
    rows = []
    for number, name in enumerate(sets.names):
        row = {"pathway": name, "n_members": sets.n_members[number], **_figures(mine["sections"][name])}
        row |= _together(mine["mutual"].get(name), mine["variance"].get(name))
        row["weak_panels"] = ", ".join(_weak(mine["panels"].get(name)))
        row["verdict"] = verdict_of(row)
        row["paragraph"] = paragraph_of(row, _geometry(mine["geometry"].get(name)))
        rows.append(row)
    return pd.DataFrame(rows)


def _figures(mine: pd.DataFrame) -> dict[str, Any]:
    valid = mine[mine["half_r"].notna()]
    reasons = mine["reason"].dropna().value_counts()
    figures: dict[str, Any] = {
        "n_sections": len(mine),
        "n_valid": len(valid),
        "n_passes": int(valid["passes"].astype(bool).sum()),
        "masked_because": "" if reasons.empty else str(reasons.index[0]),
    }
    figures |= {name: _median(valid[name]) for name in _MEDIANS}
    return figures | {"r_library": _median(valid["r_library"]), "abs_r_library": _median(valid["r_library"].abs())}


def _median(values: pd.Series[Any]) -> float:
    known = values.dropna()
    return float(known.median()) if len(known) else float("nan")


def _by_pathway(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(name): rows for name, rows in table.groupby("pathway", sort=False)} if len(table) else {}


def _together(mutual: pd.DataFrame | None, variance: pd.DataFrame | None) -> dict[str, Any]:
    bits = high = between = float("nan")
    if mutual is not None:
        bits, high = float(mutual["gaussian_bits"].iloc[0]), float(mutual["shuffled_p99_bits"].iloc[0])
    if variance is not None and (variance["stage"] == "raw").any():
        between = float(variance.loc[variance["stage"] == "raw", "between_donor"].iloc[0])
    return {"gaussian_bits": bits, "above_shuffled": bool(bits > high), "between_donor": between}


def _weak(panels: pd.DataFrame | None) -> list[str]:
    """Panels whose genes alone give another score in most of the sections where they give one."""
    if panels is None:
        return []
    scored = panels[panels["r"].notna()]
    return [str(panel) for panel, rows in scored.groupby("panel", sort=True) if rows["r"].median() < WEAK_BELOW]


def _geometry(geometry: pd.DataFrame | None) -> tuple[float, float] | None:
    """The smallest share of a block that a target covers, and how its score agrees with the block's."""
    scored = None if geometry is None else geometry[geometry["r"].notna()]
    if scored is None or scored.empty:
        return None
    share = float(scored["covered_share"].min())
    return share, float(scored.loc[scored["covered_share"] == share, "r"].median())


def verdict_of(row: Mapping[str, Any]) -> Verdict:
    """The verdict of a summary row; the rules apply in this order.

    1. Valid in no section: ``not measured``.
    2. Halves agree more than chance in fewer than a third of the valid sections, or |r| with library size is 0.7 or
       more, half of the variance: ``do not trust``.
    3. Halves agree in two thirds of them, |r| with library size is below 0.2, and Moran's I without library size is
       above the 95th percentile of random sets: ``trust``.
    4. Else ``with care``.
    """
    if row["n_valid"] == 0:
        return "not measured"
    passes = row["n_passes"] / row["n_valid"]
    if passes < FEW_SECTIONS or row["abs_r_library"] >= MUCH_LIBRARY:
        return "do not trust"
    return (
        "trust" if passes >= MOST_SECTIONS and row["abs_r_library"] < LITTLE_LIBRARY and _spatial(row) else "with care"
    )


def _spatial(row: Mapping[str, Any]) -> bool:
    return bool(row["moran_residual"] > row["moran_residual_null_p95"])


def paragraph_of(row: Mapping[str, Any], geometry: tuple[float, float] | None = None) -> str:
    """The verdict in plain words, from the figures of a summary row alone."""
    if row["n_valid"] == 0:
        why = REASONS.get(row["masked_because"], "it is not scored")
        return f"Not measured: in none of {_sections(row['n_sections'])}, mostly because {why}. Its targets are NaN."
    said = [_OPENINGS[row["verdict"]], _coverage(row), _reliability(row), _space(row), _library(row)]
    if np.isfinite(row["ceiling"]) and row["ceiling"] < CEILING_WORTH_TELLING:
        said.append(f"No model can correlate with these targets above about {row['ceiling']:.2f}.")
    if np.isfinite(row["gaussian_bits"]) and not row["above_shuffled"]:
        said.append("Its halves share no more information than shuffled spots do.")
    if np.isfinite(row["between_donor"]) and row["between_donor"] >= MUCH_BETWEEN:
        said.append(
            f"{row['between_donor']:.0%} of its raw variance lies between donors: compare within sections only."
        )
    if row["weak_panels"]:
        said.append(f"Weak on {row['weak_panels']}: there it is another score.")
    if geometry is not None and geometry[1] < WEAK_BELOW:
        said.append(
            f"A target that covers {geometry[0]:.0%} of the patch agrees with all of the patch at only "
            f"r = {geometry[1]:.2f}."
        )
    return " ".join(said)


_OPENINGS: Mapping[str, str] = {
    "trust": "Can be trusted.",
    "with care": "Use with care.",
    "do not trust": "Do not trust it.",
}


def _sections(n: int) -> str:
    return "1 section" if n == 1 else f"{n:,} sections"


def _coverage(row: Mapping[str, Any]) -> str:
    text = f"Valid in {row['n_valid']:,} of {_sections(row['n_sections'])}, with {row['share']:.0%} of its"
    text += f" {row['n_members']:,} genes measured."
    if row["n_valid"] < row["n_sections"]:
        text = f"{text[:-1]}; elsewhere {REASONS.get(row['masked_because'], 'it is not scored')}."
    return text


def _reliability(row: Mapping[str, Any]) -> str:
    text = f"Two halves of the counts agree at r = {row['half_r']:.2f}"
    if np.isfinite(row["half_r_null_p95"]):
        text += f", random sets of the same size and expression reach {row['half_r_null_p95']:.2f}"
    return f"{text}; it passes in {row['n_passes']:,} of {row['n_valid']:,}."


def _space(row: Mapping[str, Any]) -> str:
    if not np.isfinite(row["moran_residual"]):
        return "Its pattern in space is not known."
    if not np.isfinite(row["moran_residual_null_p95"]):
        return f"Moran's I without library size is {row['moran_residual']:.2f}, with no random set to compare."
    more = "more than" if _spatial(row) else "no more than"
    figure, null = row["moran_residual"], row["moran_residual_null_p95"]
    return f"Without library size its Moran's I is {figure:.2f}, {more} that of random sets ({null:.2f})."


def _library(row: Mapping[str, Any]) -> str:
    size = row["abs_r_library"]
    if not np.isfinite(size):
        return "Whether it follows library size is not known."
    how = "hardly follows" if size < LITTLE_LIBRARY else "partly follows" if size < MUCH_LIBRARY else "mostly follows"
    return f"It {how} library size (|r| = {size:.2f})."
