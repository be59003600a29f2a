"""Transcripts of the viewer's archive, ``transcripts.zarr.zip``, one tile at a time.

The layout is that of 10x Genomics' "Overview of Xenium Zarr Output Files" (XOA documentation) for format versions 4
and 5, which public readers and writers of such archives confirm: the root's attributes hold ``name: RnaDataset``, the
``major_version``, ``gene_names`` (controls among them) and ``number_rnas``. ``grids/0/<column>,<row>`` has every
transcript once: ``location`` (n, 3) um, ``gene_identity`` (n, 1) into ``gene_names``, ``quality_score`` (n, 1),
``valid`` (n, 1). Coarser levels hold clusters of the same transcripts and are never read. The columns of
``gene_category`` are known by their names alone. Version 6 is another instrument's and has other arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError
from humanst.platforms.transcript_batch import BATCH_ROWS, Batch, Coded, check_places, unreadable
from humanst.platforms.zarr_zip import ArchiveFault, UnknownLayout, ZarrZip, open_zarr_zip

VERSIONS = (4, 5)
# A tile is 250 um wide: this is 64 transcripts in each um2.
MAX_TILE_ROWS = 1 << 22
NO_CALL = 65535
INVALID, UNCALLED = "invalid_transcript", "no_call"
_LEVEL = "grids/0"
_KINDS = {"genomic_control": "genomic_control_probe"}


def read_archive(path: Path, *, name: str, batch_rows: int = BATCH_ROWS) -> Iterator[Batch]:
    """Stream an archive; tiles are put together until a batch has ``batch_rows`` rows.

    Rows that the archive itself calls not valid have the category ``invalid_transcript``, those without a gene
    ``no_call``: tables in parquet do not list the former.

    Raises
    ------
    DataError
        ``transcripts-zarr`` for a layout that is not known, ``transcripts-unreadable`` for an archive that is damaged
        or does not hold what it says, ``transcripts-invalid`` for rows that cannot be placed.
    """
    try:
        with open_zarr_zip(path) as archive:
            yield from _batches(archive, name, batch_rows)
    except UnknownLayout as fault:
        raise DataError(
            "The zarr archive has a layout that is not known",
            code="transcripts-zarr",
            file=name,
            expected=fault.expected,
            found=fault.found,
            done="The section was refused",
            todo="Take the parquet or csv file of the same bundle: it holds the same transcripts",
        ) from fault
    except ArchiveFault as fault:
        raise unreadable(name, fault.expected, fault.found) from fault


def _batches(archive: ZarrZip, name: str, batch_rows: int) -> Iterator[Batch]:
    genes, total = _check_root(archive.attributes())
    # A transcript without a gene has a feature of its own, behind all others.
    values = (*genes, UNCALLED)
    kinds = np.array([*_categories(archive, len(genes)), UNCALLED, INVALID], dtype=object)
    distinct = tuple(sorted(set(kinds.tolist())))
    kind = np.array([distinct.index(value) for value in kinds], dtype=np.int64)
    pending: list[tuple[NDArray[Any], ...]] = []
    rows = valid = ready = 0
    for key, n_rows in _tiles(archive):
        tile = _tile(archive, key, n_rows, len(genes), name)
        rows, valid, ready = rows + n_rows, valid + int(tile[3].sum()), ready + n_rows
        pending.append(tile)
        if ready >= batch_rows:
            yield _batch(pending, values, kind, distinct)
            pending, ready = [], 0
    if ready:
        yield _batch(pending, values, kind, distinct)
    if total not in (rows, valid):
        raise ArchiveFault(f"number_rnas, {total:,} transcripts", f"{rows:,} in the tiles, {valid:,} of them valid")


def _batch(
    tiles: list[tuple[NDArray[Any], ...]], values: tuple[str, ...], kind: NDArray[np.int64], distinct: tuple[str, ...]
) -> Batch:
    xy_um, gene, qv, valid = (np.concatenate(parts) for parts in zip(*tiles, strict=True))
    return Batch(
        feature=Coded(gene, values),
        xy_um=xy_um,
        qv=qv,
        category=Coded(np.where(valid, kind[gene], kind[-1]), distinct),
        is_gene=None,
    )


def _check_root(attributes: dict[str, Any]) -> tuple[list[str], int]:
    """Names of the features and the number of transcripts."""
    known = {"name": ("RnaDataset",), "major_version": VERSIONS, "spatial_units": ("micron",)}
    for key, expected in known.items():
        if attributes.get(key) not in expected:
            raise UnknownLayout(f"{key} {' or '.join(map(str, expected))}", str(attributes.get(key)))
    genes, total = attributes.get("gene_names"), attributes.get("number_rnas")
    if not isinstance(genes, list) or not isinstance(total, int):
        raise UnknownLayout("gene_names and number_rnas", ", ".join(sorted(attributes)[:12]))
    names = [gene for gene in genes if isinstance(gene, str) and gene]
    if not len(set(names)) == len(genes) <= NO_CALL:
        raise UnknownLayout("gene_names with each name once", f"{len(genes):,} with {len(set(names)):,} distinct names")
    return names, total


def _categories(archive: ZarrZip, n_genes: int) -> list[str]:
    """The category of each feature as tables call it; empty where the archive has none."""
    path = "gene_category"
    columns = archive.attributes(path).get("column_names")
    if not isinstance(columns, list):
        return [""] * n_genes
    flags = archive.array(path)
    if flags.shape != (n_genes, len(columns)):
        raise ArchiveFault(f"{path} of {n_genes:,} x {len(columns)}", " x ".join(map(str, flags.shape)))
    kinds = [str(column).removeprefix("is_") for column in columns]
    found = [[kind for kind, flag in zip(kinds, row, strict=True) if flag] for row in flags.astype(bool).tolist()]
    return [_category(names) for names in found]


def _category(kinds: list[str]) -> str:
    """What is a control in any respect is no gene; of genes only the custom ones differ."""
    controls = [kind for kind in kinds if not kind.endswith("gene")]
    if controls:
        return _KINDS.get(controls[0], controls[0])
    return next((kind for kind in kinds if kind in ("custom_gene", "predesigned_gene")), "")


def _tiles(archive: ZarrZip) -> list[tuple[str, int]]:
    """Path and rows of each tile of level 0; the list of the archive and what it holds must agree."""
    attributes = archive.attributes("grids")
    try:
        keys, numbers = ([*attributes[key][0]] for key in ("grid_keys", "grid_number_objects"))
        told = {str(key): int(number) for key, number in zip(keys, numbers, strict=True)}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UnknownLayout("grid_keys and grid_number_objects of level 0", repr(error)) from error
    there = archive.groups(_LEVEL)
    needed = {key for key, number in told.items() if number}
    if len(told) != len(keys) or not needed <= there <= set(told):
        lost, more = len(needed - there), len(there - set(told))
        raise ArchiveFault(f"{len(keys):,} tiles, each once", f"{lost:,} missing and {more:,} that are not listed")
    for key in sorted(needed):
        if not 0 <= told[key] <= MAX_TILE_ROWS:
            raise ArchiveFault(f"at most {MAX_TILE_ROWS:,} transcripts in a tile", f"{told[key]:,} in {key}")
    return [(f"{_LEVEL}/{key}", told[key]) for key in sorted(there)]


def _tile(archive: ZarrZip, path: str, n_rows: int, n_genes: int, name: str) -> tuple[NDArray[Any], ...]:
    """Positions, genes, qualities and validity of the rows of a tile."""
    location = archive.array(f"{path}/location")
    columns = [archive.array(f"{path}/{key}") for key in ("gene_identity", "quality_score", "valid")]
    shapes = [location.shape, *(column.shape for column in columns)]
    if shapes != [(n_rows, 3), *[(n_rows, 1)] * 3]:
        raise ArchiveFault(f"{n_rows:,} rows in each array of {path}", ", ".join(map(str, shapes)))
    gene, qv, valid = (column[:, 0] for column in columns)
    gene = np.where(gene == NO_CALL, n_genes, gene.astype(np.int64))
    if n_rows and not (gene.min() >= 0 and gene.max() <= n_genes):
        raise ArchiveFault(f"gene_identity below {n_genes:,} in {path}", str(int(gene.max())))
    xy_um = location[:, :2].astype(np.float64)
    check_places(xy_um, name, f"{path}/location")
    return xy_um, gene, qv.astype(np.float64), valid != 0
