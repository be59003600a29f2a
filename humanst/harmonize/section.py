"""From a raw section to a harmonized one: genes, space, tissue, spot QC, with every drop named and counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from humanst.catalog import Recipe
from humanst.findings import Drop, Findings
from humanst.harmonize.gene_table import GeneTable
from humanst.harmonize.genes import MappedGenes, map_genes
from humanst.harmonize.space import LatticeFit, check_residual, check_scale, fit_lattice
from humanst.harmonize.spots import SpotMeasures, SpotQC, measure, select_spots
from humanst.harmonize.tissue import TissueMask

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

    from humanst.platforms import RawSection

PATCH_SIDE_UM = 112.0


@dataclass(frozen=True, slots=True)
class TargetGeometry:
    """The field of tissue whose transcripts make one target: it is not the patch's field.

    Attributes
    ----------
    shape
        ``circle`` or ``square``.
    side_um
        Diameter or side in um.
    """

    shape: Literal["circle", "square"]
    side_um: float


@dataclass(frozen=True, slots=True)
class Picture:
    """What a section records of its image of record.

    Attributes
    ----------
    name
        Path as recorded: relative to the build folder, or the catalog path of a source slide kept as it is.
    sha256, source_sha256
        Of the image of record and of the source it was made from.
    width_px, height_px
        Size of level 0.
    levels
        One mapping a pyramid level: ``width_px, height_px, downsample``.
    derived
        Whether humanst made the file from the source.
    """

    name: str
    sha256: str
    source_name: str
    source_sha256: str
    width_px: int
    height_px: int
    levels: tuple[Mapping[str, Any], ...]
    derived: bool


@dataclass(frozen=True, slots=True)
class Section:
    """A harmonized section.

    Attributes
    ----------
    counts
        ``(n_spots, n_genes)`` CSR integer counts; columns are ``genes`` in order, rows are ``spots``.
    genes
        Indexed by Ensembl gene id (sorted): ``symbol, biotype, measured``.
    spots
        Indexed by spot id (sorted); columns of ``schemas/spots.yaml``.
    um_per_pixel
        Of level 0 of the image of record, from the lattice.
    counts_in
        Transcripts of the source table; equals ``counts.sum()`` plus the counts of all ``drops``.
    spots_in
        Rows of the source table; equals the rows here plus the spots of all ``drops``.
    """

    sample_id: str
    study_id: str
    section_id: str
    platform: str
    counts: csr_matrix
    genes: pd.DataFrame
    spots: pd.DataFrame
    um_per_pixel: float
    lattice_fit: LatticeFit
    target: TargetGeometry
    picture: Picture | None
    tissue: TissueMask | None
    targeted: bool
    counts_in: int
    spots_in: int
    drops: tuple[Drop, ...]
    findings: Findings
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choices:
    """What the caller decides about a section beyond its files.

    Attributes
    ----------
    sample_id
        The section's id in the atlas.
    measured
        Ensembl ids that the study measured although this table may not list them; ``None`` for this table's own.
    measured_from
        Where that axis comes from, for provenance.
    qc
        Thresholds of spot QC.
    """

    sample_id: str
    qc: SpotQC
    measured: frozenset[str] | None = None
    measured_from: Mapping[str, Any] = field(default_factory=dict)


def harmonize(
    raw: RawSection,
    recipe: Recipe,
    *,
    table: GeneTable,
    choices: Choices,
    picture: Picture | None,
    tissue: TissueMask | None,
    fit: LatticeFit,
) -> Section:
    """Make one harmonized section. Faults become findings of the section; nothing is mended.

    Parameters
    ----------
    raw
        What the reader returned.
    recipe
        How the study is to be read.
    table
        The frozen gene table.
    picture, tissue
        The image of record and the tissue mask, ``None`` for a section without an image.
    fit
        The lattice fit of :func:`measure_scale`.

    Raises
    ------
    DataError
        When the findings refuse the section.
    """
    findings = raw.findings
    mapped = map_genes(
        raw.counts,
        raw.gene_names,
        raw.gene_ids,
        feature_types=raw.feature_types,
        table=table,
        gene_id_type=recipe.gene_id_type,
        findings=findings,
    )
    findings.raise_if_refused()
    measures = measure(mapped.counts, mapped.is_mitochondrial)
    keep, qc_drops, flags = select_spots(measures, raw.spot_ids, choices.qc)
    _require_spots(keep, measures, choices.qc, findings)
    rows = np.flatnonzero(keep)
    counts, genes = _gene_axis(mapped, mapped.counts[rows], choices.measured, table)
    spots = _spot_table(raw, rows, measures, flags, fit, tissue)
    drops = (*raw.drops, *mapped.drops, *qc_drops)
    return Section(
        sample_id=choices.sample_id,
        study_id=raw.study_id,
        section_id=raw.section_id,
        platform=raw.platform,
        counts=counts,
        genes=genes,
        spots=spots,
        um_per_pixel=fit.um_per_pixel,
        lattice_fit=fit,
        target=TargetGeometry(raw.target_shape, raw.lattice.spot_diameter_um),
        picture=picture,
        tissue=tissue,
        targeted=recipe.targeted,
        counts_in=int(raw.counts.sum()) + sum(drop.counts for drop in raw.drops)
        if raw.counts_in is None
        else raw.counts_in,
        spots_in=len(raw.spot_ids) + sum(drop.n for drop in raw.drops if drop.what == "spots"),
        drops=drops,
        findings=findings,
        provenance=_provenance(raw, recipe, table, choices, fit, mapped),
    )


def _require_spots(keep: NDArray[np.bool_], measures: SpotMeasures, qc: SpotQC, findings: Findings) -> None:
    if not keep.any():
        findings.refuse(
            "no-spots-left",
            "No spot passes quality control",
            field="spots",
            expected=f"spots with >= {qc.min_counts} transcripts and >= {qc.min_genes} genes",
            found=f"{len(keep)} spots, the best with {int(measures.n_counts.max(initial=0))} transcripts",
        )
    findings.raise_if_refused()


def measure_scale(raw: RawSection, recipe: Recipe) -> LatticeFit:
    """Fit the lattice and check every witness of the scale; refusals are raised with all that was found.

    Raises
    ------
    DataError
        Too few spots, residuals beyond rounding, or witnesses that disagree.
    """
    fit = fit_lattice(raw.all_row_col, raw.all_xy_px, raw.lattice, raw.findings)
    if fit is not None:
        check_residual(fit, raw.lattice, raw.findings, platform=raw.platform, image_scale=raw.image_scale)
        witnesses = dict(raw.um_per_pixel_witnesses)
        if recipe.um_per_pixel is not None:
            # A recipe speaks of the full-resolution image; a scaled one has larger pixels.
            witnesses["recipe"] = recipe.um_per_pixel / raw.image_scale
        check_scale(fit, witnesses, raw.findings)
    raw.findings.raise_if_refused()
    if fit is None:  # pragma: no cover - fit_lattice always says why
        raise ValueError("no lattice fit and no refusal")
    return fit


def _gene_axis(
    mapped: MappedGenes, counts: csr_matrix, measured: frozenset[str] | None, table: GeneTable
) -> tuple[csr_matrix, pd.DataFrame]:
    """Put the counts on the study's gene axis: measured genes that this table does not list become zero columns."""
    import pandas as pd
    from scipy.sparse import csr_matrix

    own = np.asarray(mapped.ensembl_ids, dtype=str)
    ids = np.array(sorted(set(own.tolist()) | (measured or frozenset())), dtype=str)
    place = np.searchsorted(ids, own)
    matrix = counts.tocsr()
    dtype = np.int32 if matrix.data.max(initial=0) < 2**31 else np.int64
    wide = csr_matrix(
        (matrix.data.astype(dtype), place[matrix.indices], matrix.indptr), shape=(matrix.shape[0], len(ids))
    )
    wide.sort_indices()
    genes = pd.DataFrame(
        {
            "symbol": [table.symbol_of(gene) for gene in ids],
            "biotype": [table.biotype_of(gene) for gene in ids],
            "measured": np.ones(len(ids), dtype=bool),
        },
        index=pd.Index(ids, name="ensembl_id"),
    )
    return wide, genes


