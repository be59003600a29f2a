"""The ontology terms in use and their labels (``curation/_terms.yaml``): what an id must be called, and the reverse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from humanst.catalog.yaml_files import read_yaml
from humanst.settings import data_path

TERMS = "_terms.yaml"


@cache
def known_terms() -> Mapping[str, str]:
    """Ontology id -> the label its ontology gives it."""
    terms: dict[str, str] = read_yaml(data_path("curation", TERMS))
    return terms


def term_faults(row: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """What is wrong with the ontology ids of a row of a samples table.

    Yields
    ------
    tuple
        (severity, column, expected, found): a refusal where id and label name different things, a warning for an id
        that nobody looked up.
    """
    known = known_terms()
    ids = {label.casefold(): term for term, label in known.items()}
    for column in ("organism", "assay", "tissue", "disease"):
        label, term = row.get(column, "unknown"), row.get(f"{column}_ontology_term_id", "unknown")
        right = ids.get(label.casefold())
        if "unknown" in (term, label) or known.get(term) == label:
            continue
        found = f"{term} with {label!r}"
        if term not in known and right is None:
            yield "warn", f"{column}_ontology_term_id", f"an id of curation/{TERMS}", found
        elif term in known and right is None:
            yield "refuse", column, f"{known[term]!r}, which {term} is", found
        else:
            yield "refuse", f"{column}_ontology_term_id", f"{right}, which is {known[str(right)]!r}", found
