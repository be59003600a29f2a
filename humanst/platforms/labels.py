"""Annotations of spots: what a recipe calls them, and labels that belong to no spot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from humanst.findings import Findings


def label_name(rule: Mapping[str, Any], columns: Sequence[str], column: str) -> str:
    """The name under which a column of the label file is carried; the recipe's ``name`` is for a single column."""
    return f"label_{rule.get('name', column) if len(columns) == 1 else column}"


def tell_unmatched(unmatched: set[Any], n_labels: int, *, name: str, field: str, findings: Findings) -> None:
    """Warn of labels that no spot of the count table takes: ``labels-unmatched``."""
    if unmatched:
        findings.warn(
            "labels-unmatched",
            "Some labels belong to no spot of the count table",
            file=name,
            field=field,
            expected=f"all {n_labels} labels joined",
            found=f"{len(unmatched)} left over, such as {', '.join(_examples(unmatched))}",
        )


def _examples(unmatched: set[Any], most: int = 3) -> list[str]:
    return sorted("/".join(map(str, key)) if isinstance(key, tuple) else str(key) for key in unmatched)[:most]
