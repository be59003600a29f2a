"""Tables of the tiers: a long one for machines, a summary for a person, and both as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst.errors import UsageError
from humanst.files import write_with
from stamp_train.domains import METRICS

if TYPE_CHECKING:
    import pandas as pd

PROBE_SCHEMA, DOMAINS_SCHEMA = "stamp_train.probe/1", "stamp_train.domains/1"
TABLE_SUFFIXES = (".parquet", ".csv")


@dataclass(frozen=True, slots=True)
class Report:
    """A tier, measured.

    Attributes
    ----------
    schema
        What the JSON is.
    table
        The long table: a row a model (``features``), protocol, donor, section and target, or section and seed.
    lines
        The summary, plain data: intervals as ``{mean, low, high, n_donors, n_undefined, note}``.
    notes
        What a reader must know beside the figures.
    about
        Release, splits, genes, and what the files of embeddings say of their making.
    """

    schema: str
    table: pd.DataFrame
    lines: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
    about: Mapping[str, Any]

    def content(self) -> dict[str, Any]:
        """The report as plain data for JSON; what is no number is null."""
        content = {"schema": self.schema, **self.about, "lines": list(self.lines), "notes": list(self.notes)}
        cleaned: dict[str, Any] = _plain(content)
        return cleaned

    def rows(self) -> list[tuple[str, ...]]:
        """The summary as cells of text, the heads first."""
        return probe_rows(self.lines) if self.schema == PROBE_SCHEMA else domain_rows(self.lines)

    def write(self, path: Path) -> str:
        """Write the long table, notes in every row, as parquet or csv; returns the sha256.

        Raises
        ------
        UsageError
            For another kind of file.
        """
        return write_table(path, self.table.assign(notes=" ".join(self.notes)))


def write_table(path: Path, table: pd.DataFrame) -> str:
    """Write a table as parquet or csv, by the suffix; returns the sha256.

    Raises
    ------
    UsageError
        For another kind of file.
    """
    check_table_path(path)
    if path.suffix == ".csv":
        return write_with(path, lambda partial: table.to_csv(partial, index=False, lineterminator="\n"))
    return write_with(path, lambda partial: table.to_parquet(partial, index=False))


def check_table_path(path: Path) -> None:
    """See that a table can be written under this name.

    Raises
    ------
    UsageError
        When it is neither parquet nor csv.
    """
    if path.suffix not in TABLE_SUFFIXES:
        expected, found = " or ".join(TABLE_SUFFIXES), path.suffix or "no suffix"
        raise UsageError("The table cannot be of this kind", field="--out", expected=expected, found=found)


def probe_rows(lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Cells of text, a line a model, protocol and set of genes."""
    heads = ("features", "column", "targets", "n", "donors", "r", "95 %", "library size", "gain", "95 %", "ceiling")
    rows: list[tuple[str, ...]] = [heads]
    for line in lines:
        rows.append(
            (
                str(line["features"]),
                str(line["column"]),
                str(line["genes"]),
                str(line["n_targets"]),
                str(line["pcc"]["n_donors"]),
                _number(line["pcc"]["mean"]),
                _between(line["pcc"]),
                _number(line["library_size"]["mean"]),
                _number(line["gain"]["mean"]),
                _between(line["gain"]),
                _number(line["ceiling"]),
            )
        )
    return rows


def domain_rows(lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Cells of text, a line a model and method: means over sections, and the interval of the ARI over donors."""
    heads = ("features", "method", "sections", "donors", *(name.upper() for name in METRICS), "sd of sections", "95 %")
    rows: list[tuple[str, ...]] = [heads]
    together: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for line in lines:
        together.setdefault((str(line["features"]), str(line["method"])), {})[str(line["metric"])] = line
    for (name, method), by_metric in together.items():
        ari = by_metric["ari"]
        counted = (str(ari["n_sections"]), str(ari["over_donors"]["n_donors"]))
        means = (_number(by_metric[metric]["mean"]) for metric in METRICS)
        rows.append((name, method, *counted, *means, _number(ari["sd_of_sections"]), _between(ari["over_donors"])))
    return rows


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _between(interval: Mapping[str, Any]) -> str:
    return interval["note"] if interval["low"] is None else f"{interval['low']:.3f}..{interval['high']:.3f}"