def _spot_table(
    raw: RawSection,
    rows: NDArray[np.int64],
    measures: SpotMeasures,
    flags: NDArray[np.str_],
    fit: LatticeFit,
    tissue: TissueMask | None,
) -> pd.DataFrame:
    import pandas as pd

    xy_px = raw.xy_px[rows]
    xy_um = xy_px * fit.um_per_pixel
    # Without a mask nobody knows how much tissue there is, and 0 would say that there is none.
    unknown = np.full(len(rows), np.nan, dtype=np.float32)
    share = tissue.fraction(xy_um, PATCH_SIDE_UM) if tissue else unknown
    n_counts = measures.n_counts[rows]
    columns: dict[str, Any] = {
        "row": raw.row_col[rows, 0],
        "col": raw.row_col[rows, 1],
        "x_px": xy_px[:, 0],
        "y_px": xy_px[:, 1],
        "x_um": xy_um[:, 0],
        "y_um": xy_um[:, 1],
        "in_tissue": raw.in_tissue[rows],
        "tissue_fraction": share,
        "n_counts": n_counts,
        "n_genes": measures.n_genes[rows],
        "mt_fraction": measures.mt_fraction[rows],
        "log10_counts": np.log10(np.maximum(n_counts, 1)).astype(np.float32),
        "qc_flags": flags[rows],
    }
    for name, values in sorted(raw.labels.items()):
        columns[name] = values[rows]
    return pd.DataFrame(columns, index=pd.Index(raw.spot_ids[rows], name="spot_id"))


def _provenance(
    raw: RawSection, recipe: Recipe, table: GeneTable, choices: Choices, fit: LatticeFit, mapped: MappedGenes
) -> dict[str, Any]:
    return {
        "files": {role: {"path": raw.files.names[role], "sha256": raw.files.sha256[role]} for role in raw.files.paths},
        "gene_table": {"date": table.date, "sha256": table.sha256},
        "gene_id_type": recipe.gene_id_type,
        "measured": dict(choices.measured_from),
        "oddities": list(recipe.oddities),
        "unmapped_genes": [[name, counts] for name, counts in mapped.unmapped],
        "um_per_pixel_source": f"{raw.lattice.kind} lattice, {raw.lattice.pitch_um:g} um pitch",
        "um_per_pixel_witnesses": {k: float(f"{v:.6g}") for k, v in sorted(raw.um_per_pixel_witnesses.items())},
        "lattice": asdict(raw.lattice),
        "lattice_fit": fit.to_dict(),
        "image_scale": raw.image_scale,
        "spot_qc": choices.qc.to_dict(),
        "facts": dict(raw.facts),
    }
