"""Tiers 1 and 2 from files: embeddings and a release in, tables out; ``probe`` and ``domains`` do the measuring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError
from stamp_train.counts import N_GENES, choose_genes, genes_of_gmt, read_counts
from stamp_train.domains import Domains, cluster_sections
from stamp_train.features import Embedded, Embeddings, join, mean_rgb, read_embeddings, read_labels
from stamp_train.probe import probe_genes, probe_pathways
from stamp_train.protocol import Spots

if TYPE_CHECKING:
    import pandas as pd

    from humanst.load.release import Release


@dataclass(frozen=True, slots=True)
class Probed:
    """What :func:`probe_release` found.

    Attributes
    ----------
    genes, pathways
        See :func:`stamp_train.probe.probe_genes` and :func:`stamp_train.probe.probe_pathways`.
    chosen
        ``(Ensembl id, symbol)`` of the genes that were predicted.
    missing
        Keys of pairs without an embedding.
    """

    genes: pd.DataFrame
    pathways: pd.DataFrame
    chosen: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]


def probe_release(
    embeddings: Path | Embeddings,
    release: str | Path | Release,
    splits: Sequence[str] = ("test",),
    *,
    gmt: Path | None = None,
    genes: Sequence[str] | None = None,
    n_genes: int = N_GENES,
    test_donors: Sequence[str] | None = None,
    allow_missing: bool = False,
    seed: int = 0,
) -> Probed:
    """Tier 1 on the pairs of some splits.

    Parameters
    ----------
    embeddings
        A file of them, or what :func:`stamp_train.features.read_embeddings` gave.
    release
        A release with the target set ``counts``.
    splits
        Splits whose donors take part: those an encoder was aligned on may be trained on, by ``test_donors``.
    gmt
        Gene sets the encoder was aligned to; without, genes are not told apart.
    genes, n_genes
        Ensembl ids to predict; by default so many are chosen (:func:`stamp_train.counts.choose_genes`).
    test_donors
        Donor groups to hold out in turn; all by default.
    allow_missing
        Go on without the pairs that have no embedding.
    seed
        Of the noise ceiling.

    Raises
    ------
    HumanstError
        See the functions above.
    """
    found = join(_read(embeddings), release, splits, allow_missing=allow_missing)
    counts = read_counts(release, splits).take(found.rows)
    sections = found.pairs["sample_id"].tolist()
    spots = Spots.of(found.pairs["n_counts"], found.pairs["donor_group"].tolist(), sections)
    chosen = tuple(genes) if genes is not None else choose_genes(counts, sections, n_genes)
    symbol_of = dict(zip(counts.ensembl_ids, counts.symbols, strict=True))
    values = counts.columns(chosen)
    inside = genes_of_gmt(gmt) if gmt is not None else frozenset()
    in_sets = [gene for gene in chosen if symbol_of[gene] in inside]
    scores, names = _pathways(release, splits)
    return Probed(
        probe_genes(found.features, values, spots, chosen, gene_set=in_sets, test_donors=test_donors, seed=seed),
        probe_pathways(found.features, scores[found.rows], spots, names, test_donors=test_donors),
        tuple((gene, symbol_of[gene]) for gene in chosen),
        found.missing,
    )


def _read(embeddings: Path | Embeddings) -> Embeddings:
    return read_embeddings(embeddings) if isinstance(embeddings, Path) else embeddings


def _pathways(release: str | Path | Release, splits: Sequence[str]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """(n, P) scores of all pairs of the splits, and P names."""
    from humanst.load import PairDataset

    datasets = [PairDataset(release, split) for split in dict.fromkeys(splits)]
    return np.concatenate([dataset.pathways() for dataset in datasets]), datasets[0].pathway_names


def cluster_release(
    embeddings: Mapping[str, Path | Embeddings],
    labels: Path,
    release: str | Path | Release,
    splits: Sequence[str] = ("test",),
    **options: Any,
) -> Domains:
    """Tier 2 on the pairs of some splits, beside mean colour and library size.

    Parameters
    ----------
    embeddings
        Name of a model -> its embeddings, as in :func:`probe_release`.
    labels
        See :func:`stamp_train.features.read_labels`.
    release, splits
        Whose pairs.
    **options
        ``methods``, ``n_seeds`` and ``not_labels`` of :func:`stamp_train.domains.cluster_sections`.

    Raises
    ------
    DataError
        When a model is called as a baseline is.
    HumanstError
        See the functions above.
    """
    baselines = {"mean RGB", "library size"}
    if taken := baselines & set(embeddings):
        raise DataError("A baseline has this name", code="name-taken", found=", ".join(sorted(taken)))
    joined: dict[str, Embedded] = {name: join(_read(given), release, splits) for name, given in embeddings.items()}
    if not joined:
        raise DataError(
            "There is no embedding to compare", code="embeddings-missing", expected="one file", found="none"
        )
    pairs = next(iter(joined.values())).pairs
    features: dict[str, Any] = {name: found.features for name, found in joined.items()}
    features["mean RGB"] = np.concatenate([mean_rgb(release, split) for split in dict.fromkeys(splits)])
    features["library size"] = np.log10(pairs["n_counts"].to_numpy(np.float64))[:, None]
    called = read_labels(labels, pairs["key"].tolist())
    donors, sections = pairs["donor_group"].tolist(), pairs["sample_id"].tolist()
    return cluster_sections(features, called.tolist(), donors, sections, **options)
