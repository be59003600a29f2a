"""What the catalog is made of: studies, sections, sources, recipes and resources, frozen and named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from humanst.catalog.licenses import is_redistributable
from humanst.errors import UsageError

if TYPE_CHECKING:
    from humanst.catalog.listed import ListedStudy


@dataclass(frozen=True, slots=True)
class Source:
    """One file of a section or a resource.

    Attributes
    ----------
    role
        What the file is to its reader: ``counts``, ``spots``, ``image``, ``labels``, ... (``file`` in a resource).
    path
        Relative path below the study's folder, in the cache and in every mirror.
    url
        Where its original host serves it; ``None`` when no public address was ever seen.
    bytes, sha256, md5
        Size and digests on record; ``None`` where not known. A file with neither digest is *unpinned*.
    license
        SPDX id when it differs from the study's or resource's own.
    member
        Name of the file within the archive at ``path``, which ``bytes`` and the digests then are of.
    password
        What the archive at ``path`` is encrypted with, as its authors publish it.
    """

    role: str
    path: str
    url: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    license: str | None = None
    member: str | None = None
    password: str | None = None

    @property
    def pinned(self) -> bool:
        """Whether a digest is on record."""
        return self.sha256 is not None or self.md5 is not None


@dataclass(frozen=True, slots=True)
class Lattice:
    """The array a section was captured on: its shape, centre-to-centre pitch and spot diameter in um."""

    kind: Literal["square", "hex"]
    pitch_um: float
    spot_diameter_um: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to read a study's files. ``schemas/recipe.yaml`` explains every field and option."""

    platform: str
    gene_id_type: Literal["symbol", "ensembl"]
    targeted: bool
    absent_genes: Literal["zero", "unmeasured"]
    lattice: Lattice
    um_per_pixel: float | None = None
    um_per_pixel_source: str | None = None
    orientation: str = "as_given"
    labels: Mapping[str, Any] | None = None
    oddities: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def for_section(self, section: Section) -> Recipe:
        """Lay the section's own options over this recipe: what the section's reader is given."""
        return replace(self, options={**self.options, **section.options})

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Section:
    """One tissue section: its files, its samples.csv row (``metadata``) and its own reader ``options``.

    Attributes
    ----------
    slide
        Serial number of the slide it lies on.
    spots_under_tissue
        As the study's own page states them: the pairs to expect. ``None`` where no such number was seen.
    """

    study_id: str
    section_id: str
    sample_id: str
    status: str
    sources: tuple[Source, ...]
    metadata: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    slide: str | None = None
    spots_under_tissue: int | None = None

    @property
    def names(self) -> frozenset[str]:
        """What this piece of tissue is called, here and elsewhere, as ``<namespace>:<id>``; one shared name is proof.

        Its own id (``humanst:``), its ``known_duplicates``, and its id in HEST (``hest:``).
        """
        told = [name for name in self.metadata.get("known_duplicates", "").split(";") if ":" in name]
        xref = self.metadata.get("xref_hest", "")
        return frozenset([f"humanst:{self.sample_id}", *told, *([f"hest:{xref}"] if xref else [])])

    @property
    def fetchable(self) -> bool:
        """Whether any of its files has a public address."""
        return any(source.url is not None for source in self.sources)

    def source(self, role: str) -> Source | None:
        """The file with this role, or ``None``."""
        return next((source for source in self.sources if source.role == role), None)


@dataclass(frozen=True, slots=True)
class Study:
    """One published study with everything needed to fetch, read and cite it.

    Attributes
    ----------
    license
        SPDX id, ``LicenseRef-unknown`` where none was seen; ``license_source`` says where it was seen.
    hosts
        Host names its files and their redirects may come from (``host`` or ``host:port``).
    curation
        Its folder below ``curation/``, which several studies may share.
    n_sections
        How many sections it has, where more than are here.
    """

    study_id: str
    title: str
    platform: str
    license: str
    license_url: str | None
    license_source: str
    doi: str | None
    citation: str
    hosts: tuple[str, ...]
    recipe: Recipe
    sections: tuple[Section, ...]
    accessions: Mapping[str, str] = field(default_factory=dict)
    curation: str = ""
    n_sections: int | None = None

    @property
    def redistributable(self) -> bool:
        """Whether derived data may be passed on: not under NC, ND or an unknown licence."""
        return is_redistributable(self.license)

    def licenses(self, section: Section) -> tuple[str, ...]:
        """The licences a section comes under: the study's, and those of files that have their own."""
        own = (source.license for source in section.sources if source.license is not None)
        return tuple(dict.fromkeys((self.license, *own)))

    def may_pass_on(self, section: Section) -> bool:
        """Whether what is made from a section may be passed on: all its licences allow it."""
        return all(is_redistributable(name) for name in self.licenses(section))

    def has_image(self, section: Section) -> bool:
        """Whether a full-resolution image is on record: a file, or a member of its archives."""
        if section.source("image") is not None:
            return True
        members = self.recipe.for_section(section).options.get("members", {})
        return "image" in members and bool(section.sources)

    def section(self, section_id: str) -> Section:
        """The section with this id.

        Raises
        ------
        UsageError
            With near names.
        """
        for section in self.sections:
            if section.section_id == section_id:
                return section
        raise _unknown("section", section_id, [section.section_id for section in self.sections], study=self.study_id)


