"""``LICENSES.tsv``: one row a section, for people and for ``cut``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from humanst.shards.documents.facts import license_url, licenses_of, studies

COLUMNS = ("sample_id", "study_id", "license", "license_url", "attribution", "redistributable")


def license_table(manifest: Mapping[str, Any]) -> str:
    """Tab-separated text with a head; several licences of one section are joined by ``; ``, none is quoted."""
    about = studies(manifest)
    lines = [COLUMNS]
    for section in manifest["sections"]:
        study = about.get(section["study_id"])
        names = licenses_of(section)
        urls = [url for url in (license_url(name, study) for name in names) if url]
        lines.append(
            (
                section["sample_id"],
                section["study_id"],
                "; ".join(names),
                "; ".join(urls),
                _attribution(study),
                # What nobody said may be passed on may not.
                "true" if section.get("redistributable", False) else "false",
            )
        )
    return "".join("\t".join(_cell(cell) for cell in line) + "\n" for line in lines)


def _attribution(study: Mapping[str, Any] | None) -> str:
    if study is None:
        return ""
    # A study without a paper or a page is named by its title.
    return str(study["citation"] if study["url"] else f"{study['title']}. {study['citation']}")


def _cell(text: str) -> str:
    return " ".join(text.split())
