"""Columns of a count table to human Ensembl genes, with every transcript accounted for.

Each column goes to one gene of the frozen table or leaves by name; two columns of one gene are added up. The mapping
is one sparse product with a 0/1 matrix, so ``counts.sum() == mapped.counts.sum() + sum(drop.counts)`` holds exactly.
Nothing is guessed: no upper-casing, no undoing of spreadsheet dates, no choice between two genes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from humanst.errors import DataError
from humanst.findings import Drop, Findings
from humanst.harmonize.gene_names import (
    foreign_mark,
    is_control_probe,
    is_spreadsheet_date,
    is_title_case,
    without_genome_prefix,
)
from humanst.harmonize.gene_table import GeneTable, human_ensembl_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

MAX_FOREIGN_SHARE = 0.01
MAX_TITLE_CASE_SHARE = 0.5
MIN_MAPPED_SHARE = 0.5
MAX_EXAMPLES = 5
_GENE = "Gene Expression"
NO_GENE = ("ambiguous-symbol", "excel-mangled", "not-human", "unknown-ensembl-id", "unmapped-symbol")
REASONS = tuple(sorted((*NO_GENE, "control-probe")))


@dataclass(frozen=True, slots=True)
class MappedGenes:
    """A count table on Ensembl genes, and what became of every column.

    Attributes
    ----------
    counts
        (n_spots, n_genes) int64, canonical CSR.
    ensembl_ids, symbols, biotypes
        (n_genes,) str; ids are unique and sorted, symbols are the table's current ones.
    is_mitochondrial
        (n_genes,) bool.
    drops
        One for each reason that occurred, sorted by reason; ``n`` counts columns.
    unmapped
        ``(name, counts)`` of every column that stands for no human gene, most counts first. Control probes, which
        stand for no gene by design, are only in ``drops``.
    collisions
        ``(ensembl_id, names)`` of genes that had several columns; their counts were added.
    """

    counts: csr_matrix
    ensembl_ids: NDArray[np.str_]
    symbols: NDArray[np.str_]
    biotypes: NDArray[np.str_]
    is_mitochondrial: NDArray[np.bool_]
    drops: tuple[Drop, ...]
    unmapped: tuple[tuple[str, int], ...]
    collisions: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class _Column:
    """What one column is: a gene and the ground of the table, or no gene and one of ``REASONS``."""

    shown: str
    ensembl_id: str | None
    reason: str


def map_genes(
    counts: csr_matrix,
    gene_names: NDArray[Any] | Sequence[str],
    gene_ids: NDArray[Any] | Sequence[str] | None,
    *,
    table: GeneTable,
    gene_id_type: Literal["symbol", "ensembl"],
    findings: Findings,
    feature_types: NDArray[Any] | Sequence[str] | None = None,
) -> MappedGenes:
    """Map the columns of a count table to Ensembl genes.

    Parameters
    ----------
    counts
        (n_spots, n_columns) non-negative integers, CSR.
    gene_names
        (n_columns,) names as in the file.
    gene_ids
        (n_columns,) Ensembl ids if the file has them. An Ensembl id always goes before the name.
    table
        The frozen gene table.
    gene_id_type
        What the recipe promises. A column without a human Ensembl id in ``gene_ids`` or ``gene_names`` is looked up by
        its name (``"symbol"``), or dropped as ``unknown-ensembl-id`` (``"ensembl"``).
    findings
        Gets ``not-human`` and ``genes-unrecognised`` (refuse), ``excel-mangled`` (warn), ``gene-collision`` (note).
    feature_types
        (n_columns,) 10x feature types; all but ``Gene Expression`` are dropped as ``control-probe``.

    Returns
    -------
    The mapped table. It is returned after a refusal too, so that the caller can go on collecting findings.

    Raises
    ------
    DataError
        When the lists of names and the columns differ in number (``gene-columns``).
    """
    n_columns = counts.shape[1]
    names = _texts(gene_names, n_columns, "gene names")
    ids = [""] * n_columns if gene_ids is None else _texts(gene_ids, n_columns, "gene ids")
    types = [_GENE] * n_columns if feature_types is None else _texts(feature_types, n_columns, "feature types")
    columns = [_judge(*feature, table, gene_id_type) for feature in zip(names, ids, types, strict=True)]
    totals = np.asarray(counts.sum(axis=0, dtype=np.int64)).ravel()
    _check_species(names, ids, columns, findings)
    _check_share(columns, totals, gene_id_type, findings)
    _warn_of_dates(columns, findings)
    return _collect(counts, columns, totals, table, findings)


def _texts(values: NDArray[Any] | Sequence[str], expected: int, what: str) -> list[str]:
    texts = [str(value).strip() for value in values]
    if len(texts) != expected:
        raise DataError(
            f"the {what} do not match the columns of the count table",
            code="gene-columns",
            field="genes",
            expected=f"{expected} {what}, one a column",
            found=len(texts),
        )
    return texts


def _judge(name: str, ident: str, feature_type: str, table: GeneTable, gene_id_type: str) -> _Column:
    """Decide one column: control, other species, Ensembl id, spreadsheet date, symbol, in this order."""
    if feature_type != _GENE or is_control_probe(name) or is_control_probe(ident):
        return _Column(name, None, "control-probe")
    if foreign_mark(name) or foreign_mark(ident):
        return _Column(name, None, "not-human")
    bare_name, bare_id = without_genome_prefix(name), without_genome_prefix(ident)
    given = next((text for text in (bare_id, bare_name) if human_ensembl_id(text)), None)
    if given is not None:
        found, why = table.find(given)
        return _Column(given if found is None else name, found, why)
    if gene_id_type == "ensembl":
        return _Column(name, None, "unknown-ensembl-id")
    found, why = table.find(bare_name)
    if why == "unmapped-symbol" and is_spreadsheet_date(bare_name):
        # The table knows a few real aliases of this look, such as DEC-205; those never come here.
        return _Column(name, None, "excel-mangled")
    return _Column(name, found, why)


def _warn_of_dates(columns: list[_Column], findings: Findings) -> None:
    mangled = [column.shown for column in columns if column.reason == "excel-mangled"]
    if mangled:
        findings.warn(
            "excel-mangled",
            f"{len(mangled)} gene names were turned into dates or numbers by a spreadsheet",
            field="genes",
            found=", ".join(mangled[:MAX_EXAMPLES]),
            done="These columns were dropped and counted, for the gene cannot be known from the date",
            todo="Give Ensembl ids, or the table as it was before the spreadsheet",
        )


def _check_species(names: list[str], ids: list[str], columns: list[_Column], findings: Findings) -> None:
    """Refuse other species: marked ids or prefixes on > 1 % of the features, or > 50 % of names in title case."""
    judged = zip(names, ids, columns, strict=True)
    features = [(name, ident) for name, ident, column in judged if column.reason != "control-probe"]
    marks = Counter(mark for name, ident in features if (mark := foreign_mark(ident) or foreign_mark(name)))
    without_human_id = (name for name, ident in features if not human_ensembl_id(without_genome_prefix(ident)))
    title_case = sum(1 for name in without_human_id if is_title_case(name))
    if marks.total() > MAX_FOREIGN_SHARE * len(features):
        kind = min(marks, key=lambda mark: (-marks[mark], mark))
        found = f"{marks.total():,} of {len(features):,} features are {kind}"
    elif title_case > MAX_TITLE_CASE_SHARE * len(features):
        found = f"{title_case:,} of {len(features):,} gene names are in title case, as in mouse and rat"
    else:
        return
    findings.refuse(
        "not-human",
        "The genes are not human",
        field="genes",
        expected="human genes (ENSG ids or HGNC symbols)",
        found=found,
        done="Nothing was written",
        todo="humanst holds human sections only; take the human part of a mixed-species run",
    )


def _check_share(columns: list[_Column], totals: NDArray[np.int64], gene_id_type: str, findings: Findings) -> None:
    """Refuse a table of which less than half the counts (of empty tables: the columns) fall on genes of the table."""
    is_feature = np.array([column.reason != "control-probe" for column in columns], dtype=bool)
    is_mapped = np.array([column.ensembl_id is not None for column in columns], dtype=bool)
    weights = totals if totals[is_feature].sum() > 0 else np.ones_like(totals)
    wanted, got = int(weights[is_feature].sum()), int(weights[is_mapped].sum())
    if (wanted and got >= MIN_MAPPED_SHARE * wanted) or any(item.facts.code == "not-human" for item in findings):
        return
    unknown = [column.shown for column in columns if column.ensembl_id is None and column.reason != "control-probe"]
    findings.refuse(
        "genes-unrecognised",
        "Too few genes are known to the gene table",
        field="genes",
        expected=f"at least {MIN_MAPPED_SHARE:.0%} of the counts on human genes given by {gene_id_type}",
        found=f"{got:,} of {wanted:,}; unknown names are for example {', '.join(unknown[:MAX_EXAMPLES]) or '(none)'}",
        done="Nothing was written",
        todo="Check the recipe's gene_id_type and that the columns of the table are genes",
    )


def _collect(
    counts: csr_matrix, columns: list[_Column], totals: NDArray[np.int64], table: GeneTable, findings: Findings
) -> MappedGenes:
    mapped = [(index, column.ensembl_id) for index, column in enumerate(columns) if column.ensembl_id is not None]
    genes = sorted({gene for _, gene in mapped})
    ensembl_ids = np.array(genes, dtype=np.str_)
    return MappedGenes(
        counts=_sum_columns(counts, mapped, ensembl_ids),
        ensembl_ids=ensembl_ids,
        symbols=np.array([table.symbol_of(gene) for gene in genes], dtype=np.str_),
        biotypes=np.array([table.biotype_of(gene) for gene in genes], dtype=np.str_),
        is_mitochondrial=np.array([table.is_mitochondrial(gene) for gene in genes], dtype=np.bool_),
        drops=tuple(drop for reason in REASONS if (drop := _drop(reason, columns, totals)).n),
        unmapped=_by_counts(columns, totals, NO_GENE),
        collisions=_collisions(columns, findings),
    )


def _sum_columns(counts: csr_matrix, mapped: list[tuple[int, str]], ensembl_ids: NDArray[np.str_]) -> csr_matrix:
    from scipy.sparse import csr_matrix

    rows = np.array([index for index, _ in mapped], dtype=np.int64)
    genes = np.searchsorted(ensembl_ids, np.array([gene for _, gene in mapped], dtype=np.str_))
    shape = (counts.shape[1], len(ensembl_ids))
    indicator = csr_matrix((np.ones(len(rows), dtype=np.int64), (rows, genes)), shape=shape, dtype=np.int64)
    product = csr_matrix(counts.astype(np.int64, copy=False) @ indicator)
    product.eliminate_zeros()
    product.sort_indices()
    return product


def _drop(reason: str, columns: list[_Column], totals: NDArray[np.int64]) -> Drop:
    lost = _by_counts(columns, totals, [reason])
    return Drop(
        what="genes",
        reason=reason,
        n=len(lost),
        counts=sum(counts for _, counts in lost),
        examples=tuple(name for name, _ in lost[:MAX_EXAMPLES]),
    )


def _by_counts(
    columns: list[_Column], totals: NDArray[np.int64], reasons: Sequence[str]
) -> tuple[tuple[str, int], ...]:
    """``(name, counts)`` of the columns that left for one of the reasons, most counts first, then by name."""
    lost = [
        (column.shown, int(total))
        for column, total in zip(columns, totals, strict=True)
        if column.ensembl_id is None and column.reason in reasons
    ]
    return tuple(sorted(lost, key=lambda item: (-item[1], item[0])))


def _collisions(columns: list[_Column], findings: Findings) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Genes that several columns fall on, by id; the names in the order of the columns."""
    by_gene: dict[str, list[str]] = {}
    for column in columns:
        if column.ensembl_id is not None:
            by_gene.setdefault(column.ensembl_id, []).append(column.shown)
    found = tuple((gene, tuple(names)) for gene, names in sorted(by_gene.items()) if len(names) > 1)
    if found:
        shown = "; ".join(f"{' + '.join(names)} = {gene}" for gene, names in found[:MAX_EXAMPLES])
        findings.note(
            "gene-collision",
            f"{len(found)} genes had more than one column",
            field="genes",
            found=shown,
            done="The counts of their columns were added",
        )
    return found
