"""The files of a set beside its target files: what the columns are, and what holds for every section."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from humanst import files
from humanst.shards.sidecars import read_table, write_pathway_stats, write_table
from humanst.shards.target_counts import AxisReader
from humanst.shards.target_fit import Components, RankedGenes, lacks_too_much
from humanst.shards.target_layout import SectionRows
from humanst.shards.target_shards import AXES
from humanst.shards.target_sources import read_source_card

MEASURED = "measured.parquet"
STATS = "stats.parquet"
SECTIONS = "sections.parquet"
# Of sets without weights, and of those with.
RANDOM_SETS = ("sets.gmt", "sets.tsv")


@dataclass(frozen=True, slots=True)
class Beside:
    """What the manifest says of the files beside the target files.

    Attributes
    ----------
    columns
        Name of the file with a row a column.
    others
        Names of the other files.
    about
        Further keys of the manifest's entry.
    """

    n_columns: int
    columns: str
    others: tuple[str, ...]
    about: Mapping[str, Any]


def write_genes(folder: Path, sections: Sequence[SectionRows], sources: Sequence[Path]) -> Beside:
    """Write the gene axis of ``counts`` (the union over all sections, by id) and which section measured which."""
    import pyarrow as pa

    reader = AxisReader()
    symbol_of: dict[str, str] = {}
    for source in sources:
        genes = reader.of(source)
        for gene, symbol in zip(genes.ensembl_ids.tolist(), genes.symbols.tolist(), strict=True):
            symbol_of.setdefault(gene, symbol)
    ids = sorted(symbol_of)
    placed = AxisReader({gene: place for place, gene in enumerate(ids)})
    measured = [placed.is_measured(source) for source in sources]
    flags = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(measured)), len(ids))
    names = [section.sample_id for section in sections]
    write_table(folder / MEASURED, pa.table({"sample_id": names, "measured": flags}))
    _write_gene_axis(folder / AXES["counts"], ids, [symbol_of[gene] for gene in ids], np.sum(measured, axis=0))
    return Beside(len(ids), AXES["counts"], (MEASURED,), {})


def _write_gene_axis(path: Path, ids: Sequence[str], symbols: Sequence[str], n_measured: Any) -> None:
    import pyarrow as pa

    n_sections = pa.array(np.asarray(n_measured, dtype=np.int32))
    write_table(path, pa.table({"ensembl_id": list(ids), "symbol": list(symbols), "n_sections_measured": n_sections}))


def write_ranked(folder: Path, genes: RankedGenes, sections: Sequence[SectionRows]) -> Beside:
    """Write the genes of ``hvg``, the most variable first."""
    write_table(folder / AXES["hvg"], _ranked_table(genes))
    fitted = [section.sample_id for section in sections if section.fits]
    return Beside(len(genes.ensembl_ids), AXES["hvg"], (), {"fitted_on": fitted})


def _ranked_table(genes: RankedGenes, **more: Any) -> Any:
    import pyarrow as pa

    columns = {"ensembl_id": genes.ensembl_ids.tolist(), "symbol": genes.symbols.tolist()}
    return pa.table(columns | {"variance": genes.variance, "n_training_pairs": genes.n_pairs} | more)


def write_components(
    folder: Path, found: Components, sections: Sequence[SectionRows], sources: Sequence[Path]
) -> Beside:
    """Write the components of ``pca``, their loadings, and which sections they were fitted on and are scored."""
    import pyarrow as pa

    k = found.loadings.shape[1]
    names = [f"PC{number}" for number in range(1, k + 1)]
    write_table(
        folder / "columns.parquet",
        pa.table({"name": names, "variance": found.variance, "share_of_variance": found.share}),
    )
    loadings = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(found.loadings).ravel()), k)
    write_table(folder / AXES["pca"], _ranked_table(found.genes, mean=found.mean, loadings=loadings))
    reader = AxisReader({gene: place for place, gene in enumerate(found.genes.ensembl_ids.tolist())})
    rows = {
        "sample_id": [section.sample_id for section in sections],
        "n_genes_missing": [int((~reader.is_measured(source)).sum()) for source in sources],
        "fitted": [number in found.fitted_on for number in range(len(sections))],
        "scored": [not lacks_too_much(reader, source) for source in sources],
    }
    write_table(folder / SECTIONS, pa.table(rows))
    fitted = [sections[number].sample_id for number in found.fitted_on]
    return Beside(k, "columns.parquet", (AXES["pca"], SECTIONS), {"fitted_on": fitted})


def write_sets_of_genes(
    folder: Path,
    sections: Sequence[SectionRows],
    sources: Sequence[Path],
    *,
    others: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
) -> Beside:
    """Write the names of gene sets, and raw mean and sd of every section so that z can be undone.

    Parameters
    ----------
    others, about
        Further files of the set that are there, and further keys of its entry in the manifest.
    """
    import pyarrow as pa

    cards = [read_source_card(source)["pathways"] for source in sources]
    columns = pa.table({"name": cards[0]["names"], "n_members": pa.array(cards[0]["n_members"], pa.int32())})
    write_table(folder / AXES["gmt"], columns)
    named = zip(sections, cards, strict=True)
    write_pathway_stats(folder / STATS, [(section.sample_id, card) for section, card in named])
    return Beside(len(cards[0]["names"]), AXES["gmt"], (STATS, *others), dict(about or {}))


def write_shuffled(folder: Path, manifest: Mapping[str, Any]) -> Beside:
    """Write the names of the pathways whose pairing is permuted."""
    import pyarrow as pa

    pathways = manifest["pathways"]
    columns = pa.table({"name": pathways["names"], "n_members": pa.array(pathways["n_members"], pa.int32())})
    write_table(folder / AXES["shuffle"], columns)
    return Beside(len(pathways["names"]), AXES["shuffle"], (), {})


def take_beside(source: Path, names: Collection[str], sample_ids: Collection[str], target: Path) -> None:
    """Write the files beside the target files for some sections only: the columns stay, rows of the others leave.

    Parameters
    ----------
    source, target
        Folders of the set.
    names
        ``columns`` and ``beside`` of its entry in the manifest, without folders.
    sample_ids
        The sections that stay.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(sorted(sample_ids), pa.string())
    for name in sorted(names):
        if name in RANDOM_SETS:
            files.write_bytes(target / name, (source / name).read_bytes())
            continue
        table = read_table(source / name)
        if "sample_id" in table.column_names:
            table = table.filter(pc.is_in(table["sample_id"], value_set=wanted)).combine_chunks()
            write_table(target / name, table.replace_schema_metadata(None))
        elif name != AXES["counts"]:
            files.write_bytes(target / name, (source / name).read_bytes())
    if MEASURED in names:
        genes, flags = read_table(source / AXES["counts"]), read_table(target / MEASURED)["measured"]
        measured = flags.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, genes.num_rows)
        ids, symbols = (genes[column].to_pylist() for column in ("ensembl_id", "symbol"))
        _write_gene_axis(target / AXES["counts"], ids, symbols, measured.sum(axis=0))
