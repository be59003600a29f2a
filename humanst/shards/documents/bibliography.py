"""``CITATION.bib``: the paper and the data of every study that is in, and humanst itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from humanst.catalog.citing import CitedStudy, citations, own_citation
from humanst.shards.documents.facts import studies


def bibliography(manifest: Mapping[str, Any]) -> str:
    """BibTeX text: one entry a paper and data set, each once."""
    cited = [cited_study(study) for study in studies(manifest).values()]
    entries = citations(cited, own=own_citation(manifest["humanst_version"]))
    return "\n".join(f"{entry.bibtex()}\n" for entry in entries)


def cited_study(study: Mapping[str, Any]) -> CitedStudy:
    """A study of the manifest as citations are made from it."""
    return CitedStudy(
        study["study_id"], study["title"], study["citation"], study["doi"], dict(sorted(study["accessions"].items()))
    )
