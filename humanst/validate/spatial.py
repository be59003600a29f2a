"""Checks of any SpatialData zarr, ours or not: what can be checked is, what cannot is named, and nothing crashes."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.findings import Findings
from humanst.harmonize.gene_names import foreign_mark
from humanst.harmonize.gene_table import human_ensembl_id, load_gene_table
from humanst.harmonize.genes import map_genes
from humanst.platforms.tables import counts_from_values, first_duplicates
from humanst.validate.pictures import check_image, check_places
from humanst.validate.report import Kind, not_checkable
from humanst.validate.stored import OWN_SCHEMA, check_own

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix
    from spatialdata import SpatialData

# What libraries raise on files that are not what they should be. A bug of ours would raise them too and then be
# reported as an unreadable element, which is the lesser evil in a report about files of unknown origin.
READ_FAULTS = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
GENE_ID_COLUMNS = ("ensembl_id", "gene_ids", "gene_id", "feature_id", "ensembl")
# What a store of other origin never says.
UNKNOWN_OF_OTHERS = {
    "conservation": "no record of counts in, counts out and named drops",
    "provenance": "no hashes of the source files, the recipe and the gene table",
    "target geometry": "no record of the field that a spot's counts come from",
    "measured genes": "no record of which absent genes count as zero and which as unmeasured",
}


def check_spatialdata(path: Path, findings: Findings) -> Kind:
    """Check a SpatialData zarr on disk; every fault is added to ``findings``.

    Returns
    -------
    ``section store`` for one that humanst wrote, ``SpatialData`` for any other, ``unknown`` where it cannot be read.
    """
    sdata = open_spatialdata(path, findings)
    if sdata is None:
        return "unknown"
    if not findings.refused and not any(True for _ in sdata.gen_elements()):
        _attempt(findings, path.name, lambda: _tell_nothing(path, findings))
        return "unknown"
    attrs = sdata.attrs.get("humanst") if isinstance(sdata.attrs, Mapping) else None
    own = isinstance(attrs, Mapping) and str(attrs.get("schema", "")).startswith(OWN_SCHEMA.split("/")[0])
    table = _attempt(findings, "tables", lambda: _only_table(sdata, findings))
    if table is not None:
        _check_table(sdata, table, attrs if own else None, findings)
    for name in sorted(sdata.images):
        _attempt(findings, f"images/{name}", partial(check_image, sdata.images[name], name, findings))
    if own:
        return "section store"
    if not sdata.images:
        findings.warn("no-image", "The store has no image", file="images", expected="an H&E image", found="none")
    if table is not None:
        _attempt(findings, "shapes", lambda: check_places(sdata, table, findings))
    for field, why in UNKNOWN_OF_OTHERS.items():
        not_checkable(findings, field, why)
    return "SpatialData"


def _check_table(sdata: SpatialData, table: AnnData, attrs: Mapping[str, Any] | None, findings: Findings) -> None:
    """Counts, then the record of a store of ours (``attrs``) or the names of any other, then links to shapes."""
    counts = _attempt(findings, "tables", lambda: check_counts(table, findings))
    if attrs is None:
        _attempt(findings, "tables", lambda: check_names(table, counts, findings))
    elif counts is not None:
        _attempt(findings, "attrs", lambda: check_own(sdata, table, counts, attrs, findings))
    _attempt(findings, "shapes", lambda: check_links(sdata, table, findings))


def _tell_nothing(path: Path, findings: Findings) -> None:
    """A zarr without elements: often an AnnData alone, which says so in its own attributes."""
    encoding = _encoding(path)
    findings.refuse(
        "no-elements",
        "The zarr holds no element of a SpatialData object",
        file=path.name,
        field="images, labels, points, shapes, tables",
        expected="a SpatialData zarr with a table of counts",
        found=f"a zarr of type {encoding}" if encoding else "none of them",
        todo="Write it with spatialdata.SpatialData(...).write(path)",
    )


def _encoding(path: Path) -> str | None:
    for name in ("zarr.json", ".zattrs"):
        if (path / name).is_file():
            content = json.loads((path / name).read_text(encoding="utf-8"))
            attrs = content.get("attributes", content) if isinstance(content, dict) else {}
            return str(attrs["encoding-type"]) if isinstance(attrs, dict) and "encoding-type" in attrs else None
    return None


def open_spatialdata(path: Path, findings: Findings) -> SpatialData | None:
    """Open a store with spatialdata; elements it cannot read are refused by name, the others are returned."""
    if not any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs")):
        findings.refuse(
            "not-a-store",
            "This is not a zarr store",
            file=path.name,
            expected="a folder with zarr.json (or .zgroup)",
            found="no such file in it" if path.is_dir() else "no such folder",
            todo="Give a section store, a SpatialData zarr, or a folder of vendor files",
        )
        return None
    import spatialdata

    # It warns of label images without a parent image, which is nobody's fault.
    logging.getLogger("ome_zarr").setLevel(logging.ERROR)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sdata = _attempt(findings, path.name, lambda: spatialdata.read_zarr(path, on_bad_files="warn"))
    for warning in caught:
        text = str(warning.message)
        if "corrupted" in text or "could not be read" in text.lower():
            findings.refuse(
                "element-unreadable",
                "An element of the store cannot be read",
                file=path.name,
                found=text.split("\n")[0],
            )
    return sdata


def _attempt(findings: Findings, file: str, check: Callable[[], Any]) -> Any:
    """Run one check; data that breaks the libraries under it is a finding, not a crash."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return check()
    except READ_FAULTS as error:
        findings.refuse(
            "element-unreadable",
            "This part of the store cannot be read",
            file=file,
            expected="an element that spatialdata, anndata and zarr read",
            found=f"{type(error).__name__}: {error}".split("\n")[0][:300],
            todo="Write the store again, or fetch it again",
        )
        return None


