"""From the local files of a section to a harmonized, validated one: everything of a build but its store."""

from __future__ import annotations

from pathlib import Path

from humanst.builder.images import glance_image, picture_of, record_image, tissue_of
from humanst.catalog import Recipe, Section, Study
from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.findings import Finding, Findings
from humanst.harmonize import section as harmonizing
from humanst.harmonize.gene_table import load_gene_table
from humanst.harmonize.genes import MappedGenes, map_genes
from humanst.harmonize.image_sizes import check_image_sizes
from humanst.harmonize.orientation import check_orientation
from humanst.harmonize.space import LatticeFit
from humanst.harmonize.tissue import check_stain
from humanst.platforms import RawSection, reader_for
from humanst.platforms.sides import PoolLike, pooled_like
from humanst.tiles import ImageOfRecord, image_size, thumbnail
from humanst.validate import validate_section

IMAGE_ROLES = ("image", "hires", "lowres")
STAIN_THUMBNAIL_PX = 1024


def section_recipe(study: Study, section: Section, pool_like: PoolLike | None = None) -> Recipe:
    """The study's recipe, over it the section's own options, and over those the caller's choice of a target."""
    return pooled_like(study.recipe.for_section(section), pool_like)


def map_columns(raw: RawSection, recipe: Recipe, findings: Findings) -> MappedGenes:
    """Map the columns of a raw section to genes, as its recipe says."""
    return map_genes(
        raw.counts,
        raw.gene_names,
        raw.gene_ids,
        feature_types=raw.feature_types,
        table=load_gene_table(),
        gene_id_type=recipe.gene_id_type,
        findings=findings,
    )


def harmonize_files(
    local: LocalFiles, recipe: Recipe, *, choices: harmonizing.Choices, outline: Path | None, record_path: Path | None
) -> tuple[harmonizing.Section, ImageOfRecord | None]:
    """Read, harmonize and validate one section: everything of a build but its store.

    Parameters
    ----------
    recipe
        The section's own (:func:`section_recipe`).
    outline
        GeoJSON outline of the tissue, before the one on record.
    record_path
        Where the image of record is made if one has to be; ``None`` to look at the source image alone and write
        nothing.

    Returns
    -------
    section : Section
        Its findings may refuse it.
    record : ImageOfRecord or None

    Raises
    ------
    DataError
        When the files cannot be read, or their scale or genes refuse the section; all that was found comes with it.
    """
    raw, stain = _read(recipe, local)
    sizes = _image_sizes(local, raw.findings)
    check_image_sizes(sizes, raw.image_scales, raw.findings, file=local.names.get("scalefactors"))
    fit = _measure(raw, recipe)
    record = record_image(raw, record_path, fit) if record_path else glance_image(raw, fit)
    tissue = tissue_of(record, fit, outline or local.paths.get("tissue")) if record else None
    if record and tissue:
        check_orientation(raw, fit, tissue, size_px=(record.width_px, record.height_px))
    harmonized = harmonizing.harmonize(
        raw,
        recipe,
        table=load_gene_table(),
        choices=choices,
        picture=picture_of(record, raw) if record else None,
        tissue=tissue,
        fit=fit,
    )
    harmonized.findings.extend(stain)
    validate_section(harmonized)
    return harmonized, record


def _measure(raw: RawSection, recipe: Recipe) -> LatticeFit:
    """The scale; a section refused for it is judged by its genes too, so that both are reported at once."""
    try:
        return harmonizing.measure_scale(raw, recipe)
    except DataError:
        map_columns(raw, recipe, raw.findings)
        raw.findings.raise_if_refused()
        raise


def _image_sizes(local: LocalFiles, findings: Findings) -> dict[str, tuple[int, int]]:
    """Sizes of all copies of the image; one that nothing else reads may be broken, which is told and no more."""
    sizes = {}
    for role in IMAGE_ROLES:
        if role in local.paths:
            try:
                sizes[role] = image_size(local.paths[role], name=local.names[role])
            except DataError as error:
                findings.extend([Finding("warn", error.facts)])
    return sizes


def _read(recipe: Recipe, local: LocalFiles) -> tuple[RawSection, list[Finding]]:
    """Read the vendor files and judge the stain; both are reported even when both fail."""
    findings = Findings(study=local.study_id, section=local.section_id)
    role = next((role for role in IMAGE_ROLES if role in local.paths), None)
    if role is not None:
        try:
            width, height = image_size(local.paths[role], name=local.names[role])
            shrink = max(1.0, max(width, height) / STAIN_THUMBNAIL_PX)
            check_stain(thumbnail(local.paths[role], 1.0, shrink), findings, file=local.names[role])
        except DataError as error:
            findings.absorb(error)
    raw: RawSection | None = None
    try:
        raw = reader_for(recipe.platform)(local, recipe)
    except DataError as error:
        findings.absorb(error)
    findings.raise_if_refused()
    if raw is None:  # pragma: no cover - a reader that fails says why
        raise DataError("The section could not be read")
    return raw, list(findings)
