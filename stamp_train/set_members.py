"""Which genes belong to each pathway: from the file that a target set was scored with, and from no other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst.errors import DataError, UsageError
from humanst.files import sha256_file
from stamp_train.counts import gmt_sets

if TYPE_CHECKING:
    from humanst.load.release import Release
    from stamp_train.align_targets import Source

RANDOM_SETS = "sets.gmt"
MAX_BYTES = 256 << 20


def members_of(
    release: Release, source: Source, gene_sets: str | None
) -> tuple[tuple[tuple[int, ...], ...], tuple[str, ...]]:
    """Genes of each pathway, by their place among the genes that are read.

    Parameters
    ----------
    source
        What is aligned to.
    gene_sets
        The GMT file; random sets have theirs in the release.

    Returns
    -------
    members, gene_ids
        Of each column of ``source`` numbers into ``gene_ids``, Ensembl ids. A gene that no section has is left out.

    Raises
    ------
    UsageError
        ``no-gene-sets`` when the targets are no gene sets, or no file is named; ``unknown-targets`` without counts.
    DataError
        ``gene-sets-mismatch`` for another file than they were scored with; ``gmt`` for none of that format.
    """
    axis = _axis(release)
    sets = dict(gmt_sets(_file(release, source, gene_sets)))
    if missing := [name for name in source.columns if name not in sets]:
        raise DataError(
            "The gene sets lack a pathway of the targets",
            code="gene-sets-mismatch",
            field="gene_sets",
            expected=missing[0],
            found=f"{len(sets)} others",
        )
    found = [sorted({axis[gene] for gene in sets[name] if gene in axis}) for name in source.columns]
    gene_ids = sorted({gene for genes in found for gene in genes})
    place = {gene: number for number, gene in enumerate(gene_ids)}
    return tuple(tuple(place[gene] for gene in genes) for genes in found), tuple(gene_ids)


def _file(release: Release, source: Source, gene_sets: str | None) -> Path:
    known: Mapping[str, Any] = release.manifest.get("targets", {})
    entry = known.get(source.set_name or "", {})
    if entry.get("kind") == "random":
        return _sets(release).file(f"targets/{source.set_name}/{RANDOM_SETS}")  # type: ignore[no-any-return]
    if entry.get("kind") == "shuffle" or source.kind == "pathways":
        wanted = release.manifest["pathways"].get("sha256")
    else:
        wanted = entry.get("parameters", {}).get("gene_sets_sha256")
    if wanted is None or gene_sets is None:
        raise UsageError(
            "The token encoder reads the genes of each pathway, and nobody has named them",
            code="no-gene-sets",
            field="target_set" if wanted is None else "gene_sets",
            expected="a target set of gene sets"
            if wanted is None
            else "the GMT file that the targets were scored with",
            found=source.name if wanted is None else "none",
        )
    path = Path(gene_sets).expanduser()
    digest = sha256_file(path) if path.is_file() and path.stat().st_size <= MAX_BYTES else "no such file"
    if digest != wanted:
        raise DataError(
            "These are not the gene sets that the targets were scored with",
            code="gene-sets-mismatch",
            file=path,
            field="gene_sets",
            expected=f"sha256 {wanted}",
            found=digest,
        )
    return path


def _axis(release: Release) -> dict[str, str]:
    """Ensembl id or symbol to Ensembl id, of the genes that the release counts."""
    import pyarrow.parquet as pq

    table = pq.read_table(_sets(release).file(release.manifest["targets"]["counts"]["columns"]))
    ids = table["ensembl_id"].to_pylist()
    by_symbol = zip(table["symbol"].to_pylist(), ids, strict=True) if "symbol" in table.column_names else ()
    return {**{symbol: gene for symbol, gene in by_symbol if symbol}, **{gene: gene for gene in ids}}


def _sets(release: Release) -> Any:
    from humanst.load.index import Rows
    from humanst.load.target_sets import TargetSets

    return TargetSets(release, ("counts",), Rows(release, next(iter(release.splits))))