@dataclass(frozen=True, slots=True)
class Resource:
    """A set of reference files, such as gene sets.

    Attributes
    ----------
    default
        The path used when none is named.
    aliases
        ``(short name, path)``, for people.
    """

    resource_id: str
    title: str
    license: str
    default: str
    sources: tuple[Source, ...]
    hosts: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()

    def licenses(self, source: Source) -> tuple[str, ...]:
        """The licence a file comes under: its own, else the resource's."""
        return (source.license or self.license,)

    def source(self, path: str | None = None) -> Source:
        """The file at ``path`` (the default without one).

        Raises
        ------
        UsageError
            With near names.
        """
        wanted = self.default if path is None else path
        for source in self.sources:
            if source.path == wanted:
                return source
        raise _unknown("file", wanted, [source.path for source in self.sources], study=self.resource_id)


@dataclass(frozen=True, slots=True)
class Published:
    """One published release.

    Attributes
    ----------
    url
        The folder that holds its ``MANIFEST.json``.
    manifest_sha256
        Hash of that manifest, which holds those of everything else.
    hosts
        Host names it and its redirects may come from.
    license
        Of the release as a whole; each section keeps its own.
    bytes
        All of it together; ``None`` where not known.
    """

    version: str
    url: str
    manifest_sha256: str
    hosts: tuple[str, ...]
    license: str
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything on record: studies, resources and published releases, by id, in sorted order.

    ``listed`` holds the studies that have no sections here; no section of theirs can be chosen.
    """

    path: Path
    studies: Mapping[str, Study]
    resources: Mapping[str, Resource]
    releases: Mapping[str, Published]
    listed: Mapping[str, ListedStudy] = field(default_factory=dict)

    def study(self, study_id: str) -> Study:
        """The study with this id.

        Raises
        ------
        UsageError
            With near names; ``listed-study`` for one that is on record without sections.
        """
        if study_id in self.listed:
            known = self.listed[study_id]
            raise UsageError(
                f"The sections of {study_id} cannot be fetched",
                code="listed-study",
                study=study_id,
                expected="a study with sections",
                found=f"a study on record alone: {known.title}",
                todo="`humanst info` shows where it is; a lab's own copy builds from its folder with --recipe",
            )
        if study_id not in self.studies:
            raise _unknown("study", study_id, [*self.studies, *self.folders()])
        return self.studies[study_id]

    def folders(self) -> dict[str, tuple[Study, ...]]:
        """The studies of each curation folder that several share: one name for all of them."""
        shared: dict[str, tuple[Study, ...]] = {}
        for study in self.studies.values():
            if study.curation not in ("", study.study_id):
                shared[study.curation] = (*shared.get(study.curation, ()), study)
        return shared

    def resource(self, resource_id: str) -> Resource:
        """The resource with this id.

        Raises
        ------
        UsageError
            With near names.
        """
        if resource_id not in self.resources:
            raise _unknown("resource", resource_id, list(self.resources))
        return self.resources[resource_id]


def _unknown(noun: str, asked: str, known: list[str], **where: str) -> UsageError:
    from difflib import get_close_matches

    lowered = {name.lower(): name for name in known}
    near = [lowered[match] for match in get_close_matches(asked.lower(), list(lowered), n=3, cutoff=0.5)]
    shown = near or sorted(known)[:8]
    return UsageError(
        f"The catalog has no {noun} {asked!r}",
        code=f"unknown-{noun}",
        expected=f"one of {', '.join(shown)}" + (", ..." if len(shown) < len(known) else ""),
        found=repr(asked),
        todo="`humanst list` shows what there is",
        **where,
    )
