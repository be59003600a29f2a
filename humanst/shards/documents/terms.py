"""The part of the card that says what may be done with a release, and whom to cite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from humanst.catalog.citing import citations, own_citation
from humanst.shards.documents.bibliography import cited_study
from humanst.shards.documents.facts import license_url, licenses_of, studies
from humanst.shards.documents.markdown import code, link, plain, table, words


def license_lines(manifest: Mapping[str, Any]) -> list[str]:
    """Licence -> studies, sections and pairs, and which may be passed on."""
    about = studies(manifest)
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for section in manifest["sections"]:
        groups.setdefault(licenses_of(section), []).append(section)
    rows = []
    for names, sections in sorted(groups.items()):
        owners = sorted({section["study_id"] for section in sections})
        passed_on = sum(section["pairs"] for section in sections if section.get("redistributable", False))
        shown = ", ".join(_license(name, [about[owner] for owner in owners if owner in about]) for name in names)
        n_pairs = sum(section["pairs"] for section in sections)
        rows.append((shown, ", ".join(map(code, owners)), len(sections), n_pairs, passed_on))
    head = ("licence", "studies", "sections", "pairs", "of these redistributable")
    lines = [
        "",
        "## Licences",
        "",
        words(
            "Every section keeps the licence of its study; `LICENSES.tsv` has one row a section, with the attribution.",
            "Nothing under terms with NC, ND, or that nobody read, counts as redistributable.",
        ),
        "",
        *table(head, rows),
    ]
    accepted = {
        name: [owner for owner in owners if owner in about]
        for name, owners in sorted((manifest.get("accepted_licenses") or {}).items())
    }
    told = "; ".join(f"{plain(name)} for {', '.join(map(code, who))}" for name, who in accepted.items() if who)
    if told:
        lines += ["", f"Whoever built this accepted: {told}."]
    return lines


def _license(name: str, owners: list[Mapping[str, Any]]) -> str:
    study = next((owner for owner in owners if owner["license"] == name and owner["license_url"]), None)
    url = license_url(name, study)
    return link(name, url) if url else plain(name)


def citation_lines(manifest: Mapping[str, Any]) -> list[str]:
    """One line a paper and data set, as ``CITATION.bib`` has them."""
    cited = [cited_study(study) for study in studies(manifest).values()]
    found = citations(cited, own=own_citation(manifest["humanst_version"]))
    lines = [
        "",
        "## Citation",
        "",
        "Cite the studies whose sections you use, and humanst; `CITATION.bib` has them all.",
        "",
    ]
    for one in found:
        of = f" (for {', '.join(map(code, one.studies))})" if one.studies else ""
        unnamed = one.title not in one.apa and not one.doi and not one.url
        lines.append(f"- {plain(f'{one.title}. {one.apa}' if unnamed else one.apa)}{of}")
    return lines
