"""Raw counts of the pairs of a release, and which genes a probe predicts. Sparse throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError

if TYPE_CHECKING:
    from humanst.load.release import Release

N_GENES = 50
MIN_DETECTED = 0.10
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of pairs.

    Attributes
    ----------
    matrix
        (n, G) int32 ``scipy.sparse.csr_matrix``.
    ensembl_ids, symbols
        (G,) names of the genes.
    measured
        Section -> (G,) bool: what it measured.
    """

    matrix: Any
    ensembl_ids: tuple[str, ...]
    symbols: tuple[str, ...]
    measured: dict[str, NDArray[np.bool_]]

    def take(self, rows: NDArray[np.int64]) -> Counts:
        """Give the counts of some rows."""
        return replace(self, matrix=self.matrix[rows])

    def columns(self, genes: Sequence[str]) -> NDArray[np.int32]:
        """Give the counts of a few genes.

        Parameters
        ----------
        genes
            Ensembl ids.

        Returns
        -------
        ndarray
            (n, len(genes)) int32.

        Raises
        ------
        DataError
            For a gene that is not there, or that a section did not measure: its zeros would say nothing.
        """
        place = {gene: number for number, gene in enumerate(self.ensembl_ids)}
        if strange := [gene for gene in genes if gene not in place]:
            raise DataError("The release has no such gene", code="gene-unknown", found=", ".join(strange[:5]))
        numbers = [place[gene] for gene in genes]
        for section, flags in self.measured.items():
            if lacking := [gene for gene in genes if not flags[place[gene]]]:
                what = "A section did not measure genes that are to be predicted"
                raise DataError(what, code="gene-unmeasured", section=section, found=", ".join(lacking[:5]))
        found: NDArray[np.int32] = self.matrix[:, numbers].toarray()
        return found


def read_counts(release: str | Path | Release, splits: Sequence[str]) -> Counts:
    """Read the target set ``counts`` of some splits; no image is read.

    Returns
    -------
    Counts
        Rows in the order of the index, split after split.

    Raises
    ------
    UsageError
        When the release has no such split or no counts.
    IntegrityError
        When a file is not the one on record.
    """
    import scipy.sparse as sp

    from humanst.load.index import Rows
    from humanst.load.release import open_release
    from humanst.load.target_sets import TargetSets

    release = open_release(release)
    blocks: list[Any] = []
    measured: dict[str, NDArray[np.bool_]] = {}
    genes: list[str] = []
    for split in dict.fromkeys(splits):
        rows = Rows(release, split)
        sets = TargetSets(release, ("counts",), rows)
        genes = sets.columns("counts")
        sections = rows.table["sample_id"].to_pylist()
        for start in range(0, len(rows), _BLOCK):
            block = range(start, min(start + _BLOCK, len(rows)))
            values, flags = sets.take(block)["counts"]
            blocks.append(sp.csr_matrix(values))
            for number, row in enumerate(block):
                measured.setdefault(sections[row], flags[number].copy())
    matrix = sp.vstack(blocks, format="csr") if blocks else sp.csr_matrix((0, len(genes)), dtype=np.int32)
    return Counts(matrix, tuple(genes), _symbols(release, genes), measured)


def _symbols(release: Release, genes: Sequence[str]) -> tuple[str, ...]:
    """Symbols of the genes, from the table whose bytes reading the ids has just verified."""
    import pyarrow.parquet as pq

    table = pq.read_table(release.file(release.manifest["targets"]["counts"]["columns"]))
    return tuple(table["symbol"].to_pylist()) if "symbol" in table.column_names else tuple(genes)


def choose_genes(counts: Counts, sections: Sequence[str], n_genes: int = N_GENES) -> tuple[str, ...]:
    """Choose the genes to predict as HEST-Bench does.

    Genes that at least 10 % of the spots of every section show; of these the most variable ones by scanpy's default
    flavour on log1p of raw counts, all sections together. The choice sees the counts of test sections too, as there:
    all models and baselines are measured on the same genes, and none of them is fitted on the choice.

    Parameters
    ----------
    counts
        See :class:`Counts`.
    sections
        (n,) section of each row.
    n_genes
        How many.

    Returns
    -------
    tuple of str
        Ensembl ids, in the order of their symbols.

    Raises
    ------
    DataError
        ``too-few-genes`` when fewer are seen everywhere.
    """
    import anndata
    import scanpy as sc

    common = np.ones(len(counts.ensembl_ids), dtype=bool)
    of_row = np.asarray(sections, dtype=str)
    for section in np.unique(of_row):
        part = counts.matrix[of_row == section]
        common &= part.getnnz(axis=0) >= np.ceil(MIN_DETECTED * part.shape[0])
        common &= counts.measured[str(section)]
    order = [number for number in np.argsort(counts.symbols, kind="stable") if common[number]]
    if len(order) < n_genes:
        expected, found = f"{n_genes} genes in {MIN_DETECTED:.0%} of the spots of every section", str(len(order))
        raise DataError("Too few genes are seen in every section", code="too-few-genes", expected=expected, found=found)
    stacked = anndata.AnnData(counts.matrix[:, order].astype(np.float32))
    sc.pp.log1p(stacked)
    sc.pp.highly_variable_genes(stacked, n_top_genes=n_genes)
    chosen = np.flatnonzero(stacked.var["highly_variable"].to_numpy())[:n_genes]
    return tuple(counts.ensembl_ids[order[number]] for number in chosen)


def gmt_sets(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Sets of a GMT file, name and genes, in the order of its lines.

    Raises
    ------
    DataError
        ``gmt`` when it is no text, or a line is no gene set.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise _no_gmt(path, "text in UTF-8", error) from error
    found = []
    for number, line in enumerate(lines, 1):
        fields = line.split("\t")
        if line.strip() and len(fields) < 3:
            raise _no_gmt(path, "name, note, genes", f"{len(fields)} fields in line {number}")
        if line.strip():
            found.append((fields[0], tuple(gene for gene in fields[2:] if gene)))
    return found


def genes_of_gmt(path: Path) -> frozenset[str]:
    """Every gene that some set of a GMT file names.

    Raises
    ------
    DataError
        As :func:`gmt_sets`.
    """
    return frozenset(gene for _, genes in gmt_sets(path) for gene in genes)


def _no_gmt(path: Path, expected: str, found: object) -> DataError:
    return DataError("This is no GMT file", code="gmt", file=path.name, expected=expected, found=found)
