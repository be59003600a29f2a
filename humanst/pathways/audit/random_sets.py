"""Gene sets drawn at random that match given ones in size and expression: what a pathway has to beat.

A figure of a gene set says little by itself: well expressed genes follow each other in any section. Sets of the same
sizes, drawn from genes of the same expression level, show what such genes reach without a common function.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.errors import DataError
from humanst.pathways.bincontrol import bins_for, expression_bins, log_cp10k

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from humanst.pathways.gene_sets import ResolvedSets

_SPOTS_AT_A_TIME = 1024


def matched_random(
    sets: ResolvedSets, genes: NDArray[np.str_], mean_log: NDArray[np.float64], *, seed: int, draw: int
) -> ResolvedSets:
    """Draw for every set as many genes as it has, from the same expression bins.

    The bins are those of the default scorer. A draw is blind to membership, so a set's own genes may come again: were
    the set itself drawn so, it would rank anywhere among its draws with equal chance.

    Parameters
    ----------
    sets
        The sets to match. Genes that are not in ``genes`` have no expression and are left out of the draw.
    genes
        (n_genes,) unique Ensembl ids of the measured genes, any order.
    mean_log
        (n_genes,) their mean log expression, for example from :func:`mean_log_expression`.
    seed, draw
        Name the draw. What is drawn for a set depends on these, on its name and on the genes, not on other sets.

    Returns
    -------
    As many sets, named ``random:SEED:DRAW:NAME``. ``n_members`` is that of the matched set, so that coverage masks
    both or neither; a gene's weight goes to the gene drawn for it.

    Raises
    ------
    DataError
        ``random-sets-shape`` when ids and expression do not fit together, ``gene-repeated`` when an id occurs twice.
    """
    ids, bins = _binned(genes, mean_log)
    pools = [ids[bins == index] for index in range(int(bins.max(initial=-1)) + 1)]
    bin_of = dict(zip(ids.tolist(), bins.tolist(), strict=True))
    given = getattr(sets, "weights", None)
    drawn: list[tuple[str, ...]] = []
    weights: list[tuple[float, ...]] = []
    for place, (name, members) in enumerate(zip(sets.names, sets.ensembl_ids, strict=True)):
        own = given[place] if given is not None else (1.0,) * len(members)
        rng = _named_rng(seed, draw, name)
        pairs = _draw(rng, [(bin_of[g], w) for g, w in zip(members, own, strict=True) if g in bin_of], pools)
        drawn.append(tuple(gene for gene, _ in pairs))
        weights.append(tuple(weight for _, weight in pairs))
    return with_sets(
        sets,
        names=tuple(f"random:{seed}:{draw}:{name}" for name in sets.names),
        ensembl_ids=tuple(drawn),
        unmapped=((),) * len(drawn),
        n_members=sets.n_members,
        weights=tuple(weights) if given is not None else None,
    )


def with_sets(sets: ResolvedSets, *, weights: tuple[tuple[float, ...], ...] | None, **fields: Any) -> ResolvedSets:
    """Return the collection with other sets in it, and with their weights where the collection has any."""
    if hasattr(sets, "weights"):
        fields["weights"] = weights
    return replace(sets, **fields)


def some_sets(sets: ResolvedSets, start: int, stop: int) -> ResolvedSets:
    """Return the sets from place ``start`` to before ``stop``."""
    weights = getattr(sets, "weights", None)
    return with_sets(
        sets,
        names=sets.names[start:stop],
        ensembl_ids=sets.ensembl_ids[start:stop],
        unmapped=sets.unmapped[start:stop],
        n_members=sets.n_members[start:stop],
        weights=None if weights is None else weights[start:stop],
    )


def joined(collections: list[ResolvedSets]) -> ResolvedSets:
    """Return the sets of several draws after each other as one collection, under the name of the first."""
    first = collections[0]
    has_weights = getattr(first, "weights", None) is not None
    return with_sets(
        first,
        names=tuple(name for one in collections for name in one.names),
        ensembl_ids=tuple(genes for one in collections for genes in one.ensembl_ids),
        unmapped=tuple(lost for one in collections for lost in one.unmapped),
        n_members=tuple(n for one in collections for n in one.n_members),
        weights=tuple(w for one in collections for w in getattr(one, "weights", ())) if has_weights else None,
    )


def mean_log_expression(
    counts: csr_matrix, measured: NDArray[np.bool_], spots: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the mean over some spots of ``log1p(CP10k)`` of each measured gene.

    Parameters
    ----------
    counts
        (n_spots, n_genes) CSR of integers.
    measured
        (n_genes,) the genes that count, also in the totals.
    spots
        (n_spots,) those the mean is over.

    Returns
    -------
    (n_measured,) float64, in the order of the columns; zeros when there are no spots.
    """
    columns, rows = np.flatnonzero(measured), np.flatnonzero(spots)
    sums = np.zeros(len(columns))
    for start in range(0, len(rows), _SPOTS_AT_A_TIME):
        block = counts[rows[start : start + _SPOTS_AT_A_TIME]][:, columns]
        sums += np.asarray(log_cp10k(block).sum(axis=0)).ravel()
    return sums / max(len(rows), 1)


def _binned(genes: NDArray[np.str_], mean_log: NDArray[np.float64]) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """The ids in their order, which breaks ties of expression, and the bin of each."""
    ids = np.asarray(genes, dtype=np.str_)
    if ids.shape != np.shape(mean_log) or ids.ndim != 1:
        what = "genes and their expression do not fit together"
        raise DataError(what, code="random-sets-shape", expected=f"{ids.shape} means", found=np.shape(mean_log))
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    if np.any(ids[1:] == ids[:-1]):
        twice = ids[1:][ids[1:] == ids[:-1]][0]
        raise DataError("a gene is given twice", code="gene-repeated", expected="each id once", found=twice)
    return ids, expression_bins(np.asarray(mean_log, dtype=np.float64)[order], bins_for(len(ids)))


def _draw(
    rng: np.random.Generator, wanted: list[tuple[int, float]], pools: list[NDArray[np.str_]]
) -> list[tuple[str, float]]:
    """One gene for each wanted bin, none twice, with the weight beside; sorted by id."""
    drawn: list[tuple[str, float]] = []
    for index in sorted({found for found, _ in wanted}):
        weights = [weight for found, weight in wanted if found == index]
        genes = rng.choice(pools[index], len(weights), replace=False)
        drawn.extend(zip(genes.tolist(), weights, strict=True))
    return sorted(drawn)


def _named_rng(seed: int, draw: int, name: str) -> np.random.Generator:
    digest = hashlib.blake2b("\x1f".join((str(seed), str(draw), name)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
