"""What the manifest says of the sections, spread over pairs: for conditions and for balanced samplers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from humanst.load.release import Release


def section_facts(release: Release) -> dict[str, dict[str, Any]]:
    """The plain facts of every section: those of its row in the manifest and its harmonised metadata.

    Returns
    -------
    dict
        ``sample_id`` to name to text, number or bool.
    """
    facts: dict[str, dict[str, Any]] = {}
    for row in release.manifest.get("sections", []):
        known = {**row.get("metadata", {}), **row}
        facts[str(row["sample_id"])] = {
            name: value for name, value in known.items() if isinstance(value, str | int | float)
        }
    return facts


def fact_names(facts: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Names that some section has a fact for."""
    return {name for row in facts.values() for name in row}


def of_pairs(table: pa.Table, facts: Mapping[str, Mapping[str, Any]], name: str) -> NDArray[Any]:
    """(n,) objects: the fact called ``name`` of each pair's section, ``None`` where it has none."""
    ids, section_of_row = codes(table["sample_id"])
    values = np.empty(len(ids), dtype=object)
    values[:] = [facts.get(sample_id, {}).get(name) for sample_id in ids]
    return values[section_of_row]


def codes(column: Any) -> tuple[list[Any], NDArray[np.int64]]:
    """The different values of a column in order of first appearance, and (n,) int64: which one each row has."""
    import pyarrow as pa

    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    return encoded.dictionary.to_pylist(), np.asarray(encoded.indices, dtype=np.int64)


def rows_of(group: NDArray[np.int64], n_groups: int) -> list[NDArray[np.int64]]:
    """The rows of each group, ascending; ``group`` says which one each row has."""
    order = np.argsort(group, kind="stable").astype(np.int64)
    return np.split(order, np.cumsum(np.bincount(group, minlength=n_groups))[:-1]) if n_groups else []


def columns_for(table: pa.Table, facts: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> dict[str, Any]:
    """The columns called ``names``: of the index where it has them, else facts of each pair's section."""
    return {name: table[name] if name in table.column_names else of_pairs(table, facts, name) for name in names}
