"""Whom to cite: the papers and data sets of chosen studies, and humanst itself, from what is on record alone.

Nothing is looked up. A field that the catalog does not give is left out of an entry; none is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from humanst.catalog.listed import ListedStudy
from humanst.catalog.records import Study
from humanst.catalog.yaml_files import read_yaml
from humanst.settings import data_path

# Repositories whose identifiers follow from the accession by the repository's own rule.
_DATA_DOI = {"zenodo": ("Zenodo", "10.5281/zenodo.{}"), "mendeley": ("Mendeley Data", "10.17632/{}")}
_DATA_URL = {"geo": ("Gene Expression Omnibus", "https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc={}")}
_REPOSITORY = re.compile(r"(?P<name>[a-z]+)(_\d+)?")
_AUTHOR = re.compile(r"^(?P<name>[^.,()]+?) et al\.?,? ")
_GROUP = re.compile(r"^(?P<name>10x Genomics)\. ")
_YEAR = re.compile(r"\((?P<year>(19|20)\d\d)\)|Dataset, (?P<dated>(19|20)\d\d)-\d\d-\d\d")
_JOURNAL = re.compile(r"\. (?P<name>[A-Z][^.()]{2,80}?) \((19|20)\d\d\)")
_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\~{}"}
_DATA_HOSTS = ("10.5281/zenodo.", "10.17632/", "10.6084/")


@dataclass(frozen=True, slots=True)
class CitedStudy:
    """What a citation is made from, of a study that is not at hand itself: a release's manifest carries it.

    Attributes
    ----------
    citation
        One line, as the catalog has it.
    accessions
        Repository -> accession.
    """

    study_id: str
    title: str
    citation: str
    doi: str | None
    accessions: Mapping[str, str]


Citable = Study | ListedStudy | CitedStudy


@dataclass(frozen=True, slots=True)
class Citation:
    """One thing to cite.

    Attributes
    ----------
    key
        Its BibTeX key.
    kind
        ``article``, ``dataset`` or ``software``.
    apa
        One line for a reference list.
    studies
        The chosen studies it stands for; empty for humanst itself.
    authors
        As far as they are on record: ``Andersson and others``.
    """

    key: str
    kind: str
    title: str
    apa: str
    studies: tuple[str, ...] = ()
    authors: str | None = None
    year: str | None = None
    journal: str | None = None
    doi: str | None = None
    url: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The citation as plain data."""
        return {**asdict(self), "studies": list(self.studies)}

    def bibtex(self) -> str:
        """The citation as one BibTeX entry."""
        article = self.kind == "article" and self.journal is not None
        fields = {
            "title": f"{{{_latex(self.title)}}}",
            "author": None if self.authors is None else _authors(self.authors),
            "journal": _latex(self.journal) if article and self.journal else None,
            "howpublished": None if article or not self.journal else _latex(self.journal),
            "year": self.year,
            "doi": self.doi and _without_braces(self.doi),
            "url": self.url and _without_braces(self.url),
            "note": f"humanst: {', '.join(map(_latex, self.studies))}" if self.studies else None,
        }
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
        return "\n".join([f"@{'article' if article else 'misc'}{{{self.key},", *lines, "}"])


def _without_braces(address: str) -> str:
    """An address as BibTeX takes it: braces are all that would end a field early."""
    return address.replace("{", "%7B").replace("}", "%7D")


def citations(studies: Iterable[Citable], *, own: Citation | None = None) -> tuple[Citation, ...]:
    """What to cite for these studies: each paper and data set once, in the order given; then humanst itself.

    Parameters
    ----------
    own
        How humanst is cited; as it is installed without one.
    """
    found: dict[str, Citation] = {}
    for study in studies:
        for one in (_paper(study), *_data(study)):
            # What has no pointer is one thing only when title and text agree: many are just "unpublished".
            name = (one.doi or one.url or f"{one.title} {one.apa}").casefold()
            known = found.get(name)
            merged = one if known is None else _with_studies(known, one.studies)
            found[name] = merged
    return (*found.values(), own or own_citation())


def own_citation(version: str | None = None) -> Citation:
    """How humanst itself asks to be cited: ``CITATION.cff``; with another ``version``, without the date of this one."""
    about = read_yaml(data_path("CITATION.cff"))
    version = version or str(about["version"])
    names = [author.get("name") or f"{author['given-names']} {author['family-names']}" for author in about["authors"]]
    dated_here = "date-released" in about and version == str(about["version"])
    year = str(about["date-released"])[:4] if dated_here else None
    doi, url = about.get("doi"), about.get("repository-code") or about.get("url")
    pointer = f"https://doi.org/{doi}" if doi else url
    dated = f" ({year})" if year else ""
    apa = f"{', '.join(names)}{dated}. {about['title']} (version {version}) [Computer software]."
    return Citation(
        "humanst",
        "software",
        f"{about['title']} (version {version})",
        f"{apa} {pointer}" if pointer else apa,
        authors=" and ".join(names),
        year=year,
        doi=doi,
        url=None if doi else url,
    )


def study_url(study: Citable) -> str | None:
    """The best public pointer to a study: its DOI, else the page on record, else the address its citation gives."""
    if study.doi:
        return f"https://doi.org/{study.doi}"
    paper = _paper(study)
    page = study.accessions.get("page")
    return page if page and page.startswith("https://") else paper.url


def _paper(study: Citable) -> Citation:
    text = " ".join(study.citation.split())
    author, year, journal = (pattern.search(text) for pattern in (_AUTHOR, _YEAR, _JOURNAL))
    group = _GROUP.match(text)
    link = re.search(r"https://\S+", text)
    is_data = (study.doi or "").startswith(_DATA_HOSTS) or (study.doi is None and group is not None)
    return Citation(
        study.study_id,
        "dataset" if is_data else "article",
        study.title,
        text,
        (study.study_id,),
        authors=f"{author['name']} and others" if author else group["name"] if group else None,
        year=(year["year"] or year["dated"]) if year else None,
        journal=journal["name"] if journal else None,
        doi=study.doi,
        url=link[0].rstrip(".,;") if link and not study.doi else None,
    )


def _data(study: Citable) -> Iterable[Citation]:
    for name, accession in study.accessions.items():
        spelled = _REPOSITORY.fullmatch(name)
        repository = spelled["name"] if spelled else ""
        place = accession.replace(" version ", ".")
        doi = url = None
        if repository in _DATA_DOI:
            where, pattern = _DATA_DOI[repository]
            doi = pattern.format(place)
        elif repository in _DATA_URL:
            where, pattern = _DATA_URL[repository]
            url = pattern.format(place)
        else:
            continue
        pointer = f"https://doi.org/{doi}" if doi else url
        yield Citation(
            f"{study.study_id}_{name}",
            "dataset",
            f"Data of: {study.title}",
            f"Data of: {study.title} [Data set]. {where}, {accession}. {pointer}",
            (study.study_id,),
            journal=where,
            doi=doi,
            url=url,
        )


def _with_studies(one: Citation, more: Sequence[str]) -> Citation:
    from dataclasses import replace

    return replace(one, studies=tuple(dict.fromkeys((*one.studies, *more))))


def _authors(names: str) -> str:
    # Braces keep a group's name from being read as a person's.
    return " and ".join(
        name if name == "others" or " " not in name else f"{{{name}}}" for name in _latex(names).split(" and ")
    )


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))
