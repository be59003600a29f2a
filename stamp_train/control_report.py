"""The comparison of the arms as files: one table as parquet and csv, and a page with the verdict for a person."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.files import write_bytes, write_json
from stamp_train.control_arms import ALIGNED
from stamp_train.control_table import ALL
from stamp_train.tier_tables import write_table

if TYPE_CHECKING:
    import pandas as pd

    from stamp_train.verdict import Verdict

SCHEMA = "stamp_train.controls/1"
TABLE = "controls"
_HEAD = (
    "tier",
    "measure",
    "part",
    "arm",
    "mean",
    "arm - frozen",
    "aligned - arm",
    "library alone",
    "ceiling",
    "donors",
)
_NOTE = (
    "Means over donors with 95 % intervals from drawing donors; differences are paired by donor, section and target. "
    "`library alone` is what the library size of a spot reaches by the same protocol without an image, `ceiling` what "
    "the noise of counts lets a perfect model reach."
)


def write_report(folder: Path, table: pd.DataFrame, verdict: Verdict, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``controls.parquet``, ``controls.csv``, ``controls.md`` and last ``controls.json``; returns the last.

    Parameters
    ----------
    table
        What :func:`stamp_train.control_table.comparison` gave.
    facts
        What else is to be known of the comparison, plain data. ``leakage`` (text or None) stands in every row too, and
        so does what ``arms`` (:func:`stamp_train.control_arms.told_of`) says of the row's arm.
    """
    noted = _noted(table, facts)
    content = {
        "schema": SCHEMA,
        **facts,
        "verdict": {
            "answer": verdict.answer,
            "sentence": verdict.sentence,
            "reasons": list(verdict.reasons),
            "organs": dict(verdict.organs),
            "rivals": dict(verdict.rivals),
        },
        "rows": json.loads(noted.to_json(orient="records")),
    }
    for suffix in (".parquet", ".csv"):
        write_table(folder / f"{TABLE}{suffix}", noted)
    write_bytes(folder / f"{TABLE}.md", page(noted, verdict, facts).encode())
    write_json(folder / f"{TABLE}.json", content)
    return content


def _noted(table: pd.DataFrame, facts: Mapping[str, Any]) -> pd.DataFrame:
    """The table with what was trained on, how that was read, and leakage in every row."""
    of = {told["arm"]: told for told in facts["arms"]}
    return table.assign(
        target_sets=table["arm"].map({arm: ",".join(dict.fromkeys(told["target_sets"])) for arm, told in of.items()}),
        pathway_encoder=table["arm"].map({arm: told["pathway_encoder"] or "" for arm, told in of.items()}),
        leakage=facts.get("leakage") or "",
    )


def page(table: pd.DataFrame, verdict: Verdict, facts: Mapping[str, Any]) -> str:
    """The table in Markdown, under its verdict."""
    lines = ["# Aligned, frozen, and controls", "", f"**{verdict.sentence}**", ""]
    if facts.get("leakage"):
        lines += [f"**Training saw what it is tested on:** {facts['leakage']}", ""]
    lines += [_NOTE, ""]
    lines += [f"- {name}: {value}" for name, value in _told(facts)]
    lines += [f"- {told['arm']}: {told['what']}{_trained_on(told)}" for told in facts["arms"]]
    lines += [f"- note: {note}" for note in facts.get("notes", ())]
    lines += ["", *markdown(main_lines(table))]
    if one_by_one := pathway_lines(table):
        lines += ["", "## Pathways one by one", "", *markdown(one_by_one)]
    return "\n".join([*lines, ""])


def main_lines(table: pd.DataFrame) -> list[list[str]]:
    """The table without single pathways and organs, as cells; the first line names the columns."""
    shown = table[table["part"].isin((ALL, "in sets", "outside")) | (table["tier"] == "slides")]
    lines = [list(_HEAD)]
    for row in _records(shown):
        lines.append(
            [
                str(row["tier"]),
                str(row["measure"]),
                str(row["part"]),
                str(row["arm"]),
                with_interval(row, ""),
                with_interval(row, "minus_frozen_"),
                with_interval(row, "aligned_minus_"),
                number(row["library_alone"]),
                number(row["ceiling"]),
                str(row["n_donors"]),
            ]
        )
    return lines


def pathway_lines(table: pd.DataFrame) -> list[list[str]]:
    """A line a pathway: the mean of each arm, and the aligned one above the frozen one. Empty without pathways."""
    rows = table[(table["tier"] == "pathways") & (table["part"] != ALL)]
    arms = list(dict.fromkeys(rows["arm"]))
    lines = [["pathway", *arms, "aligned - frozen", "ceiling"]]
    for part in dict.fromkeys(rows["part"]):
        of_arm = {str(row["arm"]): row for row in _records(rows[rows["part"] == part])}
        means = [number(of_arm[arm]["mean"]) for arm in arms]
        gain = with_interval(of_arm[ALIGNED], "minus_frozen_") if ALIGNED in of_arm else ""
        lines.append([str(part), *means, gain, number(of_arm[arms[0]]["ceiling"])])
    return lines if len(lines) > 1 else []


def markdown(lines: Sequence[Sequence[str]]) -> list[str]:
    """Cells as a table of Markdown."""
    rule = ["---"] * len(lines[0])
    return [f"| {' | '.join(cells)} |" for cells in (lines[0], rule, *lines[1:])]


def with_interval(row: Mapping[str, Any], prefix: str) -> str:
    """A mean and its interval as text, or why there is none."""
    mean, low, high = (row[f"{prefix}{part}"] for part in ("mean", "low", "high"))
    if np.isnan(mean):
        return ""
    sign = "+" if prefix else ""
    ends = f"{low:{sign}.3f} to {high:{sign}.3f}" if not np.isnan(low) else str(row[f"{prefix}note"])
    return f"{mean:{sign}.3f} ({ends})"


def number(value: float) -> str:
    """Three digits, or nothing where there is no number."""
    return "" if np.isnan(value) else f"{value:.3f}"


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _trained_on(told: Mapping[str, Any]) -> str:
    """The target sets of an arm, and its pathway encoder, as text behind what it is."""
    if not told["target_sets"]:
        return ""
    sets = ", ".join(dict.fromkeys(told["target_sets"]))
    return f" ({sets}; pathway encoder {told['pathway_encoder']})"


def _told(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What of the facts a person is told in a line each."""
    names = {"release": "release", "base": "base", "gene_sets": "gene sets", "config": "settings", "seeds": "seeds"}
    return [(told, str(facts[name])) for name, told in names.items() if facts.get(name)]