def _only_table(sdata: SpatialData, findings: Findings) -> AnnData | None:
    names = sorted(sdata.tables)
    if not names:
        findings.refuse("no-table", "The store has no table", file="tables", expected="a table of counts", found="none")
        return None
    name = "table" if "table" in names else names[0]
    if len(names) > 1:
        findings.note("several-tables", "Only one table is checked", file=f"tables/{name}", found=", ".join(names))
    return sdata.tables[name]


def check_counts(table: AnnData, findings: Findings) -> csr_matrix | None:
    """Counts are whole numbers >= 0, spot and gene names occur once; returns the counts where they are counts."""
    from scipy.sparse import csr_matrix, issparse

    for axis, names, code in (
        ("obs", table.obs_names, "duplicate-spot-ids"),
        ("var", table.var_names, "duplicate-genes"),
    ):
        if twice := first_duplicates(np.asarray(names, dtype=str)):
            findings.refuse(
                code,
                "Names occur more than once",
                file="tables",
                field=f"{axis} names",
                expected="each name once",
                found=f"{', '.join(twice)} more than once",
            )
    if table.X is None:
        findings.refuse("no-counts", "The table has no counts", file="tables", field="X", expected="a count matrix")
        return None
    matrix = csr_matrix(table.X) if issparse(table.X) else csr_matrix(np.asarray(table.X))
    values = counts_from_values(matrix.data, name="tables", findings=findings)
    if values is None:
        if "counts" in table.layers:
            findings.note(
                "counts-layer", "A layer called counts is there beside X", file="tables", field="layers/counts"
            )
        return None
    return csr_matrix((values, matrix.indices, matrix.indptr), shape=matrix.shape)


def check_names(table: AnnData, counts: csr_matrix | None, findings: Findings) -> None:
    """Genes of a store of other origin: human, and known to the gene table; judged by name where counts are none."""
    from scipy.sparse import csr_matrix

    names = np.asarray(table.var_names, dtype=str)
    column = next((name for name in GENE_ID_COLUMNS if name in table.var.columns), None)
    ids = None if column is None else table.var[column].astype(str).to_numpy(str)
    mapped = map_genes(
        csr_matrix((0, len(names)), dtype=np.int64) if counts is None else counts,
        names,
        ids,
        table=load_gene_table(),
        gene_id_type="ensembl" if _are_ensembl(names if ids is None else ids) else "symbol",
        findings=findings,
    )
    for drop in mapped.drops:
        findings.note(
            f"genes-{drop.reason}",
            "Genes that humanst would leave out by name",
            file="tables",
            field="var",
            found=f"{drop.n:,} with {drop.counts:,} counts, such as {', '.join(drop.examples[:3])}",
        )


def _are_ensembl(names: NDArray[np.str_]) -> bool:
    known = sum(1 for name in names if human_ensembl_id(name) or (foreign_mark(name) or "").startswith("ENS"))
    return known > len(names) / 2


def check_links(sdata: SpatialData, table: AnnData, findings: Findings) -> None:
    """Every row of the table belongs to an instance of an element that is there."""
    about = table.uns.get("spatialdata_attrs")
    if not isinstance(about, Mapping) or not {"region", "region_key", "instance_key"} <= set(about):
        not_checkable(findings, "table to shapes", "the table annotates no element")
        return
    regions = about["region"] if isinstance(about["region"], list) else [about["region"]]
    instances = table.obs[about["instance_key"]].to_numpy()
    region_of = table.obs[about["region_key"]].astype(str).to_numpy()
    for region in map(str, regions):
        if region not in sdata.shapes and region not in sdata.labels:
            findings.refuse(
                "region-missing",
                "The table annotates an element that is not there",
                file="tables",
                field=str(about["region_key"]),
                expected=f"an element {region!r}",
                found=", ".join(sorted([*sdata.shapes, *sdata.labels])) or "none",
            )
            continue
        if region not in sdata.shapes:
            continue
        mine = instances[region_of == region]
        lost = int((~np.isin(mine, sdata.shapes[region].index.to_numpy())).sum())
        if lost:
            findings.refuse(
                "spots-unlinked",
                "Rows of the table have no shape",
                file=f"shapes/{region}",
                field=str(about["instance_key"]),
                expected=f"a shape for each of {len(mine):,} rows",
                found=f"{lost:,} without",
            )
